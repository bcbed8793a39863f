"""Lanes, for kernels with state: each lane is one worker that keeps its own copy of the kernel.

The documents of a run reach every lane, its events one lane each. What a kernel knows must follow from the run's start,
descriptors and latest parameters: then a lane that dies gets a successor that is told the same.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from copy import deepcopy
from functools import partial
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from bluesky_ext.engine.executors.kernel import Kernel, StatefulKernel, hears, perform
from bluesky_ext.engine.executors.pool import ASK_EVERY, Pool, PoolTasks
from bluesky_ext.engine.executors.shared import SharedBlocks
from bluesky_ext.engine.executors.tasks import Task, failed, trouble_of

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

#: How long the end of a run waits for what its kernels do at the stop, in seconds.
STOP_PATIENCE = 30.0


class Lanes:
    """Workers that each keep a copy of a kernel with a state; give it as ``executor=``.

    The usual ways to make lanes are `threads`, `processes` and `dask`.

    Parameters
    ----------
    make_executors
        For each lane a function that makes its executor, which must have exactly one worker. It is called when the
        first event or document comes, and again when the lane has died.
    is_there
        Tells whether the worker of a lane, given by its number, still exists, where a death does not show as an
        exception and tasks are not always done in their order, as on a cluster.
    local : bool
        Whether the workers are processes of this machine: then images go to them through shared memory.
    """

    def __init__(
        self,
        make_executors: Sequence[Callable[[], Executor]],
        *,
        is_there: Callable[[int], bool] | None = None,
        local: bool = False,
    ) -> None:
        if not make_executors:
            raise ValueError("lanes need at least one worker, got 0: give one make_executor() for each lane")
        self._lanes = [
            Pool(partial(self._made, make), f"lane {number}", None if is_there is None else partial(is_there, number))
            for number, make in enumerate(make_executors)
        ]
        self._shares_blocks = local and SharedBlocks.available()
        self._is_closed = False
        self._turns = count()

    @classmethod
    def threads(cls, lanes: int) -> Lanes:
        """Lanes in threads of this process: for kernels that release the GIL, as numpy's and numba's do."""
        return cls([partial(ThreadPoolExecutor, 1, thread_name_prefix="bluesky-ext-lane")] * lanes)

    @classmethod
    def processes(cls, lanes: int) -> Lanes:
        """Lanes in processes of this machine. They are spawned: a script needs ``if __name__ == "__main__":``."""
        # Forking a process with threads may deadlock.
        return cls([partial(ProcessPoolExecutor, 1, mp_context=get_context("spawn"))] * lanes, local=True)

    @classmethod
    def dask(cls, client: Client, lanes: int | None = None) -> Lanes:
        """Lanes on workers of a dask cluster, one for each worker unless fewer are asked for."""
        addresses: dict[int, str] = {}  # of the lanes, by number

        def workers() -> list[str]:
            if client.status != "running":
                raise BrokenExecutor(f"the dask client is {client.status}: connect a new one, and make lanes of it")
            return sorted(client.scheduler_info(n_workers=-1)["workers"])

        def make(number: int) -> Executor:
            there = workers()
            if not there:
                raise BrokenExecutor("the dask cluster has no workers: start one, or wait for it")
            taken = [address for other, address in addresses.items() if other != number]
            addresses[number] = min(there, key=taken.count)
            return client.get_executor(workers=[addresses[number]], pure=False)

        numbers = range(len(workers()) if lanes is None else lanes)
        return cls(
            [partial(make, number) for number in numbers], is_there=lambda number: addresses[number] in workers()
        )

    def __len__(self) -> int:
        return len(self._lanes)

    def open(self, kernel: Kernel) -> LaneTasks:
        """The tasks of a kernel in all lanes, for one run."""
        blocks = SharedBlocks(copied=True) if self._shares_blocks else None
        first = next(self._turns) % len(self)  # two runs at once do not begin in the same lane
        lanes = self._lanes[first:] + self._lanes[:first]
        return LaneTasks([KernelCopy(lane, kernel, blocks) for lane in lanes])

    def close(self) -> None:
        """Let the workers go, when they have done what they were given."""
        self._is_closed = True
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _made(self, make: Callable[[], Executor]) -> Executor:
        if self._is_closed:
            raise RuntimeError("the lanes were closed")
        return make()


class KernelCopy(PoolTasks):
    """A run's copy of a kernel in one lane: what it was told, and its events."""

    def __init__(self, lane: Pool, kernel: Kernel, blocks: SharedBlocks | None) -> None:
        super().__init__(lane, kernel, blocks)
        self._place: Any = None  # the executor whose worker has the copy
        self._name = ""  # what it is called there
        self._known: tuple = ()  # what it was told there
        self._answers: list[tuple[str, Future]] = []  # of the worker, to that
        self._run = "?"
        self._patience = 0.0

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell the kernel of the run, after the events before this."""
        self._run = doc["uid"] if name == "start" else self._run
        self._patience = STOP_PATIENCE if name == "stop" else 0.0
        self._report()
        if not hears(self._kernel, name):
            return
        self.mend()
        told = self._told if name != "parameters" else tuple(item for item in self._told if item[0] != name)
        self._told = (*told, (name, doc))
        try:
            self._catch_up(self.pool.executor, self._told)
            _, answer = self._answers[-1]
            if answer.done() and self.pool.has_died(trouble_of(answer)):  # while nothing was in flight
                self.pool.renew(self._place)
                self._catch_up(self.pool.executor, self._told)
        except Exception as error:
            self._answers.append((name, failed(error)))

    def close(self) -> None:
        """Have the worker forget the kernel, and events that are not done; what it could not be told is logged."""
        try:
            for task in self._open:
                task.sent.cancel()
            self._open.clear()
            if self._place is not None:
                self._ask(_forget)
            wait_for([answer for _, answer in self._answers], self._patience)
            self._report()
        finally:
            super().close()

    def _report(self) -> None:
        late = self._patience and TimeoutError(f"no answer in {self._patience:g} s")
        for name, answer in self._answers:
            if trouble := trouble_of(answer) if answer.done() else late:
                log.warning(
                    "run %s: the kernel's %s failed in %s: %s: %s",
                    *(self._run, name, self.pool.name, type(trouble).__name__, trouble),
                )
        self._answers = [(name, answer) for name, answer in self._answers if not answer.done()]

    def _start(self, executor: Executor, task: Task) -> Future:
        self._catch_up(executor, task.told)
        return executor.submit(_do, self._name, "work", *task.call)

    def _catch_up(self, executor: Executor, told: tuple) -> None:
        """Have the worker learn what it does not know yet, before it does anything that is sent after this."""
        if self._place is not executor:
            self._place, self._name, self._known, self._answers = executor, str(uuid.uuid4()), (), []
            kernel = deepcopy(self._kernel) if isinstance(executor, ThreadPoolExecutor) else self._kernel
            self._answers.append(("copy", self._ask(_take_in, kernel)))
        for item in told:
            if not any(item is known for known in self._known):
                self._answers.append((item[0], self._ask(_do, "tell", *item)))
        self._known = told

    def _ask(self, function: Callable[..., Any], *args: Any) -> Future:
        self._keep_order([task.sent for task in self._open])
        try:
            answer = self._place.submit(function, self._name, *args)
        except Exception as error:  # each executor refuses in its own way when it is broken or closed
            return failed(error)
        self._keep_order([answer])
        return answer

    def _keep_order(self, futures: Sequence[Future]) -> None:
        """Where the worker does not do tasks in their order, wait for these, as long as answers can come."""
        while not self.pool.keeps_order and (left := [future for future in futures if not future.done()]):
            if wait_for(left, ASK_EVERY).not_done and self.pool.lack():
                return


class LaneTasks:
    """The tasks of a kernel in all lanes, for one run."""

    def __init__(self, copies: Sequence[KernelCopy]) -> None:
        self._copies = copies

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell the kernel in every lane of the run."""
        for copy in self._copies:
            copy.tell(name, doc)

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Task:
        """Have an event worked on in the lane that has least to do."""
        return min(self._copies, key=KernelCopy.load).submit(data, seq_num, inputs)

    def close(self) -> None:
        """Have the kernels leave their lanes."""
        for copy in self._copies:
            copy.close()


# What the worker of a lane does

_copies: dict[str, tuple[StatefulKernel, threading.Lock]] = {}


def _take_in(name: str, kernel: Kernel) -> None:
    _copies[name] = StatefulKernel(kernel), threading.Lock()


def _do(name: str, method: str, *args: Any) -> Any:
    if name not in _copies:
        raise LookupError("the lane has no copy of the kernel: it could not be sent (see the log), or it was lost")
    kernel, lock = _copies[name]
    with lock:  # one thing at a time, also in a worker that has several threads
        return kernel.tell(*args) if method == "tell" else perform(kernel, *args)


def _forget(name: str) -> None:
    _copies.pop(name, None)
