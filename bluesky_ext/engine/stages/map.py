"""Maps: one event in, one event or a table of rows out, by a pure function that may run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from bluesky_ext.engine.documents.derive import INPUTS
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.executors.lanes import Lanes
from bluesky_ext.engine.executors.pools import open_tasks
from bluesky_ext.engine.executors.tasks import InFlight, Kernel, perform, trouble_of
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.engine.stages.stage import Stage


@dataclass(frozen=True)
class Rows:
    """The rows that a kernel makes of an event.

    Parameters
    ----------
    columns : dict of 1-d arrays
        The table, empty if there is nothing to tell; its columns are the same for every event.
    readings : dict
        Scalars about the event as a whole; they go to the stream of its frames.
    """

    columns: Mapping[str, np.ndarray]
    readings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise TypeError(f"rows are given as a dict of columns, not as a {type(self.columns).__name__}")
        shapes = {name: np.shape(column) for name, column in self.columns.items()}
        if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise ValueError(f"the columns of rows are one-dimensional and equally long, not {shapes}")


class _Input(NamedTuple):
    stream: OpenStream
    event: Mapping[str, Any]

    def __str__(self) -> str:
        return f"event {self.event['seq_num']} of stream {self.stream.name!r} of run {self.stream.run.uid}"


class Map(Stage):
    """The base of stages that work on one event at a time.

    Its ``kernel`` does the work. ``kernel(data, seq_num, *inputs)`` is given the data of an event, frames read, and
    returns what it changes or adds as a dict (None takes a key away), or `Rows`. It is a pure function: it
    changes nothing that it is given, remembers nothing, and can be pickled (unless it lives in `Lanes`). A frame in a
    file is read where the kernel runs; what the kernel leaves alone of it stays a reference to the file.

    The derived event has its input's ``seq_num``: a repeated event repeats, a failed one leaves a gap. Rows are
    numbered from 1 through the run and go to a stream of the input's name, one event_page for each event; beside
    them, the stream ``frames`` has one event for each input event, with that one's ``seq_num``, its uid and scalar
    readings, how many rows it has (``n_rows``), and the number of the first one (``first_row``).

    Parameters
    ----------
    kernel : callable
        As above.
    parameters, data_keys, on_error, handlers, root_map, patience, stale_after, max_open_runs
        As for `Stage`.
    executor : concurrent.futures.Executor or Lanes, optional
        Where the kernel runs; here, if None. The executor is its owner's to shut down.
    max_in_flight : int
        How many events may be under way at once; the next one waits.
    """

    #: Whether the kernel returns `Rows`.
    makes_rows = False
    #: How many inputs `inputs` returns, if it does.
    n_inputs = 0

    def __init__(
        self,
        kernel: Kernel,
        *,
        parameters: Mapping[str, Any],
        executor: Executor | Lanes | None = None,
        max_in_flight: int = 16,
        **stage: Any,
    ) -> None:
        super().__init__(parameters=parameters, **stage)
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight={max_in_flight!r}: give a number of events above 0")
        if executor is not None and not hasattr(executor, "submit") and not hasattr(executor, "open"):
            raise TypeError(f"executor={executor!r}: give a concurrent.futures.Executor, Lanes or None")
        self.kernel = kernel
        self.executor = executor
        self._max_in_flight = max_in_flight
        self._in_flight: dict[str, InFlight[_Input]] = {}

    @property
    def keeps_objects(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the derived descriptors carry the devices of the input: rows have none."""
        return not self.makes_rows

    @property
    def passes_others(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether events of other streams are handed on: rows are numbered anew, so nothing stands beside them."""
        return not self.makes_rows

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Add to the configuration of a descriptor what the events of the derived run owe to the state of the run."""

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """What the kernel is given beside the event; called in the order of events, before any of them is worked on.

        What is returned must not be changed afterwards: tasks under way may still need it. Large arrays become
        read-only where processes share them.
        """
        return ()

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The state of a run, for `inputs`; called at its start."""
        return None

    def drain(self) -> None:
        """Emit the results that are ready; otherwise they are emitted when the next document comes.

        Call it from the thread that the documents come in, not from a timer's: a stage does one thing at a time.
        """
        for in_flight in list(self._in_flight.values()):
            for tag, future in in_flight.ready():
                self._done(tag, future)

    def begin_run(self, run: StageRun) -> None:
        """Make the state of the run, and tell the kernel of it."""
        run.state = self.begin(run.start)
        if self.executor is not None:
            tasks = open_tasks(self.executor, self.kernel)
            try:
                tasks.tell("start", run.start)
            except BaseException:
                tasks.close()
                raise
            self._in_flight[run.uid] = InFlight(tasks, self._max_in_flight)

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Complete the descriptor, and tell the kernel of it."""
        if stream.wanted:
            self.describe(run.state, cast(dict[str, Any], stream.descriptor))  # a copy, ours alone
        if self.executor is not None:
            self._in_flight[run.uid].tasks.tell("descriptor", stream.descriptor)

    def take(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Have the kernel work on an event, or hand it on."""
        run = stream.run
        if not stream.wanted:
            if not self.makes_rows and not (stream.name == INPUTS and "analysis" in run.start):
                self._pass(stream, event)
            return
        inputs = self.inputs(run.state, stream.name, event)
        data = dict(event["data"])  # the kernel's own: others hold the event as well
        if self.executor is None:
            refers = stream.joined or event.get("filled")
            result = (
                perform(self.kernel, data, event["seq_num"], inputs)
                if refers
                else self.kernel(data, event["seq_num"], *inputs)
            )
            self._say(stream, event, result)
        else:
            in_flight = self._in_flight[run.uid]
            for tag, future in in_flight.put(_Input(stream, event), data, event["seq_num"], inputs):
                self._done(tag, future)

    def _pass(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Hand an event of another stream on, after those before it."""
        in_flight = self._in_flight.get(stream.run.uid)
        if not in_flight:
            stream.run.derived.event(stream.name, event["seq_num"], {}, event=event, descriptor=stream.descriptor)
        else:
            for tag, future in in_flight.follow(_Input(stream, event), {}):
                self._done(tag, future)

    def _done(self, tag: _Input, future: Future) -> None:
        stream, event = tag
        run, seq_num = stream.run, event["seq_num"]
        try:
            trouble = trouble_of(future)
            if trouble is not None:
                run.fail(stream.name, (seq_num,), trouble)
                return
            self._say(stream, event, future.result(timeout=0))
            if run.failed:  # an earlier try of this event failed after this one had come: the last word counts
                run.failed[stream.name].discard(seq_num)
        except Exception as error:
            run.fail(stream.name, (seq_num,), error)

    def _say(self, stream: OpenStream, event: Mapping[str, Any], result: Any) -> None:
        if self.makes_rows:
            self._say_rows(stream, event, result)
            return
        if not isinstance(result, Mapping):
            raise TypeError(f"the kernel of {self.name} returned a {type(result).__name__}: return a dict of changes")
        stream.run.derived.event(stream.name, event["seq_num"], result, event=event, descriptor=stream.descriptor)

    def _say_rows(self, stream: OpenStream, event: Mapping[str, Any], rows: Any) -> None:
        if not isinstance(rows, Rows):
            raise TypeError(f"the kernel of {self.name} returned a {type(rows).__name__}: return Rows")
        seq_num = event["seq_num"]
        derived = stream.run.derived
        scalars = {key: value for key, value in event["data"].items() if is_scalar(value)}
        odd = [key for key, value in rows.readings.items() if value is not None and not is_scalar(value)]
        if odd:
            raise ValueError(f"the readings {odd} of a frame are no scalars: give numbers or strings")
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

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Emit what is still under way."""
        in_flight = self._in_flight.pop(run.uid, None)
        if in_flight is None:
            return
        try:
            for tag, future in in_flight.drain():
                self._done(tag, future)
            in_flight.tasks.tell("stop", stop)
        finally:  # also when the scan is interrupted here: what is left is named, and its memory is freed
            for (stream, event), _ in in_flight.abandon():
                error = RuntimeError("the end of the run was interrupted before its result was there")
                run.fail(stream.name, (event["seq_num"],), error)
            in_flight.tasks.close()


def frames_of(stream: str) -> str:
    """The name of the stream that tells of the frames whose rows are in this one.

    Examples
    --------
    >>> frames_of("primary"), frames_of("dark")
    ('frames', 'dark_frames')
    """
    return "frames" if stream == "primary" else f"{stream}_frames"


def is_scalar(value: Any) -> bool:
    """Whether a value is a number or a string, as the readings of a frame are."""
    return isinstance(value, str | bool | int | float | np.generic)
