"""A worker and a reducer in a live run, for alignment: they are given the latest events, and no others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bluesky_ext.engine.documents.intervals import Counted
from bluesky_ext.engine.executors.in_flight import Latest
from bluesky_ext.live.events import Event
from bluesky_ext.live.pair import Pair
from bluesky_ext.live.pair_run import AHEAD, PairRun


class LatestRun(PairRun):
    """A live run: an event that comes while there is no room waits, until a later one of its stream takes its place.

    Attributes
    ----------
    overtaken : Counter
        How many events nobody looked at, by stream.
    """

    def __init__(self, pair: Pair, start: Mapping[str, Any]) -> None:
        self._latest = Latest()
        self.overtaken: Counter[str] = Counter()
        super().__init__(pair, start)
        self.handled = defaultdict(Counted)

    def put(self, events: Sequence[Event], to: str | int = "any") -> None:
        """Have the latest of the events worked on, when there is room; it waits for nothing."""
        with self._lock:
            for event in events:
                if to != "all":
                    self._wait(event, to)
                    continue
                for lane in range(self._lanes):
                    self._wait(event.again(), lane)
            self._go_on()

    def finish(self, stop: Mapping[str, Any]) -> None:
        """Have the events that wait worked on too, and end the run."""
        with self._lock:
            for event, to in self._latest.take():
                super().put([event], to)
        super().finish(stop)

    def _wait(self, event: Event, to: str | int) -> None:
        is_overtaken = self._latest.put((event.stream, to), (event, to))
        self.overtaken[event.stream] += is_overtaken and to in ("any", 0)

    def _go_on(self) -> None:
        for finished in self._tasks.ready():
            self._take(*finished)
        for event, to in self._latest.take(self._has_room):
            super().put([event], to)

    def _has_room(self) -> bool:
        most = AHEAD * self._lanes
        return len(self._tasks) < most and self._reduction.given - self._reduction.taken < most

    def _come_again(self, events: Sequence[Event]) -> bool:
        return False  # which they are is of no matter

    def _look(self) -> float:
        wait = super()._look()
        if not self._is_inline and not self.is_over and self._lock.acquire(blocking=False):
            try:
                self._go_on()
            finally:
                self._lock.release()
        return wait
