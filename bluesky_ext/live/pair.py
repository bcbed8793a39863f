"""A worker and a reducer at work: the lanes of the one, the thread of the other, and what goes between them."""

from __future__ import annotations

import inspect
import math
import pickle
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from bluesky_ext._version import __version__
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.provenance import revision, version_of
from bluesky_ext.engine.executors import Lanes, open_tasks
from bluesky_ext.engine.executors.in_flight import AsTheyCome, InFlight, InlineTasks
from bluesky_ext.engine.executors.pool import Pool
from bluesky_ext.live.classes import class_of
from bluesky_ext.live.errors import UserError
from bluesky_ext.live.events import Event, Forms
from bluesky_ext.live.join import Join
from bluesky_ext.live.kernel import Done, WorkerKernel
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.reduction import Reduction

#: Small events travel in batches of so many, or of so many bytes; no more than so many wait to be sent.
BATCH, BATCH_BYTES, WAITING = 256, 2**20, 2048
#: Each lane works on one batch, and has another one at hand.
AHEAD = 2
#: So often it is looked for results of workers that are elsewhere, in s, while they work; and where there are none.
LOOK_EVERY, LATER = 0.02, 3600.0


class Pair:
    """A user's worker and reducer, their parameters, and the lanes for the worker. It outlives the runs.

    Parameters
    ----------
    worker, reducer : class, or str as "module:Class"
        The classes of the user.
    parameters : mapping, optional
        Values of parameters, by name.
    executor : Lanes, dask client or callable that makes Lanes; optional
        Where the workers are. Unless given, one worker is here, where the events come from, and several are threads.
    workers : int
        How many there are; of `Lanes` as many as they have.
    ordered : bool
        Whether the reducer gets the results in the order of their events; otherwise as they come.
    raises : bool
        Whether an exception of the reducer is raised, or counted and kept in the ``troubles``.
    forms : Forms
        In which form the classes are given things.
    """

    def __init__(
        self,
        worker: type | str,
        reducer: type | str,
        *,
        parameters: Mapping[str, Any] | None = None,
        executor: Any = None,
        workers: int = 1,
        ordered: bool = False,
        raises: bool = False,
        forms: Forms | None = None,
    ) -> None:
        self.worker = class_of(worker, "process_event", "event")
        self.reducer = class_of(reducer, "process_result", "result")
        if workers < 1:
            raise ValueError(f"workers={workers!r}: give a number of workers above 0")
        self.ordered, self.raises = ordered, raises
        self.forms = forms or Forms()
        described = [*self.forms.described(self.worker), *self.forms.described(self.reducer)]
        self.parameters = Parameters(described).changed(parameters or {})
        self.versions = versions_of(self.worker)
        self._executor, self._owns = _lanes_of(executor, workers)
        self._pool = Pool(self._executor) if self._executor is not None else None
        self._kernel = WorkerKernel(self.worker, self.parameters, self.forms, self.versions)
        self._open: weakref.WeakSet[PairRun] = weakref.WeakSet()
        #: Notified when events of a run are done with.
        self.news = threading.Condition()

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters for the events from now on; ValueError says which value can't be, and none is set then."""
        self.parameters = self.parameters.changed(values)
        for run in list(self._open):
            run.set_parameters(self.parameters)

    def open(self, start: Mapping[str, Any]) -> PairRun:
        """Begin a run."""
        run = PairRun(self, start)
        self._open.add(run)
        return run

    def tasks(self) -> InlineTasks | InFlight:
        """The tasks of the worker for one run."""
        kernel = self._kernel.with_parameters(self.parameters)
        if self._pool is None:
            return InlineTasks(kernel)
        kind = InFlight if self.ordered else AsTheyCome
        tasks = open_tasks(self._pool, kernel)
        return kind(
            tasks, AHEAD * self.lanes, lambda tag: f"event {tag[0].event_number}" if tag else "the end of a run"
        )

    @property
    def lanes(self) -> int:
        """How many workers there are."""
        return 1 if self._pool is None else len(self._pool.executor)

    def close(self) -> None:
        """Let the workers go, and what they kept from run to run."""
        self._kernel.forget()
        if self._pool is not None:
            self._pool.close()
            if self._owns:
                self._executor.close()


