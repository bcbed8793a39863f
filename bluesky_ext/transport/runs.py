"""The runs that a dispatcher has open: which were joined in the middle, and which events never came."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.losses import Losses
from bluesky_ext.transport.receiver import Received

__all__ = ["Runs"]

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Run:
    """A run that has no stop yet. It is held if nothing of it is passed on, since all of it comes from the store."""

    uid: str
    held: bool
    touched: float
    descriptors: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    seen: dict[str, Intervals] = field(default_factory=dict)
    flown: set[str] = field(default_factory=set)
    """Streams that have frames instead of events, which can't be counted by these."""


class Runs:
    """What a dispatcher knows of the runs of which it hands on documents.

    Parameters
    ----------
    stats : Received
        Where it counts.
    has_store : bool
        Whether runs that are joined in the middle come from a store when they are over: then they are held back.
    stale_after : float
        After so many seconds without a document a run is given up.
    max_open : int
        When more are open, the one that was silent for the longest time is given up.

    Attributes
    ----------
    wanted : list of str
        The runs that have to come from the store, being over.
    """

    def __init__(self, stats: Received, *, has_store: bool, stale_after: float, max_open: int) -> None:
        self.wanted: list[str] = []
        self._stats = stats
        self._has_store = has_store
        self._stale_after = stale_after
        self._max_open = max_open
        self._complaints = Complaints(log)
        self._open: dict[str, _Run] = {}
        self._streams: dict[str, tuple[_Run, str]] = {}

    @property
    def open(self) -> list[str]:
        """The uids of the runs that have no stop yet."""
        return list(self._open)

    def note(self, name: str, doc: Mapping[str, Any]) -> bool:
        """Take note of a document; whether it is to be passed on.

        Raises KeyError, TypeError or ValueError if it is not what its name says.
        """
        now = time.monotonic()
        match name:
            case "start":
                self._stats.runs += 1
                self._add(doc["uid"], held=False, now=now)
                return True
            case "descriptor":
                run = self._run(doc["run_start"], now)
                stream = doc.get("name", "primary")
                run.descriptors.add(doc["uid"])
                run.seen.setdefault(stream, Intervals())
                self._streams[doc["uid"]] = run, stream
            case "event":
                return self._count(doc["descriptor"], (doc["seq_num"],), now)
            case "event_page":
                return self._count(doc["descriptor"], doc["seq_num"], now)
            case "stream_datum":
                run, stream = self._streams.get(doc["descriptor"], (None, ""))
                if run is None:
                    return self._orphan(doc["descriptor"], 1)
                run.flown.add(stream)
            case "resource" | "stream_resource":
                if "run_start" not in doc:  # those of old may be anyone's
                    return True
                run = self._run(doc["run_start"], now)
                run.resources.add(doc["uid"])
            case "datum" | "datum_page":
                return not any(run.held and doc["resource"] in run.resources for run in self._open.values())
            case "stop":
                return self._end(doc["run_start"], doc, now)
            case _:
                return True
        run.touched = now
        return not run.held

    def given_up(self, name: str = "", doc: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield a stop document for each run that has to be closed before this document is passed on."""
        now = time.monotonic()
        for run in list(self._open.values()):
            if now - run.touched > self._stale_after:
                yield from self.close(run.uid, f"no document came for {self._stale_after:g} s, and no stop at all")
        if name == "start" and doc is not None:
            yield from self.close(doc["uid"], "the same run started again")
            if len(self._open) >= self._max_open:
                silent = min(self._open.values(), key=lambda run: run.touched)
                yield from self.close(silent.uid, f"no stop came, and more than {self._max_open} runs are open")

    def close(self, uid: str, reason: str) -> Iterator[dict[str, Any]]:
        """Yield a stop document that says why the run is incomplete, if it is open and was passed on."""
        run = self._drop(uid)
        if run is None:
            return
        self._stats.incomplete += 1
        log.warning("run %s is closed as incomplete: %s", uid, reason)
        if not run.held:
            self._count_lost(run, {})
            yield {
                "uid": str(uuid.uuid4()),
                "time": time.time(),
                "run_start": uid,
                "exit_status": "abort",
                "reason": reason,
                "num_events": {stream: len(seen) for stream, seen in run.seen.items()},
                "incomplete": reason,
            }

    def _run(self, uid: str, now: float) -> _Run:
        """The run with this uid, which is joined in the middle if it is not known."""
        run = self._open.get(uid)
        if run is None:
            self._joined(uid)
            if len(self._open) >= self._max_open:  # someone makes them up, or all of their stops were lost
                self._drop(next(iter(self._open)))
            run = self._add(uid, held=self._has_store, now=now)
        return run

    def _joined(self, uid: str) -> None:
        self._stats.joined += 1
        what = "it is replayed from the store when it is over" if self._has_store else "its beginning is lost"
        self._complaints(f"joined {uid}", "run %s is joined in the middle: %s", uid, what)

    def _add(self, uid: str, held: bool, now: float) -> _Run:
        if not isinstance(uid, str):
            raise TypeError(f"a run with the uid {uid!r:.100}")
        run = self._open[uid] = _Run(uid, held, now)
        return run

    def _drop(self, uid: str) -> _Run | None:
        run = self._open.pop(uid, None)
        if run is not None:
            for descriptor in run.descriptors:
                self._streams.pop(descriptor, None)
        return run

    def _count(self, descriptor: str, seq_nums: Any, now: float) -> bool:
        run, stream = self._streams.get(descriptor, (None, ""))
        if run is None:
            return self._orphan(descriptor, len(seq_nums))
        seen = run.seen[stream]
        for seq_num in seq_nums:
            seen.note(int(seq_num))
        run.touched = now
        return not run.held

    def _orphan(self, descriptor: str, count: int) -> bool:
        self._stats.orphaned += count
        what = "events come of a run that is not known (descriptor %s): it is joined in the middle"
        self._complaints(f"orphan {descriptor}", what, descriptor)
        return not self._has_store

    def _end(self, uid: str, stop: Mapping[str, Any], now: float) -> bool:
        run = self._drop(uid)
        if run is None:
            self._joined(uid)
            run = _Run(uid, self._has_store, now)
        if run.held:
            self.wanted.append(uid)
            return False
        self._count_lost(run, stop.get("num_events") or {})
        return True

    def _count_lost(self, run: _Run, expected: Mapping[str, Any]) -> None:
        """Count the events that never came: the gaps, and what is missing of the numbers expected."""
        lost = Losses()
        for stream in {*run.seen, *expected}:
            seen, number = run.seen.get(stream, Intervals()), expected.get(stream, 0)
            if stream not in run.flown or seen.high:
                lost.add(stream, seen.missing(number if isinstance(number, int) else 0))
        if lost.counts:
            self._stats.lost += sum(lost.counts.values())
            log.warning("run %s has lost events on its way, by stream: %s", run.uid, lost.counts)
