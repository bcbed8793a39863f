"""Pools: executors that are made when they are needed and again when they broke, and the tasks that they are sent."""

from __future__ import annotations

import hashlib
import logging
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bluesky_ext import _deadline
from bluesky_ext.engine.executors.kernel import (
    TOLD,
    Kernel,
    News,
    StatefulKernel,
    Unknown,
    hears,
    news,
    perform,
    perform_there,
)
from bluesky_ext.engine.executors.shared import WORTH_SHARING, SharedArray, SharedArrays

log = logging.getLogger(__name__)

#: How often an executor that does not answer is asked whether it is still there, in seconds.
ASK_EVERY = 2.0


class DiedTwiceError(RuntimeError):
    """Two executors died one after the other with a task."""


def failed(error: BaseException) -> Future:
    """A future that has failed."""
    future: Future = Future()
    future.set_exception(error)
    return future


def trouble_of(done: Future) -> BaseException | None:
    """The exception of a future that is done, also when that is its cancellation."""
    try:
        return done.exception(timeout=0)
    except CancelledError:
        return CancelledError("its executor was shut down before it was done")


class Pool:
    """The workers of one executor, which is its owner's; or of one that is made when needed, and again when it broke.

    For a lane on a cluster, ``is_there()`` tells whether its one worker still exists: there a death need not show as
    an exception, and tasks are not always done in their order.
    """

    def __init__(self, executor: Any, name: str = "the executor", is_there: Callable[[], bool] | None = None) -> None:
        self.name = name
        self.keeps_order = is_there is None
        self.is_renewable = not isinstance(executor, Executor) and callable(executor)
        self._make: Any = executor if self.is_renewable else lambda: executor
        self._executor: Any = None
        self._is_there = is_there
        self._is_closed = False
        self._lock = threading.Lock()  # runs may be fed from several threads

    @property
    def executor(self) -> Any:
        """The executor of now; RuntimeError if it can't be made, or was closed."""
        with self._lock:
            if self._is_closed and self.is_renewable:
                raise RuntimeError(f"{self.name} was closed")
            try:
                self._executor = self._make() if self._executor is None else self._executor
            except Exception as error:
                raise RuntimeError(f"{self.name} can't be made: {type(error).__name__}: {error}") from error
            return self._executor

    def renew(self, broken: Any) -> None:
        """Have a new executor made when the next is needed, unless this one is replaced already."""
        with self._lock:
            if broken is None or self._executor is not broken or not self.is_renewable:
                return
            self._executor = None
        try:
            broken.shutdown(wait=False)
        except Exception as error:  # it is of no use in any case
            log.warning("%s can't be shut down: %s: %s", self.name, type(error).__name__, error)

    def has_died(self, error: BaseException | None) -> bool:
        """Whether an error tells that the executor, or its one worker, is dead."""
        # dask's own exceptions are told by name: importing distributed takes a second, and without it there are none.
        # A cluster of many workers goes on after KilledWorker, without the task that killed some of them.
        names = ("CommClosedError",) if self.keeps_order else ("CommClosedError", "KilledWorker")
        return isinstance(error, BrokenExecutor | CancelledError) or type(error).__name__ in names

    def lack(self) -> str:
        """Why the executor can't answer any more; an empty string if it can."""
        try:
            if self._is_there is not None:
                return "" if self._is_there() else "its worker is gone"
            if not isinstance(self._executor, ThreadPoolExecutor | ProcessPoolExecutor):  # these settle what they took
                self.executor.submit(int).cancel()  # the one question that every executor understands
        except Exception as error:
            # Who was only shut down does what it has, and takes nothing new.
            return "" if self._is_there is None and type(error) is RuntimeError else f"{type(error).__name__}: {error}"
        return ""

    def close(self) -> None:
        """Shut the executor down, if it was made here, when it has done what it was sent, or a server must end."""
        with self._lock:
            made, self._executor, self._is_closed = self._executor, None, True
        if made is not None and self.is_renewable:
            made.shutdown(wait=not _deadline.is_over()) if isinstance(made, Executor) else made.close()


