"""Stop documents that are said again, for listeners that had no room for them when they came."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

from bluesky_ext.transport.wire import AGAIN

LONGEST = 65_536  # bytes of one
PAUSE = 1.0  # s, before one is said again, and twice as long each time after that
_MOST = 256
_FOR = 3600.0  # s


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

    def note(self, message: bytes) -> None:
        """Take note of one that was passed on."""
        prefix, _, payload = message.split(b" ", 2)
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
