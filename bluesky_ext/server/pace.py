"""The rhythm of a replay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from bluesky_ext.storage.adapters import Pair


def check_speed(speed: float | None) -> None:
    """Raise the error that says what a speed may be."""
    if speed is not None and not (isinstance(speed, int | float) and speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed={speed!r}: give a number above 0 (1.0 is the original rhythm), or None")


def paced(documents: Iterable[Pair], speed: float, sleep: Callable[[float], object] = time.sleep) -> Iterator[Pair]:
    """Yield each document when it is due, so that a run takes as long as it did, divided by the speed.

    Time between runs is not waited for. A clock that was set back in the middle of a run costs no time.
    """
    open_runs, began, first = 0, 0.0, None
    for name, document in documents:
        when = document.get("time")
        if isinstance(when, list):  # of a page: it was whole when its last row was
            when = max(when, default=None)
        open_runs += (name == "start") - (name == "stop")
        if when is not None and (first is None or (name == "start" and open_runs == 1)):
            began, first = time.monotonic(), when
        elif when is not None and (left := began + (when - first) / speed - time.monotonic()) > 0:
            sleep(left)
        yield name, document
