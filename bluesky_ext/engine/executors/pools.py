"""Where the tasks of a map are done: in threads, in processes or on a cluster.

Any `concurrent.futures.Executor` serves. Threads share our memory, so a task goes to them as it is. All others get it
by pickle: then a kernel that may hold a subtrahend of 32 MB is not sent with each event, and images go to processes of
this machine through shared memory.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Executor, Future, InvalidStateError, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.executors.lanes import Lanes
from bluesky_ext.engine.executors.shared import WORTH_SHARING, SharedArray, SharedBlocks
from bluesky_ext.engine.executors.tasks import Kernel, Tasks, failed, perform, trouble_of


def open_tasks(executor: Executor | Lanes, kernel: Kernel) -> Tasks:
    """The tasks of a kernel on this executor, for one run."""
    if isinstance(executor, ThreadPoolExecutor):
        return LocalTasks(executor, kernel)
    if isinstance(executor, Executor):
        return RemoteTasks(executor, kernel)
    return executor.open(kernel)


class LocalTasks:
    """Tasks for workers that share our memory."""

    def __init__(self, executor: Executor, kernel: Kernel) -> None:
        self._executor = executor
        self._kernel = kernel

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Nothing: a kernel that all workers share has no state that could listen."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on."""
        try:
            return self._executor.submit(perform, self._kernel, data, seq_num, inputs)
        except RuntimeError as error:  # the executor was shut down: this event failed, and is reported in its turn
            return failed(error)

    def wait(self, future: Future, timeout: float) -> bool:
        """Wait so many seconds for a task; whether it is done."""
        return future.done() or (timeout > 0 and bool(wait_for([future], timeout).done))

    def close(self) -> None:
        """Nothing: the executor is its owner's to shut down."""


class _Unknown:
    """A worker's answer to a kernel that it has not met."""


class _Pickled(NamedTuple):
    """A kernel for workers of this machine, that one loads if it has not met it."""

    pickled: bytes | SharedArray

    def load(self) -> Kernel:
        """The kernel. The block is ours alone (mode 0600), as the pipe is by which the tasks come."""
        return pickle.loads(self.pickled.read().data if isinstance(self.pickled, SharedArray) else self.pickled)


_numbers = count()
_met: OrderedDict[str, Kernel] = OrderedDict()  # in the worker: the eight kernels that it has worked with last
_lock = threading.Lock()  # the worker of a cluster may have several threads


def _kernel_of(token: str, sent: Kernel | _Pickled | None) -> Kernel | None:
    with _lock:
        kernel = _met.pop(token, None)
        if kernel is None:
            kernel = sent.load() if isinstance(sent, _Pickled) else sent
        if kernel is not None:
            _met[token] = kernel
        while len(_met) > 8:
            _met.popitem(last=False)
        return kernel


def _perform_there(token: str, number: int, sent: Kernel | _Pickled | None, *task: Any) -> Any:
    """Do a task in a worker that may not have its kernel yet.

    The number makes every call different, since dask takes equal calls for one:
    https://distributed.dask.org/en/stable/api.html#distributed.Client.get_executor
    """
    kernel = _kernel_of(token, sent)
    return _Unknown() if kernel is None else perform(kernel, *task)


class RemoteTasks:
    """Tasks for workers that do not share our memory: processes of this machine, or a cluster.

    A small kernel goes with every task. A large one lies in shared memory for processes; to a cluster it is sent with
    every task until the first result is back, and from then on only to workers that answer that they have not met it.
    A worker that has met an equal kernel, be it in another run, has it already.
    """

    def __init__(self, executor: Executor, kernel: Kernel) -> None:
        self._executor = executor
        self._kernel: Any = kernel
        self._settles_all = isinstance(executor, ProcessPoolExecutor)
        self._blocks: SharedBlocks | None = None
        self._token, pickled = _identity(kernel, must_pickle=self._settles_all)
        if self._settles_all and SharedBlocks.available():
            self._blocks = SharedBlocks()
            self._kernel = _Pickled(_shared(pickled, self._blocks))
        #: Whether the kernel, or where it is, goes with every task.
        self._is_light = self._blocks is not None or 0 < len(pickled) < WORTH_SHARING
        self._is_known = False

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Nothing: a kernel of which any worker may have a copy has no state that could listen."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on."""
        outcome: Future = Future()
        if self._blocks is not None:
            data, inputs = self._blocks.pack(outcome, data, inputs)
        try:
            self._send(outcome, self._kernel if self._is_light or not self._is_known else None, data, seq_num, inputs)
        except Exception as error:  # each executor refuses in its own way, and the event has failed in any case
            outcome.set_exception(error)
        return outcome

    def _send(self, outcome: Future, kernel: Any, *task: Any) -> None:
        sent = self._executor.submit(_perform_there, self._token, next(_numbers), kernel, *task)
        sent.add_done_callback(lambda done: self._answered(done, outcome, task))

    def _answered(self, done: Future, outcome: Future, task: tuple) -> None:
        try:
            trouble = trouble_of(done)
            result = None if trouble is not None else done.result(timeout=0)
            if trouble is not None:
                outcome.set_exception(trouble)
            elif isinstance(result, _Unknown):
                self._send(outcome, self._kernel, *task)
            else:
                self._is_known = True
                outcome.set_result(result)
        except InvalidStateError:
            return  # it was given up
        except Exception as error:  # it could not be sent again
            outcome.set_exception(error)

    def wait(self, future: Future, timeout: float) -> bool:
        """Wait so many seconds for a task; whether it is done, however it ended, and its memory is taken back."""
        if not future.done():
            if timeout > 0:
                wait_for([future], timeout)
                if not future.done():
                    self._give_up_if_closed(future)
            if not future.done():
                return False
        if self._blocks is not None:
            self._blocks.unpack(future)
        return True

    def _give_up_if_closed(self, future: Future) -> None:
        """Fail a task that no answer will come to, as when the client of a dask executor was closed."""
        if self._settles_all:
            return
        try:
            self._executor.submit(int).cancel()  # the one question that every executor understands
        except RuntimeError:
            return  # it was shut down: then it does what it has, and takes nothing new
        except Exception as error:
            message = f"the executor was closed before it was done: {type(error).__name__}: {error}"
            try:
                future.set_exception(RuntimeError(message))
            except InvalidStateError:
                return  # it was done after all

    def close(self) -> None:
        """Free the shared memory; the executor is its owner's to shut down."""
        if self._blocks is not None:
            self._blocks.close()


def _identity(kernel: Kernel, *, must_pickle: bool) -> tuple[str, bytes]:
    """A name that equal kernels share, and what to send; clusters have ways of their own to pickle a lambda."""
    try:
        pickled = pickle.dumps(kernel, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if must_pickle:
            name = getattr(kernel, "__qualname__", type(kernel).__name__)
            raise TypeError(f"the kernel {name} can't go to processes, since it can't be pickled: {error}") from None
        return str(uuid.uuid4()), b""
    return hashlib.sha256(pickled).hexdigest(), pickled


def _shared(pickled: bytes, blocks: SharedBlocks) -> bytes | SharedArray:
    if len(pickled) < WORTH_SHARING:
        return pickled
    shared = blocks.share(np.frombuffer(pickled, np.uint8))
    return shared if isinstance(shared, SharedArray) else pickled
