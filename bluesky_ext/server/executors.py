"""Executors by name, as the command line takes them."""

from __future__ import annotations

import multiprocessing
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from bluesky_ext import _deadline
from bluesky_ext.engine import Lanes
from bluesky_ext.engine.executors.worker_process import process_pool

E = TypeVar("E", bound=Executor)


def check_executor(text: str) -> str:
    """Return the text if it names an executor; raise ValueError if not."""
    if not re.fullmatch(r"(threads|processes):0*[1-9][0-9]*|dask:.+", text, re.ASCII):
        raise ValueError(f"executor {text!r}: give threads:N, processes:N or dask:ADDRESS")
    return text


@contextmanager
def executor_of(text: str | None) -> Iterator[Executor | Callable[[], Executor] | None]:
    """An executor while it is needed: of ``threads:2``, ``processes:2``, ``dask:tcp://host:8786``; None for inline.

    Of processes it is a function that makes one, so that a stage makes another when a worker has died.
    """
    if text is None:
        yield None
        return
    kind, _, where = check_executor(text).partition(":")
    with ExitStack() as stack:
        if kind == "threads":
            yield _kept(stack, ThreadPoolExecutor(int(where), initializer=_note_thread))
        elif kind == "processes":
            yield lambda: _kept(stack, process_pool(int(where)))
        else:
            # pure=False: the same event twice is worked on twice, as everywhere.
            yield stack.enter_context(_cluster(where)).get_executor(pure=False)


@contextmanager
def lanes_of(text: str | None, workers: int) -> Iterator[Lanes | None]:
    """Lanes while they are needed, for kernels with a state: as many as ``text`` says, or else ``workers`` threads.

    None for one worker that works inline. When an exception ends it, nobody waits for what is under way.
    """
    kind, _, where = check_executor(text).partition(":") if text is not None else ("threads", "", str(workers))
    if text is None and workers == 1:
        yield None
        return
    with ExitStack() as stack:
        if kind == "dask":
            lanes = Lanes.dask(stack.enter_context(_cluster(where)), workers)
        elif kind == "processes":
            lanes = Lanes.processes(int(where))
        else:
            lanes = Lanes([partial(ThreadPoolExecutor, 1, initializer=_note_thread)] * int(where))
        try:
            yield lanes
        except BaseException:
            with _deadline.limited(lambda: 0.0):
                lanes.close()
            raise
        lanes.close()


def still_at_work(seconds: float) -> list[threading.Thread | BaseProcess]:
    """The threads of executors, and the processes, that have not ended by themselves in so many seconds."""
    until = time.monotonic() + seconds
    workers = [*_threads, *multiprocessing.active_children()]
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    return [worker for worker in workers if worker.is_alive()]


def _kept(stack: ExitStack, executor: E) -> E:
    """An executor that takes no more tasks at the end; those that are under way then are not waited for."""
    stack.callback(executor.shutdown, wait=False, cancel_futures=True)
    return executor


_threads: list[threading.Thread] = []


def _note_thread() -> None:
    _threads.append(threading.current_thread())


def _cluster(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("for a dask cluster, install its extra: pip install 'bluesky-ext[dask]'") from error
    try:
        return Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no dask scheduler answers at {address}: {error}") from error