@dataclass(eq=False, slots=True)
class Task:
    """What an executor is sent."""

    home: PoolTasks | None = None  # the tasks that it is one of; None if there is nothing to do
    told: News | None = None  # what a kernel with a state must know before
    call: tuple | None = None  # the event's data, its seq_num and the inputs; None if the kernel is only told
    sent: Future = field(default_factory=Future)  # the answer to come
    executor: Any = None  # the one that it was sent to last
    is_second: bool = False  # whether that was the second time
    since: float = field(default_factory=time.monotonic)  # when it was put

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds for the answer; whether it is there."""
        return self.home is None or self.home.wait(self, timeout)


class PoolTasks:
    """The tasks of a kernel for one run in one pool.

    Threads share our memory; other workers get by pickle what they need. A kernel may hold a subtrahend of 32 MB: a
    large one lies in a file in memory for processes, and to a cluster it is sent with every task until the first result
    is back, and then again when a worker answers that it has not met it. A worker that has met an equal kernel, be it
    in another run, has it already. Of one with a state, each pool has a copy for each run.

    When an executor broke that can be made again, all that it had in flight is sent once more, in order, and has
    failed if that one breaks too.
    """

    def __init__(self, pool: Pool, kernel: Kernel, arrays: SharedArrays | None = None) -> None:
        self.pool = pool
        self._kernel = kernel
        self._arrays = arrays
        self._told: News | None = () if hears(kernel, *TOLD) else None
        self._open: list[Task] = []
        self._is_known = False

    def tell(self, name: str, doc: Mapping[str, Any]) -> Task | None:
        """Have the kernel hear of its run, if it has a state: now, and with each task after this."""
        if self._told is None or not (name == "stop" or hears(self._kernel, name)):
            return None
        while not self.pool.keeps_order:  # then what was sent before this must be done
            self.mend()
            left = [task.sent for task in self._open if not task.sent.done()]
            if not left or _deadline.is_over() or (wait_for(left, ASK_EVERY).not_done and self.pool.lack()):
                break
        self._told = news(name, doc, self._told)
        return self._begin(Task(self, self._told))

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Task:
        """Have an event worked on; whatever goes wrong is in the task."""
        task = Task(self, self._told)
        if self._arrays is not None:
            data, inputs = self._arrays.pack(task, data, inputs)
        task.call = (data, seq_num, inputs)
        return self._begin(task)

    def load(self) -> int:
        """How many tasks are not done."""
        return sum(not task.sent.done() for task in self._open)

    def wait(self, task: Task, timeout: float) -> bool:
        """Wait so many seconds for a task, and mend the pool meanwhile; whether it is done, however it ended."""
        while True:
            if task.sent.done():
                self.mend()  # what a dead executor left of it is not done for good
            if task.sent.done():
                break
            if timeout <= 0:
                return False
            patience = min(timeout, ASK_EVERY)
            timeout -= patience
            is_late = wait_for([task.sent], patience).not_done
            self.mend(self.pool.lack() if is_late else "")
        if task in self._open:  # the first time that it is asked for
            self._open.remove(task)
            if self._arrays is not None:
                self._arrays.unpack(task)
        return True

    def mend(self, lack: str = "") -> None:
        """Send again what can't be done where it is.

        That is what a worker could not do, having not met the kernel, and what was in flight in an executor that has
        died, or (``lack`` says why) will not answer.
        """
        answers = [(task, task.sent.result()) for task in self._open if task.sent.done() and not trouble_of(task.sent)]
        unknown = [task for task, answer in answers if isinstance(answer, Unknown)]
        self._is_known = not unknown if answers else self._is_known
        for task in unknown:
            self._send(task)
        died = {task.executor for task in self._open if self._is_lost(task, bool(lack))}
        if not died or not (lack or self.pool.is_renewable):  # of a death, each task has its own error
            return
        lost = [task for task in self._open if task.executor in died and self._is_lost(task, True)]
        errors = [trouble_of(task.sent) for task in lost if task.sent.done()]
        why = f"{type(errors[0]).__name__}: {errors[0]}" if errors else lack
        for executor in died:
            self.pool.renew(executor)
        if self.pool.is_renewable:
            log.warning("%s died (%s); the %d tasks that it held are sent again", self.pool.name, why, len(lost))
        for task in lost:
            task.sent.cancel()
            if not self.pool.is_renewable:
                task.sent = failed(RuntimeError(f"{self.pool.name} was closed before it was done: {why}"))
            elif task.is_second:
                task.sent = failed(DiedTwiceError(f"{self.pool.name} died twice with it: {why}"))
            else:
                task.is_second = True
                self._send(task)

    def close(self) -> None:
        """Let go what is not done, and free the shared memory."""
        for task in self._open:
            task.sent.cancel()
        self._open.clear()
        if self._arrays is not None:
            self._arrays.close()

    def _is_lost(self, task: Task, never_comes: bool) -> bool:
        return self.pool.has_died(trouble_of(task.sent)) if task.sent.done() else never_comes

    def _begin(self, task: Task) -> Task:
        self.mend()
        self._open.append(task)
        self._send(task)
        return task

    def _send(self, task: Task) -> None:
        try:
            task.executor = self.pool.executor
            task.sent = self._start(task.executor, task)
        except Exception as error:  # each executor refuses in its own way, and the event has failed in any case
            task.sent = failed(error)

    def _start(self, executor: Executor, task: Task) -> Future:
        if not isinstance(executor, ThreadPoolExecutor):
            token, kernel, goes_along = self._travelling
            kernel = kernel if goes_along or not self._is_known else None
            return executor.submit(perform_there, token, kernel, task.told, task.call)
        if task.told is None:
            return executor.submit(perform, self._kernel, *task.call or ())
        return executor.submit(self._copy.work, task.told, task.call)

    @cached_property
    def _copy(self) -> StatefulKernel:
        return StatefulKernel(deepcopy(self._kernel))

    @cached_property
    def _travelling(self) -> tuple[str, Any, bool]:
        """The name by which workers know the kernel, what they are sent of it, and whether that goes with each task."""
        token, pickled = str(uuid.uuid4()), b""
        try:
            pickled = pickle.dumps(self._kernel, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            if isinstance(self.pool.executor, ProcessPoolExecutor):  # clusters have ways of their own with a lambda
                raise TypeError(f"the kernel {self._kernel!r} can't be pickled for a process: {error}") from None
        if pickled and self._told is None:
            token = hashlib.sha256(pickled).hexdigest()
        is_large = len(pickled) >= WORTH_SHARING
        if self._arrays is None:
            return token, self._kernel, bool(pickled) and not is_large
        shared = self._arrays.share(np.frombuffer(pickled, np.uint8)) if is_large else None
        return token, shared if isinstance(shared, SharedArray) else pickled, True
