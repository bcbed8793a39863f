"""The peaks of a run in flat columns, which cost what their numbers do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

PARTICLE = "particle"
"""The column that names the track of a peak."""

#: By how much a column grows that is full.
GROWTH = 1.25


class PeakRows:
    """The peaks of each frame and their tracks, in the order of the frames; a frame that comes again is replaced.

    To add a frame after all others costs the time of its own rows, and moves no other row. Any other change makes a
    new `revision`.

    Parameters
    ----------
    names : iterable of str
        Columns that are there before the first peak.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.n_rows = 0
        #: All particles are below this.
        self.n_tracks = 0
        #: Another one when rows are no more what they were.
        self.revision = 0
        self._n_frames = 0
        self._names = dict.fromkeys(names)  # also of frames without peaks, whose columns have no dtype to keep
        self._columns: dict[str, np.ndarray] = {}
        self._particles = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.int64)
        self._stops = np.empty(0, np.int64)

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of the frames, with peaks or without, (n,) int64, rising."""
        return self._numbers[: self._n_frames]

    @property
    def stops(self) -> np.ndarray:
        """Where the rows of each frame end, (n,) int64."""
        return self._stops[: self._n_frames]

    @property
    def particles(self) -> np.ndarray:
        """The track of each peak, (n_rows,) int64."""
        return self._particles[: self.n_rows]

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._names)

    def column(self, name: str) -> np.ndarray:
        """What is known of each peak under this name, (n_rows,); NaN where it is not."""
        column = self._columns.get(name)
        return np.full(self.n_rows, np.nan) if column is None else column[: self.n_rows]

    def place_of(self, number: int) -> tuple[int, bool]:
        """The place of a frame among the others, and whether it is there."""
        if not self._n_frames or number > self._numbers[self._n_frames - 1]:
            return self._n_frames, False
        place = int(np.searchsorted(self.numbers, number))
        return place, int(self._numbers[place]) == number

    def rows_at(self, place: int) -> slice:
        """The rows of the frame at a place."""
        return slice(int(self._stops[place - 1]) if place else 0, int(self._stops[place]))

    def of(self, number: int) -> dict[str, np.ndarray] | None:
        """What is known of the peaks of a frame, copies by column, with the column `particle`; None without it."""
        place, is_there = self.place_of(number)
        if not is_there:
            return None
        rows = self.rows_at(place)
        columns = {name: column[rows].copy() for name, column in self._columns.items()}
        return {**columns, PARTICLE: self.particles[rows].copy()}

    def put(
        self, number: int, particles: np.ndarray, columns: Mapping[str, np.ndarray], later: np.ndarray | None = None
    ) -> None:
        """Take the peaks of a frame, for the first time or again.

        Parameters
        ----------
        number : int
            Of the frame.
        particles : (n,) int64
            The tracks of its peaks, from 0.
        columns : dict of (n,) arrays
            What is known of them.
        later : int64 array, optional
            The tracks of the peaks of all frames after it, if they have changed.
        """
        place, is_known = self.place_of(number)
        if place < self._n_frames:
            self._splice(place, is_known, number, particles, columns)
            if later is not None:
                self._particles[self.n_rows - len(later) :] = later
            self.revision += 1
        else:
            start, stop = self.n_rows, self.n_rows + len(particles)
            if len(particles):
                for name in {**self._columns, **columns}:
                    self._columns[name] = _extended(self._columns.get(name), columns.get(name), start, stop)
            self._particles = _extended(self._particles, particles, start, stop)
            self._numbers = _extended(self._numbers, np.array([number]), place, place + 1)
            self._stops = _extended(self._stops, np.array([stop]), place, place + 1)
            self.n_rows, self._n_frames = stop, place + 1
        self._names |= dict.fromkeys(columns)
        for some in (particles, () if later is None else later):
            self.n_tracks = max(self.n_tracks, int(np.max(some, initial=-1)) + 1)

    def table(self, t_column: str, names: Iterable[str] = ()) -> pd.DataFrame:
        """A row a peak, with the frame number and the column `particle`; these columns if there are none yet."""
        data = {name: self.column(name) for name in self._names or names}
        data[t_column] = np.repeat(self.numbers, np.diff(self.stops, prepend=0))
        data[PARTICLE] = self.particles
        return pd.DataFrame(data)

    def _splice(
        self, place: int, is_known: bool, number: int, particles: np.ndarray, columns: Mapping[str, np.ndarray]
    ) -> None:
        start = int(self._stops[place - 1]) if place else 0
        stop = int(self._stops[place]) if is_known else start
        n, more = self.n_rows, len(particles) - (stop - start)

        def spliced(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            return np.concatenate([old[:start], new, old[stop:n]])

        joined = {}
        for name in {**self._columns, **columns} if len(particles) else self._columns:
            new = columns.get(name, np.full(len(particles), np.nan)) if len(particles) else self._columns[name][:0]
            joined[name] = spliced(self._columns.get(name, np.full(n, np.nan)), new)
        self._columns = joined
        self._particles = spliced(self._particles, particles)
        numbers, stops = self.numbers, self.stops
        if not is_known:
            numbers, stops = np.insert(numbers, place, number), np.insert(stops, place, start)
        self._numbers, self._stops = numbers, np.concatenate([stops[:place], stops[place:] + more])
        self.n_rows, self._n_frames = n + more, len(numbers)


def _extended(old: np.ndarray | None, new: np.ndarray | None, start: int, stop: int) -> np.ndarray:
    """An array with new values from ``start`` to ``stop``, NaN where there are none, and room for more behind them."""
    if new is None:
        new = np.full(stop - start, np.nan)
    if old is None:
        old = np.full(start, np.nan) if start else np.empty(0, new.dtype)
    dtype = old.dtype if old.dtype == new.dtype else np.result_type(old, new)
    if stop > len(old) or dtype != old.dtype:
        larger = np.empty(max(stop, int(GROWTH * len(old))), dtype)
        larger[:start] = old[:start]
        old = larger
    old[start:stop] = new
    return old
