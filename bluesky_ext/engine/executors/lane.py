"""One lane: a worker, the kernels of all runs that it has copies of, and the tasks that it was given."""

from __future__ import annotations

import copy as copying
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bluesky_ext.engine.executors import copies
from bluesky_ext.engine.executors.tasks import Kernel, failed, trouble_of

log = logging.getLogger(__name__)

#: How often a lane may die while an event is alone in it, before the event is held to be the cause.
ATTEMPTS = 3
#: How often a cluster is asked whether a worker is still there, in seconds.
ASK_EVERY = 2.0

_numbers = count()


@dataclass(eq=False)
class Copy:
    """A run's kernel in one lane: what it is to be told, and the answers of the worker that lives there now."""

    kernel: Kernel
    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    name: str = ""
    worker: int = -1  # for which of the lane's workers the name and the answers are
    answers: list[Future] = field(default_factory=list)  # to the kernel itself, then to each thing that was told


@dataclass(eq=False)
class _Task:
    copy: Copy
    call: tuple
    outcome: Future
    told: int  # how much its kernel must have been told before, and whose failure is therefore its own
    sent: Future | None = None
    deaths: int = 0


class Lane:
    """A worker and its tasks, oldest first.

    After a death nobody knows which task was the cause, if any: all that the lane held are done again, one at a time.

    Parameters
    ----------
    make_executor
        Makes an executor with one worker; called again when that has died.
    is_there
        Tells whether that worker still exists, where a death does not show as an exception and tasks are not always
        done in their order.
    shares_memory
        Whether the worker must be given a copy of a kernel, being a thread.
    """

    def __init__(
        self, make_executor: Callable[[], Executor], is_there: Callable[[], bool] | None, shares_memory: bool
    ) -> None:
        self._make_executor = make_executor
        self._is_there = is_there
        self._shares_memory = shares_memory
        self._executor = make_executor()
        self._worker = 0
        self._is_closed = False
        self._tasks: deque[_Task] = deque()
        self._suspects = 0  # how many tasks, from the oldest on, were here when the lane died
        self._lock = threading.RLock()  # runs may be fed from several threads

    def __len__(self) -> int:
        return len(self._tasks)

    def tell(self, copy: Copy, name: str, doc: Mapping[str, Any]) -> None:
        """Let a run's kernel hear a document."""
        with self._lock:
            copy.told.append((name, doc))
            if not self._suspects:  # else it is told before its next task, so that a suspect is alone
                self._catch_up(copy, len(copy.told))

    def submit(self, copy: Copy, call: tuple, outcome: Future) -> None:
        """Have an event worked on."""
        with self._lock:
            self._tasks.append(_Task(copy, call, outcome, len(copy.told)))
            self._send()

    def collect(self) -> Future | None:
        """Hand over what is done, oldest first; what the worker does now. If it has died, it is replaced."""
        with self._lock:
            while self._tasks:
                task = self._tasks[0]
                if task.sent is None:  # an interrupt came before it was sent
                    self._send()
                if task.sent is None or not task.sent.done():
                    return task.sent
                trouble = self._trouble(task)
                if trouble is not None and _is_death(trouble):
                    self._rebuild()
                    continue
                if trouble is None:
                    _settle(task.outcome, result=task.sent.result(timeout=0))
                else:
                    _settle(task.outcome, error=trouble)
                self._tasks.popleft()
                self._suspects = max(0, self._suspects - 1)
                self._send()
            return None

    def wait(self, outcome: Future, timeout: float) -> bool:
        """Wait so many seconds for a task, minding the others meanwhile; whether it is done."""
        while True:
            worker, sent = self._worker, self.collect()
            if outcome.done() or timeout <= 0 or sent is None:
                return outcome.done()
            patience = min(timeout, ASK_EVERY)
            wait_for([sent], patience)
            timeout -= patience
            if not sent.done() and self._is_gone():
                with self._lock:
                    if worker == self._worker and self._tasks:
                        self._rebuild()

    def leave(self, copy: Copy) -> None:
        """Have a run's kernel told what is left, and then forgotten; tasks of it that are not done are given up."""
        with self._lock:
            for task in [task for task in self._tasks if task.copy is copy]:
                if task.sent is not None:
                    task.sent.cancel()
                _settle(task.outcome, error=CancelledError())
                self._tasks.remove(task)
            self._suspects = min(self._suspects, len(self._tasks))
            self._catch_up(copy, len(copy.told))
            self._call(copies.leave, copy)
            self._send()

    def close(self) -> None:
        """Let the worker go when it has done what it was given."""
        self._is_closed = True
        self._executor.shutdown(wait=True)

    def _send(self) -> None:
        for task in self._tasks:
            if task.sent is None:
                if self._suspects and task is not self._tasks[0]:
                    return
                try:
                    self._catch_up(task.copy, task.told)
                    task.sent = self._call(copies.work, task.copy, *task.call)
                except Exception as error:  # a kernel that can't be copied: this event has failed
                    task.sent = failed(error)

    def _catch_up(self, copy: Copy, told: int) -> None:
        """Have the worker learn what it does not know yet, before it does anything that is sent after this."""
        if copy.worker != self._worker:
            kernel = copying.deepcopy(copy.kernel) if self._shares_memory else copy.kernel
            copy.worker = self._worker
            copy.name = str(uuid.uuid4())
            copy.answers = [self._ask(copies.place, copy, kernel)]
        while len(copy.answers) <= told:
            copy.answers.append(self._ask(copies.hear, copy, *copy.told[len(copy.answers) - 1]))

    def _ask(self, function: Callable[..., Any], copy: Copy, *args: Any) -> Future:
        answer = self._call(function, copy, *args)
        if self._is_there is not None:  # it does not keep the order of what it is sent
            while not wait_for([answer], ASK_EVERY).done and not self._is_gone():
                pass
        return answer

    def _call(self, function: Callable[..., Any], copy: Copy, *args: Any) -> Future:
        try:
            return self._executor.submit(function, copy.name, next(_numbers), *args)
        except Exception as error:  # each executor refuses in its own way when it is broken or closed
            return failed(error)

    def _trouble(self, task: _Task) -> BaseException | None:
        """What went wrong with a task, or when its kernel was told of the run: its results can't be trusted then."""
        before = [] if task.copy.worker != self._worker else task.copy.answers[: task.told + 1]
        for answer in before:
            trouble = trouble_of(answer) if answer.done() else None
            if trouble is not None:
                if _is_death(trouble):
                    return trouble
                # A new one for each event: an exception holds the frames that it passed through, and their images.
                return RuntimeError(f"its kernel failed when it was told of the run: {_said(trouble)}")
        return trouble_of(task.sent) if task.sent is not None else None

    def _is_gone(self) -> bool:
        try:
            return self._is_there is not None and not self._is_there()
        except Exception as error:  # who can't be asked for its workers has none for us
            log.warning("a lane's worker can't be asked for: %s", _said(error))
            return True

    def _rebuild(self) -> None:
        oldest = self._tasks[0]
        if sum(task.sent is not None for task in self._tasks) == 1:
            oldest.deaths += 1
        if oldest.deaths >= ATTEMPTS:
            _settle(oldest.outcome, error=RuntimeError(f"its lane died {ATTEMPTS} times while working on it alone"))
            self._tasks.popleft()
        log.warning("a lane died; it is rebuilt, and the %d events that it held are done again", len(self._tasks))
        for task in self._tasks:
            if task.sent is not None:
                task.sent.cancel()
            task.sent = None
        self._suspects = len(self._tasks)
        try:
            if self._is_closed:
                raise RuntimeError("the lanes were closed")
            executor = self._make_executor()
            self._executor.shutdown(wait=False)
            self._executor = executor
            self._worker += 1
        except Exception as error:  # the next event tries again; these have nowhere to go
            while self._tasks:
                message = f"its lane died and can't be rebuilt: {_said(error)}"
                _settle(self._tasks[0].outcome, error=RuntimeError(message))
                self._tasks.popleft()
            self._suspects = 0
        self._send()


def _settle(outcome: Future, *, result: Any = None, error: BaseException | None = None) -> None:
    if outcome.done():  # it was interrupted when it was about to go
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _is_death(error: BaseException) -> bool:
    # dask's own exceptions are told by name: importing distributed takes a second, and without it there are none.
    deaths = ("KilledWorker", "CommClosedError")
    return isinstance(error, BrokenExecutor | CancelledError) or type(error).__name__ in deaths
