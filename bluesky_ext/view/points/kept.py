"""The arrays of points, the newest within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

#: What a reference to a frame in a file takes, and what a point does beside its arrays, in bytes.
_REFERENCE, _POINT = 1024, 512


class Kept:
    """Arrays, or references to those in files, by the uid of the scan, the number of the point and a key.

    Parameters
    ----------
    room : int
        What they may take, in bytes: the points that came first go when it is full. The latest point is always kept.

    Examples
    --------
    >>> kept = Kept(3000)
    >>> for number in (1, 2, 3):
    ...     image = np.zeros((10, 10))
    ...     kept.put("scan", number, "taken", image)
    ...     kept.put("scan", number, "seen", image[2:5])  # the same memory
    >>> [len(kept.of("scan", number)) for number in (1, 2, 3)], kept.n_bytes
    ([0, 2, 2], 2624)
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.n_bytes = 0
        self._lock = threading.Lock()
        self._points: OrderedDict[tuple[str, int], dict[Any, Any]] = OrderedDict()
        self._sizes: dict[tuple[str, int], int] = {}

    def put(self, uid: str, seq_num: int, key: Hashable, value: Any) -> None:
        """Keep a value."""
        point = uid, seq_num
        with self._lock:
            values = self._points.setdefault(point, {})
            values[key] = value
            size = sum({id(base): nbytes for base, nbytes in map(_base_of, values.values())}.values(), _POINT)
            self.n_bytes += size - self._sizes.get(point, 0)
            self._sizes[point] = size
            while self.n_bytes > self.room and len(self._points) > 1:
                first = next(iter(self._points))
                if first == point:  # it came long ago, and again now
                    self._points.move_to_end(point)
                    continue
                del self._points[first]
                self.n_bytes -= self._sizes.pop(first)

    def of(self, uid: str, seq_num: int) -> dict[Any, Any]:
        """What is kept of a point, by key."""
        with self._lock:
            return dict(self._points.get((uid, seq_num), {}))

    def latest(self, uid: str, wanted: Callable[[Any], bool] = lambda key: True) -> tuple[int, dict[Any, Any]]:
        """The number of the point of a scan that came last with a key that is wanted, and what is kept of it."""
        with self._lock:
            for (scan, seq_num), values in reversed(self._points.items()):
                if scan == uid and any(map(wanted, values)):
                    return seq_num, dict(values)
        return 0, {}

    def drop(self, uid: str) -> None:
        """Let a scan go."""
        with self._lock:
            for point in [one for one in self._points if one[0] == uid]:
                del self._points[point]
                self.n_bytes -= self._sizes.pop(point)


def _base_of(value: Any) -> tuple[Any, int]:
    """The array that holds the memory of a value, which several may share, and its bytes."""
    if isinstance(value, dict):
        return value, sum(_base_of(one)[1] for one in value.values())
    if isinstance(value, list):
        return value, 32 * int(np.prod([len(value), *(len(one) for one in value[:1] if isinstance(one, list))]))
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    return value, getattr(value, "nbytes", _REFERENCE)
