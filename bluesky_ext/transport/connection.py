"""The connection of a publisher to a proxy: who listens there, and the messages on their way to it."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

import zmq

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.transport.queue import RESERVE
from bluesky_ext.transport.socket import SLICE, Socket, wait_for
from bluesky_ext.transport.stops import PublishedRuns
from bluesky_ext.transport.wire import AGAIN, BLOCKING, ECHO, MARK, PASSING, PROXY, STALLED

log = logging.getLogger(__name__)


@dataclass
class Published:
    """What became of the documents that a publisher was called with; they only grow.

    Nobody listened to those ``unheard``, there was no room for those ``dropped``, and those ``failed`` could not be put
    into bytes.
    """

    kind: ClassVar[str] = "publisher"

    sent: int = 0
    unheard: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(eq=False)
class Connection:
    """Sends messages as there is room for them; for one thread at a time, that which has its ``lock``.

    Some listeners are ``present``, or may be: behind a plain proxy one can't know. The ``runs`` that are open are
    broken when the last listener leaves; ``stalls`` counts how often the proxy went on without one that took nothing.
    """

    address: str
    prefix: bytes
    curve: InitVar[Any]
    #: It waits for listeners and for room, and gives up after so many seconds without progress; with None it drops.
    patience: float | None
    max_queue: int
    high_water: InitVar[int]
    linger: float
    #: For the first listener, and when there is a plain proxy, in s.
    wait: InitVar[float]
    settle: InitVar[float]

    def __post_init__(self, curve: Any, high_water: int, wait: float, settle: float) -> None:
        self.stats = Published()
        self.complaints = Complaints(log)
        self.lock = threading.Lock()
        self.runs = PublishedRuns(self.prefix)
        self.present = False
        self.stalls = 0
        self._header = self.prefix + b" "
        self._topics: set[bytes] = set()  # the beginnings of the messages that somebody wants
        self._breaks = 0
        self._moved = 0.0  # when the proxy said last that it passes on documents
        self._question = b""
        self._large: deque[tuple[zmq.MessageTracker, int]] = deque()  # messages that 0MQ has, and their bytes
        self._nbytes = 0
        self._waiting: deque[bytes] = deque()
        self._closed = threading.Event()
        self._socket = socket = Socket(zmq.XPUB, curve, high_water)
        try:
            socket.zmq.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            socket.zmq.sndtimeo = 0 if self.patience is None else round(SLICE * 1000)
            socket.zmq.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            socket.zmq.setsockopt(zmq.IMMEDIATE, 1)  # so that subscriptions go with the connection
            socket.open(self.address)
            self._wait_for_the_first(wait, settle)
        except BaseException:
            socket.close()
            raise

    # Listeners

    def update(self, seconds: float = 0.0) -> None:
        """Wait for news of the listeners for so long, and take note of it.

        The runs that are broken are said, and raised as a ConnectionError if it waits for listeners.
        """
        if seconds > 0:
            wait_for(self._socket, seconds=seconds)
        before, breaks = self.present, self._breaks
        self._breaks += list(self._socket.events()).count(zmq.Event.DISCONNECTED)
        self._take_subscriptions()
        if self._breaks > breaks:
            self.runs.is_due = True
            # 0MQ takes back the subscriptions of a connection that ended, and gives those of the next, step by step.
            for _ in range(5):
                self._socket.zmq.poll(10)
                self._take_subscriptions()
        self.present = self._socket.connected and any(map(self._is_ours, self._topics))
        if self.runs.open and before and (self._breaks > breaks or not self.present):
            lost = "the last listener left" if self._topics else "the connection was lost"
            runs = ", ".join(map(printable, sorted(self.runs.open)))
            message = f"{self.address}: {lost} in the middle of run {runs}: replay it"
            self.runs.open.clear()
            log.warning("%s", message)
            if self.patience is not None:
                raise ConnectionError(message)

    def wait_for_listener(self) -> bool:
        """Whether there is a listener; with a patience it is waited for."""
        end = time.monotonic() + (self.patience or 0.0)
        while self.patience is not None and not self.present:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.why_nobody()} (waited {self.patience:g} s)")
            self.update(SLICE)
        return self.present

    def why_nobody(self) -> str:
        """Why there is nobody to send to."""
        if self._socket.refused is not None:
            return self._socket.refusal(self.address)
        if not self._socket.connected:
            return f"nothing answers at {self.address}: is the proxy running? Documents are lost until it is"
        others = [topic for topic in self._topics if topic[:1] != MARK[:1] and not self._is_ours(topic)]
        prefixes = sorted({topic.split(b" ")[0] for topic in others})
        rest = f", but there is who does to {prefixes}" if prefixes else " yet; documents are lost until somebody does"
        return f"{self.address}: nobody listens to prefix {self.prefix!r}{rest}"

    def _wait_for_the_first(self, wait: float, settle: float) -> None:
        """Wait until the first listener is there, or until it is clear that one can't know."""
        end, settling, is_known = time.monotonic() + wait, False, False
        while not is_known and (left := end - time.monotonic()) > 0:
            self.update(min(left, SLICE))
            if self._socket.refused is not None:
                raise ConnectionError(self.why_nobody())
            # A plain proxy subscribes to everything. Ours does it only if a listener does.
            is_known = self.present and (PROXY in self._topics or any(map(self._is_ours, self._topics - {b""})))
            if self.present and not settling:
                settling, end = True, time.monotonic() + settle
        if self.patience is not None and BLOCKING not in self._topics:
            where = self.address
            what = f"{where} drops what is too much" if self._topics else f"nothing answers at {where}"
            raise ConnectionError(f"{what}: start `bluesky-ext proxy --block` there")
        if not self.present:
            self.complaints("unheard", "%s", self.why_nobody())
        elif not is_known:
            log.warning("%s is a plain proxy: who listens can't be known; waited %g s", self.address, settle)

    def _is_ours(self, topic: bytes) -> bool:
        """Whether who subscribed to this gets messages of our prefix."""
        return self._header.startswith(topic) or topic.startswith(self._header)

    def _take_subscriptions(self) -> None:
        for wants, topic in self._socket.subscriptions():
            self._topics.add(topic) if wants else self._topics.discard(topic)
            if not wants:
                continue
            if topic == PASSING:
                self._moved = time.monotonic()
            elif topic == self._question:
                self._question = b""
            elif topic == STALLED:
                self.stalls += 1
                self.complaints("stalled", "%s: a listener does not keep up, and loses documents", self.address)

    # Messages

    def send(self, message: bytes, *, keep: bool) -> None:
        """Send a message, or drop it if there is no room; one to ``keep`` waits for room, unless too many do."""
        if self._send_waiting() and self._send(message):
            self.stats.sent += _is_document(message)
        elif keep and len(self._waiting) < RESERVE:
            self._waiting.append(message)
            if len(self._waiting) == 1:
                threading.Thread(target=self._send_later, name=f"sender to {self.address}", daemon=True).start()
        elif _is_document(message):
            self.stats.dropped += 1
            self.complaints("dropped", "%s does not keep up: documents are dropped, and counted", self.address)

    def say_stops(self) -> None:
        """Say the latest stop documents again, if they may be lost; called when somebody listens."""
        if self.runs.is_due and PROXY in self._topics:
            for message in self.runs.again():
                self.send(message, keep=True)

    def close(self) -> bool:
        """Send what is waiting, and close the connection; whether all of it has arrived, or left for a plain proxy."""
        with self.lock:
            end = time.monotonic() + self.linger
            with suppress(ConnectionError):  # which has been logged
                self.update()
            self.runs.open.clear()
            breaks = self._breaks
            arrived = self._wait_until_arrived(end)
            self._closed.set()
            self.stats.dropped += self._forget_waiting()
            left, ended = self._socket.flush(0.0 if PROXY in self._topics else end - time.monotonic())
            self._socket.close()
        broken = self._breaks + ended > breaks
        if not arrived and broken:
            log.warning("%s: the connection was lost while the last documents were on their way", self.address)
        elif not (arrived or left):
            log.warning("%s: the last documents were not taken in %g s: they may be lost", self.address, self.linger)
        return arrived or (left and not broken)

    def _wait_until_arrived(self, end: float) -> bool:
        """Wait until a proxy of ours says that it has all that was sent; False if it is none, or does not say so.

        What 0MQ has sent may still be lost on its way when it closes the connection.
        """
        asked, breaks, self._question = False, self._breaks, ECHO + uuid.uuid4().hex.encode()
        while self._question and self._breaks == breaks:
            if self._send_waiting() and not asked:
                with suppress(zmq.Again):
                    self._socket.zmq.send(self._question)
                    asked = True
            if self.patience is not None:
                end = max(end, self._moved + self.linger)
            if not (PROXY in self._topics or self._waiting) or time.monotonic() > end:
                return False
            self.update(SLICE if asked else SLICE / 10)
        return not self._question

    def _send(self, message: bytes) -> bool:
        """Hand a message to 0MQ; False if it has no room, and this does not wait for some."""
        began = time.monotonic()
        while not self._hand_over(message):
            if self.patience is None:
                return False
            self.update()
            if time.monotonic() > max(began, self._moved) + self.patience:
                raise TimeoutError(f"{self.address} has taken nothing for {self.patience:g} s: a listener is stuck")
        return True

    def _hand_over(self, message: bytes) -> bool:
        """Hand a message to 0MQ, which does not copy a large one; False if it has no room."""
        try:
            while self._large and (self._large[0][0].done or self._nbytes + len(message) > self.max_queue):
                self._large[0][0].wait(0 if self.patience is None else SLICE)
                self._nbytes -= self._large.popleft()[1]
            tracker = self._socket.zmq.send(message, copy=False, track=True)
        except (zmq.Again, zmq.NotDone):
            return False
        if not tracker.done:
            self._large.append((tracker, len(message)))
            self._nbytes += len(message)
        return True

    def _send_waiting(self) -> bool:
        """Send the messages that wait, as far as there is room; whether none is left."""
        if self._waiting:
            self.update()
            if not self.present:
                self.stats.unheard += self._forget_waiting()
        while self._waiting and self._send(self._waiting[0]):
            self.stats.sent += _is_document(self._waiting.popleft())
        return not self._waiting

    def _forget_waiting(self) -> int:
        """Send no more what waits; return how many documents that were."""
        count = sum(map(_is_document, self._waiting))
        self._waiting.clear()
        return count

    def _send_later(self) -> None:
        """Send what waits as soon as there is room, in a thread of its own that ends with that."""
        while not self._closed.wait(SLICE / 10):
            with self.lock:
                if self._closed.is_set() or self._send_waiting():
                    return


def _is_document(message: bytes) -> bool:
    return not message.startswith(AGAIN)
