"""Homes for a kernel with state: each lane is one worker that keeps its own copy of the kernel.

The documents of a run reach every lane, its events one lane each. What a kernel knows must follow from the run's start,
descriptors and parameters: then a lane that dies is rebuilt from them, and the events that it held are done again.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from bluesky_ext.documents.executors import Kernel, perform
from bluesky_ext.documents.shared import SharedBlocks

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

#: How often an event may be the oldest of a lane that dies, before it is held to be the cause.
ATTEMPTS = 3
#: How often a cluster is asked whether a worker is still there, in seconds.
_ASK_EVERY = 2.0

_numbers = count()  # every call is different: dask takes equal calls for one


class _Resident:
    """A kernel that lives in a worker, which does one thing at a time, also where the worker has several threads."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lock = threading.Lock()


_homes: dict[str, _Resident] = {}  # in the worker: one for each open run


def _settle(home: str, number: int, kernel: Kernel) -> None:
    _homes[home] = _Resident(kernel)


def _hear(home: str, number: int, name: str, doc: Mapping[str, Any]) -> None:
    resident = _homes[home]
    listener = getattr(resident.kernel, name, None)
    if listener is not None:
        with resident.lock:
            listener(doc)


def _work(home: str, number: int, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Any:
    resident = _homes[home]
    with resident.lock:
        return perform(resident.kernel, data, seq_num, inputs)


def _leave(home: str, number: int) -> None:
    _homes.pop(home, None)


class Lanes:
    """Workers that each keep a copy of a kernel, for maps whose kernel has state; give it as ``executor=``.

    A kernel is a callable ``kernel(data, seq_num)``; its methods ``start(doc)``, ``descriptor(doc)``,
    ``parameters(values)`` and ``stop(doc)`` are called where it has them.

    Parameters
    ----------
    hires
        For each lane a function that makes its executor, which must have exactly one worker. It is called again when
        the lane has died.
    shares_memory : bool
        Whether the workers are threads of this process; each lane then gets a copy of the kernel, not the kernel.
    is_there
        Tells whether the worker of an executor still exists, where a death does not show as an exception and tasks are
        not always done in their order, as on a cluster.

    See Also
    --------
    threads, processes, dask : the usual ways to make lanes.
    """

    def __init__(
        self,
        hires: Sequence[Callable[[], Executor]],
        *,
        shares_memory: bool = False,
        is_there: Callable[[Executor], bool] | None = None,
        local: bool = False,
    ) -> None:
        if not hires:
            raise ValueError("lanes need at least one worker, got 0: give one hire() for each lane")
        self._workers = [_Worker(hire, is_there) for hire in hires]
        self._shares_memory = shares_memory
        self._shares_blocks = local and SharedBlocks.available()

    @classmethod
    def threads(cls, lanes: int) -> Lanes:
        """Lanes in threads of this process: for kernels that release the GIL, as numpy's and numba's do."""
        return cls([_thread] * lanes, shares_memory=True)

    @classmethod
    def processes(cls, lanes: int) -> Lanes:
        """Lanes in processes of this machine. They are spawned: a script needs ``if __name__ == "__main__":``."""
        return cls([_process] * lanes, local=True)

    @classmethod
    def dask(cls, client: Client, lanes: int | None = None) -> Lanes:
        """Lanes on workers of a dask cluster, one for each worker unless fewer are asked for."""
        addresses: dict[Executor, str] = {}

        def hire() -> Executor:
            there = sorted(client.scheduler_info(n_workers=-1)["workers"])
            if not there:
                raise BrokenExecutor("the dask cluster has no workers: start one, or wait for it")
            taken = list(addresses.values())
            address = min(there, key=taken.count)
            executor = client.get_executor(workers=[address], pure=False)
            addresses[executor] = address
            return executor

        def is_there(executor: Executor) -> bool:
            if addresses.get(executor) in client.scheduler_info(n_workers=-1)["workers"]:
                return True
            addresses.pop(executor, None)
            return False

        count = len(client.scheduler_info(n_workers=-1)["workers"]) if lanes is None else lanes
        return cls([hire] * count, is_there=is_there)

    def __len__(self) -> int:
        return len(self._workers)

    def open(self, kernel: Kernel) -> Residents:
        """Copies of a kernel in all lanes, for one run."""
        return Residents(self._workers, kernel, self._shares_memory, self._shares_blocks)

    def close(self) -> None:
        """Let the workers go, when they have done what they were given."""
        for worker in self._workers:
            worker.executor.shutdown(wait=True)

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="bluesky-ext-lane")


def _process() -> Executor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))  # fork in a process with threads may deadlock


class _Worker:
    """The one who works in a lane, for all runs; its generation counts its replacements."""

    def __init__(self, hire: Callable[[], Executor], is_there: Callable[[Executor], bool] | None) -> None:
        self._hire = hire
        self._is_there = is_there
        self.keeps_order = is_there is None
        self.executor = hire()
        self.generation = 0

    def is_gone(self) -> bool:
        return self._is_there is not None and not self._is_there(self.executor)

    def replace(self, generation: int) -> None:
        """Hire another one, unless another run has done so since this generation."""
        if generation == self.generation:
            self.executor.shutdown(wait=False)
            self.executor = self._hire()
            self.generation += 1


