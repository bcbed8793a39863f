"""The tasks under way, and never too many at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from copy import deepcopy
from typing import Any, TypeAlias

from bluesky_ext import _deadline
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.executors.kernel import TOLD, Kernel, StatefulKernel, hears, news, perform
from bluesky_ext.engine.executors.lanes import LaneTasks
from bluesky_ext.engine.executors.pool import PoolTasks, Task, trouble_of

log = logging.getLogger(__name__)

#: A finished task: the tag that it was put with, its result, and the error if it failed.
Finished: TypeAlias = tuple[Any, Any, BaseException | None]

#: After so many seconds a wait for a task is worth a warning.
PATIENCE = 5.0

_SLICE = 0.5  # s, after which a wait is interrupted to look around


class InFlight:
    """The tasks under way: beyond ``limit``, the next one waits.

    They come out in the order of their events, or if not ``ordered`` in that in which they are finished.
    """

    def __init__(
        self, tasks: PoolTasks | LaneTasks, limit: int, name_of: Callable[[Any], str], *, ordered: bool = True
    ) -> None:
        self.tell = tasks.tell
        self.close = tasks.close
        self._submit: Callable[..., Task] = tasks.submit
        self._limit = limit
        self._name_of = name_of
        self._ordered = ordered
        self._under_way: dict[Task, Any] = {}  # the tags of the tasks, in the order in which they were put

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def lag(self) -> float:
        """For how long the oldest task is under way, in s; any thread may ask."""
        oldest = list(self._under_way)[:1]
        return time.monotonic() - oldest[0].since if oldest else 0.0

    def put(self, tag: Any, data: Mapping, seq_num: int, inputs: tuple, *where: int | None) -> Iterator[Finished]:
        """Start a task, in this lane if one is given; what is finished meanwhile comes out."""
        yield from self.drain(self._limit - 1)
        self._under_way[self._submit(data, seq_num, inputs, *where)] = tag
        yield from self.ready()

    def put_done(self, tag: Any, result: Any) -> Iterator[Finished]:
        """Put what needs no work behind the tasks before it; what is finished meanwhile comes out."""
        yield from self.drain(self._limit - 1)
        task = Task(sent=Future())
        task.sent.set_result(result)
        self._under_way[task] = tag
        yield from self.ready()

    def ready(self) -> Iterator[Finished]:
        """What is finished, and if they are ordered has no unfinished task before it."""
        for task in list(self._under_way):
            if task.wait(0):
                trouble = trouble_of(task.sent)
                yield self._under_way.pop(task), None if trouble is not None else task.sent.result(timeout=0), trouble
            elif self._ordered:
                return

    def drain(self, left: int = 0) -> Iterator[Finished]:
        """Everything but so many, waited for, unless the server is being stopped."""
        warn_at = time.monotonic() + PATIENCE
        while len(self._under_way) > left:
            awaited = list(self._under_way)[: 1 if self._ordered else None]
            seconds = max(0.0, min(_SLICE, PATIENCE, _deadline.seconds_left()))
            if not wait([task.sent for task in awaited], seconds, FIRST_COMPLETED).done:
                for task in awaited:
                    task.wait(0.001)  # so that its executor is asked whether it is still there
                if time.monotonic() >= warn_at:
                    oldest = self._name_of(self._under_way[awaited[0]])
                    log.warning("%s waits for its executor since %g s", oldest, PATIENCE)
                    warn_at = float("inf")
            yield from self.ready()
            if _deadline.is_over():
                return

    def abandon(self) -> Iterator[Any]:
        """The tags of everything that is left, whether it is finished or not."""
        while self._under_way:
            yield self._under_way.pop(next(iter(self._under_way)))


class InlineTasks:
    """Tasks that are done at once, where they are put: what `InFlight` is without an executor."""

    lag = 0.0

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._copy = StatefulKernel(deepcopy(kernel)) if hears(kernel, *TOLD) else None
        self._run = "?"

    def put(self, tag: Any, data: Mapping, seq_num: int, inputs: tuple, *where: int | None) -> tuple[Finished, ...]:
        """Do a task, and return what came of it; there is one lane."""
        try:
            if _deadline.END.get() is not None:  # asked here, since that is no call for each event
                _deadline.check()
            if self._copy is not None:
                return ((tag, self._copy.work((), (data, seq_num, inputs)), None),)
            return ((tag, perform(self._kernel, data, seq_num, inputs), None),)
        except Exception as error:
            return ((tag, None, error),)

    def put_done(self, tag: Any, result: Any) -> tuple[Finished, ...]:
        """Return what needs no work, as a finished task."""
        return ((tag, result, None),)

    def __len__(self) -> int:
        return 0

    def ready(self) -> tuple[()]:
        """Nothing: each task was finished when it was put."""
        return ()

    drain = abandon = close = ready

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell a kernel with a state of the run; what goes wrong is logged, and fails its events."""
        self._run = printable(doc["uid"]) if name == "start" else self._run
        try:
            if self._copy is not None:
                self._copy.work(news(name, doc))
        except RuntimeError as error:
            log.warning("run %s: %s", self._run, printable(error))
