"""The connection of a publisher to its proxy: who listens there, and what waits to be sent."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.transport.queue import RESERVE
from bluesky_ext.transport.socket import SLICE, Socket, poller
from bluesky_ext.transport.wire import ALL, LARGE, LAST, MARK, PASSING, PROXY, STALLED

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve

__all__ = ["Published", "Sender"]

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
    """Messages on their way to a proxy, and the subscriptions that come back from there.

    It is for one thread at a time, that which has its `lock`.

    Parameters
    ----------
    address : str
        The proxy.
    header : bytes
        What the messages begin with: the prefix and a space.
    stats : Published
        Where messages are counted.
    curve, block, patience, high_water, max_queue, linger
        See `bluesky_ext.transport.Publisher`.

    Attributes
    ----------
    topics : set of bytes
        What is subscribed to: the beginnings of the messages that somebody wants.
    breaks, stalls : int
        How often the connection ended, and the proxy went on without a listener that took nothing.
    """

    def __init__(
        self,
        address: str,
        header: bytes,
        stats: Published,
        *,
        curve: ClientCurve | None,
        block: bool,
        patience: float,
        high_water: int,
        max_queue: int,
        linger: float,
    ) -> None:
        self.topics: set[bytes] = set()
        self.breaks = self.stalls = 0
        self.linger = linger
        self.lock = threading.Lock()
        self._wanted = False
        self._address = address
        self._header = header
        self._stats = stats
        self._block = block
        self._patience = patience
        self._max_queue = max_queue
        self._on_their_way: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._nbytes = 0
        self._kept: deque[list[Buffer]] = deque()
        self._question = b""
        self._moved = 0.0
        self._closed = threading.Event()
        self.socket = Socket(zmq.XPUB)
        try:
            options = self.socket.zmq
            options.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            options.sndhwm = high_water
            options.sndtimeo = round(SLICE * 1000)
            options.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            options.setsockopt(zmq.IMMEDIATE, 1)  # so that subscriptions go with the connection
            self.socket.set_keys(curve)
        except BaseException:
            self.socket.close()
            raise

    # Who listens

    @property
    def listens(self) -> bool:
        """Whether somebody wants the messages, or may: behind a plain proxy one can't know."""
        return self._wanted and self.socket.connected

    @property
    def is_known(self) -> bool:
        """Whether there is a listener beyond doubt."""
        # A plain proxy subscribes to everything. Ours does it only if a listener does.
        return self.listens and (self.has_our_proxy or any(topic and self._is_ours(topic) for topic in self.topics))

    @property
    def has_our_proxy(self) -> bool:
        """Whether the proxy is one of ours, which passes on what its listeners want."""
        return PROXY in self.topics

    @property
    def other_prefixes(self) -> list[bytes]:
        """The prefixes that are listened to, other than ours."""
        topics = [topic for topic in self.topics if len(topic) > 1 and topic[:1] != MARK[:1]]
        return sorted({topic.split(b" ")[0] for topic in topics if not self._is_ours(topic)})

    def hear(self) -> None:
        """Take note of the subscriptions that have come in, and of what happened to the connection."""
        breaks = self.breaks
        for event in self.socket.events():
            self.breaks += event == zmq.Event.DISCONNECTED
        self._hear_subscriptions()
        if self.breaks > breaks:
            # 0MQ takes back the subscriptions of a connection that ended, and gives those of the next, step by step.
            for _ in range(5):
                self.socket.zmq.poll(10)
                self._hear_subscriptions()

    def _hear_subscriptions(self) -> None:
        changed = False
        while True:
            try:
                message = self.socket.zmq.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            changed = True
            wants, topic = message[:1], message[1:]
            if wants == b"\0":
                self.topics.discard(topic)
            elif wants == b"\1":
                self.topics.add(topic)
                self.stalls += topic == STALLED
                if topic == PASSING:
                    self._moved = time.monotonic()
                elif topic == self._question:
                    self._question = b""
        if changed:
            wants_all = {ALL, self._header[:1]} <= self.topics
            self._wanted = wants_all or any(map(self._is_ours, self.topics))

    def poll(self, seconds: float) -> None:
        """Wait until there is something to hear."""
        poller(self.socket).poll(round(max(0.0, seconds) * 1000))

    def _is_ours(self, topic: bytes) -> bool:
        # One byte is how listeners look whether there is anything at all: `wire.PROBES`.
        if len(topic) == 1 and topic != self._header:
            return False
        return self._header.startswith(topic) or topic.startswith(self._header)

    # What they are sent

    def send(self, message: list[Buffer], *, keep: bool, meanwhile: Callable[[], object]) -> bool:
        """Send the parts of a message; False if there is no room, and it is dropped.

        Parameters
        ----------
        keep : bool
            Whether it waits for room instead of being dropped, unless too many do.
        meanwhile : callable
            Called again and again while there is no room, if it blocks; what it raises ends that.
        """
        if self._send_kept() and self._send(message, meanwhile):
            self._stats.sent += 1
        elif keep and len(self._kept) < RESERVE:
            self._kept.append(message)
            if len(self._kept) == 1:
                threading.Thread(target=self._send_later, name=f"sender to {self._address}", daemon=True).start()
        else:
            self._stats.dropped += 1
            return False
        return True

    def close(self) -> bool:
        """Send what is waiting, and close the connection; whether all of it has arrived, or left for a plain proxy."""
        with self.lock:
            end = time.monotonic() + self.linger
            self.hear()
            breaks = self.breaks
            arrived = self._wait_until_arrived(end)
            self._closed.set()
            self._stats.dropped += len(self._kept)
            self._kept.clear()
            left, ended = self.socket.flush(0.0 if self.has_our_proxy else end - time.monotonic())
            self.socket.close()
        if not arrived and self.breaks + ended > breaks:
            log.warning("%s: the connection was lost while the last documents were on their way", self._address)
        elif not (arrived or left):
            log.warning("%s: the last documents were not taken in %g s: they may be lost", self._address, self.linger)
        return arrived or (left and self.breaks + ended == breaks)

    def _wait_until_arrived(self, end: float) -> bool:
        """Wait until a proxy of ours says that it has all that was sent; False if it is none, or does not say so.

        What 0MQ has sent may still be lost on its way when it closes the connection.
        """
        breaks, question = self.breaks, LAST + uuid.uuid4().hex.encode()
        asked, self._question = False, question
        while self._question and self.breaks == breaks:
            if self._send_kept() and not asked:
                with suppress(zmq.Again):
                    self.socket.zmq.send(question, zmq.NOBLOCK)
                    asked = True
            if self._block:
                end = max(end, self._moved + self.linger)
            if not (self.has_our_proxy or self._kept) or time.monotonic() > end:
                return False
            self.poll(SLICE if asked else SLICE / 10)
            self.hear()
        return not self._question

    def _send(self, message: list[Buffer], meanwhile: Callable[[], object]) -> bool:
        end = time.monotonic() + self._patience
        large = sum(len(part) for part in message if len(part) >= LARGE)
        while large and not self._has_room(large):
            if not self._block:
                return False
            self._check(end)
            meanwhile()
            with suppress(zmq.NotDone):
                self._on_their_way[0][0].wait(SLICE)
        *first, last = message
        for part, more in [*((part, zmq.SNDMORE) for part in first), (last, 0)]:
            while not self._send_part(part, more):
                if not self._block:
                    return False
                meanwhile()
                self._check(end)
        return True

    def _send_part(self, part: Buffer, more: int) -> bool:
        flags = more | (0 if self._block else zmq.NOBLOCK)
        try:
            if len(part) < LARGE:
                self.socket.zmq.send(part, flags)
            else:
                tracker = self.socket.zmq.send(part, flags, copy=False, track=True)
                self._on_their_way.append((tracker, len(part)))
                self._nbytes += len(part)
        except zmq.Again:
            return False
        return True

    def _check(self, end: float) -> None:
        if time.monotonic() > max(end, self._moved + self._patience):
            raise TimeoutError(f"{self._address} has taken nothing for {self._patience:g} s: a listener is stuck")

    def _has_room(self, nbytes: int) -> bool:
        while self._on_their_way and self._on_their_way[0][0].done:
            self._nbytes -= self._on_their_way.popleft()[1]
        return not self._on_their_way or self._nbytes + nbytes <= self._max_queue

    # What waits for room

    def _send_kept(self) -> bool:
        """Send the messages that were kept, as far as there is room; whether none is left."""
        if self._kept:
            self.hear()
            if not self.listens:
                self._stats.unheard += len(self._kept)
                self._kept.clear()
        while self._kept and self._send(self._kept[0], lambda: None):
            self._kept.popleft()
            self._stats.sent += 1
        return not self._kept

    def _send_later(self) -> None:
        """Send what is kept as soon as there is room, in a thread of its own that ends with that."""
        while not self._closed.wait(SLICE / 10):
            with self.lock:
                if self._closed.is_set() or self._send_kept():
                    return
