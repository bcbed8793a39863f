"""The runs that a dispatcher receives: those joined in the middle, those that never end, and what of them was lost."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any

from bluesky_ext import _deadline
from bluesky_ext.engine.documents.open_runs import PARENT, OpenRun, OpenRuns, OpenStream
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.storage.adapters import as_source
from bluesky_ext.transport.receiver import Received

log = logging.getLogger(__name__)

_TICK = 0.5  # s
_OVER = 1000  # runs that were over last, of which it is known what was lost, should a stop come (again)


@dataclass(eq=False)
class ReceivedRun(OpenRun):
    """A run that a dispatcher receives.

    If it is ``held``, nothing of it is handed on, since all of it comes from the store when it is over; ``lost_so_far``
    are its events that have been counted as lost.
    """

    held: bool = False
    lost_so_far: int = 0


@dataclass(eq=False)
class ReceivedRuns:
    """Hands on the documents of runs; closes those that do not end, and replays from a store those without a beginning.

    All of it happens in the thread that calls it, also for runs that are silent for too long.
    """

    name: str
    emit: Callable[[str, Any], object]
    stats: Received
    store: Callable[[str], object] | None
    store_patience: float
    close_incomplete: bool
    stale_after: float
    max_open_runs: InitVar[int]

    def __post_init__(self, max_open_runs: int) -> None:
        options: Any = {"name": self.name, "log": log, "stats": self.stats, "max_open_runs": max_open_runs}
        self._runs: OpenRuns[ReceivedRun] = OpenRuns(self._close_run, **options, stale_after=float("inf"))
        #: By uid; those that had a stop need no more to be known of.
        self._over: dict[str, ReceivedRun | None] = {}
        self._wanted: dict[str, float] = {}  # from the store, and until when to ask for it
        self._look_at = 0.0

    @property
    def uids(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return [run.uid for run in self._runs]

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document; KeyError, TypeError or ValueError if it is not what its name says."""
        if name not in PARENT or self._follow(name, doc):
            self.emit(name, doc)

    def is_known_over(self, stop: Mapping[str, Any], must_have_come: bool) -> bool:
        """Whether a stop document that is said again has nothing to tell: that of a run that is over here, or was then.

        One that ended since this listened ``must_have_come``: if it is not known, all of it was lost.
        """
        uid = stop["run_start"]
        return self._runs.get(uid) is None and (self._over.get(uid, self) is None or not must_have_come)

    def look_around(self) -> None:
        """Now and then, close the runs that were silent for too long, and ask the store for those that it has."""
        if time.monotonic() > self._look_at:
            self._runs.close_stale(self.stale_after)
            self._replay_wanted()
            self._look_at = time.monotonic() + _TICK

    def close(self) -> None:
        """Close all runs that are open, as a dispatcher does that stops."""
        self._replay_wanted(in_vain=True)
        self._runs.close_all("the dispatcher was stopped before the run was over")

    def _follow(self, name: str, doc: Mapping[str, Any]) -> bool:
        """Take note of a document of a run; whether it is handed on."""
        if name in ("event", "event_page", "stream_datum"):
            stream = self._runs.streams.get(doc["descriptor"])
            if stream is None:
                self._runs.orphaned(name, doc)
                return self.store is None
            self._runs.follow(name, doc)
            if name != "stream_datum":
                for seq_num in (doc["seq_num"],) if name == "event" else doc["seq_num"]:
                    self._count(stream, int(seq_num))
            return not stream.run.held
        if name == "start":
            self._runs.open(ReceivedRun(doc))
            self._over.pop(doc["uid"], None)
        elif name == "stop":
            run = self._runs.get(doc["run_start"]) or self._join(doc["run_start"])
            self._runs.drop(run)
            self._note_over(run.uid, None)
            if run.held:
                self._want(run)
            else:
                self._count_lost(run, doc)
            return not run.held
        elif (name == "descriptor" or "run_start" in doc) and self._runs.get(doc["run_start"]) is None:
            self._runs.open(self._join(doc["run_start"]))
        runs = self._runs.follow(name, doc)
        return not runs or not all(run.held for run in runs)

    def _join(self, uid: str) -> ReceivedRun:
        """A run that goes on, and had no start, or was closed since."""
        run = self._over.pop(uid, None)
        if run is None:
            self.stats.joined += 1
            what = "its beginning is lost" if self.store is None else "it is replayed from the store when it is over"
            self._runs.complaints(f"joined {uid}", "run %s is joined in the middle: %s", uid, what)
            run = ReceivedRun({"uid": uid})
        run.held = self.store is not None
        return run

    def _want(self, run: ReceivedRun) -> None:
        self._wanted[run.uid] = time.monotonic() + self.store_patience
        self._replay_wanted()

    # What never came

    def _count(self, stream: OpenStream, seq_num: int) -> None:
        """Count an event that came, and say at once when some before it did not."""
        expected, run = stream.received.high + 1, stream.run
        self.stats.repeated += not stream.received.note(seq_num)
        if seq_num > expected and not run.held and not run.is_live:
            run.lost_so_far += seq_num - expected
            self.stats.lost += seq_num - expected
            self._runs.complaints(
                f"gap {run.uid} {stream.name}",
                "run %s has lost events on its way: %d to %d of stream %s; what it loses from now on is counted",
                *(run, expected, seq_num - 1, stream.name),
            )

    def _count_lost(self, run: ReceivedRun, stop: Mapping[str, Any]) -> None:
        """Count the events of a run that is over, or is given up, and that never came."""
        self.stats.skipped += sum(run.skipped().values())
        counts = run.lost(stop).counts
        self.stats.lost += sum(counts.values()) - run.lost_so_far
        run.lost_so_far = sum(counts.values())
        if counts:
            log.warning("run %s has lost events on its way, by stream: %s", run, counts)

    def _close_run(self, run: ReceivedRun, reason: str) -> None:
        """Give the callbacks a stop document of a run that is closed without one."""
        if run.held:
            return
        self._count_lost(run, {})
        self._note_over(run.uid, run)
        if self.close_incomplete:
            stop = {"uid": str(uuid.uuid4()), "time": time.time(), "run_start": run.uid, "exit_status": "abort"}
            counts = {stream: len(received) for stream, received in run.received.items()}
            self.emit("stop", {**stop, "reason": reason, "num_events": counts, "incomplete": reason})

    def _note_over(self, uid: str, run: ReceivedRun | None) -> None:
        self._over[uid] = run
        if len(self._over) > _OVER:
            del self._over[next(iter(self._over))]

    # Runs from the store

    def _replay_wanted(self, in_vain: bool = False) -> None:
        """Hand on the runs that the store has by now; those that it will not have are closed."""
        for uid in list(self._wanted):
            until, begun = self._wanted.pop(uid), False
            try:
                for name, doc in as_source(self.store(uid)) if self.store is not None else ():
                    _deadline.check()
                    if not begun and name != "start":
                        raise ValueError(f"it begins with a document {name!r}")
                    begun = True
                    self.take(name, doc)
                if not begun:
                    raise LookupError(f"run {uid} is empty")
                self.stats.replayed += 1
                log.warning("run %s was replayed from the store", printable(uid))
                reason = "the store has no stop of it"
            except Exception as error:  # whatever a store raises
                if not begun and not in_vain and time.monotonic() < until:
                    log.info("run %s is not in the store yet: %s", printable(uid), printable(error))
                    self._wanted[uid] = until
                    continue
                kind, what = type(error).__name__, printable(error)
                log.error("run %s could not be replayed from the store: %s: %s", printable(uid), kind, what)
                reason = f"it could not be replayed from the store: {error}"
            if (run := self._runs.get(uid)) is not None:
                self._runs.close(run, reason)
