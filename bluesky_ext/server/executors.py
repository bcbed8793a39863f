"""Executors by name, as the command line takes them."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any


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
            yield stack.enter_context(ThreadPoolExecutor(int(where)))
        elif kind == "processes":
            # A server has threads of its own: a process forked from them could wait for a lock that nobody frees.
            options: Any = {"mp_context": multiprocessing.get_context("spawn"), "initializer": _live_with_parent}
            yield lambda: stack.enter_context(ProcessPoolExecutor(int(where), **options))
        else:
            # pure=False: the same event twice is worked on twice, as everywhere.
            yield stack.enter_context(_cluster(where)).get_executor(pure=False)


def _live_with_parent() -> None:
    """Have this process end with its parent, not before it and not after it."""
    # Ctrl-C reaches all processes of a terminal; the parent needs its workers for what has come in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # nobody is there to hear anything

    # A parent that was killed tells nobody: its workers would wait for work forever.
    threading.Thread(target=follow, name="follow parent", daemon=True).start()


def _cluster(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("for a dask cluster, install its extra: pip install 'bluesky-ext[dask]'") from error
    try:
        return Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no dask scheduler answers at {address}: {error}") from error
