"""Kernels compiled before they are needed: loaded from the cache on disk, which several processes fill at once.

To numba one thread at a time may compile in a process. The processes are new ones that run this module, never forks,
and know nothing of the program that starts them. All that a kernel is compiled for is compiled by one of them, since
numba's index of a kernel would lose what two add to it at the same time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from numba.core import event
from tqdm import tqdm

from bluesky_ext._kernel import NOT_KEPT

logger = logging.getLogger(__name__)

#: A function of a module that calls kernels, so that they are compiled, or a partial of one with arguments for JSON.
Task = Callable[[], None] | partial[None]

#: What a task takes on average, in seconds of one core.
SECONDS = 2.0
#: More processes are not faster: the longest task takes a quarter of the time of all.
MOST_PROCESSES = 4

_PROGRAM = "import sys; sys.path[0] = sys.argv[1]; from bluesky_ext._compile import work; work()"
_lock = threading.Lock()
_done: set[str] = set()


class _MissingError(Exception):
    """A kernel is not in the cache."""


class _Refusal(event.Listener):
    """No kernel is compiled in the thread that made this."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def on_start(self, event: Any) -> None:
        if threading.get_ident() == self._thread:
            raise _MissingError

    def on_end(self, event: Any) -> None:
        pass


def compile_kernels(*tasks: Task) -> None:
    """Load the kernels that these tasks call, and compile those that are not in the cache: said in a line, and a bar.

    Parameters
    ----------
    *tasks : function or partial
        What calls the kernels, those that take longest first. No two have a kernel in common.
    """
    with _lock:
        missing = [task for task in tasks if _as_text(task) not in _done and not _is_loaded(task)]
        if missing:
            _compile(missing)
        _done.update(map(_as_text, tasks))


def _as_text(task: Task) -> str:
    function, arguments = (task.func, task.args) if isinstance(task, partial) else (task, ())
    return json.dumps([function.__module__, function.__qualname__, arguments])


def _is_loaded(task: Task) -> bool:
    try:
        with event.install_listener("numba:compile", _Refusal()):
            task()
    except _MissingError:
        return False
    return True


def _compile(tasks: list[Task]) -> None:
    """Compile what these tasks call, in this process, and in others if there is a cache for them to fill."""
    n_processes = 1 if NOT_KEPT else min(len(tasks), MOST_PROCESSES, os.cpu_count() or 1)
    times = "for this process" if NOT_KEPT else "once"
    said = f"compiling {times}, about {SECONDS * len(tasks) / n_processes + 1:.0f} s"
    logger.info(said)
    waiting = deque(tasks)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(tasks), desc=said, leave=False, disable=None))
        threads = []
        for _ in range(n_processes - 1):
            try:
                process = stack.enter_context(_process())
            except OSError as error:  # too many processes, or Python is embedded in another program
                logger.info("kernels are compiled in this process alone: %s", error)
                break
            stack.callback(process.kill)
            threads.append(threading.Thread(target=_feed, args=(process, waiting, bar), daemon=True))
            threads[-1].start()
        while (task := _next(waiting)) is not None:
            task()
            bar.update()
        for thread in threads:
            thread.join()
    for task in tasks:  # from the cache, or compiled here if a process has failed
        task()


def _next(waiting: deque[Task]) -> Task | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _process() -> subprocess.Popen[str]:
    """A process that does tasks. It looks for modules where this one has this package, never in the current folder."""
    return subprocess.Popen(
        [sys.executable or "python", "-c", _PROGRAM, str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _feed(process: subprocess.Popen[str], waiting: deque[Task], bar: Any) -> None:
    """Have a process do tasks, one after the other, until none waits or the process fails."""
    orders, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
    while (task := _next(waiting)) is not None:
        try:
            orders.write(_as_text(task) + "\n")
            orders.flush()
            answer = answers.readline()
        except OSError:  # it has ended
            answer = ""
        if not answer:
            logger.info("a process that compiles kernels has ended: this one goes on without it")
            return
        bar.update()


def work() -> None:
    """Do the tasks that come on stdin, a line each, and answer each with a line on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        module, name, arguments = json.loads(line)
        getattr(importlib.import_module(module), name)(*arguments)
        answers.write("done\n")
        answers.flush()