class PairRun:
    """A worker and a reducer in one run.

    Attributes
    ----------
    reducer : object
        The instance of the user's reducer.
    failed : int
        How many events failed.
    troubles : deque of (int or None, str, Exception)
        What went wrong since this was last emptied: the number and stream of the event (None and "" of none), and why.
    join : Join, optional
        The events that wait for other streams.
    handled : dict of Intervals
        The numbers of the events that are done with, by stream: the reducer has their results, or they failed.
    """

    def __init__(self, pair: Pair, start: Mapping[str, Any]) -> None:
        self.failed = 0
        self.troubles: deque[tuple[int | None, str, BaseException]] = deque(maxlen=10_000)
        self.handled: defaultdict[str, Intervals] = defaultdict(Intervals)
        self.join: Join | None = None
        self.news = pair.news
        self.is_over = False
        self._lock = threading.RLock()
        self._lanes = pair.lanes
        self._tick_at, self._ticked = -math.inf, 0.0
        self._waiting: defaultdict[int | None, list[Event]] = defaultdict(list)
        self._tasks: Any = pair.tasks()
        self._is_inline = isinstance(self._tasks, InlineTasks)
        try:
            self._reduction = Reduction(
                pair.reducer,
                pair.parameters,
                pair.forms,
                pair.versions,
                troubles=self.troubles,
                look=self._look,
                handled=self._note_handled,
                raises=pair.raises,
            )
        except BaseException:
            self._tasks.close()
            raise
        self.reducer = self._reduction.reducer
        self.snapshot, self.between = self._reduction.snapshot, self._reduction.between
        self._tasks.tell("start", start)

    @property
    def revision(self) -> int:
        """Grows with each call of the reducer."""
        return self._reduction.revision

    @property
    def lag(self) -> float:
        """For how long the oldest result waits for the reducer, in s."""
        return self._reduction.lag

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Tell every worker of a descriptor."""
        with self._lock:
            self._send_all()
            self._tasks.tell("descriptor", doc)

    def set_parameters(self, parameters: Parameters) -> None:
        """Have other parameters used for the events from now on."""
        with self._lock:
            self._send_all()
            self._tasks.tell("parameters", parameters)
            self._reduction.set_parameters(parameters)

    def put(self, events: Sequence[Event], to: str | int = "any") -> None:
        """Have events worked on: by any worker, by all, or by the one of a number (modulo how many there are).

        It waits while too many are under way, or results wait for the reducer.
        """
        if not events:
            return
        with self._lock:
            now = time.monotonic()
            if now >= self._tick_at:
                events[0].tick = True
                self._tick_at, self._ticked = math.inf, now
            if self._is_inline:
                for finished in self._tasks.put(events, {}, events[0].event_number, (events,)):
                    self._take(*finished)
                return
            if to == "all":
                self._send_all()
                for lane in range(self._lanes):
                    self._send(events, lane)
                    events = [event.again() for event in events]
                return
            lane = None if to == "any" else int(to) % self._lanes
            if len(events) == 1 or self._waiting[lane]:
                self._waiting[lane] += events
                self._send_some(lane)
            else:
                for batch in _batches(events):
                    self._send(batch, lane)

    def finish(self, stop: Mapping[str, Any]) -> None:
        """Wait for all that is under way, and call the hooks at the end."""
        with self._lock:
            try:
                self._send_all()
                for finished in self._tasks.drain():
                    self._take(*finished)
                for lane in range(self._lanes):
                    for finished in self._tasks.put((), {}, 0, (None,), lane):
                        self._take(*finished)
                for finished in self._tasks.drain():
                    self._take(*finished)
                self._tasks.tell("stop", stop)
            finally:
                self.close()
                self._reduction.finish()

    def close(self) -> None:
        """Give up what is under way: its events have failed."""
        with self._lock:
            for events in self._tasks.abandon():
                self._fail(events, "the end of the run was interrupted before its result was there")
            self._tasks.close()
            self.is_over = True
            with self.news:
                self.news.notify_all()

    def _send_all(self) -> None:
        for lane, waiting in self._waiting.items():
            for batch in _batches(waiting):
                self._send(batch, lane)
            waiting.clear()

    def _send_some(self, lane: int | None) -> None:
        """Send what waits for a lane, if it may be sent without waiting, or is much."""
        waiting = self._waiting[lane]
        if len(self._tasks) < AHEAD * self._lanes or len(waiting) >= BATCH or _size(waiting) >= BATCH_BYTES:
            self._waiting[lane] = []
            for batch in _batches(waiting):
                self._send(batch, lane)

    def _send(self, events: Sequence[Event], lane: int | None) -> None:
        sent, large = list(events), {}
        if len(sent) == 1 and not sent[0].is_captured:  # its arrays may go through shared memory
            alone, large = sent[0].without_arrays()
            sent = [alone] if large else sent
        for finished in self._tasks.put(events, large, events[0].event_number, (sent,), lane):
            self._take(*finished)

    def _take(self, events: Sequence[Event], done: Done | None, trouble: BaseException | None) -> None:
        if done is None:
            self._fail(events, " ".join(str(trouble).split()) or type(trouble).__name__)
            if any(event.tick for event in events):
                self._tick_at = -math.inf
            return
        if done.is_pickled:  # by a process of ours
            done = done._replace(results=[(number, stream, pickle.loads(it)) for number, stream, it in done.results])
        if done.failures:
            self.failed += sum(1 for number, _, _ in done.failures if number is not None)
            self.troubles.extend((number, stream, UserError(why)) for number, stream, why in done.failures)
        if done.interval is not None:
            self._tick_at = self._ticked + done.interval
        self._reduction.put(done, events)

    def _fail(self, events: Sequence[Event], why: str) -> None:
        self.failed += len(events)
        self.troubles.extend((event.event_number, event.stream, UserError(why)) for event in events)
        if not events:  # the end of a run, in one lane
            self.troubles.append((None, "", UserError(why)))
        self._note_handled(events)

    def _note_handled(self, events: Sequence[Event]) -> None:
        if not events:
            return
        with self.news:
            first, last = events[0].event_number, events[-1].event_number
            if self.join is not None:
                for event in events:
                    for stream in event.streams:
                        self.handled[stream].note(event.event_number)
            elif last - first + 1 == len(events) and {event.stream for event in events} == {events[0].stream}:
                self.handled[events[0].stream].add(first, last + 1)
            else:
                for event in events:
                    self.handled[event.stream].note(event.event_number)
            self.news.notify_all()

    def _look(self) -> float:
        """Fetch what is finished, in the reducer's thread; after how many seconds to look again."""
        if self._is_inline or self.is_over:
            return LATER
        if self._lock.acquire(blocking=False):
            try:
                for finished in self._tasks.ready():
                    self._take(*finished)
                for lane in [lane for lane, waiting in self._waiting.items() if waiting]:
                    self._send_some(lane)
            finally:
                self._lock.release()
        return LOOK_EVERY if len(self._tasks) else 10 * LOOK_EVERY


