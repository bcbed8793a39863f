"""What is between publishers and dispatchers: a proxy that passes on documents, and who wants them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import zmq

from bluesky_ext.documents.guard import Complaints
from bluesky_ext.transport.address import Address, bind_address, connect_address
from bluesky_ext.transport.curve import be_client, be_server
from bluesky_ext.transport.listeners import Listeners
from bluesky_ext.transport.monitor import FAILED, Monitor
from bluesky_ext.transport.signals import interruptible
from bluesky_ext.transport.wire import BLOCKING, MARK, MAX_BYTES, PROXY

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

__all__ = ["Passed", "Proxy"]

log = logging.getLogger(__name__)

_SLICE = 0.1  # s, after which a proxy that waits looks up
_TICK = 500  # ms, after which one that has nothing to do looks up
_BATCH = 100


@dataclass
class Passed:
    """What became of the messages that a proxy was given; they only grow."""

    messages: int = 0
    bytes: int = 0
    cut_off: int = 0


class Proxy:
    """Passes on documents from publishers to dispatchers, ours and Bluesky's, and to publishers who listens.

    Run it with `start`, which returns when it is stopped, or in a thread of its own, in a ``with`` block.

    Parameters
    ----------
    in_address, out_address : str, tuple or int, optional
        Where publishers and dispatchers connect to: ``"localhost:5567"``, ``("localhost", 5567)``,
        ``"ipc:///tmp/socket"``, a port. A port alone, and one that is chosen because none is given, is for this
        machine only; ``"*:5567"`` is for all.
    in_curve, out_curve : bluesky.callbacks.zmq.ServerCurve or ClientCurve, optional
        The keys: a ServerCurve for an address that it binds, a ClientCurve for one that it connects to.
    in_bind, out_bind : bool
        Whether it binds the address, or connects to it.
    block : bool
        Wait for listeners that do not keep up, and have publishers that ask for it wait, instead of dropping
        documents.
    stall_limit : float
        With ``block``, a listener that takes nothing for so many seconds is cut off, and named in the log. If it comes
        back at once, it has a tenth of that.
    max_bytes : int
        The largest message that it takes; who sends a larger one is disconnected.
    high_water : int, optional
        The most messages that wait for a listener: 1000, or 100 if it blocks, unless given.
    linger : float
        How long what is on its way may take to arrive when it is stopped, in s.

    Attributes
    ----------
    in_address, out_address : str
        Where they are; also as ``in_port`` and ``out_port``, as Bluesky's proxy calls them.
    stats : Passed
        What went through.
    closed : bool
        Whether it has been stopped, and can't be started again.

    Raises
    ------
    OSError
        If an address is in use.
    """

    def __init__(
        self,
        in_address: Address | None = None,
        out_address: Address | None = None,
        *,
        in_curve: ServerCurve | ClientCurve | None = None,
        out_curve: ServerCurve | ClientCurve | None = None,
        in_bind: bool = True,
        out_bind: bool = True,
        block: bool = False,
        stall_limit: float = 30.0,
        max_bytes: int = MAX_BYTES,
        high_water: int | None = None,
        linger: float = 5.0,
    ) -> None:
        if not stall_limit > 0:
            raise ValueError(f"stall_limit={stall_limit!r}: give a time in seconds above 0")
        self.closed = False
        self.stats = Passed()
        self._block = block
        self._stall_limit = stall_limit
        self._linger = linger
        self._listeners = Listeners(stall_limit)
        self._topics: Counter[bytes] = Counter()
        self._complaints = Complaints(log)
        self._stopping = threading.Event()
        self._give_up = float("inf")
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # of the pipe: a signal may come while it is held
        self._pipe = os.pipe()
        self._open: list[Any] = []
        try:
            high_water = high_water or (100 if block else 1000)
            self._frontend, self._in_monitor, self.in_address = self._end(
                zmq.XSUB, in_address, in_curve, in_bind, max_bytes, high_water
            )
            self._backend, self._out_monitor, self.out_address = self._end(
                zmq.XPUB, out_address, out_curve, out_bind, max_bytes, high_water
            )
        except BaseException:
            self._close()
            raise
        self.in_port, self.out_port = self.in_address, self.out_address
        self._frontend.send(b"\1" + PROXY)
        if block:
            self._frontend.send(b"\1" + BLOCKING)

    def start(self) -> None:
        """Pass on documents until `stop` is called, or SIGINT or SIGTERM comes."""
        with interruptible(self.stop):
            self._run()

    def stop(self) -> None:
        """Have it stop, from any thread or signal handler, when what has come in has been passed on."""
        with self._lock:
            if not self.closed:
                self._stopping.set()
                os.write(self._pipe[1], b"x")

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=repr(self), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop it if it runs in a thread of its own; free its addresses if it was never started."""
        if self._thread is not None:
            self.__exit__()
        elif not self.closed:
            self._close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_address!r}, {self.out_address!r})"

    # What it is made of

    def _end(
        self, kind: int, address: Address | None, curve: Any, bind: bool, max_bytes: int, high_water: int
    ) -> tuple[zmq.Socket[Any], Monitor, str]:
        """A socket of a kind, where its events come in, and its address."""
        if not bind and address is None:
            raise ValueError("an end that connects needs an address: give one, as in 'localhost:5567'")
        where = bind_address(address) if bind else connect_address(address or "")
        # A context each: there can be one authenticator in a context, and both ends may have keys.
        context = zmq.Context()
        self._open.append(context)
        socket = context.socket(kind)
        self._open.append(socket)
        socket.linger = round(self._linger * 1000)
        socket.rcvhwm = high_water
        # Subscriptions must not be dropped, of which many come at once.
        socket.sndhwm = high_water if kind == zmq.XPUB else 0
        socket.sndtimeo = round(_SLICE * 1000)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.ipv6 = "[" in where
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscription, so that one knows whose it is
            socket.setsockopt(zmq.XPUB_NODROP, int(self._block))
        monitor = Monitor(socket)
        self._open.append(monitor)
        try:
            if bind:
                authenticator = be_server(socket, curve)
                if authenticator is not None:
                    self._open.append(authenticator)
                socket.bind(where)
            else:
                be_client(socket, curve)
                socket.connect(where)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise OSError(f"{where} is in use: is there a proxy already? Else choose another address") from error
            raise OSError(f"{where} can't be {'bound' if bind else 'connected to'}: {error}") from error
        return socket, monitor, socket.get_string(zmq.LAST_ENDPOINT)

    def _close(self) -> None:
        with self._lock:
            self.closed = True
            for fd in self._pipe:
                os.close(fd)
        for thing in reversed(self._open):
            if isinstance(thing, zmq.Context):
                thing.term()
            elif isinstance(thing, zmq.Socket | Monitor):
                thing.close()
            else:
                thing.stop()
        self._open.clear()

    # What it does

    def _run(self) -> None:
        if self.closed:
            raise RuntimeError(f"{self!r} has been stopped: make a new one")
        log.info("%r passes on documents", self)
        poller = zmq.Poller()
        for socket in (self._frontend, self._backend, self._in_monitor.socket, self._out_monitor.socket):
            poller.register(socket, zmq.POLLIN)
        poller.register(self._pipe[0], zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                # Not for ever: a signal that comes just before 0MQ waits does not wake it.
                ready = dict(poller.poll(_TICK))
                self._note_events()
                if self._backend in ready:
                    self._pass_subscriptions()
                if self._frontend in ready:
                    self._pass_messages(_BATCH)
            # What publishers have sent before they were closed is on its way in the operating system.
            self._give_up = time.monotonic() + self._linger
            while self._frontend.poll(round(_SLICE * 1000)) and time.monotonic() < self._give_up:
                self._pass_messages(_BATCH)
        finally:
            self._close()

    def _pass_messages(self, count: int) -> None:
        for _ in range(count):
            try:
                part = self._frontend.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self.stats.messages += 1
            more = True
            while more:
                more = part.more
                self.stats.bytes += len(part)
                self._send(part, zmq.SNDMORE if more else 0)
                if more:
                    part = self._frontend.recv(copy=False)

    def _send(self, part: zmq.Frame, flags: int) -> None:
        waited = False
        while True:
            try:
                # Waits, if it blocks, as long as a listener has no room.
                self._backend.send(part, flags, copy=False)
                return
            except zmq.Again:
                if not waited:
                    self._listeners.rest()
                waited = True
                if self._stopping.is_set():
                    self._give_up = min(self._give_up, time.monotonic() + self._linger)
                if time.monotonic() > self._give_up:
                    self._complaints(
                        "stopped", "%r: stopped while a listener did not keep up: documents are lost", self
                    )
                    return
            self._note_events()
            for listener in self._listeners.stuck():
                log.warning(
                    "%r: listener %s has taken nothing for too long (%g s): it is cut off, so that the others go on",
                    *(self, listener, self._stall_limit / 10 if listener.returned else self._stall_limit),
                )
                self.stats.cut_off += 1
                self._listeners.cut_off(listener)

    def _pass_subscriptions(self) -> None:
        while True:
            try:
                message = self._backend.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            # An XPUB gives other messages too, if a listener sends some.
            said = message.bytes
            wants, topic = said[:1], said[1:]
            if wants not in (b"\0", b"\1"):
                continue
            if wants == b"\1":
                with suppress(zmq.ZMQError):
                    self._note_events()
                    self._listeners.subscribed(int(message.get(zmq.SRCFD)), topic)
            if topic.startswith(MARK):
                continue
            self._topics[topic] += 1 if wants == b"\1" else -1
            if self._topics[topic] == (1 if wants == b"\1" else 0):
                self._frontend.send(said)
            if self._topics[topic] <= 0:
                del self._topics[topic]

    def _note_events(self) -> None:
        for event in self._out_monitor.events():
            if event.kind == zmq.Event.ACCEPTED:
                self._listeners.accepted(event.value)
            elif event.kind == zmq.Event.DISCONNECTED:
                listener = self._listeners.disconnected(event.value)
                log.info("%r: listener %s went away", self, listener or "unknown")
            elif event.kind in FAILED:
                self._complaints("listener", "%s: a listener was turned away: its keys are not right", self.out_address)
        for event in self._in_monitor.events():
            if event.kind in FAILED:
                self._complaints(
                    "publisher", "%s: a publisher was turned away: its keys are not right", self.in_address
                )
