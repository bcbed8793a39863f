"""By when the work of a thread must be over: what waits, or reads many files, gives up then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_this_thread = threading.local()


@contextmanager
def limited(ends: Callable[[], float]) -> Iterator[None]:
    """Have this thread give up at ``ends()`` on the monotonic clock, which may change meanwhile, and be infinite."""
    before = getattr(_this_thread, "ends", None)
    _this_thread.ends = ends
    try:
        yield
    finally:
        _this_thread.ends = before


def seconds_left() -> float:
    """How long this thread has; infinite unless it is limited."""
    ends = getattr(_this_thread, "ends", None)
    return float("inf") if ends is None else ends() - time.monotonic()


def is_over() -> bool:
    """Whether this thread is to give up."""
    return seconds_left() <= 0


def check() -> None:
    """Raise TimeoutError if this thread is to give up."""
    if is_over():
        raise TimeoutError("not done, since the server is being stopped")
