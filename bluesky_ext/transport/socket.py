"""A 0MQ socket with its keys, what happens to its connections, and an end at which nothing is lost in silence."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

SLICE = 0.1  # s, after which a wait is interrupted to look around
_GRACE = 0.5  # s, for which 0MQ goes on sending after the wait for it is over: then the wait tells how it ended

#: Connections that failed since the keys are not right, and how often that must happen to mean it: the first also comes
#: when the other end is just going away.
REFUSALS = {
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: 3,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: 1,
    zmq.Event.HANDSHAKE_FAILED_AUTH: 1,
}

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED | sum(REFUSALS)


class Socket:
    """A 0MQ socket in a context of its own, since only one socket of a context can let in clients by their keys.

    Its keys are a ClientCurve, or a ServerCurve if it is to ``bind``, or None. One that connects is ``connected``, or
    was ``refused``, once it is beyond doubt that its keys are not right.
    """

    def __init__(self, kind: int, curve: Any, high_water: int, *, bind: bool = False, max_bytes: int = -1) -> None:
        if high_water < 1:
            raise ValueError(f"high_water={high_water!r}: give a number of messages above 0")
        keys = _keys(curve, bind) if curve is not None else {}
        self.connected = False
        self.refused: zmq.Event | None = None
        self._refusals = 0
        self._curve = curve
        self._bind = bind
        self._authenticator: ThreadAuthenticator | None = None
        self._context = zmq.Context()
        self.zmq: zmq.Socket[Any] = self._context.socket(kind)
        # Of documents: subscriptions, which go the other way, must not be dropped.
        self.zmq.setsockopt(zmq.SNDHWM if kind == zmq.XPUB else zmq.RCVHWM, high_water)
        self.zmq.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self.zmq.setsockopt(zmq.MAXMSGSIZE, max_bytes)  # who sends a larger message is disconnected
        for option, key in keys.items():
            self.zmq.setsockopt(option, key)
        self.zmq.monitor("inproc://monitor", _EVENTS)
        self.monitor: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        self.monitor.rcvhwm = 0  # no limit: else 0MQ waits in the thread that sends and receives
        self.monitor.connect("inproc://monitor")
        if curve is not None and bind:
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            if curve.allow is not None:
                self._authenticator.allow(*curve.allow)
            folder = curve.client_public_keys
            location = zmq.auth.CURVE_ALLOW_ANY if folder is None else str(folder)
            self._authenticator.configure_curve(domain="*", location=location)

    def open(self, address: str) -> str:
        """Bind it, or begin to connect it; return where it is then. OSError if the address is in use, or none."""
        self.zmq.ipv6 = "[" in address
        try:
            self.zmq.bind(address) if self._bind else self.zmq.connect(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise OSError(f"{address} is in use: is there a proxy already? Else choose another address") from error
            raise OSError(f"{address} can't be used: {error}") from error
        return self.zmq.get_string(zmq.LAST_ENDPOINT)

    def refusal(self, address: str) -> str:
        """What is wrong with its keys, in one line, when they were `refused`."""
        if self._curve is None:
            return f"{address} is a proxy with CURVE keys, or none at all: for keys, give curve_config=ClientCurve(...)"
        if self.refused == zmq.Event.HANDSHAKE_FAILED_AUTH:
            return (
                f"{address} does not let in the client key {self._curve.secret_path}: put its public key into the "
                "folder that the proxy was given, and this machine's address on its list, if it has one"
            )
        # Which of the other two it is does not tell one from the other.
        return (
            f"{address} has another key than {self._curve.server_public_key}, or none: give the public key of the "
            "proxy there, or leave curve_config out"
        )

    def messages(self, most: int = 2**63) -> Iterator[list[zmq.Frame]]:
        """Yield the messages that have come, but no more than so many."""
        for _ in range(most):
            try:
                yield self.zmq.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return

    def subscriptions(self) -> Iterator[tuple[bool, bytes]]:
        """Yield for an XPUB what is subscribed to (True), or no more (False), since the last time."""
        for first, *_ in self.messages():
            message = first.bytes
            if message[:1] in (b"\0", b"\1"):  # it gives other messages too, if the other end sends some
                yield message[:1] == b"\1", message[1:]

    def events(self) -> Iterator[zmq.Event]:
        """Yield what has happened to its connections since the last time."""
        while True:
            try:
                message = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = zmq.Event(parse_monitor_message(message)["event"])
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                self.connected = True
                self._refusals, self.refused = 0, None
            elif event == zmq.Event.DISCONNECTED:
                self.connected = False
            elif event in REFUSALS:
                self._refusals += 1
                if self._refusals >= REFUSALS[event]:
                    self.refused = event
            yield event

    def flush(self, seconds: float) -> tuple[bool, int]:
        """Close it, but send what is waiting for so long, which 0MQ would end in silence.

        Returns whether all has left, and how many connections ended meanwhile, each before all had left by it; those
        that never came about do not count.
        """
        seconds = max(seconds, SLICE)
        end = time.monotonic() + seconds
        # It tells what happens until the last connection is over, or it gives up itself.
        self.zmq.close(round((seconds + _GRACE) * 1000))
        ended, before = 0, None
        while (left := end - time.monotonic()) > 0:
            self.monitor.poll(round(left * 1000) + 1)
            for event in self.events():
                ended += event == zmq.Event.DISCONNECTED and before not in REFUSALS
                before = event
                if event == zmq.Event.MONITOR_STOPPED:
                    return time.monotonic() < end + _GRACE, ended
        return False, ended

    def close(self) -> None:
        """Close it at once, and give everything back; what has not been sent is dropped."""
        if not self.zmq.closed:  # by `flush`
            self.zmq.disable_monitor()
            self.zmq.close(0)
        self.monitor.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()


def wait_for(*sockets: Socket, seconds: float = SLICE) -> None:
    """Wait until a message comes, or something happens to a connection, but no longer than so many seconds."""
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket.zmq, zmq.POLLIN)
        poller.register(socket.monitor, zmq.POLLIN)
    poller.poll(round(max(0.0, seconds) * 1000))


def _keys(curve: Any, bind: bool) -> dict[int, Any]:
    """The options of a socket with these keys."""
    if not hasattr(curve, "client_public_keys" if bind else "server_public_key"):
        remedy = "to bind, give a ServerCurve" if bind else "to connect, give a ClientCurve"
        raise TypeError(f"{type(curve).__name__} is for the other kind of end: {remedy}")
    public, secret = _load_key(curve.secret_path)
    if secret is None:
        raise ValueError(f"{curve.secret_path} has no secret key: give the file that ends in .key_secret")
    status = Path(curve.secret_path).stat()
    if status.st_uid == os.getuid() and status.st_mode & 0o077:  # as ssh does it: those of others are theirs to guard
        path, mode = shlex.quote(str(curve.secret_path)), f"{status.st_mode & 0o777:o}"
        raise PermissionError(f"the secret key {path} is open to others (mode {mode}): chmod 600 {path}")
    keys = {zmq.CURVE_PUBLICKEY: public, zmq.CURVE_SECRETKEY: secret}
    if not bind:
        return {**keys, zmq.CURVE_SERVERKEY: _load_key(curve.server_public_key)[0]}
    folder = curve.client_public_keys
    if folder is not None and not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder} is no folder of public keys of clients; without one, give None")
    return {**keys, zmq.CURVE_SERVER: True}


def _load_key(path: Path) -> tuple[bytes, bytes | None]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no key in {path}: make a pair with zmq.auth.create_certificates(folder, name)")
    return zmq.auth.load_certificate(str(path))
