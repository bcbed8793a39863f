"""A worker and a reducer in one run: which lane gets an event, and the way of its result to the reducer."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.executors.in_flight import InlineTasks
from bluesky_ext.engine.executors.pool import DiedTwiceError
from bluesky_ext.live.batch import size_of, spans_of, unpickled_of
from bluesky_ext.live.errors import UserError
from bluesky_ext.live.events import Event
from bluesky_ext.live.join import Join
from bluesky_ext.live.kernel import Done
from bluesky_ext.live.last_events import LastEvents
from bluesky_ext.live.load import Load
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.reduction import Reduction, Spans

if TYPE_CHECKING:
    from bluesky_ext.live.pair import Pair

#: Small events travel in batches of so many, or of so many bytes, or of what a worker does in so many seconds.
BATCH, BATCH_BYTES, BATCH_TIME = 256, 2**20, 0.05
#: As long as it is not known how long a worker takes, in batches of so many.
FIRST_BATCH = 8
#: Each lane works on one batch, and has another one at hand.
AHEAD = 2
#: So often it is looked for results of workers that are elsewhere, in s, while they work; and where there are none.
LOOK_EVERY, LATER = 0.02, 3600.0


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
    load : Load
        How busy the workers are.
    last_events : LastEvents
        What they were given last.
    handled : dict of Intervals
        The numbers of the events that are done with, by stream: the reducer has their results, or they failed.
    """

    def __init__(self, pair: Pair, start: Mapping[str, Any]) -> None:
        self.failed = 0
        self.troubles: deque[tuple[int | None, str, BaseException]] = deque()  # bounded by what may be under way
        self.handled: defaultdict[str, Intervals] = defaultdict(Intervals)
        self.join: Join | None = None
        self.load = Load()
        self.last_events = LastEvents()
        self.news = pair.news
        self.is_over = False
        #: When it was given something last, on the monotonic clock.
        self.touched = time.monotonic()
        self._lock = threading.RLock()
        self._lanes = pair.lanes
        self._tick_at = -math.inf
        self._is_ordered = pair.ordered
        self._parameters: Parameters | None = None  # that are to be used from the next event on
        self._sent: defaultdict[str, Intervals] = defaultdict(Intervals)
        self._most = FIRST_BATCH  # events in a batch
        self._waiting: defaultdict[int | None, list[Event]] = defaultdict(list)
        self._tasks: Any = pair.tasks()
        self._is_alone = False  # a single event is under way, which nothing else can have killed
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
        """Grows with each call of the reducer; if that has a lock for threads of its own, whenever it is asked for."""
        if hasattr(self.reducer, "publish_rlock"):
            self._reduction.revision += 1
        return self._reduction.revision

    @property
    def lag(self) -> float:
        """For how long the oldest event is at a worker, or its result waits for the reducer, in s."""
        return max(self._tasks.lag, self._reduction.lag)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Tell every worker of a descriptor."""
        with self._lock:
            self._send_all()
            self._tasks.tell("descriptor", doc)

    def set_parameters(self, parameters: Parameters) -> None:
        """Have other parameters used for the events from now on; the user's classes may call it too."""
        self._parameters = parameters
        self._reduction.set_parameters(parameters)

    def fail(self, event: Event, error: UserError) -> None:
        """Take note of an event that can't be worked on."""
        with self._lock:
            self._fail([event], str(error))

    def put(self, events: Sequence[Event], to: str | int = "any") -> None:
        """Have events worked on: by any worker, by all, or by the one of a number (modulo how many there are).

        It waits while too many are under way, or results wait for the reducer.
        """
        if not events:
            return
        with self._lock:
            if self._parameters is not None:
                self._tell_parameters()
            self.touched = time.monotonic()
            if self._come_again(events):
                self._forget(events)
            if self._is_inline:
                for batch in self._batches(events):
                    self._tick(batch)
                    for finished in self._tasks.put(batch, {}, batch[0].event_number, (batch,)):
                        self._take(*finished)
                return
            if to == "all":
                self._send_all()
                for lane in range(self._lanes):
                    self._send(events, lane)
                    events = [event.again() for event in events]
                return
            lane = None if to == "any" else int(to) % self._lanes
            if self._is_ordered and any(waiting for other, waiting in self._waiting.items() if other != lane):
                self._send_all()
            if len(events) == 1 or self._waiting[lane]:
                self._waiting[lane] += events
                self._send_some(lane)
            else:
                for batch in self._batches(events):
                    self._send(batch, lane)

    def finish(self, stop: Mapping[str, Any]) -> None:
        """Wait for all that is under way, and call the hooks at the end."""
        with self._lock:
            try:
                if self._parameters is not None:
                    self._tell_parameters()
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

    def abandon(self) -> None:
        """Give up all of it, without a word."""
        self._reduction.abandon()
        self.is_over = True

    def close(self) -> None:
        """Give up what is under way: its events have failed."""
        with self._lock:
            for events in self._tasks.abandon():
                self._fail(events, "the end of the run was interrupted before its result was there")
            self._tasks.close()
            self.is_over = True
            with self.news:
                self.news.notify_all()

    def _tell_parameters(self) -> None:
        parameters, self._parameters = self._parameters, None
        self._send_all()
        self._tasks.tell("parameters", parameters)

    def _come_again(self, events: Sequence[Event]) -> bool:
        """Take note of the numbers of events; whether any was there before."""
        again = False
        sent = self._sent[events[0].stream]
        first, last = events[0].event_number, events[-1].event_number
        if first > sent.high and last - first + 1 == len(events):
            sent.add(first, last + 1)
            return False
        for event in events:
            again |= not self._sent[event.stream].note(event.event_number)
        return again

    def _forget(self, events: Sequence[Event]) -> None:
        """Have all that is under way done, so that it comes before what is made of these now; forget how they went."""
        self._send_all()
        for finished in self._tasks.drain():
            self._take(*finished)
        self._reduction.settle()
        again = {(event.event_number, event.stream) for event in events}
        kept = [trouble for trouble in self.troubles if trouble[:2] not in again]
        self.troubles.clear()
        self.troubles.extend(kept)
        with self.news:
            for number, stream in again:
                self.handled[stream].discard(number, number + 1)

    def _send_all(self) -> None:
        for lane in list(self._waiting):
            waiting, self._waiting[lane] = self._waiting[lane], []
            for batch in self._batches(waiting):
                self._send(batch, lane)

    def _batches(self, events: Sequence[Event]) -> Iterable[Sequence[Event]]:
        """Events in batches to be sent."""
        if len(events) == 1:
            yield events[:]  # its size does not matter
            return
        at = 0
        while at < len(events):
            count = min(self._most, max(BATCH_BYTES // max(size_of(events[at : at + 1]), 1), 1))
            yield events[at : at + count]
            at += count

    def _send_some(self, lane: int | None) -> None:
        """Send what waits for a lane, if it may be sent without waiting, or is much."""
        waiting = self._waiting[lane]
        is_much = len(waiting) >= BATCH or size_of(waiting[-1:]) * len(waiting) >= BATCH_BYTES
        while waiting and (is_much or len(self._tasks) < AHEAD * self._lanes):
            batch = next(iter(self._batches(waiting)))
            del waiting[: len(batch)]
            self._send(batch, lane)
            is_much = False

    def _tick(self, events: Sequence[Event]) -> None:
        """Have the first of these events be a tick, if it is time for one."""
        if time.monotonic() >= self._tick_at:
            events[0].tick = True
            self._tick_at = math.inf  # until it is told when

    def _send(self, events: Sequence[Event], lane: int | None) -> None:
        self._tick(events)
        sent, large = list(events), {}
        if len(sent) == 1 and not sent[0].is_captured:  # its arrays may go through shared memory
            alone, large = sent[0].without_arrays()
            sent = [alone] if large else sent
        for finished in self._tasks.put(events, large, events[0].event_number, (sent,), lane):
            self._take(*finished)

    def _take(self, events: Sequence[Event], done: Done | None, trouble: BaseException | None) -> None:
        if isinstance(trouble, DiedTwiceError) and events and not self._is_alone:
            self._retry(events)
            return
        if done is None:
            self._fail(events, " ".join(str(trouble).split()) or type(trouble).__name__)
            if any(event.tick for event in events):
                self._tick_at = -math.inf
            return
        if done.is_pickled:  # by a process of ours
            done = unpickled_of(done)
        self.load.note(done.worker, len(events), done.busy)
        self.last_events.note(done.worker, events, done.failures)
        if events:
            self._most = max(1, min(BATCH, int(BATCH_TIME * len(events) / max(done.busy, 1e-6))))
        if done.failures:
            self.failed += sum(1 for number, _, _ in done.failures if number is not None)
            self.troubles.extend((number, stream, UserError(why)) for number, stream, why in done.failures)
        if done.until_tick is not None:
            self._tick_at = time.monotonic() + done.until_tick
        self._reduction.put(done, spans_of(events))

    def _retry(self, events: Sequence[Event]) -> None:
        """Have events worked on each alone: one of them, or one before them, kills its worker, and no other is to."""
        for event in events:
            for finished in self._tasks.drain():
                self._take(*finished)
            self._is_alone = True
            try:
                self._send([event], None)
                for finished in self._tasks.drain():
                    self._take(*finished)
            finally:
                self._is_alone = False

    def _fail(self, events: Sequence[Event], why: str) -> None:
        self.failed += len(events)
        self.troubles.extend((event.event_number, event.stream, UserError(why)) for event in events)
        if not events:  # the end of a run, in one lane
            self.troubles.append((None, "", UserError(why)))
        self._note_handled(spans_of(events))

    def _note_handled(self, events: Spans) -> None:
        if events:
            with self.news:
                for stream, first, stop in events:
                    self.handled[stream].add(first, stop)
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
