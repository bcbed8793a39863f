"""Maps: one event in, one event or a table of rows out, by a pure function that may run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.documents.derive import INPUTS
from bluesky_ext.documents.executors import Employer, InFlight, Kernel, perform, workforce
from bluesky_ext.documents.run import Run, Stream
from bluesky_ext.documents.stage import Stage


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


class _Input(NamedTuple):
    stream: Stream
    event: Mapping[str, Any]


class Map(Stage):
    """The base of stages that work on one event at a time.

    Its ``kernel`` does the work. ``kernel(data, seq_num, *inputs)`` is given the data of an event, frames read, and
    returns what it changes or adds as a dict (None takes a key away), or `Rows`. It is a pure function: it
    changes nothing that it is given, remembers nothing, and can be pickled (unless it lives in `Lanes`).

    The derived event has its input's ``seq_num``: a repeated event repeats, a failed one leaves a gap. Rows are
    numbered from 1 through the run and go to a stream of the input's name, one event_page for each event; beside
    them, the stream ``frames`` has one event for each input event, with that one's ``seq_num``, its uid and scalar
    readings, how many rows it has (``n_rows``), and the number of the first one (``first_row``).

    Parameters
    ----------
    kernel : callable
        As above.
    parameters, data_keys, on_error, handlers, root_map, stale_after, max_open_runs
        As for `Stage`.
    executor : concurrent.futures.Executor or Lanes, optional
        Where the kernel runs; here, if None. The executor is its owner's to shut down.
    max_in_flight : int
        How many events may be under way at once; the next one waits.
    """

    #: Whether the kernel returns `Rows`.
    makes_rows = False
    #: How many inputs `inputs` returns.
    n_inputs = 0

    def __init__(
        self,
        kernel: Kernel,
        *,
        parameters: Mapping[str, Any],
        executor: Executor | Employer | None = None,
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

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """What the kernel is given beside the event; called in the order of events, before any of them is worked on."""
        return ()

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The state of a run, for `inputs`; called at its start."""
        return None

    def drain(self) -> None:
        """Emit the results that are ready; otherwise they are emitted when the next document comes."""
        for in_flight in list(self._in_flight.values()):
            for tag, future in in_flight.ready():
                self._done(tag, future)

    def _begin(self, run: Run) -> None:
        run.state = self.begin(run.start)
        if self.executor is not None:
            staff = workforce(self.executor, self.kernel)
            self._in_flight[run.uid] = InFlight(staff, self._max_in_flight)
            staff.tell("start", run.start)

    def _described(self, run: Run, stream: Stream) -> None:
        if self.executor is not None:
            self._in_flight[run.uid].staff.tell("descriptor", stream.descriptor)

    def _take(self, stream: Stream, event: Mapping[str, Any]) -> None:
        run = stream.run
        if not stream.wanted:
            if not self.makes_rows and stream.name != INPUTS:
                self._pass(stream, event)
            return
        inputs = self.inputs(run.state, stream.name, event)
        if self.executor is None:
            data = event["data"]
            result = (
                perform(self.kernel, data, event["seq_num"], inputs)
                if stream.joined
                else self.kernel(data, event["seq_num"], *inputs)
            )
            self._say(stream, event, result)
        else:
            in_flight = self._in_flight[run.uid]
            for tag, future in in_flight.put(_Input(stream, event), event["data"], event["seq_num"], inputs):
                self._done(tag, future)

    def _pass(self, stream: Stream, event: Mapping[str, Any]) -> None:
        """Hand an event of another stream on, after those before it."""
        in_flight = self._in_flight.get(stream.run.uid)
        if not in_flight:
            stream.run.derived.event(stream.name, event["seq_num"], {}, event=event, descriptor=stream.descriptor)
        else:
            in_flight.follow(_Input(stream, event), {})

    def _done(self, tag: _Input, future: Future) -> None:
        stream, event = tag
        try:
            self._say(stream, event, future.result())
        except Exception as error:
            self._fail(stream.run, stream.name, (event["seq_num"],), error)

    def _say(self, stream: Stream, event: Mapping[str, Any], result: Any) -> None:
        if self.makes_rows:
            self._say_rows(stream, event, result)
            return
        if not isinstance(result, Mapping):
            raise TypeError(f"the kernel of {self.name} returned a {type(result).__name__}: return a dict of changes")
        if stream.joined:  # a frame that the kernel left as it is goes on as an image, not as a reference
            unread = {
                key: value for key, value in event["data"].items() if hasattr(value, "read") and key not in result
            }
            result = {**{key: value.read() for key, value in unread.items()}, **result}
        stream.run.derived.event(stream.name, event["seq_num"], result, event=event, descriptor=stream.descriptor)

    def _say_rows(self, stream: Stream, event: Mapping[str, Any], rows: Any) -> None:
        if not isinstance(rows, Rows):
            raise TypeError(f"the kernel of {self.name} returned a {type(rows).__name__}: return Rows")
        seq_num = event["seq_num"]
        derived = stream.run.derived
        first = derived.rows(stream.name, rows.columns, number=seq_num, event=event)
        scalars = {
            key: value for key, value in event["data"].items() if np.ndim(value) == 0 and not hasattr(value, "read")
        }
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

    def _finish(self, run: Run, stop: Mapping[str, Any]) -> None:
        in_flight = self._in_flight.pop(run.uid, None)
        if in_flight is None:
            return
        for tag, future in in_flight.drain():
            self._done(tag, future)
        in_flight.staff.tell("stop", stop)
        in_flight.staff.close()


