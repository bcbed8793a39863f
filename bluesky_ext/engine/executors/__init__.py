"""Where a kernel runs: at once, on any `concurrent.futures.Executor`, or in lanes that keep its state."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, TypeAlias

from bluesky_ext.engine.executors.kernel import TOLD, Kernel, hears
from bluesky_ext.engine.executors.lanes import Lanes
from bluesky_ext.engine.executors.pool import Pool, PoolTasks
from bluesky_ext.engine.executors.shared import SharedArrays

#: What a map takes as its executor, beside None.
ExecutorLike: TypeAlias = Executor | Lanes | Callable[[], Executor | Lanes]


def check_executor(executor: Any, kernel: Kernel) -> None:
    """Raise the error that says why a kernel can't run on an executor, if it can't."""
    if isinstance(executor, Executor):
        if hears(kernel, *TOLD):
            raise TypeError(f"the kernel {kernel!r} has a state: give Lanes or None, not executor={executor!r}")
    elif not isinstance(executor, Lanes) and not callable(executor):
        raise TypeError(f"executor={executor!r}: give a concurrent.futures.Executor, Lanes, what makes one, or None")


def open_tasks(pool: Pool, kernel: Kernel) -> list[PoolTasks]:
    """The tasks of a kernel for one run: in each lane, or in the one executor."""
    executor = pool.executor
    if isinstance(executor, Lanes):
        return executor.open(kernel)
    if not isinstance(executor, Executor):
        raise TypeError(f"executor= made a {type(executor).__name__}: a concurrent.futures.Executor or Lanes is needed")
    check_executor(executor, kernel)
    return [PoolTasks(pool, kernel, SharedArrays() if isinstance(executor, ProcessPoolExecutor) else None)]
