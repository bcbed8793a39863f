"""Stop documents that publishers and proxies say again, for listeners that had no room for them when they came."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import zmq

from bluesky_ext.transport.wire import AGAIN

LONGEST = 65_536  # bytes of one
PAUSE = 1.0  # s, before one is said again, and twice as long each time after that
_MOST = 256
_FOR = 3600.0  # s
_HEAD = 220  # bytes, in which the name of a document is
_OPEN, _LATEST = 1000, 100  # runs of a publisher that are known


class Again(NamedTuple):
    """A stop document said again: the proxy that says it, its number there, the prefix, and the document."""

    proxy: bytes
    number: int
    prefix: bytes
    payload: bytes

    @classmethod
    def of(cls, message: bytes) -> Again | None:
        """What a message says; None if it is no such."""
        parts = message.removeprefix(AGAIN).split(b" ", 3)
        if len(parts) < 4 or len(message) > LONGEST or not parts[2].removeprefix(b"-").isdigit() or len(parts[2]) > 20:
            return None
        return cls(parts[1], int(parts[2]), parts[0], parts[3])

    @property
    def message(self) -> bytes:
        """What is on the wire."""
        return b"%b%b %b %d %b" % (AGAIN, self.prefix, self.proxy, self.number, self.payload)


class PublishedRuns:
    """The runs that a publisher has begun and not ended, and the stop documents of the latest that it has ended."""

    def __init__(self, prefix: bytes) -> None:
        self.open: set[str] = set()
        #: Whether stop documents may be lost, and are to be said again.
        self.is_due = False
        self._prefix = prefix
        self._stops: dict[str, bytes] = {}

    def begin(self, run: str) -> None:
        """Take note of a run that begins."""
        self._stops.pop(run, None)
        if len(self.open) < _OPEN:
            self.open.add(run)

    def end(self, run: str, payload: bytes, *, is_heard: bool) -> None:
        """Take note of a run that ends with this stop document, also if nobody hears it."""
        self.open.discard(run)
        self.is_due = self.is_due or not is_heard
        if len(payload) < LONGEST // 2:
            self._stops[run] = payload
            if len(self._stops) > _LATEST:
                del self._stops[next(iter(self._stops))]

    def again(self) -> list[bytes]:
        """The messages that say the stop documents again."""
        self.is_due = False
        return [Again(b"-", 0, self._prefix, payload).message for payload in self._stops.values()]


class Stops:
    """The stop documents that a proxy has passed on, which it says again at once, and after 1, 2, 4... s for an hour.

    So a listener that had no room for the end of a run, or for all of it, hears of that when it has room again. The
    `count` is that of all so far: a run that ended later than a listener joined must have come to it. The numbers of
    those that did not come through this proxy are negative. Of more than 256, the first is forgotten.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex.encode()
        self.count = 0
        self._all: dict[tuple[bytes, bytes], tuple[bytes, float, float]] = {}  # the message, when, and the pause then
        self._next = 0.0

    def note(self, message: zmq.Frame) -> None:
        """Take note of a message that was passed on, if it is one."""
        if bytes(message.buffer[:_HEAD]).partition(b" ")[2].startswith(b"stop ") and len(message) <= LONGEST:
            prefix, _, payload = message.bytes.split(b" ", 2)
            self._put(prefix, payload, 1)

    def take(self, again: Again | None) -> None:
        """Take one that a publisher, or a proxy before this one, says again, unless it is known."""
        if again is not None and (again.prefix, again.payload) not in self._all:
            self._put(again.prefix, again.payload, -1)

    def _put(self, prefix: bytes, payload: bytes, sign: int) -> None:
        self.count += 1
        message = Again(self.name, sign * self.count, prefix, payload).message
        if len(message) <= LONGEST:
            self._all.pop((prefix, payload), None)
            self._all[prefix, payload] = message, 0.0, PAUSE
            self._next = 0.0
            if len(self._all) > _MOST:
                del self._all[next(iter(self._all))]

    def tell(self, send: Callable[[bytes], bool]) -> None:
        """Send what is to be told now; later what ``send`` returns False for, since it found no room."""
        now = time.monotonic()
        if now < self._next:
            return
        for key, (message, at, pause) in list(self._all.items()):
            if now >= at and send(message):
                if 2 * pause > _FOR:
                    del self._all[key]
                else:
                    self._all[key] = message, now + pause, 2 * pause
        self._next = min((at for _, at, _ in self._all.values()), default=float("inf"))
