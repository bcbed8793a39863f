"""The tasks of a run under way: never too many at once, and of a live run the latest events only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from copy import deepcopy
from itertools import count
from typing import Any, TypeAlias

from bluesky_ext import _deadline
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.executors.kernel import TOLD, Kernel, StatefulKernel, hears, news, perform
from bluesky_ext.engine.executors.pool import PoolTasks, Task, trouble_of

log = logging.getLogger(__name__)

#: A finished task: the tag that it was put with, its result, and the error if it failed.
Finished: TypeAlias = tuple[Any, Any, BaseException | None]

#: After so many seconds a wait for a task is worth a warning.
PATIENCE = 5.0
#: How long the end of a run waits for what its kernels do at the stop, in seconds.
STOP_PATIENCE = 30.0
#: So many events of a live run are under way: one in work, and one at hand. More would be old when they are seen.
ROOM = 2

_SLICE = 0.5  # s, after which a wait is interrupted to look around
_turns = count()


class InFlight:
    """The tasks of a run under way, in one executor or several lanes: beyond ``limit``, the next one waits.

    They come out in the order of their events, or if not ``ordered`` in that in which they are finished. What the
    kernel is told of the run reaches every lane.
    """

    def __init__(
        self, lanes: Sequence[PoolTasks], limit: int, name_of: Callable[[Any], str], *, ordered: bool = True
    ) -> None:
        first = next(_turns) % len(lanes)  # two runs at once do not begin in the same lane
        self._lanes = lanes
        self._in_turn = [*lanes[first:], *lanes[:first]]
        self._limit = limit
        self._name_of = name_of
        self._ordered = ordered
        self._under_way: dict[Task, Any] = {}  # the tags of the tasks, in the order in which they were put
        self._told: list[tuple[PoolTasks, Task]] = []  # what the lanes were told, and perhaps have not heard yet
        self._run = "?"

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def lag(self) -> float:
        """For how long the oldest task is under way, in s; any thread may ask."""
        oldest = list(self._under_way)[:1]
        return time.monotonic() - oldest[0].since if oldest else 0.0

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell a kernel with a state of the run; what goes wrong is logged, and fails its events."""
        self._run = printable(doc["uid"]) if name == "start" else self._run
        self._told += [(lane, task) for lane in self._lanes if (task := lane.tell(name, doc)) is not None]
        self._report(STOP_PATIENCE if name == "stop" else 0.0)

    def put(self, tag: Any, data: Mapping, seq_num: int, inputs: tuple, lane: int | None = None) -> Iterator[Finished]:
        """Start a task, in the lane that has least to do unless one is given; what is finished meanwhile comes out."""
        yield from self.drain(self._limit - 1)
        tasks = min(self._in_turn, key=PoolTasks.load) if lane is None else self._lanes[lane]
        self._under_way[tasks.submit(data, seq_num, inputs)] = tag
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

    def close(self) -> None:
        """Let go what is not done."""
        self._report(0.0)
        for lane in self._lanes:
            lane.close()

    def _report(self, patience: float) -> None:
        until = time.monotonic() + min(patience, _deadline.seconds_left())
        told, self._told = self._told, []
        for lane, task in told:
            trouble = None
            if task.wait(max(until - time.monotonic(), 0.0)):
                trouble = trouble_of(task.sent)
            elif patience:
                trouble = TimeoutError(f"no answer to the stop in {patience:g} s")
            else:
                self._told.append((lane, task))
            if trouble is not None:
                log.warning("run %s: %s (in %s)", self._run, printable(trouble), lane.pool.name)


class InlineTasks:
    """Tasks that are done at once, where they are put: what `InFlight` is without an executor."""

    lag = 0.0

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._copy = StatefulKernel(deepcopy(kernel)) if hears(kernel, *TOLD) else None
        self._run = "?"

    def put(
        self, tag: Any, data: Mapping, seq_num: int, inputs: tuple, lane: int | None = None
    ) -> tuple[Finished, ...]:
        """Do a task, and return what came of it."""
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


class Latest:
    """One item for each key, the latest, which waits for room; the key that waits longest comes out first."""

    def __init__(self) -> None:
        self._items: dict[Hashable, Any] = {}

    def put(self, key: Hashable, item: Any) -> bool:
        """Have an item wait, in the place of the one before; whether there was one."""
        is_overtaken = key in self._items
        self._items[key] = item
        return is_overtaken

    def take(self, has_room: Callable[[], bool] = lambda: True) -> Iterator[Any]:
        """Take out the items one by one, as long as there is room."""
        while self._items and has_room():
            yield self._items.pop(next(iter(self._items)))
