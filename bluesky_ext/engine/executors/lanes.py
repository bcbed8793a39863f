"""Lanes, for kernels with state: each lane is one worker that keeps its own copy of the kernel.

The documents of a run reach every lane, its events one lane each. What a kernel knows must follow from the run's start,
descriptors and parameters: then a lane that dies is rebuilt from them, and the events that it held are done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from bluesky_ext.engine.executors.lane import Copy, Lane
from bluesky_ext.engine.executors.shared import SharedBlocks
from bluesky_ext.engine.executors.tasks import Kernel, trouble_of

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

#: How long the end of a run waits for what its kernels do at the stop, in seconds.
STOP_PATIENCE = 30.0


class Lanes:
    """Workers that each keep a copy of a kernel, for maps whose kernel has state; give it as ``executor=``.

    A kernel is a callable ``kernel(data, seq_num)``; its methods ``start(doc)``, ``descriptor(doc)``,
    ``parameters(values)`` and ``stop(doc)`` are called where it has them. It may keep what it is given.

    Parameters
    ----------
    make_executors
        For each lane a function that makes its executor, which must have exactly one worker. It is called again when
        the lane has died.
    shares_memory : bool
        Whether the workers are threads of this process; each lane then gets a copy of the kernel, not the kernel.
    is_there
        Tells whether the worker of a lane, given by its number, still exists, where a death does not show as an
        exception and tasks are not always done in their order, as on a cluster.
    local : bool
        Whether the workers are processes of this machine: then images go to them through shared memory.

    See Also
    --------
    threads, processes, dask : the usual ways to make lanes.
    """

    def __init__(
        self,
        make_executors: Sequence[Callable[[], Executor]],
        *,
        shares_memory: bool = False,
        is_there: Callable[[int], bool] | None = None,
        local: bool = False,
    ) -> None:
        if not make_executors:
            raise ValueError("lanes need at least one worker, got 0: give one make_executor() for each lane")
        self._lanes = [
            Lane(make_executor, None if is_there is None else partial(is_there, number), shares_memory)
            for number, make_executor in enumerate(make_executors)
        ]
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

        def is_there(number: int) -> bool:
            return addresses[number] in workers()

        count = len(workers()) if lanes is None else lanes
        return cls([partial(make, number) for number in range(count)], is_there=is_there)

    def __len__(self) -> int:
        return len(self._lanes)

    def open(self, kernel: Kernel) -> LaneTasks:
        """The tasks of a kernel in all lanes, for one run."""
        return LaneTasks(self._lanes, kernel, SharedBlocks(copied=True) if self._shares_blocks else None)

    def close(self) -> None:
        """Let the workers go, when they have done what they were given."""
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="bluesky-ext-lane")


def _process() -> Executor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))  # fork in a process with threads may deadlock


class LaneTasks:
    """The tasks of a kernel in all lanes, for one run."""

    def __init__(self, lanes: Sequence[Lane], kernel: Kernel, blocks: SharedBlocks | None) -> None:
        self._copies = [(lane, Copy(kernel)) for lane in lanes]
        self._lane_of: dict[Future, Lane] = {}
        self._blocks = blocks
        self._run = "?"
        self._is_stopped = False

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Let every lane hear a document of the run."""
        if name == "start":
            self._run = doc["uid"]
        self._is_stopped = self._is_stopped or name == "stop"
        for lane, copy in self._copies:
            lane.tell(copy, name, doc)

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on in the lane that has least to do."""
        outcome: Future = Future()
        if self._blocks is not None:
            data, inputs = self._blocks.pack(outcome, data, inputs)
        for lane, _ in self._copies:
            lane.collect()
        lane, copy = min(self._copies, key=lambda one: len(one[0]))
        self._lane_of[outcome] = lane
        lane.submit(copy, (data, seq_num, inputs), outcome)
        return outcome

    def wait(self, future: Future, timeout: float) -> bool:
        """Wait so many seconds for a task; whether it is done. A lane that dies meanwhile is rebuilt."""
        lane = self._lane_of.get(future)
        if lane is not None and not future.done() and not lane.wait(future, timeout):
            return False
        self._lane_of.pop(future, None)
        if self._blocks is not None:
            self._blocks.unpack(future)
        return True

    def close(self) -> None:
        """Have the kernels leave their lanes; what went wrong when they were told of the run is logged."""
        try:
            for lane, copy in self._copies:
                lane.leave(copy)
            if self._is_stopped:
                self._report()
        finally:
            self._lane_of.clear()
            if self._blocks is not None:
                self._blocks.close()

    def _report(self) -> None:
        """Log what kernels could not do when they were told of the run, at its stop at the latest."""
        wait_for([answer for _, copy in self._copies for answer in copy.answers], STOP_PATIENCE)
        for number, (_, copy) in enumerate(self._copies):
            for name, answer in zip(["copy", *(name for name, _ in copy.told)], copy.answers, strict=False):
                trouble = trouble_of(answer) if answer.done() else TimeoutError(f"no answer in {STOP_PATIENCE:g} s")
                if trouble is not None:
                    log.warning(
                        "run %s: the kernel's %s failed in lane %d: %s: %s",
                        *(self._run, name, number, type(trouble).__name__, trouble),
                    )
