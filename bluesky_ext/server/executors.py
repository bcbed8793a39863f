"""Executors by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

#: The forms that are known.
FORMS = "threads:N, processes:N or dask:ADDRESS"


@contextmanager
def executor_of(text: str | None) -> Iterator[Executor | None]:
    """An executor while it is needed: of ``threads:2``, ``processes:2``, ``dask:tcp://host:8786``; None for inline."""
    kind, _, number = (text or "").partition(":")
    if text is None:
        yield None
    elif kind in ("threads", "processes") and number.isdecimal() and int(number):
        # A server has threads of its own: a process forked from them could wait for a lock that nobody frees.
        pool = ThreadPoolExecutor(int(number)) if kind == "threads" else _spawning(int(number))
        with pool:
            yield pool
    elif kind == "dask" and number:
        yield from _cluster(number)
    else:
        raise ValueError(f"executor {text!r}: give {FORMS}")


def _spawning(number: int) -> Executor:
    import multiprocessing

    return ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn"))


def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("for a dask cluster, install its extra: pip install 'bluesky-ext[dask]'") from error
    with Client(address, timeout="10s") as client:
        # pure=False: the same event twice is worked on twice, as everywhere.
        yield client.get_executor(pure=False)
