"""Tasks: the work of a map on one event each, in the order of the events, and never too many at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from bluesky_ext.engine.executors.kernel import TOLD, Kernel, StatefulKernel, hears, perform

if TYPE_CHECKING:
    from bluesky_ext.engine.executors.lanes import LaneTasks
    from bluesky_ext.engine.executors.pool import PoolTasks

log = logging.getLogger(__name__)

Tag = TypeVar("Tag")
#: A finished task: whose it is, its result, and the error if it failed.
Finished: TypeAlias = tuple[Tag, Any, BaseException | None]

#: After so many seconds a wait for a task is worth a warning.
PATIENCE = 5.0


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


@dataclass(eq=False, slots=True)
class Task:
    """An event for an executor."""

    home: PoolTasks | None = None  # the tasks that it is one of; None if there is nothing to do
    call: tuple = ()  # the event's data, its seq_num and the inputs
    told: tuple = ()  # what its kernel must have been told before, as (name, document)
    sent: Future = field(default_factory=lambda: failed(CancelledError()))  # the answer to come
    executor: Any = None  # the one that it was sent to last
    is_second: bool = False  # whether that was the second time

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds for the answer; whether it is there."""
        return self.home is None or self.home.wait(self, timeout)


class InFlight(Generic[Tag]):
    """The tasks under way, in the order of their events: beyond ``limit``, the next waits for the oldest."""

    def __init__(self, tasks: PoolTasks | LaneTasks, limit: int, name_of: Callable[[Tag], str]) -> None:
        self.tell = tasks.tell
        self.close = tasks.close
        self._submit = tasks.submit
        self._limit = limit
        self._name_of = name_of
        self._under_way: deque[tuple[Tag, Task]] = deque()

    def put(self, tag: Tag, data: Mapping, seq_num: int, inputs: tuple, refers: Any) -> Iterator[Finished[Tag]]:
        """Start a task; what is finished meanwhile comes out, in order."""
        yield from self.drain(self._limit - 1)
        self._under_way.append((tag, self._submit(data, seq_num, inputs)))
        yield from self.ready()

    def put_done(self, tag: Tag, result: Any) -> Iterator[Finished[Tag]]:
        """Put what needs no work behind the tasks before it; what is finished meanwhile comes out, in order."""
        yield from self.drain(self._limit - 1)
        task = Task(sent=Future())
        task.sent.set_result(result)
        self._under_way.append((tag, task))
        yield from self.ready()

    def ready(self) -> Iterator[Finished[Tag]]:
        """What is finished and has no unfinished task before it."""
        while self._under_way and self._under_way[0][1].wait(0):
            yield self._oldest()

    def drain(self, left: int = 0) -> Iterator[Finished[Tag]]:
        """Everything but so many, waited for."""
        while len(self._under_way) > left:
            tag, task = self._under_way[0]
            if not task.wait(PATIENCE):
                log.warning("%s waits for its executor since %g s", self._name_of(tag), PATIENCE)
                while not task.wait(PATIENCE):
                    pass
            yield self._oldest()

    def abandon(self) -> Iterator[Tag]:
        """The tags of everything that is left, whether it is finished or not."""
        while self._under_way:
            yield self._under_way.popleft()[0]

    def _oldest(self) -> Finished[Tag]:
        tag, task = self._under_way.popleft()
        trouble = trouble_of(task.sent)
        return tag, None if trouble is not None else task.sent.result(timeout=0), trouble


class InlineTasks(Generic[Tag]):
    """Tasks that are done at once, where they are put: what `InFlight` is without an executor.

    A kernel with a state is copied, so that each run has its own.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = StatefulKernel(deepcopy(kernel)) if hears(kernel, *TOLD) else kernel
        self._run = "?"

    def put(self, tag: Tag, data: Mapping, seq_num: int, inputs: tuple, refers: Any) -> tuple[Finished[Tag], ...]:
        """Do a task, and return what came of it; ``refers`` says whether something is to be read for it."""
        try:
            if refers:
                return ((tag, perform(self._kernel, data, seq_num, inputs), None),)
            return ((tag, self._kernel(data, seq_num, *inputs), None),)
        except Exception as error:
            return ((tag, None, error),)

    def put_done(self, tag: Tag, result: Any) -> tuple[Finished[Tag], ...]:
        """Return what needs no work, as a finished task."""
        return ((tag, result, None),)

    def ready(self) -> tuple[()]:
        """Nothing: each task was finished when it was put."""
        return ()

    drain = abandon = ready

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell a kernel with a state of the run; what goes wrong is logged, and fails its events."""
        self._run = doc["uid"] if name == "start" else self._run
        try:
            if isinstance(self._kernel, StatefulKernel):
                self._kernel.tell(name, doc)
        except Exception as error:
            log.warning("run %s: the kernel's %s failed: %s: %s", self._run, name, type(error).__name__, error)

    def close(self) -> None:
        """Nothing: nothing is kept."""
