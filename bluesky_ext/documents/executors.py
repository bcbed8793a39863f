"""Where the work of a map is done: in threads, in processes or on a cluster; in order and never too much at once.

Any `concurrent.futures.Executor` serves. Threads share our memory, so a task goes to them as it is. Everyone else gets
it by pickle: then the kernel (which may hold a subtrahend of 32 MB) travels once to each worker and not once an event,
and images go to processes of this machine through shared memory.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from bluesky_ext.documents.shared import SharedBlocks

Kernel = Callable[..., Any]
Tag = TypeVar("Tag")


def perform(kernel: Kernel, data: Mapping[str, Any], seq_num: int, inputs: tuple = ()) -> Any:
    """The kernel's result for one event; what is only referred to (a frame in a file, a shared array) is read here."""
    for value in data.values():
        if hasattr(value, "read"):
            data = {key: item.read() if hasattr(item, "read") else item for key, item in data.items()}
            break
    return kernel(data, seq_num, *(item.read() if hasattr(item, "read") else item for item in inputs))


class Workforce(Protocol):
    """Those who do the tasks of one kernel for one run."""

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Let a kernel with state hear a start, a descriptor, parameters or a stop."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on."""
        ...

    def wait(self, future: Future) -> None:
        """Block until a future is done, however it ended, and take back what its task was lent."""

    def close(self) -> None:
        """Free what was kept for this run."""


class Employer(Protocol):
    """What is no executor itself but has workers of its own, as `Lanes` does."""

    def open(self, kernel: Kernel) -> Workforce:
        """Those who do a kernel's tasks for one run."""
        ...


def workforce(executor: Executor | Employer, kernel: Kernel) -> Workforce:
    """Those who do a kernel's tasks on this executor, for one run."""
    if isinstance(executor, ThreadPoolExecutor):
        return Threads(executor, kernel)
    if isinstance(executor, Executor):
        return Strangers(executor, kernel)
    return executor.open(kernel)


class Threads:
    """Workers that share our memory."""

    def __init__(self, executor: Executor, kernel: Kernel) -> None:
        self._executor = executor
        self._kernel = kernel

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """A kernel without a home of its own has no state that could listen."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on."""
        return self._executor.submit(perform, self._kernel, data, seq_num, inputs)

    def wait(self, future: Future) -> None:
        """Block until a future is done, however it ended."""
        _settled(future)

    def close(self) -> None:
        """The executor is its owner's to shut down."""


class _Unknown:
    """A worker's answer to a kernel that it has not met."""


_numbers = count()
_met: OrderedDict[str, Kernel] = OrderedDict()  # in the worker: the last eight kernels that it has met


def _perform_there(token: str, number: int, kernel: Kernel | None, *task: Any) -> Any:
    """Do a task in a worker that may not have its kernel yet.

    The number makes every call different, since dask takes equal calls for one:
    https://distributed.dask.org/en/stable/api.html#distributed.Client.get_executor
    """
    if kernel is None:
        kernel = _met.get(token)
        if kernel is None:
            return _Unknown()
    else:
        _met[token] = kernel
        while len(_met) > 8:
            _met.popitem(last=False)
    return perform(kernel, *task)


class Strangers:
    """Workers that do not share our memory: processes of this machine, or a cluster."""

    def __init__(self, executor: Executor, kernel: Kernel) -> None:
        self._executor = executor
        self._kernel = kernel
        self._token = str(uuid.uuid4())
        local = isinstance(executor, ProcessPoolExecutor) and SharedBlocks.available()
        self._blocks = SharedBlocks() if local else None

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """A kernel without a home of its own has no state that could listen."""

    def submit(self, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
        """Have an event worked on."""
        outcome: Future = Future()
        if self._blocks is not None:
            data, inputs = self._blocks.pack(outcome, data, inputs)
        try:
            self._send(outcome, None, data, seq_num, inputs)
        except RuntimeError as error:  # the executor is broken or was shut down
            outcome.set_exception(error)
        return outcome

    def _send(self, outcome: Future, kernel: Kernel | None, *task: Any) -> None:
        sent = self._executor.submit(_perform_there, self._token, next(_numbers), kernel, *task)
        sent.add_done_callback(lambda done: self._answered(done, outcome, task))

    def _answered(self, done: Future, outcome: Future, task: tuple) -> None:
        try:
            result = done.result()
            if isinstance(result, _Unknown):
                self._send(outcome, self._kernel, *task)
            else:
                outcome.set_result(result)
        except BaseException as error:  # whatever it is, it belongs to the one who asks for the result
            outcome.set_exception(error)

    def wait(self, future: Future) -> None:
        """Block until a future is done, however it ended, and take back the memory that its task was lent."""
        _settled(future)
        if self._blocks is not None:
            self._blocks.unpack(future)

    def close(self) -> None:
        """Free the shared memory; the executor is its owner's to shut down."""
        if self._blocks is not None:
            self._blocks.close()


def _settled(future: Future) -> BaseException | None:
    """Wait for a future; its exception, also when that is its cancellation."""
    try:
        return future.exception()
    except CancelledError as cancelled:
        return cancelled


class InFlight(Generic[Tag]):
    """The tasks under way, in the order of their events.

    Parameters
    ----------
    staff
        Those who do the tasks.
    limit
        How many may be under way before the next one waits for the oldest: the back-pressure.
    """

    def __init__(self, staff: Workforce, limit: int) -> None:
        self.staff = staff
        self._limit = limit
        self._tasks: deque[tuple[Tag, Future]] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    def put(self, tag: Tag, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Iterator[tuple[Tag, Future]]:
        """Start a task; what is finished meanwhile comes out, in order."""
        while len(self._tasks) >= self._limit:
            yield self._oldest()
        self._tasks.append((tag, _submitted(self.staff, data, seq_num, inputs)))
        yield from self.ready()

    def follow(self, tag: Tag, result: Any) -> None:
        """Put what needs no work behind the tasks before it."""
        done: Future = Future()
        done.set_result(result)
        self._tasks.append((tag, done))

    def ready(self) -> Iterator[tuple[Tag, Future]]:
        """What is finished and has no unfinished task before it."""
        while self._tasks and self._tasks[0][1].done():
            yield self._oldest()

    def drain(self) -> Iterator[tuple[Tag, Future]]:
        """Everything, waited for."""
        while self._tasks:
            yield self._oldest()

    def _oldest(self) -> tuple[Tag, Future]:
        tag, future = self._tasks[0]
        self.staff.wait(future)
        self._tasks.popleft()
        return tag, future


def _submitted(staff: Workforce, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Future:
    try:
        return staff.submit(data, seq_num, inputs)
    except RuntimeError as error:  # a broken or closed executor: this event failed, and is reported in its turn
        refused: Future = Future()
        refused.set_exception(error)
        return refused
