"""Tasks: the work of a map on one event each, done elsewhere; in order, and never too many at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

Kernel = Callable[..., Any]
Tag = TypeVar("Tag")

#: After so many seconds a wait for a task is worth a warning, and a look whether its executor is still there.
PATIENCE = 5.0


def perform(kernel: Kernel, data: Mapping[str, Any], seq_num: int, inputs: tuple = ()) -> Any:
    """The kernel's result for one event; what is only referred to (a frame in a file, a shared array) is read here."""
    for value in data.values():
        if hasattr(value, "read"):
            data = {key: item.read() if hasattr(item, "read") else item for key, item in data.items()}
            break
    return kernel(data, seq_num, *(item.read() if hasattr(item, "read") else item for item in inputs))


class Tasks(Protocol):
    """The tasks of one kernel for one run, on some executor."""

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Let a kernel with state hear a start, a descriptor, parameters or a stop."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on; whatever goes wrong is in the future."""
        ...

    def wait(self, future: Future, timeout: float) -> bool:
        """Wait so many seconds for a task; whether it is done, however it ended, and what it was lent is back."""
        ...

    def close(self) -> None:
        """Free what was kept for this run, and forget the tasks that are not done."""


class InFlight(Generic[Tag]):
    """The tasks under way, in the order of their events.

    Parameters
    ----------
    tasks
        Where they are done.
    limit
        How many may be under way before the next one waits for the oldest: the back-pressure.
    """

    def __init__(self, tasks: Tasks, limit: int) -> None:
        self.tasks = tasks
        self._limit = limit
        self._under_way: deque[tuple[Tag, Future]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    def put(self, tag: Tag, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Iterator[tuple[Tag, Future]]:
        """Start a task; what is finished meanwhile comes out, in order."""
        yield from self._room()
        self._under_way.append((tag, self.tasks.submit(data, seq_num, inputs)))
        yield from self.ready()

    def follow(self, tag: Tag, result: Any) -> Iterator[tuple[Tag, Future]]:
        """Put what needs no work behind the tasks before it; what is finished meanwhile comes out, in order."""
        yield from self._room()
        done: Future = Future()
        done.set_result(result)
        self._under_way.append((tag, done))
        yield from self.ready()

    def ready(self) -> Iterator[tuple[Tag, Future]]:
        """What is finished and has no unfinished task before it."""
        while self._under_way and self.tasks.wait(self._under_way[0][1], 0):
            yield self._under_way.popleft()

    def drain(self) -> Iterator[tuple[Tag, Future]]:
        """Everything, waited for."""
        while self._under_way:
            yield self._oldest()

    def abandon(self) -> Iterator[tuple[Tag, Future]]:
        """Everything that is left, whether it is finished or not."""
        while self._under_way:
            yield self._under_way.popleft()

    def _room(self) -> Iterator[tuple[Tag, Future]]:
        while len(self._under_way) >= self._limit:
            yield self._oldest()

    def _oldest(self) -> tuple[Tag, Future]:
        tag, future = self._under_way[0]
        if not self.tasks.wait(future, PATIENCE):
            log.warning("%s waits for its executor since %g s", tag, PATIENCE)
            while not self.tasks.wait(future, PATIENCE):
                pass
        return self._under_way.popleft()


def trouble_of(done: Future) -> BaseException | None:
    """The exception of a future that is done, also when that is its cancellation."""
    try:
        return done.exception(timeout=0)
    except CancelledError:
        return CancelledError("its executor was shut down before it was done")


def failed(error: BaseException) -> Future:
    """A future that has failed."""
    future: Future = Future()
    future.set_exception(error)
    return future