def frames_of(stream: str) -> str:
    """The name of the stream that tells of the frames whose rows are in this one.

    Examples
    --------
    >>> frames_of("primary"), frames_of("dark")
    ('frames', 'dark_frames')
    """
    return "frames" if stream == "primary" else f"{stream}_frames"


def _is_scalar(value: Any) -> bool:
    return value is not None and np.ndim(value) == 0 and not hasattr(value, "read")


class _Chain:
    """The kernels of several maps as one: each is given what the ones before it made."""

    def __init__(self, kernels: list[Kernel], counts: list[int]) -> None:
        self._links = list(zip(kernels, counts, strict=True))

    def __call__(self, data: Mapping[str, Any], seq_num: int, *inputs: Any) -> Any:
        changes: dict[str, Any] = {}
        for kernel, count in self._links:
            mine, inputs = inputs[:count], inputs[count:]
            result = kernel({k: v for k, v in {**data, **changes}.items() if v is not None}, seq_num, *mine)
            if isinstance(result, Rows):
                scalars = {key: value for key, value in changes.items() if _is_scalar(value)}
                return Rows(result.columns, {**scalars, **result.readings})
            changes |= result
        return changes


class Composed(Map):
    """Several maps as one, whose task does the work of all: no intermediate image comes back from a worker."""

    def __init__(self, *maps: Map, **options: Any) -> None:
        if not maps:
            raise ValueError("compose() needs at least one map, got 0")
        for one in maps:
            if not isinstance(one, Map):
                raise TypeError(f"compose() takes maps, got a {type(one).__name__}: subscribe it to the composed map")
        for one in maps[:-1]:
            if one.makes_rows:
                raise ValueError(f"{one.name} makes rows, which no map takes: give it last")
        self.maps = maps
        self.makes_rows = maps[-1].makes_rows
        self.hinted = tuple(key for one in maps for key in one.hinted)
        super().__init__(
            _Chain([one.kernel for one in maps], [one.n_inputs for one in maps]),
            parameters={"maps": [{"stage": one.name, "parameters": one.parameters} for one in maps]},
            name="+".join(one.name for one in maps),
            data_keys=maps[0].data_keys,
            **options,
        )
        self.n_inputs = sum(one.n_inputs for one in maps)

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The state of each map."""
        return [one.begin(start) for one in self.maps]

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """The inputs of each map, one after the other."""
        each = (one.inputs(its_state, stream, event) for one, its_state in zip(self.maps, state, strict=True))
        return reduce(tuple.__add__, each, ())


def compose(*maps: Map, **options: Any) -> Composed:
    """One map and one task of several, for executors: ``compose(ip, pt, executor=pool)``.

    What it emits is what the last of them emits when they are chained with ``subscribe``; of the maps only what they
    compute counts, not their own executors and subscribers.

    Parameters
    ----------
    *maps : Map
        In order; only the last one may make rows.
    **options
        ``executor``, ``max_in_flight``, ``on_error`` and so on, as for `Map`.
    """
    return Composed(*maps, **options)
