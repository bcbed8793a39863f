"""Messages on their way to a proxy: those that 0MQ has, and those that wait for room."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import zmq

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.transport.listeners import Listeners
from bluesky_ext.transport.queue import RESERVE
from bluesky_ext.transport.socket import SLICE, Socket
from bluesky_ext.transport.topics import ECHO

log = logging.getLogger(__name__)


@dataclass
class Published:
    """What became of the documents that a publisher was called with; they only grow.

    Nobody listened to those ``unheard``, there was no room for those ``dropped``, and those ``failed`` could not be put
    into bytes.
    """

    sent: int = 0
    unheard: int = 0
    dropped: int = 0
    failed: int = 0


class Sender:
    """Sends messages as there is room for them; for one thread at a time, that which has its `lock`.

    Large parts go without a copy. With a ``patience`` it waits for room, and gives up after so many seconds without
    progress; with None it drops.
    """

    def __init__(
        self,
        socket: Socket,
        listeners: Listeners,
        address: str,
        stats: Published,
        *,
        patience: float | None,
        max_queue: int,
        linger: float,
    ) -> None:
        self.linger = linger
        self.lock = threading.Lock()
        self._socket = socket
        self._listeners = listeners
        self._address = address
        self._stats = stats
        self._patience = patience
        self._max_queue = max_queue
        self._large: deque[tuple[zmq.MessageTracker, int]] = deque()  # that 0MQ has, and their bytes
        self._nbytes = 0
        self._waiting: deque[list[Buffer]] = deque()
        self._closed = threading.Event()

    def send(self, message: list[Buffer], *, keep: bool, meanwhile: Callable[[], object]) -> bool:
        """Send the parts of a message; False if there is no room, and it is dropped.

        One to ``keep`` waits for room instead, unless too many do. ``meanwhile`` is called again and again while this
        waits; what it raises ends that.
        """
        if self._send_waiting() and self._send(message, meanwhile):
            self._stats.sent += 1
        elif keep and len(self._waiting) < RESERVE:
            self._waiting.append(message)
            if len(self._waiting) == 1:
                threading.Thread(target=self._send_later, name=f"sender to {self._address}", daemon=True).start()
        else:
            self._stats.dropped += 1
            return False
        return True

    def close(self) -> bool:
        """Send what is waiting, and close the connection; whether all of it has arrived, or left for a plain proxy."""
        with self.lock:
            end = time.monotonic() + self.linger
            self._listeners.update()
            breaks = self._listeners.breaks
            arrived = self._wait_until_arrived(end)
            self._closed.set()
            self._stats.dropped += len(self._waiting)
            self._waiting.clear()
            left, ended = self._socket.flush(0.0 if self._listeners.has_our_proxy else end - time.monotonic())
            self._socket.close()
        broken = self._listeners.breaks + ended > breaks
        if not arrived and broken:
            log.warning("%s: the connection was lost while the last documents were on their way", self._address)
        elif not (arrived or left):
            log.warning("%s: the last documents were not taken in %g s: they may be lost", self._address, self.linger)
        return arrived or (left and not broken)

    def _wait_until_arrived(self, end: float) -> bool:
        """Wait until a proxy of ours says that it has all that was sent; False if it is none, or does not say so.

        What 0MQ has sent may still be lost on its way when it closes the connection.
        """
        listeners, asked = self._listeners, False
        breaks, listeners.question = listeners.breaks, ECHO + uuid.uuid4().hex.encode()
        while listeners.question and listeners.breaks == breaks:
            if self._send_waiting() and not asked:
                with suppress(zmq.Again):
                    self._socket.zmq.send(listeners.question, zmq.NOBLOCK)
                    asked = True
            if self._patience is not None:
                end = max(end, listeners.moved + self.linger)
            if not (listeners.has_our_proxy or self._waiting) or time.monotonic() > end:
                return False
            listeners.wait(SLICE if asked else SLICE / 10)
        return not listeners.question

    def _send(self, message: list[Buffer], meanwhile: Callable[[], object]) -> bool:
        """Hand a message to 0MQ; False if it has no room, and this does not wait for some."""
        began, nbytes = time.monotonic(), sum(map(len, message))
        while not self._has_room(nbytes):
            if not self._may_wait(began, meanwhile):
                return False
            with suppress(zmq.NotDone):
                self._large[0][0].wait(SLICE)
        for left, part in zip(reversed(range(len(message))), message, strict=True):
            flags = (zmq.SNDMORE if left else 0) | (zmq.NOBLOCK if self._patience is None else 0)
            while (tracker := self._send_part(part, flags)) is None:
                if not self._may_wait(began, meanwhile):
                    return False
            if not tracker.done:  # 0MQ has no copy of it
                self._large.append((tracker, len(part)))
                self._nbytes += len(part)
        return True

    def _send_part(self, part: Buffer, flags: int) -> zmq.MessageTracker | None:
        try:
            return self._socket.zmq.send(part, flags, copy=False, track=True)
        except zmq.Again:
            return None

    def _may_wait(self, began: float, meanwhile: Callable[[], object]) -> bool:
        """Whether to wait for room (on); TimeoutError if there was no progress for too long."""
        if self._patience is None:
            return False
        meanwhile()
        if time.monotonic() > max(began, self._listeners.moved) + self._patience:
            raise TimeoutError(f"{self._address} has taken nothing for {self._patience:g} s: a listener is stuck")
        return True

    def _has_room(self, nbytes: int) -> bool:
        while self._large and self._large[0][0].done:
            self._nbytes -= self._large.popleft()[1]
        return not self._large or self._nbytes + nbytes <= self._max_queue

    def _send_waiting(self) -> bool:
        """Send the messages that wait, as far as there is room; whether none is left."""
        if self._waiting:
            self._listeners.update()
            if not self._listeners.present:
                self._stats.unheard += len(self._waiting)
                self._waiting.clear()
        while self._waiting and self._send(self._waiting[0], lambda: None):
            self._waiting.popleft()
            self._stats.sent += 1
        return not self._waiting

    def _send_later(self) -> None:
        """Send what waits as soon as there is room, in a thread of its own that ends with that."""
        while not self._closed.wait(SLICE / 10):
            with self.lock:
                if self._closed.is_set() or self._send_waiting():
                    return
