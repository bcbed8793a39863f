"""Notifications: what happened that people at the beamline want to know, the last ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

#: So many are kept, and so much of a text.
KEPT, LONGEST = 1000, 500


class Notifications:
    """The last notifications, each with a number that rises: runs, parameters that were set, losses, errors.

    Parameters
    ----------
    on_change : callable
        ``on_change()`` is called when there is another one, in any thread.
    """

    def __init__(self, on_change: Callable[[], object]) -> None:
        self._on_change = on_change
        self._access = threading.Lock()
        self._all: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._number = 0

    def add(self, kind: str, text: str, *, who: str | None = None, run: str | None = None) -> None:
        """Take note of something; ``who`` did it, and of which ``run`` it is, where that is known."""
        with self._access:
            self._number += 1
            about = {"number": self._number, "time": time.time(), "kind": kind, "text": text[:LONGEST]}
            self._all.append({**about, "who": who, "run": run})
        self._on_change()

    def after(self, number: int) -> list[dict[str, Any]]:
        """Those with higher numbers."""
        with self._access:
            return [one for one in self._all if one["number"] > number]
