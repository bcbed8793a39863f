"""SIGINT and SIGTERM as a wish to stop, while something runs that can."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]

log = logging.getLogger(__name__)


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Have `stop` called at the first SIGINT or SIGTERM meanwhile; a second one does what it did before.

    Only the main thread hears signals: in others nothing is changed.

    Parameters
    ----------
    stop : callable
        Called between two steps of what the main thread is doing: it should set a flag and return.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, action in before.items():
            signal.signal(number, signal.SIG_DFL if action is None else action)

    def on_signal(number: int, frame: FrameType | None) -> None:
        restore()
        log.info("stopping at %s; once more to stop at once", signal.Signals(number).name)
        stop()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
