"""A worker and a reducer, their parameters and their lanes, from run to run."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from bluesky_ext._version import __version__
from bluesky_ext.engine.documents.provenance import revision, version_of
from bluesky_ext.engine.executors import Lanes, open_tasks
from bluesky_ext.engine.executors.in_flight import InFlight, InlineTasks
from bluesky_ext.engine.executors.pool import Pool
from bluesky_ext.live.classes import class_of
from bluesky_ext.live.events import Event, Forms
from bluesky_ext.live.kernel import WorkerKernel
from bluesky_ext.live.pair_run import AHEAD, PairRun
from bluesky_ext.live.parameters import Parameters

log = logging.getLogger(__name__)


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
        if type(workers) is not int or workers < 1:
            raise ValueError(f"workers={workers!r}: give a number of workers above 0")
        self.ordered, self.raises = ordered, raises
        self.forms = forms or Forms()
        described = [*self.forms.described(self.worker), *self.forms.described(self.reducer)]
        if parameters is not None and not isinstance(parameters, Mapping):
            raise TypeError(f"parameters={parameters!r:.100}: give a dict of values by name")
        self.parameters = Parameters(described)
        self._change(parameters or {})
        self.versions = versions_of(self.worker)
        self._executor, self._owns = _lanes_of(executor, workers)
        if getattr(self._executor, "is_local", False) and _is_typed(self.worker):
            raise TypeError(f"{self.worker.__name__} was typed, and other processes can't know it: put it in a module")
        self._pool = Pool(self._executor) if self._executor is not None else None
        self._kernel = WorkerKernel(self.worker, self.parameters, self.forms, self.versions)
        self._open: weakref.WeakSet[PairRun] = weakref.WeakSet()
        #: Notified when events of a run are done with.
        self.news = threading.Condition()

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters for the events from now on; ValueError says which value can't be, and none is set then."""
        self._change(values)
        for run in list(self._open):
            run.set_parameters(self.parameters)

    def _change(self, values: Mapping[str, Any]) -> None:
        self.parameters = self.parameters.changed(values)
        if said := self.parameters.unknown(values):
            log.warning("%s: %s", self.worker.__name__, said)

    def open(self, start: Mapping[str, Any], kind: type[PairRun] = PairRun) -> PairRun:
        """Begin a run."""
        run = kind(self, start)
        self._open.add(run)
        return run

    def tasks(self) -> InlineTasks | InFlight:
        """The tasks of the worker for one run."""
        kernel = self._kernel.with_parameters(self.parameters)
        if self._pool is None:
            return InlineTasks(kernel)
        return InFlight(open_tasks(self._pool, kernel), AHEAD * self.lanes, _name_of, ordered=self.ordered)

    @property
    def lanes(self) -> int:
        """How many workers there are."""
        if self._pool is None:
            return 1
        lanes = self._pool.executor
        if not isinstance(lanes, Lanes):
            raise TypeError(f"executor= made a {type(lanes).__name__}: make Lanes, as Lanes.processes(2)")
        return len(lanes)

    def abandon(self) -> None:
        """Give up what is open, wait for nothing, and forget what workers in this process kept."""
        for run in list(self._open):
            if not run.is_over:
                run.abandon()
        self._kernel.forget()

    def close(self) -> None:
        """Let the workers go, and what they kept from run to run; runs that are open are given up."""
        self.abandon()
        if self._pool is not None:
            self._pool.close()
            if self._owns:
                self._executor.close()


def _name_of(events: Sequence[Event]) -> str:
    return f"event {events[0].event_number}" if events else "the end of a run"


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


def _is_typed(user: type) -> bool:
    """Whether a class was typed in a session, and is in no file."""
    return user.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")


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
