"""A user's worker and reducer as a stage."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from typing import Any, Self

from bluesky_ext.engine import Reduce
from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.stages.reduce import Published
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.engine.stages.watchers import tell
from bluesky_ext.live.errors import UserError, said_of
from bluesky_ext.live.events import Event, events_of
from bluesky_ext.live.join import Join
from bluesky_ext.live.latest_run import LatestRun
from bluesky_ext.live.outcome import Outcome, Outcomes
from bluesky_ext.live.pair import Pair
from bluesky_ext.live.pair_run import PairRun
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.recorded import plain_route, recorded, route_of, values_of
from bluesky_ext.live.routes import ByKey, check_route, target
from bluesky_ext.live.tree import leaves


class LiveAnalysis(Reduce):
    """Your own analysis: a worker that is given the events, and a reducer that is given what the worker made of them.

    The worker has ``process_event(event, parameters, tick)``, the reducer ``process_result(result, parameters)``; see
    `bluesky_ext.live.Worker` and `bluesky_ext.live.Reducer` for all that they may have. There is a new instance of
    each for each run. What the reducer has in its ``publish``, a dict of arrays, numbers, texts and dicts, is shown
    while the run goes (`publish`) and emitted at its end, as one event.

    Parameters
    ----------
    worker, reducer : class, or str as "module:Class"
        Your classes.
    parameters : mapping, optional
        Values of the parameters that they describe, by name; others pass through. See `set_parameters`.
    executor : Lanes, dask client or callable that makes Lanes; optional
        Where the workers are: `Lanes.processes(4)`, ``distributed.Client(...)``. Unless given, one worker is where the
        events come from, and several are threads.
    workers : int
        How many workers there are; `Lanes` know themselves how many they are.
    route : str, by_key or dict of these by stream
        Which worker gets an event: "round-robin", whichever has least to do; "broadcast", all of them; ``by_key(f)``,
        all events of which ``f(data)`` is the same go to the same one; "discard", none. Start, descriptors and stop
        reach all.
    join : bool or collection of str
        Whether the events of the streams (of these) that have the same number are one: ``event.streams``.
    ordered : bool
        Whether results reach the reducer in the order of their events; otherwise as they come.
    data_keys : collection of str
        Streams without all of these are none of its business.
    **stage
        ``name``, ``on_error``, ``handlers``, ``patience`` and so on, as for every stage.

    Examples
    --------
    >>> class Worker:
    ...     def process_event(self, event):
    ...         return event.data["det"]
    >>> class Reducer:
    ...     def __init__(self):
    ...         self.publish = {"sum": 0.0}
    ...     def process_result(self, result):
    ...         self.publish["sum"] += result.payload
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from ophyd.sim import det
    >>> analysis = LiveAnalysis(Worker, Reducer)
    >>> uids = RunEngine()(count([det], 3), analysis)
    >>> print(analysis.publish().tree["sum"])
    3.0
    """

    takes_all_frames = True
    follows_live = True
    libraries = ("numpy",)

    def __init__(
        self,
        worker: type | str,
        reducer: type | str,
        *,
        parameters: Mapping[str, Any] | None = None,
        executor: Any = None,
        workers: int = 1,
        route: str | ByKey | Mapping[str, str | ByKey] = "round-robin",
        join: bool | Collection[str] = False,
        ordered: bool = False,
        data_keys: Collection[str] = (),
        name: str = "",
        **stage: Any,
    ) -> None:
        options: dict[str, Any] = {"executor": executor, "workers": workers, "ordered": ordered}
        self.pair = self.make_pair(worker, reducer, parameters=parameters, **options)
        self._route = check_route(route)
        if isinstance(join, str):
            raise TypeError(f"join={join!r}: give the names of several streams, as in ({join!r}, ...), or True")
        self._join = join if isinstance(join, bool) else tuple(join)
        given = {
            "worker": self.pair.worker,
            "reducer": self.pair.reducer,
            "parameters": recorded(self.pair.parameters),
            "workers": workers,
            "route": plain_route(self._route),
            "join": self._join,
            "ordered": ordered,
            "data_keys": list(data_keys),
        }
        super().__init__(parameters=given, name=name, data_keys=data_keys, **stage)
        weakref.finalize(self, self.pair.abandon).atexit = False  # an analysis may be dropped in the middle of a run
        self._outcomes = Outcomes(self.name, self.pair, self._known)

    def make_pair(self, worker: type | str, reducer: type | str, **options: Any) -> Pair:
        """The worker and the reducer, with their parameters and lanes."""
        return Pair(worker, reducer, **options)

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The analysis that a record is of; its classes are known to the materials."""
        given = materials.values(record["parameters"])
        given["parameters"] = values_of(given["parameters"])
        given["route"] = route_of(given["route"])
        return cls(**given, **options)

    def about(self, state: PairRun) -> dict[str, Any]:
        """The versions of the user's code, and the sha256 of the parameters."""
        return {"code": dict(self.pair.versions), "parameters_sha256": self.pair.parameters.sha256}

    @property
    def settings(self) -> Parameters:
        """The parameters and their values."""
        return self.pair.parameters

    @property
    def lag(self) -> float:
        """For how long the oldest event is at a worker, or its result waits for a reducer, in s."""
        return max((run.state.lag for run in self._open_runs if run.state is not None), default=0.0)

    @property
    def load(self) -> dict[str, Any]:
        """How busy the workers are in the run that started last, by name; see `bluesky_ext.live.load.Load`."""
        run = self._latest
        return {} if run is None or run.state is None else run.state.load.told()

    @property
    def last_events(self) -> dict[str, Any]:
        """The last events of each worker in the run that started last; see `bluesky_ext.live.last_events`."""
        run = self._latest
        return {} if run is None or run.state is None else run.state.last_events.told()

    def done(self, run: StageRun) -> dict[str, int]:
        """How many events of each stream the reducer has the results of, those that are under way apart."""
        return {name: len(some) - len(run.failed.get(name, ())) for name, some in dict(run.state.handled).items()}

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters, by name: for the events that come from now on, and for later runs.

        Raises
        ------
        ValueError
            If a value can't be; it says which one and why, and nothing is changed.
        """
        self.pair.set_parameters(values)
        self.record({**self.parameters, "parameters": recorded(self.pair.parameters)})

    def publish(self, uid: str | None = None) -> Published | None:
        """What the reducer published last, copied between two of its calls, from any thread.

        As long as it was not called it is the same object. The run is an open one or the latest one, by its uid or
        the uid of the scan; the one that started last unless given, None before the first.
        """
        run = self._latest if uid is None else self._run(uid)
        return None if run is None else self.published(run)

    def published(self, run: StageRun) -> Published | None:
        """What the reducer of a run published last, as for `publish`."""
        if run.state is None:
            return None
        state, published = run.state, run.published
        if published is None or published.revision != state.revision:
            revision = state.revision
            published = run.published = Published(run.uid, revision, state.snapshot())
        return published

    def outcome(self, uid: str, event: int | None = None, *, stream: str = "primary", timeout: float = 60.0) -> Outcome:
        """What came of a run, or of one of its events: waits until it is there, in any thread.

        The reducer's method ``outcome(event_number, parameters)`` is asked, of those arguments the ones that it takes;
        what it returns may be a tuple of the outcome and its uncertainty. Without one, "outcome" in what it publishes
        is meant, and "outcome_errors". A plan waits with `bluesky_ext.plans.wait_for_outcome`, which can be paused.

        Parameters
        ----------
        uid : str
            The uid of the run, as the RunEngine returns it.
        event : int, optional
            The number of an event: then the run need not be over. It may be asked for until another run starts.
        stream : str
            The stream that the event is of.
        timeout : float
            How long to wait, in s.

        Raises
        ------
        TimeoutError
            If it is not there in time.
        LookupError
            If there is none, and will be none: the reducer has no outcome, the run is over without the event.
        RuntimeError
            If the user's code failed at it.
        """
        return self._outcomes.wait(uid, event, stream, timeout)

    def close(self) -> None:
        """Close every open run as incomplete, and let the workers go."""
        try:
            super().close()
        finally:
            self.pair.close()

    # What a run is, for the stages below

    def begin(self, start: Mapping[str, Any]) -> PairRun:
        """The worker and the reducer of a run."""
        self._outcomes.forget(start)
        if is_live(start):  # whose streams have numbers of their own
            return self.pair.open(start, LatestRun)
        run = self.pair.open(start)
        run.join = Join(() if self._join is True else self._join) if self._join else None
        return run

    def begin_run(self, run: StageRun) -> None:
        """Make the worker and the reducer of a run, which is the latest one now."""
        super().begin_run(run)
        if isinstance(run.state, LatestRun):
            run.state.overtaken = run.overtaken

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Tell the workers."""
        run.state.descriptor(stream.descriptor)
        if run.state.join and stream.wanted and self._route_of(stream.name) not in ("discard", "broadcast"):
            run.state.join.describe(stream.name)

    def take(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Hand an event to a worker."""
        if stream.wanted:
            self.reduce(stream.run.state, stream.name, event)
            if self.watchers:
                tell(self, "event", stream, event, None)
            self._report(stream.run)

    def reduce(self, state: PairRun, stream: str, event: Mapping[str, Any]) -> None:
        """Hand an event to a worker."""
        data, uid = dict(event["data"]), event["descriptor"]
        self._put(state, stream, [Event(event["seq_num"], stream, data, event["timestamps"], uid)])

    def reduce_page(self, state: PairRun, stream: str, page: Mapping[str, Any]) -> bool:
        """Hand the events of a page to workers."""
        self._put(state, stream, events_of(stream, page))
        return True

    def _accept_page(self, stream: OpenStream, page: Mapping[str, Any]) -> None:
        super()._accept_page(stream, page)
        self._report(stream.run)

    def _put(self, state: PairRun, stream: str, events: list[Event]) -> None:
        route = self._route if type(self._route) is str else self._route_of(stream)
        if route == "discard":
            return
        if state.join is not None and state.join.joins(stream):
            events = [whole for event in events for whole in state.join.put(event)]
        self._send(state, route, events)

    def _send(self, state: PairRun, route: str | ByKey, events: list[Event]) -> None:
        if not isinstance(route, ByKey):
            state.put(events, "all" if route == "broadcast" else "any")
            return
        for event in events:
            try:
                lane = target(route, event)
            except Exception as error:  # the user's function
                state.fail(event, UserError(said_of(error, route.key)))
            else:
                state.put([event], lane)

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Wait for what is under way, and emit what the reducer published."""
        state: PairRun = run.state
        try:
            if state.join is not None:
                for event in state.join.finish():
                    self._send(state, self._route_of(event.stream), [event])
            state.finish(stop)
        finally:
            self._report(run)
        self._outcomes.settle(run, stop)
        super().finish_run(run, stop)

    def end_run(self, run: StageRun) -> None:
        """Have nobody wait for it any more."""
        self._outcomes.end(run)

    def finish(self, state: PairRun, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit what the reducer published."""
        published, others = leaves(state.snapshot())
        if others:
            said = ", ".join(others[:5])
            self._log.warning("%s: %s can't be in a document, and are published only", self.name, said)
        if published:
            derived.event("primary", None, published)

    def refuse_run(self, run: StageRun) -> None:
        """Free what was prepared."""
        if run.state is not None:
            run.state.close()
            run.state.abandon()

    def _known(self, uid: str) -> StageRun | None:
        try:
            return self._run(uid)
        except LookupError:
            return None

    def _route_of(self, stream: str) -> str | ByKey:
        return self._route.get(stream, "round-robin") if isinstance(self._route, dict) else self._route

    def _report(self, run: StageRun) -> None:
        troubles = run.state.troubles if run.state is not None else ()
        while troubles:
            number, stream, error = troubles[0]
            if number is not None:
                run.fail(stream, (number,), error)
            else:
                run.report("failed", error, 1)
            troubles.popleft()  # only now: an outcome asks both whether the event failed
