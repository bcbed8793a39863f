"""The load of workers: how much of the time they were at work, lately and over the whole run."""

from __future__ import annotations

import threading
import time
from collections import deque

#: Over so many seconds it is known, by steps of so many.
WINDOWS, STEP = (1, 10), 0.1


class Load:
    """How busy the workers of a run are; kept in steps of `STEP`, so that it is as small for many events as for few."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}

    def note(self, worker: str, events: int, busy: float) -> None:
        """Count some events that a worker was busy with for so long, in s."""
        with self._lock:
            one = self._workers.get(worker)
            if one is None:
                one = self._workers[worker] = _Worker()
            one.note(time.monotonic(), events, busy)

    def told(self) -> dict[str, dict[str, dict[str, float]]]:
        """Of each worker the ``busy`` share of the time (0 to 1) and the ``rate`` (events/s).

        They are by the seconds over which they are meant, "1" and "10", and over the whole "scan" as far as it is.
        """
        now = time.monotonic()
        with self._lock:
            return {name: self._workers[name].told(now, self._began) for name in sorted(self._workers)}


class _Worker:
    def __init__(self) -> None:
        self._steps: deque[list[float]] = deque(maxlen=int(max(WINDOWS) / STEP) + 1)  # when, events, busy
        self._events, self._busy, self._last = 0, 0.0, 0.0

    def note(self, now: float, events: int, busy: float) -> None:
        self._events += events
        self._busy += busy
        self._last = now
        if not self._steps or now - self._steps[-1][0] >= STEP:
            self._steps.append([now, 0, 0.0])
        self._steps[-1][1] += events
        self._steps[-1][2] += busy

    def told(self, now: float, began: float) -> dict[str, dict[str, float]]:
        said = {}
        for window in WINDOWS:
            steps = [step for step in self._steps if now - step[0] < window]
            over = min(float(window), now - began)
            said[str(window)] = _shares(sum(step[1] for step in steps), sum(step[2] for step in steps), over)
        said["scan"] = _shares(self._events, self._busy, self._last - began)
        return said


def _shares(events: float, busy: float, over: float) -> dict[str, float]:
    over = max(over, 1e-6)
    return {"busy": round(min(busy / over, 1.0), 4), "rate": round(events / over, 2)}
