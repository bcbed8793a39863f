"""SIGINT and SIGTERM, as what stops the main thread well."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Have ``stop()`` called at the first SIGINT or SIGTERM meanwhile; a second one does what it did before.

    It is called between two steps of the main thread, and should set a flag and return. Only the main thread gets
    signals: in others nothing is changed.
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
