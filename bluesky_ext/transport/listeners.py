"""Who listens to a proxy, and who of them does not keep up."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from bluesky_ext.transport.wire import LISTENER

__all__ = ["Listener", "Listeners"]

_BYTES_ACKED = struct.Struct("<120xQ")  # of struct tcp_info, from Linux 4.1 on
_SIOCOUTQ = 0x5411
_BACK_SOON = 2.0  # s, in which one who was cut off comes back: 0MQ does after 0.1 s


@dataclass(eq=False)
class Listener:
    """One connection to a proxy.

    Parameters
    ----------
    fd : int
        The file descriptor that 0MQ has for it.
    address : str
        Where it comes from.
    peer : object
        The same as the operating system has it.
    returned : bool
        Whether it comes from where somebody has just been cut off.

    Attributes
    ----------
    label : str
        What it says of itself, if it is one of ours.
    takes_all : bool
        Whether it takes messages of all prefixes.
    waiting : bool
        Whether something was on its way to it, when one last looked.
    """

    fd: int
    address: str
    peer: object
    returned: bool
    label: str = ""
    takes_all: bool = False
    taken: int = -1
    moved: float = 0.0
    waiting: bool = False

    def __str__(self) -> str:
        return f"{self.label} ({self.address})" if self.label else self.address


class Listeners:
    """The connections of a proxy to those who listen, and how each of them takes what it is sent.

    0MQ does not say which listener it waits for; the operating system knows what each has taken.

    Parameters
    ----------
    limit : float
        For how long a listener may take nothing, in s. One that comes back right after it was cut off has a tenth.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._listeners: dict[int, Listener] = {}
        self._cuts: deque[tuple[str, float]] = deque(maxlen=100)

    def accepted(self, fd: int) -> Listener | None:
        """Take note of a connection; None if it is gone already."""
        try:
            with _open(fd) as connection:
                peer, address = _peer(connection)
        except OSError:
            return None
        host, now = address.rpartition(":")[0], time.monotonic()
        returned = any(host == cut and now - when < _BACK_SOON for cut, when in self._cuts)
        self._listeners[fd] = listener = Listener(fd, address, peer, returned)
        return listener

    def disconnected(self, fd: int) -> Listener | None:
        """Take note of the end of a connection."""
        return self._listeners.pop(fd, None)

    def subscribed(self, fd: int, topic: bytes) -> None:
        """Take note of what somebody wants, or says of itself."""
        listener = self._listeners.get(fd)
        if listener is None:
            return
        if topic.startswith(LISTENER):
            listener.label = topic.removeprefix(LISTENER).decode(errors="replace")[:200]
        if not topic:
            listener.takes_all = True

    @property
    def ours_that_take_all(self) -> int:
        """How many of those who take messages of all prefixes know that some of these are no documents."""
        return sum(1 for listener in self._listeners.values() if listener.takes_all and listener.label)

    def rest(self) -> None:
        """Forget for how long who has taken nothing: there was nothing to take."""
        for listener in self._listeners.values():
            listener.taken = -1

    def stuck(self) -> list[Listener]:
        """Who has taken nothing for too long, of what waits for them; called again and again while something waits."""
        now = time.monotonic()
        stuck = []
        for listener in list(self._listeners.values()):
            try:
                with _open(listener.fd) as connection:
                    if _peer(connection)[0] != listener.peer:
                        continue
                    taken, listener.waiting = _progress(connection)
            except OSError:
                continue
            if taken != listener.taken or not listener.waiting:
                listener.taken, listener.moved = taken, now
            elif now - listener.moved > (self._limit / 10 if listener.returned else self._limit):
                stuck.append(listener)
        return stuck

    def left(self) -> list[Listener]:
        """Who is still connected."""
        left = []
        for listener in self._listeners.values():
            with suppress(OSError), _open(listener.fd) as connection:
                if _peer(connection)[0] == listener.peer:
                    left.append(listener)
        return left

    def cut_off(self, listener: Listener) -> None:
        """End a connection: what waits for it is dropped, and 0MQ waits for it no more."""
        self._cuts.append((listener.address.rpartition(":")[0], time.monotonic()))
        self._listeners.pop(listener.fd, None)
        with suppress(OSError), _open(listener.fd) as connection:
            if _peer(connection)[0] == listener.peer:
                connection.shutdown(socket.SHUT_RDWR)


def _open(fd: int) -> socket.socket:
    """The connection of a file descriptor of 0MQ's; it must be closed at once, so that 0MQ can end it."""
    copy = os.dup(fd)
    try:
        return socket.socket(fileno=copy)
    except OSError:  # something else has this number now
        os.close(copy)
        raise


def _peer(connection: socket.socket) -> tuple[object, str]:
    if connection.family == socket.AF_UNIX:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, *_ = struct.unpack("3i", credentials)
        return credentials, f"process:{pid}"
    peer = connection.getpeername()
    return peer, f"{peer[0]}:{peer[1]}"


def _progress(connection: socket.socket) -> tuple[int, bool]:
    """A number that changes when the other end takes something, and whether something waits for it."""
    import fcntl

    waiting = struct.unpack("i", fcntl.ioctl(connection.fileno(), _SIOCOUTQ, bytes(4)))[0]
    if connection.family != socket.AF_UNIX:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) >= _BYTES_ACKED.size:
            return _BYTES_ACKED.unpack_from(info)[0], waiting > 0
    return waiting, waiting > 0
