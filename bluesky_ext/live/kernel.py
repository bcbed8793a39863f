"""A user's worker as a kernel with a state: a copy of it in each lane, a new instance for each run."""

from __future__ import annotations

import copy
import os
import pickle
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from bluesky_ext.live.errors import UserError, said_of
from bluesky_ext.live.events import Event, Forms
from bluesky_ext.live.hooks import build, hook
from bluesky_ext.live.parameters import Parameters

#: Types whose values nobody can change.
_ATOMS = frozenset((int, float, bool, str, bytes, complex, *np.sctypeDict.values()))

# What a worker keeps from run to run, by analysis and lane: its process ends with it, or `forget` is called.
_contexts: dict[tuple[str, int], dict[str, Any]] = {}


class Done(NamedTuple):
    """What came of a batch of events."""

    #: The number, the stream and the result of each event that has one.
    results: list[tuple[int, str, Any]]
    #: The number and the stream of each event that failed, and why.
    failures: list[tuple[int | None, str, str]]
    worker: str
    parameters_hash: str
    #: How long it is to be until the next tick, in s; None if the batch was not asked to tick.
    until_tick: float | None
    #: Whether the results are pickles.
    is_pickled: bool
    #: About how many bytes they are.
    size: int
    #: How long the worker was busy with them, in s.
    busy: float


class WorkerKernel:
    """A user's worker, told of its run as every kernel with a state is.

    Parameters
    ----------
    worker : type
        The class of the user.
    forms : Forms
        In which form it is given things.
    versions : mapping
        What is at work, for its ``state``.
    """

    def __init__(self, worker: type, parameters: Parameters, forms: Forms, versions: Mapping[str, str]) -> None:
        self.worker = worker
        self.token = str(uuid.uuid4())
        self.number = 0
        self._forms = forms
        self._versions = dict(versions)
        self._parameters = parameters
        self._home = os.getpid()
        self._travels = False  # what comes of it, since it is in another process
        self._start: Mapping[str, Any] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._instance: Any = None
        self._size = 0  # of the results of a batch
        self._process: Any = None
        self._interval: Any = None
        self._is_ticking, self._tick_at = False, 0.0

    def __repr__(self) -> str:
        return f"{self.worker.__module__}:{self.worker.__qualname__}"

    def with_parameters(self, parameters: Parameters) -> Self:
        """The same for a run with these parameters."""
        return self._like(_parameters=parameters)

    def in_lane(self, number: int) -> Self:
        """The same for another lane."""
        return self._like(number=number)

    def __deepcopy__(self, memo: Any) -> Self:
        """A copy for a run."""
        return self._like(_descriptors={})

    def _like(self, **changes: Any) -> Self:
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def forget(self) -> None:
        """Let the contexts go that are in this process."""
        for key in [key for key in _contexts if key[0] == self.token]:
            del _contexts[key]

    # What it is told

    def start(self, doc: Mapping[str, Any]) -> None:
        """Make the instance of this run."""
        self._start = doc
        self._make()
        self._user("start", "doc", doc)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take note of a descriptor: the events of a worker have theirs."""
        self._descriptors[doc["uid"]] = doc

    def parameters(self, values: Parameters) -> None:
        """Take new parameters."""
        self._parameters = values
        self._given = self._forms.parameters(values)

    def stop(self, doc: Mapping[str, Any]) -> None:
        """Let the instance go."""
        self._user("close", "context", self._context)
        self._instance = None

    def __call__(self, data: Mapping[Any, Any], seq_num: int, events: Sequence[Event] | None = None) -> Done:
        """What the worker makes of a batch of events; without any it is the end of the run.

        Large arrays are apart, in ``data``: of the one event of such a batch.
        """
        began = time.perf_counter()
        results: list[tuple[int, str, Any]] = []
        failures: list[tuple[int | None, str, str]] = []
        if events is None:
            try:
                self._user("finish", "parameters", self._given)
            except UserError as error:
                failures.append((None, "", str(error)))
            return self._done(results, failures, began)
        process, given, form = self._process, self._given, self._forms.event
        start, descriptors, travels = self._start, self._descriptors, self._travels
        ticks = self._is_ticking = events[0].tick and self._interval is not None
        self._tick_at = 0.0
        for event in events:
            try:
                if ticks:
                    event.tick = self._ticks()
                if data:
                    event = event.with_arrays(data)
                payload = process(form(event.arrived(start, descriptors)), given, event.tick)
                if payload is not None:
                    if travels or type(payload) not in _ATOMS:
                        payload = self._packed(payload, travels)
                    results.append((event.event_number, event.stream, payload))
            except UserError as error:
                failures.append((event.event_number, event.stream, str(error)))
            except (Exception, SystemExit) as error:  # of the user: the event has failed, and the run goes on
                failures.append((event.event_number, event.stream, said_of(error, self.worker)))
        return self._done(results, failures, began)

    def _make(self) -> None:
        self._travels = os.getpid() != self._home
        self._given = self._forms.parameters(self._parameters)
        self._context = _contexts.setdefault((self.token, self.number), {})
        self._name = f"worker-{self.number}"
        given = {"parameters": self._given, "context": self._context}
        given["state"] = self._forms.state(self._name, self._versions)
        try:
            self._instance = build(self.worker, given)
        except (Exception, SystemExit) as error:
            raise UserError(f"{self!r} can't be made: {said_of(error, self.worker)}") from error
        self._process = hook(self._instance, "process_event", "event", "parameters", "tick")
        self._interval = hook(self._instance, "get_tick_interval", "parameters")

    def _user(self, name: str, argument: str, value: Any) -> None:
        call = hook(self._instance, name, argument)
        try:
            if call is not None:
                call(value)
        except (Exception, SystemExit) as error:
            raise UserError(said_of(error, self.worker)) from error

    def _done(self, results: list, failures: list, began: float) -> Done:
        until_tick = max(self._tick_at - time.monotonic(), 0.0) if self._is_ticking else None
        self._is_ticking = False
        size, self._size = self._size, 0
        busy = time.perf_counter() - began
        return Done(results, failures, self._name, self._parameters.sha256, until_tick, self._travels, size, busy)

    def _ticks(self) -> bool:
        """Whether the next event is a tick: the first one of a batch that ticks, and one for each interval then."""
        now = time.monotonic()
        if now < self._tick_at or not self._is_ticking:
            return False
        interval = self._interval(self._given)
        if not isinstance(interval, int | float):
            self._is_ticking = False
            raise UserError(f"get_tick_interval returned {interval!r:.100}: return a number of seconds")
        self._tick_at = now + interval
        return True

    def _packed(self, payload: Any, travels: bool) -> Any:
        """A result as it goes to the reducer: what the worker does to its own later stays with the worker."""
        if not travels and type(payload) is np.ndarray and payload.dtype.kind != "O":
            self._size += payload.nbytes
            return payload.copy()
        try:
            pickled = pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # each type refuses in its own way
            kind = f"{type(payload).__module__}.{type(payload).__qualname__}".removeprefix("builtins.")
            said = " ".join(str(error).split())
            raise UserError(f"its result, a {kind}, can't be pickled: {said} ({self!r}.process_event)") from error
        self._size += len(pickled)
        return pickled if travels else pickle.loads(pickled)
