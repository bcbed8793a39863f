"""Signals to stop: SIGINT and SIGTERM for the main thread, and a pipe for a thread that polls sockets."""

from __future__ import annotations

import logging
import os
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


class StopPipe:
    """Wakes a thread that polls its `fd`, so that it stops; from any thread, and from signal handlers."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.RLock()  # a signal may come while it is held
        self._ends = list(os.pipe())
        self.fd = self._ends[0]

    def set(self) -> None:
        """Wake the thread; nothing if that has been done, or it is closed."""
        with self._lock:
            if self._ends and not self.is_set:
                self.is_set = True
                os.write(self._ends[1], b"x")

    def close(self) -> None:
        """Give the pipe back."""
        with self._lock:
            while self._ends:
                os.close(self._ends.pop())
