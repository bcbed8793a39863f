"""The scalars of the points of a scan, a column a reading, in the order of measuring."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: So many readings have a column.
MOST_COLUMNS = 200


class Rows:
    """The readings of each point; a point that comes again is replaced, and the oldest half goes when there is no room.

    Parameters
    ----------
    most : int
        So many points are kept.

    Examples
    --------
    >>> rows = Rows(4)
    >>> for number in (1, 2, 3, 2, 4, 5):
    ...     rows.put(number, 0.5 * number, {"counts": 10 * number, "name": "a text"})
    >>> rows.read(["counts"])
    (array([3, 4, 5]), [array([30., 40., 50.])])
    >>> rows.n_gone, rows.latest, rows.names
    (2, 5, ['counts'])
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._rows: dict[int, int] = {}
        self._seq_nums = np.empty(0, np.int64)
        self._columns: dict[str, np.ndarray] = {"time": np.empty(0)}
        #: How many points are not kept any more.
        self.n_gone = 0
        #: The number of the point that came last, 0 before the first.
        self.latest = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        """The readings that have a column."""
        return [name for name in list(self._columns) if name != "time"]

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        return self._seq_nums.nbytes * (1 + len(self._columns)) + 100 * len(self._rows)

    def put(self, seq_num: int, time: float, readings: Mapping[str, Any]) -> None:
        """Take readings of a point; those that are no numbers are left out, and other ones of it stay."""
        with self._lock:
            row = self._rows.get(seq_num)
            if row is None:
                if len(self._rows) >= self._most:
                    self._forget_half()
                row = self._rows[seq_num] = len(self._rows)
                if row >= len(self._seq_nums):
                    self._grow()
                self._seq_nums[row] = self.latest = seq_num
            self._columns["time"][row] = time
            for name, value in readings.items():
                if not isinstance(value, int | float | np.number | np.bool_):
                    continue
                column = self._columns.get(name)
                if column is None:
                    if len(self._columns) > MOST_COLUMNS:
                        continue
                    column = self._columns[name] = np.full(len(self._seq_nums), np.nan)
                try:
                    column[row] = value
                except (OverflowError, TypeError):  # a whole number beyond all floats, a complex one
                    column[row] = np.nan

    def __contains__(self, seq_num: int) -> bool:
        return seq_num in self._rows

    def row(self, seq_num: int) -> dict[str, float]:
        """The time and the readings of a point; KeyError if it is not there."""
        with self._lock:
            row = self._rows[seq_num]
            return {name: float(column[row]) for name, column in self._columns.items()}

    def read(self, names: Sequence[str], after: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
        """The numbers of the points above one, (n,) int64, and columns of them, (n,) float64; KeyError without it."""
        with self._lock:
            n = len(self._rows)
            seq_nums = self._seq_nums[:n].copy()
            columns = [self._columns[name][:n].copy() for name in names]
        if after > 0:
            kept = seq_nums > after
            seq_nums, columns = seq_nums[kept], [column[kept] for column in columns]
        return seq_nums, columns

    def _grow(self) -> None:
        size = max(256, 2 * len(self._seq_nums))
        n = len(self._seq_nums)
        self._seq_nums = np.concatenate([self._seq_nums, np.empty(size - n, np.int64)])
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.full(size - n, np.nan)])

    def _forget_half(self) -> None:
        n = len(self._rows)
        half = n - n // 2
        self._seq_nums = np.concatenate([self._seq_nums[half:], np.empty(half, np.int64)])
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column[half:], np.full(half, np.nan)])
        self._rows = {int(seq_num): row for row, seq_num in enumerate(self._seq_nums[: n - half])}
        self.n_gone += half
