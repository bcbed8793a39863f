"""Lanes, for kernels with state: each lane is one worker that keeps its own copy of the kernel.

The documents of a run reach every lane, its events one lane each. What a kernel knows must follow from the run's start,
descriptors and latest parameters: it comes with every event, so that a successor of a lane that died hears the same.
A kernel that has a method ``in_lane(number)`` says by that what it is in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from bluesky_ext.engine.executors.kernel import Kernel
from bluesky_ext.engine.executors.pool import Pool, PoolTasks
from bluesky_ext.engine.executors.shared import SharedArrays
from bluesky_ext.engine.executors.worker_process import process_pool


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
        Whether the workers are processes of this machine: then images go to them by files in memory.
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
            Pool(make, f"lane {number}", None if is_there is None else partial(is_there, number))
            for number, make in enumerate(make_executors)
        ]
        self.is_local = local

    @classmethod
    def threads(cls, lanes: int) -> Lanes:
        """Lanes in threads of this process: for kernels that release the GIL, as numpy's and numba's do."""
        return cls([partial(ThreadPoolExecutor, 1, thread_name_prefix="bluesky-ext-lane")] * lanes)

    @classmethod
    def processes(cls, lanes: int) -> Lanes:
        """Lanes in processes of this machine. They are spawned: a script needs ``if __name__ == "__main__":``."""
        return cls([partial(process_pool, 1)] * lanes, local=True)

    @classmethod
    def dask(cls, client: Any, lanes: int | None = None) -> Lanes:
        """Lanes on the workers of a ``distributed.Client``, one for each unless fewer are asked for."""
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

    def open(self, kernel: Kernel) -> list[PoolTasks]:
        """The tasks of a kernel in each lane, for one run."""
        arrays = SharedArrays() if self.is_local else None
        in_lane = getattr(kernel, "in_lane", lambda number: kernel)
        return [PoolTasks(lane, in_lane(number), arrays) for number, lane in enumerate(self._lanes)]

    def close(self) -> None:
        """Let the workers go, when they have done what they were given."""
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