def versions_of(user: type) -> dict[str, str]:
    """The versions of this package and of the package of a user's class, and the git commit that its file is of."""
    package = user.__module__.partition(".")[0]
    found = {"bluesky_ext": __version__, package: version_of(package)}
    try:
        file = Path(inspect.getfile(user))
    except (TypeError, OSError):  # it was typed
        file = Path("/")
    checkout = next((parent for parent in file.resolve().parents if (parent / ".git").exists()), None)
    if checkout is not None and "site-packages" not in file.parts:
        found["commit"] = revision(checkout)
    return {name: said for name, said in found.items() if said is not None}


def _lanes_of(executor: Any, workers: int) -> tuple[Any, bool]:
    """The lanes for so many workers, and whether they are ours; None if the one is here."""
    if executor is None:
        return (None, False) if workers == 1 else (Lanes.threads(workers), True)
    if isinstance(executor, Lanes):
        return executor, False
    if hasattr(executor, "scheduler_info"):  # a dask client
        return Lanes.dask(executor, workers if workers > 1 else None), True
    if isinstance(executor, Executor) or not callable(executor):
        raise TypeError(f"executor={executor!r}: workers have a state: give Lanes, as Lanes.processes(2), or a client")
    return executor, False


def _size(events: Iterable[Event]) -> int:
    """About how many bytes travel with these events."""
    size = 0
    for event in events:
        for stream in event.streams.values():
            if hasattr(stream, "frames"):
                size += sum(map(len, stream.frames))
            else:
                size += sum(getattr(value, "nbytes", 64) for value in stream.data.values())
    return size


def _batches(events: Sequence[Event]) -> Iterable[Sequence[Event]]:
    """Events in batches to be sent: of so many, or of so many bytes."""
    if not events:
        return
    count = max(min(BATCH, BATCH_BYTES // max(_size(events[:1]), 1)), 1)
    for at in range(0, len(events), count):
        yield events[at : at + count]
