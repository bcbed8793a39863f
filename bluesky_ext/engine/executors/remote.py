"""Tasks for workers that do not share our memory, which get by pickle what they need.

A kernel may hold a subtrahend of 32 MB: it is not sent with each event. Images go to processes of this machine through
shared memory.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import uuid
from collections import OrderedDict
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import numpy as np

from bluesky_ext.engine.executors.kernel import Kernel, perform
from bluesky_ext.engine.executors.pool import Pool, PoolTasks
from bluesky_ext.engine.executors.shared import WORTH_SHARING, SharedArray, SharedBlocks
from bluesky_ext.engine.executors.tasks import Task, trouble_of


class _Unknown:
    """A worker's answer to a kernel that it has not met."""


_met: OrderedDict[str, Kernel] = OrderedDict()  # in the worker: the eight kernels that it has worked with last
_lock = threading.Lock()  # the worker of a cluster may have several threads


def _perform_there(token: str, sent: Kernel | bytes | SharedArray | None, *task: Any) -> Any:
    """Do a task in a worker that may not have its kernel yet."""
    with _lock:
        kernel = _met.pop(token, sent)
        if isinstance(kernel, SharedArray):  # the block is ours alone (mode 0600), as the pipe is by which tasks come
            kernel = pickle.loads(kernel.read().data)
        elif isinstance(kernel, bytes):
            kernel = pickle.loads(kernel)
        if kernel is None:
            return _Unknown()
        _met[token] = kernel
        while len(_met) > 8:
            _met.popitem(last=False)
    return perform(kernel, *task)


class RemoteTasks(PoolTasks):
    """The tasks of a kernel for one run in processes of this machine, or on a cluster.

    A small kernel goes with every task. A large one lies in shared memory for processes; to a cluster it is sent with
    every task until the first result is back, and then again when a worker answers that it has not met it.
    A worker that has met an equal kernel, be it in another run, has it already.
    """

    def __init__(self, pool: Pool, kernel: Kernel) -> None:
        is_local = isinstance(pool.executor, ProcessPoolExecutor)
        super().__init__(pool, kernel, SharedBlocks() if is_local and SharedBlocks.available() else None)
        self._token, pickled = str(uuid.uuid4()), b""
        try:
            pickled = pickle.dumps(kernel, protocol=pickle.HIGHEST_PROTOCOL)
            self._token = hashlib.sha256(pickled).hexdigest()
        except Exception as error:
            if is_local:  # clusters have ways of their own to pickle a lambda
                raise TypeError(f"the kernel {kernel!r} can't go to processes, it can't be pickled: {error}") from None
        is_large = len(pickled) >= WORTH_SHARING
        if self._blocks is not None:
            shared = self._blocks.share(np.frombuffer(pickled, np.uint8)) if is_large else None
            self._kernel = shared if isinstance(shared, SharedArray) else pickled
        self._goes_along = self._blocks is not None or (pickled != b"" and not is_large)
        self._is_known = False

    def mend(self, lack: str = "") -> None:
        """Send again also what a worker could not do, having not met the kernel."""
        results = [(task, task.sent.result()) for task in self._open if task.sent.done() and not trouble_of(task.sent)]
        unknown = [task for task, result in results if isinstance(result, _Unknown)]
        if results:
            self._is_known = not unknown
        for task in unknown:
            self._send(task)
        super().mend(lack)

    def _start(self, executor: Executor, task: Task) -> Future:
        kernel = self._kernel if self._goes_along or not self._is_known else None
        return executor.submit(_perform_there, self._token, kernel, *task.call)
