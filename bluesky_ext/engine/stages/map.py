"""Maps: one event in, one event or a table of rows out, by a pure function that may run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.executors import ExecutorLike, check_executor, open_tasks
from bluesky_ext.engine.executors.in_flight import ROOM, InFlight, InlineTasks
from bluesky_ext.engine.executors.kernel import Kernel, hears
from bluesky_ext.engine.executors.pool import Pool
from bluesky_ext.engine.stages.rows import SCALARS, Rows, frames_of
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.engine.stages.stage import Stage
from bluesky_ext.engine.stages.watchers import tell

_Input: TypeAlias = tuple[OpenStream, Mapping[str, Any]]  # an event and its stream


def _name_of(tag: _Input) -> str:
    stream, event = tag
    return f"event {event['seq_num']} of stream {stream.name!r} of run {stream.run}"


class Map(Stage):
    """The base of stages that work on one event at a time.

    Its ``kernel`` does the work. ``kernel(data, seq_num, *inputs)`` is given the data of an event, frames read, and
    returns what it changes or adds as a dict (None takes a key away), or `Rows`. It is a pure function: it
    changes nothing that it is given, remembers nothing, and can be pickled. A frame in a file is read where the kernel
    runs; one that it leaves alone stays there, and the derived run refers to it.

    A kernel with a state has methods ``start(doc)``, ``descriptor(doc)``, ``parameters(values)`` or ``stop(doc)``, by
    which it is told of the run. Each run has a copy of its own, inline, or one in each of the `Lanes`.

    The derived event has its input's ``seq_num``: a repeated event repeats, a failed one leaves a gap. Rows are
    numbered from 1 through the run and go to a stream of the input's name, one event_page for each event; beside
    them, the stream ``frames`` has one event for each input event, with that one's ``seq_num``, its uid and scalar
    readings, how many rows it has (``n_rows``), and the number of the first one (``first_row``).

    Parameters
    ----------
    kernel : callable
        As above.
    executor : concurrent.futures.Executor, Lanes or callable, optional
        Where the kernel runs; here, at once, if None. The executor is its owner's to shut down; what it loses when it
        breaks has failed. A function that makes one is called when the first run begins that the stage works on, and
        again when the executor broke: then what was in flight is sent once more. What it made is shut down by `close`.
    max_in_flight : int
        How many events may be under way at once; the next one waits.
    **stage
        ``parameters``, ``data_keys``, ``on_error`` and so on, as for `Stage`.
    """

    #: To hash an image takes a third of the time that it takes to make it.
    hashes_images = False
    #: Whether the kernel returns `Rows`.
    makes_rows = False
    #: By which names the kernel tells numbers that are worth a remark in the log, if they are not zero.
    remarkable: tuple[str, ...] = ()
    #: Whether the kernel is given what `inputs` returns.
    has_inputs = False

    def __init__(
        self,
        kernel: Kernel,
        *,
        parameters: Mapping[str, Any],
        executor: ExecutorLike | None = None,
        max_in_flight: int = 16,
        **stage: Any,
    ) -> None:
        # Rows have no devices, and are numbered anew, so that nothing stands beside them.
        self.keeps_objects = self.passes_others = not self.makes_rows
        super().__init__(parameters=parameters, **stage)
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight={max_in_flight!r}: give a number of events above 0")
        if executor is not None:
            check_executor(executor, kernel)
        self.kernel = kernel
        self.executor = executor
        self._max_in_flight = max_in_flight
        #: The last event that it worked on and what its kernel made of it, as they are: any thread may read, but not
        #: change them. An image in a file is a reference, read by `image_of`. None when a run begins.
        self.latest: tuple[Mapping[str, Any], Any] | None = None
        self._pool = Pool(executor) if executor is not None else None
        self._parameters: Mapping[str, Any] | None = None  # of the kernel, if they were set

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Add to the configuration of a descriptor what the derived events depend on, such as the masks of the run."""

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """What the kernel is given beside the event; called in the order of events, before any of them is worked on.

        What is returned must not be changed afterwards: tasks under way may still need it. Large arrays become
        read-only where processes share them.
        """
        return ()

    def remark(self, run: StageRun, event: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Say in the log what is ``remarkable`` of what the kernel told of an event; called when that was emitted."""

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The state of a run, for `inputs`; called at its start."""
        return None

    def drain(self) -> None:
        """Emit the results that are ready; otherwise they are emitted when the next document comes."""
        with self._open_runs.lock:
            for run in self._open_runs:
                if run.tasks is not None:
                    self._go_on(run)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Tell the kernel new parameters: for the events that come from now on, of the open runs and of later ones.

        Its method ``parameters(values)`` is called, in every lane, between the events before this and those after it.
        """
        if not hears(self.kernel, "parameters"):
            raise TypeError(f"the kernel of {self.name}, {self.kernel!r}, has no method parameters(values)")
        with self._open_runs.lock:
            self._parameters = dict(values)
            for run in self._open_runs:
                if run.tasks is not None:
                    run.tasks.tell("parameters", self._parameters)

    def close(self) -> None:
        """Close every open run as incomplete, and shut down the executor that was made for this stage."""
        try:
            super().close()
        finally:
            if self._pool is not None:
                self._pool.close()

    def begin_run(self, run: StageRun) -> None:
        """Make the state of the run, and tell the kernel of it."""
        self.latest = None
        run.state = self.begin(run.start)
        if self._pool is None:
            run.tasks = InlineTasks(self.kernel)
        else:
            run.tasks = InFlight(open_tasks(self._pool, self.kernel), self._max_in_flight, _name_of)
        run.tasks.tell("start", run.start)
        if self._parameters is not None:
            run.tasks.tell("parameters", self._parameters)

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Complete the descriptor, and tell the kernel of it."""
        descriptor = cast(dict[str, Any], stream.descriptor)  # a copy, ours alone
        if stream.wanted:
            self.describe(run.state, descriptor)
        if self.makes_rows:  # BestEffortCallback would plot the readings once more than it does for the scan itself
            descriptor["hints"] = {name: {"fields": []} for name in descriptor.get("object_keys", ())}
        run.tasks.tell("descriptor", stream.descriptor)

    def take(self, stream: OpenStream, event: Mapping[str, Any], *, has_waited: bool = False) -> None:
        """Have the kernel work on an event, or hand it on; of a live run, on the latest that there is room for."""
        run = stream.run
        if run.is_live and not has_waited:
            run.overtaken[stream.name] += run.latest.put(stream.name, (stream, event))
            self._go_on(run)
            return
        if not stream.wanted:
            finished = ()
            if self.passes_others:
                finished = run.tasks.put_done((stream, event), {})
        else:
            inputs = self.inputs(run.state, stream.name, event) if self.has_inputs else ()
            data = dict(event["data"])  # the kernel's own: others hold the event as well
            finished = run.tasks.put((stream, event), data, event["seq_num"], inputs)
        for tag, result, trouble in finished:
            self._done(tag, result, trouble)

    def _go_on(self, run: StageRun) -> None:
        """Take what is finished, and have the kernel work on what waits."""
        for done in run.tasks.ready():
            self._done(*done)
        for waiting in run.latest.take(lambda: len(run.tasks) < min(ROOM, self._max_in_flight)):
            self.take(*waiting, has_waited=True)

    @property
    def lag(self) -> float:
        """For how long the oldest event is under way, in s."""
        return max((run.tasks.lag for run in self._open_runs if run.tasks is not None), default=0.0)

    def done(self, run: StageRun) -> dict[str, int]:
        """How many events of each stream it has emitted, those that are under way apart."""
        emitted = run.derived.num_events if run.derived is not None else {}
        ours = {name: frames_of(name) if self.makes_rows else name for name in dict(run.received)}
        return {name: emitted.get(its, 0) for name, its in ours.items()}

    def _done(self, tag: _Input, result: Any, trouble: BaseException | None) -> None:
        stream, event = tag
        run = stream.run
        try:
            if trouble is None:
                if self.makes_rows:
                    self._emit_rows(stream, event, result)
                elif type(result) is dict or isinstance(result, Mapping):
                    run.derived.event(stream.name, event["seq_num"], result, event=event, descriptor=stream.descriptor)
                else:
                    what = type(result).__name__
                    raise TypeError(f"the kernel of {self.name} returned a {what}: return a dict of changes")
                if stream.wanted:
                    self.latest = event, result
                    if self.remarkable:
                        told = result.readings if isinstance(result, Rows) else result
                        if any(map(told.get, self.remarkable)):
                            self.remark(run, event, told)
                if run.failed:  # an earlier try of this event failed after this one had come: the last word counts
                    run.failed[stream.name].discard(event["seq_num"], event["seq_num"] + 1)
        except Exception as error:
            trouble = error
        if trouble is not None:
            run.fail(stream.name, (event["seq_num"],), trouble)
        if self.watchers and stream.wanted:
            tell(self, "event", stream, event, None if trouble else result)

    def _emit_rows(self, stream: OpenStream, event: Mapping[str, Any], rows: Any) -> None:
        if not isinstance(rows, Rows):
            raise TypeError(f"the kernel of {self.name} returned a {type(rows).__name__}: return Rows")
        seq_num = event["seq_num"]
        derived = stream.run.derived
        for key, value in rows.readings.items():
            if value is not None and not isinstance(value, SCALARS):
                raise ValueError(f"the reading {key!r} of a frame is no scalar: give a number or a string")
        scalars = {key: value for key, value in event["data"].items() if isinstance(value, SCALARS)}
        first = derived.rows(stream.name, rows.columns, number=seq_num, event=event)
        about = {
            "frame": seq_num,
            "frame_uid": event["uid"],
            "first_row": first,
            "n_rows": len(next(iter(rows.columns.values()), ())),
        }
        derived.event(
            frames_of(stream.name),
            seq_num,
            {**rows.readings, **about},
            event={**event, "data": scalars},
            descriptor=stream.descriptor,
            unhashed=("frame_uid", "first_row"),
        )

    def refuse_run(self, run: StageRun) -> None:
        """Free what was prepared."""
        if run.tasks is not None:
            run.tasks.close()

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Emit what is still under way."""
        try:
            for waiting in run.latest.take():
                self.take(*waiting, has_waited=True)
            for done in run.tasks.drain():
                self._done(*done)
            run.tasks.tell("stop", stop)
        finally:  # also when the scan is interrupted here: what is left is named, and its memory is freed
            for stream, event in run.tasks.abandon():
                error = RuntimeError("the end of the run was interrupted before its result was there")
                run.fail(stream.name, (event["seq_num"],), error)
            run.tasks.close()