class Residents:
    """The copies of a kernel in all lanes, for one run."""

    def __init__(self, workers: Sequence[_Worker], kernel: Kernel, shares_memory: bool, shares_blocks: bool) -> None:
        self._homes = [_Home(worker, kernel, shares_memory) for worker in workers]
        self._home_of: dict[Future, _Home] = {}
        self._blocks = SharedBlocks() if shares_blocks else None

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Let every lane hear a document of the run."""
        for home in self._homes:
            home.tell(name, doc)

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on in the lane that has least to do."""
        outcome: Future = Future()
        if self._blocks is not None:
            data, inputs = self._blocks.pack(outcome, data, inputs)
        for home in self._homes:
            home.collect()
        home = min(self._homes, key=lambda home: len(home.tasks))
        self._home_of[outcome] = home
        home.submit(_Task((data, seq_num, inputs), outcome))
        return outcome

    def wait(self, future: Future) -> None:
        """Block until a future is done; a lane that dies meanwhile is rebuilt."""
        home = self._home_of.pop(future, None)
        while home is not None and not future.done():
            home.collect(_ASK_EVERY)
        if self._blocks is not None:
            self._blocks.unpack(future)

    def close(self) -> None:
        """Have the kernels leave their lanes."""
        for home in self._homes:
            home.leave()
        if self._blocks is not None:
            self._blocks.close()


@dataclass
class _Task:
    call: tuple
    outcome: Future
    attempts: int = 0
    sent: Future = field(default_factory=Future)


class _Home:
    """A kernel's place with one worker: the tasks that it holds, and what it must be told again after a death."""

    def __init__(self, worker: _Worker, kernel: Kernel, shares_memory: bool) -> None:
        self._worker = worker
        self._kernel = kernel
        self._shares_memory = shares_memory
        self._told: list[tuple[str, Mapping[str, Any]]] = []
        self.tasks: deque[_Task] = deque()
        self._move_in()

    def _move_in(self) -> None:
        self._generation = self._worker.generation
        self._name = f"{id(self):x}-{next(_numbers)}"
        kernel = copy.deepcopy(self._kernel) if self._shares_memory else self._kernel
        self._prepared: list[Future] = []
        self._prepare(_settle, kernel)
        for told in self._told:
            self._prepare(_hear, *told)
        for task in self.tasks:
            task.sent = self._call(_work, *task.call)

    def _call(self, function: Callable[..., Any], *args: Any) -> Future:
        try:
            return self._worker.executor.submit(function, self._name, next(_numbers), *args)
        except BrokenExecutor as error:
            failed: Future = Future()
            failed.set_exception(error)
            return failed

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        self._follow()
        self._told.append((name, doc))
        self._prepare(_hear, name, doc)

    def _prepare(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the worker learn something, before it does anything that was sent after this."""
        said = self._call(function, *args)
        self._prepared.append(said)
        while not self._worker.keeps_order and not said.done():
            try:
                said.exception(_ASK_EVERY)
            except (FutureTimeout, CancelledError):
                if self._worker.is_gone():
                    return  # the next task finds out, and has the worker replaced

    def submit(self, task: _Task) -> None:
        self._follow()
        task.sent = self._call(_work, *task.call)
        self.tasks.append(task)

    def _follow(self) -> None:
        if self._generation != self._worker.generation:  # another run has had the worker replaced
            self._move_in()

    def leave(self) -> None:
        self._call(_leave)

    def collect(self, patience: float = 0) -> None:
        """Hand over what is done, oldest first, waiting so many seconds for the first one; rebuild a dead lane."""
        while self.tasks:
            task = self.tasks[0]
            try:
                trouble = task.sent.exception(patience)
            except FutureTimeout:
                if patience and self._worker.is_gone():
                    self._rebuild()
                return
            except CancelledError as cancelled:
                trouble = cancelled
            if trouble is not None and _is_death(trouble):
                self._rebuild()
                return
            self.tasks.popleft()
            trouble = trouble or self._trouble_at_home()
            if trouble is None:
                task.outcome.set_result(task.sent.result())
            else:
                task.outcome.set_exception(trouble)
            patience = 0

    def _trouble_at_home(self) -> BaseException | None:
        """What went wrong when the kernel was told of its run: the results of such a kernel can't be trusted."""
        self._prepared = [said for said in self._prepared if not said.done() or said.exception() is not None]
        return next((said.exception() for said in self._prepared if said.done()), None)

    def _rebuild(self) -> None:
        # One worker does its tasks in order: it died of the oldest if of any, and the others only waited.
        oldest = self.tasks[0]
        oldest.attempts += 1
        if oldest.attempts >= ATTEMPTS:
            self.tasks.popleft()
            oldest.outcome.set_exception(RuntimeError(f"its lane died {ATTEMPTS} times while working on it"))
        log.warning("a lane died; it is rebuilt, and the %d events that it held are done again", len(self.tasks))
        for task in self.tasks:
            task.sent.cancel()
        self._worker.replace(self._generation)
        self._move_in()


def _is_death(error: BaseException) -> bool:
    # dask's own exceptions are told by name: importing distributed takes a second, and without it there are none.
    deaths = ("KilledWorker", "CommClosedError")
    return isinstance(error, BrokenExecutor | CancelledError) or type(error).__name__ in deaths
