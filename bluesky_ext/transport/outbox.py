"""The socket of a publisher, and what waits to be sent."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.transport.curve import be_client
from bluesky_ext.transport.farewell import SLICE, farewell
from bluesky_ext.transport.monitor import Event, Monitor
from bluesky_ext.transport.wire import LARGE

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve

__all__ = ["Outbox"]

log = logging.getLogger(__name__)


class Outbox:
    """Messages on their way to a proxy.

    Parameters
    ----------
    address : str
        The proxy.
    curve : ClientCurve, optional
        The keys.
    block : bool
        Whether to wait when there is no room, instead of dropping messages.
    patience : float
        How long to wait without progress, in s.
    high_water : int
        The most messages that wait.
    max_queue : int
        The most bytes of large messages that wait.
    linger : float
        How long to try to send what is waiting at the end, in s.

    Attributes
    ----------
    socket : zmq.Socket
        An XPUB socket.
    monitor : Monitor
        What happens to its connection.
    """

    def __init__(
        self,
        address: str,
        curve: ClientCurve | None,
        *,
        block: bool,
        patience: float,
        high_water: int,
        max_queue: int,
        linger: float,
    ) -> None:
        self.linger = linger
        self._address = address
        self._block = block
        self._patience = patience
        self._max_queue = max_queue
        self._pending: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._pending_bytes = 0
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        self.monitor = Monitor(self.socket)
        try:
            self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            self.socket.sndhwm = high_water
            self.socket.sndtimeo = round(SLICE * 1000)
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            self.socket.setsockopt(zmq.IMMEDIATE, 1)  # so that subscriptions go with the connection
            self.socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            self.socket.ipv6 = "[" in address
            be_client(self.socket, curve)
        except BaseException:
            self.close()
            raise

    def connect(self) -> None:
        """Begin to connect to the proxy."""
        try:
            self.socket.connect(self._address)
        except zmq.ZMQError as error:
            raise ValueError(f"{self._address} can't be connected to: {error}") from error

    def poll(self, seconds: float) -> None:
        """Wait until there is something to hear, of subscriptions or of the connection."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor.socket, zmq.POLLIN)
        poller.poll(round(max(0.0, seconds) * 1000))

    def send(self, message: list[Buffer], meanwhile: Callable[[], object]) -> bool:
        """Hand the parts of a message to 0MQ; False if there is no room for them.

        Parameters
        ----------
        meanwhile : callable
            Called again and again while there is none, if it blocks; what it raises ends that.
        """
        end = time.monotonic() + self._patience
        large = sum(len(part) for part in message if len(part) >= LARGE)
        while large and not self._has_room(large):
            if not self._block:
                return False
            self._check(end)
            meanwhile()
            with suppress(zmq.NotDone):
                self._pending[0][0].wait(SLICE)
        *first, last = message
        for part, more in [*((part, zmq.SNDMORE) for part in first), (last, 0)]:
            while not self._hand_over(part, more):
                if not self._block:
                    return False
                meanwhile()
                self._check(end)
        return True

    def close(self) -> bool:
        """Send what is waiting, and close the connection; whether all of it has left."""
        broken: list[Event] = []

        def note(event: Event) -> None:
            if event.kind == zmq.Event.DISCONNECTED:
                broken.append(event)

        left = True
        if not self.socket.closed:
            list(self.monitor.events())  # of what was before
            end = time.monotonic() + self.linger
            left = farewell(self.socket, self.monitor, lambda: end, happened=note)
        self._context.term()
        if broken:
            log.warning("%s: the connection was lost while the last documents were on their way", self._address)
        elif not left:
            log.warning("%s: the last documents were not taken in %g s: they are lost", self._address, self.linger)
        return left and not broken

    def _hand_over(self, part: Buffer, more: int) -> bool:
        flags = more | (0 if self._block else zmq.NOBLOCK)
        try:
            if len(part) < LARGE:
                self.socket.send(part, flags)
            else:
                tracker = self.socket.send(part, flags, copy=False, track=True)
                self._pending.append((tracker, len(part)))
                self._pending_bytes += len(part)
        except zmq.Again:
            return False
        return True

    def _check(self, end: float) -> None:
        if time.monotonic() > end:
            raise TimeoutError(f"{self._address} has taken nothing for {self._patience:g} s: a listener is stuck")

    def _has_room(self, nbytes: int) -> bool:
        while self._pending and self._pending[0][0].done:
            self._pending_bytes -= self._pending.popleft()[1]
        return not self._pending or self._pending_bytes + nbytes <= self._max_queue
