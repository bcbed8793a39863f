"""By when the work that goes on must be over: what waits, or reads many files, gives up then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: When the work that goes on must be over, on the monotonic clock; None if there is no such time.
END: ContextVar[Callable[[], float] | None] = ContextVar("end", default=None)


@contextmanager
def limited(ends: Callable[[], float]) -> Iterator[None]:
    """Have what is done here give up at ``ends()`` on the monotonic clock, which may change meanwhile."""
    token = END.set(ends)
    try:
        yield
    finally:
        END.reset(token)


def seconds_left() -> float:
    """How long there is; infinite unless it is limited."""
    ends = END.get()
    return float("inf") if ends is None else ends() - time.monotonic()


def is_over() -> bool:
    """Whether it is time to give up."""
    return seconds_left() <= 0


def check() -> None:
    """Raise TimeoutError if it is time to give up."""
    if is_over():
        raise TimeoutError("not done, since the server is being stopped")
