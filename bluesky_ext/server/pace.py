"""The rhythm of a replay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any


class Pace:
    """What waits until it is a document's turn, so that a run takes as long as it did, or some part of it.

    Time between runs is not waited for. A clock that was set back in the middle of a run costs no time.

    Parameters
    ----------
    speed : float or None
        1.0 is the original rhythm, 2.0 is twice as fast; None does not wait.
    sleep : callable
        Waits for so many seconds.
    """

    def __init__(self, speed: float | None, sleep: Callable[[float], object] = time.sleep) -> None:
        if speed is not None and not (isinstance(speed, int | float) and speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed={speed!r}: give a number above 0 (1.0 is the original rhythm), or None")
        self._speed = speed
        self._sleep = sleep
        self._open = 0
        self._began: float | None = None
        self._first = 0.0

    def wait(self, name: str, document: Mapping[str, Any]) -> None:
        """Wait until this document is due."""
        if self._speed is None:
            return
        when = document.get("time")
        if isinstance(when, list):  # of a page: it was whole when its last row was
            when = max(when, default=None)
        self._open += (name == "start") - (name == "stop")
        if when is None:
            return
        if self._began is None or (name == "start" and self._open == 1):
            self._began, self._first = time.monotonic(), when
            return
        due = self._began + (when - self._first) / self._speed
        if (left := due - time.monotonic()) > 0:
            self._sleep(left)
