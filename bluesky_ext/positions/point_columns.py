"""Numbers of the points of a scan, a column a quantity, which grow while it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class PointColumns:
    """So many numbers for each point of a scan in flat columns; a point that comes again is replaced.

    Parameters
    ----------
    n_columns : int
        How many numbers a point has.

    Examples
    --------
    >>> columns = PointColumns(2)
    >>> for frame, numbers in ((2, [5.0, 50.0]), (1, [3.0, 30.0]), (2, [4.0, 40.0])):
    ...     columns.put(frame, numbers)
    >>> columns.frames, columns.values.tolist()
    (array([1, 2]), [[3.0, 4.0], [30.0, 40.0]])
    """

    def __init__(self, n_columns: int) -> None:
        self._rows: dict[int, int] = {}
        self._frames = np.empty(0, np.int64)  # by row
        self._values = np.empty((n_columns, 0))
        self._highest = 0
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, frame: int, numbers: Sequence[float] | np.ndarray) -> None:
        """Take the numbers of a point, for the first time or again."""
        row = self._rows.setdefault(frame, len(self._rows))
        if row >= len(self._frames):
            size = max(256, 2 * len(self._frames))
            frames, values = np.empty(size, np.int64), np.empty((len(self._values), size))
            frames[:row], values[:, :row] = self._frames, self._values
            self._frames, self._values = frames, values
        if row == len(self._rows) - 1:  # a new one, or the latest
            self._is_sorted &= frame >= self._highest
            self._highest = max(self._highest, frame)
        self._frames[row] = frame
        self._values[:, row] = numbers

    def widen(self, n_columns: int) -> None:
        """Have so many numbers for each point from now on; those of earlier points are NaN."""
        more = n_columns - len(self._values)
        if more > 0:
            self._values = np.concatenate([self._values, np.full((more, len(self._frames)), np.nan)])

    @property
    def frames(self) -> np.ndarray:
        """The numbers of the points, rising: (n,) int64."""
        frames = self._frames[: len(self)]
        return frames.copy() if self._is_sorted else np.sort(frames)

    @property
    def values(self) -> np.ndarray:
        """What is known of the points in the order of their numbers: (n_columns, n) float64."""
        values = self._values[:, : len(self)]
        if self._is_sorted:
            return values.copy()
        return values[:, np.argsort(self._frames[: len(self)], kind="stable")]
