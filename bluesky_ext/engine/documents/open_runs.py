"""Open runs: which run and stream a document is of, what of it has come, and when a run is closed without a stop."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.intervals import Counted, Intervals
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.documents.losses import Losses, mapping_of
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.documents.stats import Stats

#: The kinds of documents, and the key by which each names its run, descriptor or resource, if it does.
PARENT = {
    "start": "uid",
    **dict.fromkeys(("descriptor", "resource", "stream_resource", "stop"), "run_start"),
    **dict.fromkeys(("event", "event_page", "stream_datum"), "descriptor"),
    **dict.fromkeys(("datum", "datum_page"), "resource"),
}

REFERENCES = frozenset({"resource", "datum", "datum_page", "stream_resource", "stream_datum"})  # where frames are

DAY = 86_400.0  # s
MAX_OPEN_RUNS = 64


def plain_name(name: str | Enum) -> str:
    """The name of a document as a plain str; `event_model.DocumentNames` is an Enum, but no str."""
    return str(name.value if isinstance(name, Enum) else name)


@dataclass(eq=False)
class OpenStream:
    """A descriptor of an open run, and the events that came with it."""

    run: Any
    name: str
    descriptor: Mapping[str, Any]
    #: The seq_nums that came; descriptors of one name share them.
    received: Intervals
    #: Whether stream_datum documents came: then there need not be events.
    has_frames: bool = False
    #: Whether its owner works on its events.
    wanted: bool = True
    #: Whether its events are not complete as they come, since frames of theirs lie elsewhere.
    is_partial: bool = False
    #: Whether it holds the arrays that an earlier stage was given.
    is_input: bool = False


@dataclass(eq=False)
class OpenRun:
    """A run that has started and not stopped; its owner may extend it by what it keeps for a run."""

    #: The start document, or ``{"uid": ...}`` if that never came.
    start: Mapping[str, Any]
    #: Its descriptors, by uid.
    streams: dict[str, OpenStream] = field(default_factory=dict, init=False)
    #: The seq_nums that came, by the name of the stream; of a live run, how many.
    received: defaultdict[str, Intervals] = field(init=False)
    #: How many of the events of a live run that came nobody looked at, by the name of the stream.
    overtaken: Counter[str] = field(default_factory=Counter, init=False)
    #: The uids of the resources of its frames.
    resources: set[str] = field(default_factory=set, init=False)
    #: When a document of it came last, on the monotonic clock.
    touched: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        #: Whether it is for alignment: see `is_live`.
        self.is_live = is_live(self.start)
        self.received = defaultdict(Counted if self.is_live else Intervals)

    @property
    def uid(self) -> str:
        """The uid of its start document."""
        return self.start["uid"]

    def __str__(self) -> str:
        """What it is called in the log."""
        scan = f" (scan {printable(self.start['scan_id'], 50)})" if "scan_id" in self.start else ""
        return f"{printable(self.uid, 100)}{scan}"

    def lost(self, stop: Mapping[str, Any]) -> Losses:
        """The events that never came: gaps in their numbers, and what lacks of the ``num_events`` of a stop document.

        Streams of frames without events are left out, unless their owner makes events of the frames. Of a live run
        nothing is lost: see `skipped`.
        """
        lost = Losses()
        if self.is_live:
            return lost
        expected = mapping_of(stop, "num_events", int)
        frames_alone = {one.name for one in self.streams.values() if one.has_frames and not one.received}
        for name in {*self.received, *expected} - frames_alone:
            received = self.received[name] if name in self.received else Intervals()
            lost.add(name, received.missing(expected.get(name, 0)))
        return lost

    def skipped(self) -> dict[str, int]:
        """How many events of a live run were not looked at, by stream: here, or before they could come here."""
        if not self.is_live:
            return {}
        counts = {name: some.high - len(some) + self.overtaken[name] for name, some in dict(self.received).items()}
        return {name: count for name, count in counts.items() if count}


R = TypeVar("R", bound=OpenRun)


class OpenRuns(Generic[R]):
    """The open runs of one owner (a stage, a writer, a dispatcher): every question about them is answered here.

    There are never more than ``max_open_runs``: the one that was heard of least recently makes room for another. One
    that was silent for ``stale_after`` seconds is closed, also when no document ever comes again, and one that starts
    once more. ``close(run, reason)`` is called for each that is closed without its stop document, when it is no longer
    here. Silent ones are closed in a thread of their own: the caller of any method holds the ``lock``.
    """

    def __init__(
        self,
        close: Callable[[R, str], object],
        *,
        name: str,
        log: logging.Logger,
        stats: Stats | None = None,
        max_open_runs: int = MAX_OPEN_RUNS,
        stale_after: float = DAY,
    ) -> None:
        if not stale_after > 0:
            raise ValueError(f"stale_after={stale_after!r}: give a time in seconds above 0")
        if max_open_runs < 1:
            raise ValueError(f"max_open_runs={max_open_runs!r}: give a number of runs above 0")
        self.lock = threading.RLock()
        self.stats = Stats() if stats is None else stats
        self.complaints = Complaints(log)
        #: Streams by the uid of their descriptor.
        self.streams: dict[str, OpenStream] = {}
        self._runs: dict[str, R] = {}
        self._close = close
        self._name = name
        self._log = log
        self._max_open_runs = max_open_runs
        self._stale_after = stale_after
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._runs.values()))

    def get(self, uid: str) -> R | None:
        """The run with this uid, if it is open."""
        return self._runs.get(uid)

    def open(self, run: R) -> None:
        """Take a run in; another one may have to make room for it."""
        if not isinstance(run.uid, str):
            raise TypeError(f"a run with the uid {run.uid!r:.100}: it must be a string")
        self.close_again(run.uid)
        while len(self._runs) >= self._max_open_runs:
            silent = min(self._runs.values(), key=lambda one: one.touched)
            self.close(silent, f"no stop document came, and more than {self._max_open_runs} runs are open")
        self._runs[run.uid] = run
        self.stats.runs += 1
        if self._timer is None or not self._timer.is_alive():  # as after a fork
            self._wait_for_silence()

    def close_again(self, uid: str) -> None:
        """Close the run with this uid, if it is open, since it starts again."""
        if uid in self._runs:
            self.close(self._runs[uid], "it was started again")

    def follow(self, name: str, doc: Mapping[str, Any]) -> Collection[R]:
        """The open runs that a document is of; what it announces (a stream, a resource) is theirs from now on.

        A resource of old, which does not name its run, may be of any; so may a datum that comes before its resource.
        """
        parent: Any = doc.get(PARENT[name])
        if name in ("event", "event_page", "stream_datum"):
            stream = self.streams.get(parent)
            if stream is None:
                return ()
            stream.has_frames = stream.has_frames or name == "stream_datum"
            runs = [stream.run]
        elif name in ("datum", "datum_page"):
            runs = [run for run in self if parent in run.resources] or list(self)
        elif parent is None and name in ("resource", "stream_resource"):
            runs = list(self)
        else:
            runs = [self._runs[parent]] if parent in self._runs else ()
        now = time.monotonic()
        for run in runs:
            run.touched = now
            if name == "descriptor" and doc["uid"] not in run.streams:
                stream = doc.get("name", "primary")
                self.streams[doc["uid"]] = run.streams[doc["uid"]] = OpenStream(run, stream, doc, run.received[stream])
            elif name in ("resource", "stream_resource"):
                run.resources.add(doc["uid"])
        return runs

    def note(self, stream: OpenStream, seq_num: int) -> None:
        """Count an event that came."""
        stream.run.touched = time.monotonic()
        self.stats.received += 1
        if not stream.received.note(seq_num):
            self.stats.repeated += 1

    def note_all(self, stream: OpenStream, seq_nums: Sequence[int]) -> None:
        """Count the events of a page that came."""
        stream.run.touched = time.monotonic()
        self.stats.received += len(seq_nums)
        first = stream.received.high + 1
        if seq_nums and seq_nums == list(range(first, first + len(seq_nums))):
            stream.received.add(first, first + len(seq_nums))
            return
        for seq_num in seq_nums:
            self.stats.repeated += not stream.received.note(seq_num)

    def orphaned(self, name: str, doc: Mapping[str, Any]) -> None:
        """Count the events of a document that is of no open run; the first is reported."""
        count = len(doc["seq_num"]) if name == "event_page" else 1
        if name == "stream_datum":
            count = doc["seq_nums"]["stop"] - doc["seq_nums"]["start"]
        self.stats.orphaned += count
        self.complaints(
            f"orphans of {doc['descriptor']}",
            "%s: events came of a run that was not announced (descriptor %s)",
            *(self._name, doc["descriptor"]),
        )

    def drop(self, run: R) -> None:
        """Forget a run, which is over, and all that is its."""
        if self._runs.get(run.uid) is run:
            del self._runs[run.uid]
        for uid in run.streams:
            self.streams.pop(uid, None)

    def close(self, run: R, reason: str) -> None:
        """Close a run without its stop document."""
        self.drop(run)
        self.stats.incomplete += 1
        self._log.warning("%s closes run %s as incomplete: %s", self._name, run, printable(reason))
        self._close(run, reason)

    def close_all(self, reason: str) -> None:
        """Close every run, as an owner does that stops."""
        with self.lock:
            for run in self:
                self.close(run, reason)

    def close_stale(self, idle: float | None = None) -> None:
        """Close the runs that have been silent for ``idle`` seconds (``stale_after`` unless given)."""
        limit = self._stale_after if idle is None else idle
        reason = f"no document came for {limit:g} s, and no stop document at all"
        with self.lock:
            now = time.monotonic()
            for run in self:
                if now - run.touched >= limit:
                    self.close(run, reason if limit else "closed on request, before its stop document came")

    def _wait_for_silence(self) -> None:
        """Have a thread look again when the run that was heard of least recently may be silent for too long."""
        with self.lock:
            self._timer = None
            touched = min((run.touched for run in self._runs.values()), default=float("inf"))
            wait = max(touched + self._stale_after - time.monotonic(), 0.001)
            if wait < threading.TIMEOUT_MAX:
                self._timer = timer = threading.Timer(wait, _close_stale)
                timer.args = [weakref.ref(self, lambda _: timer.cancel())]
                timer.daemon = True
                timer.start()


def _close_stale(ref: weakref.ref[OpenRuns[Any]]) -> None:
    runs = ref()
    if runs is None:
        return
    try:
        runs.close_stale()
    except Exception:
        runs._log.exception("%s could not close a silent run", runs._name)  # noqa: SLF001
    finally:
        runs._wait_for_silence()  # noqa: SLF001
