"""The clock that closes runs which have been silent for too long, also when no other document ever comes."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import Protocol

log = logging.getLogger(__name__)


class Closing(Protocol):
    """What has open runs."""

    def close_stale(self) -> float:
        """Close the runs that have been silent for too long; in how many seconds to look again (inf: never)."""
        ...


class Clock:
    """One thread for the whole process, which sleeps until the next run may be stale.

    Whatever has open runs is called in that thread, and only held by a weak reference.
    """

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Start anew: threads do not survive a fork, and locks may be held for ever in the child."""
        self._due: dict[weakref.ref[Closing], float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def look_after(self, runs: Closing, seconds: float) -> None:
        """Call ``runs.close_stale()`` in so many seconds, and then whenever it says."""
        if seconds > threading.TIMEOUT_MAX:
            return
        due = time.monotonic() + seconds
        with self._changed:
            ref = weakref.ref(runs)
            self._due[ref] = min(due, self._due.get(ref, due))
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="bluesky-ext clock", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _tick(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._thread = None
                    return
                ref, due = min(self._due.items(), key=lambda item: item[1])
                wait = due - time.monotonic()
                if wait > 0 and ref() is not None:
                    self._changed.wait(min(wait, threading.TIMEOUT_MAX))
                    continue
                del self._due[ref]
            runs = ref()
            if runs is None:
                continue
            try:
                again = runs.close_stale()
            except Exception:  # the clock must go on, for its other runs too
                log.exception("a run that was silent could not be closed")
                again = 1.0
            if again < threading.TIMEOUT_MAX:
                self.look_after(runs, again)
            del runs


CLOCK = Clock()
