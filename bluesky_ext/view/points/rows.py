"""The scalars of the points of a scan, a column a reading, in the order of measuring."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: So many readings have a column.
MOST_COLUMNS = 200
_NUMBERS = int, float, np.integer, np.floating, np.bool_


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
        #: A row for each point: its time and its readings.
        self._table = np.empty((0, 1))
        self._columns = {"time": 0}
        #: Which of the readings of a point are numbers, and the columns of these, by all their names and types.
        self._layouts: dict[Any, tuple[list[str], np.ndarray]] = {}
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
        return self._seq_nums.nbytes + self._table.nbytes + 100 * len(self._rows)

    def put(self, seq_num: int, time: float, readings: Mapping[str, Any]) -> None:
        """Take readings of a point; those that are no numbers are left out, and other ones of it stay."""
        with self._lock:
            self._make_room(1)
            row = self._row(seq_num)
            names, columns = self._layout(readings)
            self._table[row, 0] = time
            try:
                self._table[row, columns] = [readings[name] for name in names]
            except OverflowError:
                self._table[row, columns] = [_number(readings[name]) for name in names]

    def put_page(self, seq_nums: Sequence[int], times: Sequence[float], readings: Mapping[str, Sequence[Any]]) -> None:
        """Take readings of several points, each a column, as `put` does."""
        size = max(1, self._most // 2)
        for first in range(0, len(seq_nums), size):
            part = slice(first, first + size)
            with self._lock:
                self._make_room(len(seq_nums[part]))
                rows = [self._row(int(seq_num)) for seq_num in seq_nums[part]]
                self._table[rows, 0] = times[part]
                for name, values in readings.items():
                    column = _numbers(values[part])
                    if column is not None and (at := self._column(name)) is not None:
                        self._table[rows, at] = column

    def __contains__(self, seq_num: int) -> bool:
        return seq_num in self._rows

    def row(self, seq_num: int) -> dict[str, float]:
        """The time and the readings of a point; KeyError if it is not there."""
        with self._lock:
            return dict(zip(self._columns, self._table[self._rows[seq_num]].tolist(), strict=True))

    def read(self, names: Sequence[str], after: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
        """The numbers of the points above one, (n,) int64, and columns of them, (n,) float64; KeyError without it."""
        with self._lock:
            n = len(self._rows)
            seq_nums = self._seq_nums[:n].copy()
            columns = [self._table[:n, self._columns[name]].copy() for name in names]
        if after > 0:
            kept = seq_nums > after
            seq_nums, columns = seq_nums[kept], [column[kept] for column in columns]
        return seq_nums, columns

    def _row(self, seq_num: int) -> int:
        """The row of a point, which is a new one if it has none; there is room for that."""
        row = self._rows.get(seq_num)
        if row is None:
            row = self._rows[seq_num] = len(self._rows)
            self._seq_nums[row] = self.latest = seq_num
        return row

    def _layout(self, readings: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
        kind = *readings, *map(type, readings.values())
        layout = self._layouts.get(kind)
        if layout is None:
            if len(self._layouts) >= MOST_COLUMNS:
                self._layouts.clear()
            numbers = [name for name, value in readings.items() if isinstance(value, _NUMBERS)]
            found = [(name, at) for name in numbers if (at := self._column(name)) is not None]
            layout = [name for name, _ in found], np.array([at for _, at in found], np.intp)
            self._layouts[kind] = layout
        return layout

    def _column(self, name: str) -> int | None:
        """The column of a reading, which is a new one if it has none; None if there are too many."""
        at = self._columns.get(name)
        if at is None and len(self._columns) <= MOST_COLUMNS:
            at = len(self._columns)
            self._table = np.concatenate([self._table, np.full((len(self._table), 1), np.nan)], axis=1)
            self._columns[name] = at
        return at

    def _make_room(self, count: int) -> None:
        """Have room for so many points more."""
        n = len(self._rows)
        if n + count > self._most:
            half = n - n // 2
            n -= half
            self._seq_nums[:n] = self._seq_nums[half : half + n]
            self._table[:n] = self._table[half : half + n]
            self._table[n:] = np.nan
            self._rows = {int(seq_num): row for row, seq_num in enumerate(self._seq_nums[:n])}
            self.n_gone += half
        if n + count > len(self._seq_nums):
            size = max(256, 2 * (n + count))
            self._seq_nums = np.concatenate([self._seq_nums[:n], np.empty(size - n, np.int64)])
            table = np.full((size, self._table.shape[1]), np.nan)
            table[:n] = self._table[:n]
            self._table = table


def _number(value: Any) -> float:
    """A number; NaN for a whole one beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return np.nan


def _numbers(values: Sequence[Any]) -> np.ndarray | None:
    """A column of readings, which are no arrays, as numbers, NaN where there is none; None if none of them is one."""
    column = np.asarray(values)
    if column.dtype.kind in "biuf":
        return column.astype(float)
    if not any(isinstance(value, _NUMBERS) for value in values):
        return None
    return np.array([_number(value) if isinstance(value, _NUMBERS) else np.nan for value in values])
