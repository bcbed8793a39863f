"""Live maps: the maps of the brightest tracks while frames arrive, in the time of what has changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from bluesky_ext._kernel import kernel
from bluesky_ext.peaks.rows import PARTICLE, PeakRows
from bluesky_ext.positions import Layout, lay_out

#: The dim of maps, one for each spot. A crystal has many spots, and with that many maps.
REFLECTION = "reflection"
#: Names in a dataset of crystal maps that are none of a column of the peaks.
RESERVED = ("maps", "n_peaks", REFLECTION, PARTICLE, "frames", "total")

#: The column of azimuths, of which 180 and -180 degrees are the same: its mean is that of directions.
AZIMUTH = "chi"


class BrightTracks(NamedTuple):
    """The brightest tracks, the brightest first.

    Attributes
    ----------
    maps : (n, *shape) float64
        The value of each at every point of the scan, zero where it has no peak, NaN where nothing was measured.
    particle, frames : (n,) int64
        Their numbers, and in how many frames they are.
    total : (n,) float64
        The sum of their values.
    means : list of (n,) float64
        The mean of each column of their peaks, of the finite values; of azimuths (``chi``) the mean direction.
    """

    maps: np.ndarray
    particle: np.ndarray
    frames: np.ndarray
    total: np.ndarray
    means: list[np.ndarray]


class LiveMaps:
    """The maps of the brightest tracks, which are kept up: rows that were looked at once are not looked at again.

    Parameters
    ----------
    rows : PeakRows
        The peaks and their tracks, to which others add.
    value : str
        The column that is mapped.
    """

    def __init__(self, rows: PeakRows, value: str) -> None:
        self._rows, self._value = rows, value
        self._begin()

    @property
    def columns(self) -> list[str]:
        """What is known of a peak in numbers."""
        names = (name for name in self._rows.names if name not in RESERVED)
        return [name for name in names if self._rows.column(name).dtype.kind in "iufb"] or [self._value]

    def n_peaks(self, layout: Layout) -> np.ndarray:
        """How many peaks each point of the scan has, float64 of the layout's shape; NaN where nothing was measured."""
        at, here = self._places(layout)
        counts = np.zeros(len(at))
        counts[here] = np.diff(self._rows.stops, prepend=0)[at[here]]
        return layout.placed(counts)

    def brightest(self, layout: Layout, max_maps: int | None, columns: Collection[str] | None = None) -> BrightTracks:
        """The maps of so many tracks at most; frames that the layout does not have are on no map.

        Of all columns, or of these, the means are given.
        """
        self._take_rows()
        bright = _largest(self._total, self._counts, max_maps)
        slots = self._slots_of(bright)
        self._take_bright(bright, slots)
        at, here = self._places(layout)
        values = (self._values[slot, : len(self._rows.numbers)] for slot in slots)
        if not here.all() or len(at) < len(self._rows.numbers):
            values = (np.where(here, its_own[at], 0.0) for its_own in values)
        return BrightTracks(
            layout.placed_columns(list(values)),
            bright if self._numbers is None else self._numbers[bright],
            self._counts[bright],
            self._total[bright],
            [self._means(name, slots) for name in (self._names if columns is None else columns)],
        )

    def _means(self, name: str, slots: np.ndarray) -> np.ndarray:
        sums, known = (one[self._names.index(name), slots] for one in (self._sums, self._known))
        with np.errstate(invalid="ignore"):  # 0 / 0 where no value is finite
            real, imaginary = sums.real / known, sums.imag / known
        return np.degrees(np.arctan2(imaginary, real)) if name == AZIMUTH else real

    def _begin(self) -> None:
        """Forget what is known of the rows."""
        self._revision, self._names, self._n_rows = self._rows.revision, self.columns, 0
        self._numbers: np.ndarray | None = None  # of the tracks, if these are another maker's
        # Of each track, and of each row the one before it of the same track.
        self._total, self._counts = np.empty(0), np.empty(0, np.int64)
        self._last, self._slot = np.empty(0, np.int64), np.empty(0, np.int64)
        self._previous = np.empty(0, np.int64)
        # Of the bright tracks, each in a slot.
        self._owners, self._taken = np.empty(0, np.int64), np.empty(0, np.int64)
        self._values = np.empty((0, 0))
        self._sums, self._known = np.empty((len(self._names), 0), complex), np.empty((len(self._names), 0), np.int64)

    def _take_rows(self) -> None:
        """Count the rows that are new with their tracks."""
        rows = self._rows
        is_new = rows.n_rows > self._n_rows
        if rows.revision != self._revision or self.columns != self._names or (is_new and self._numbers is not None):
            self._begin()
        if rows.n_rows == self._n_rows:
            return
        particles, n_tracks = rows.particles, rows.n_tracks
        if n_tracks > 2 * rows.n_rows + 1000:  # numbers of another maker, which need not count from 0
            self._begin()
            here = particles >= 0
            self._numbers, ranks = np.unique(particles[here], return_inverse=True)
            particles, n_tracks = np.full(rows.n_rows, -1), len(self._numbers)
            particles[here] = ranks
        self._total, self._counts = _resized(self._total, n_tracks, 0), _resized(self._counts, n_tracks, 0)
        self._last, self._slot = _resized(self._last, n_tracks, -1), _resized(self._slot, n_tracks, -1)
        self._previous = _resized(self._previous, rows.n_rows, -1)
        values = rows.column(self._value)[self._n_rows :].astype(float)
        _count(particles, values, self._n_rows, self._total, self._counts, self._last, self._previous)
        self._n_rows = rows.n_rows

    def _slots_of(self, bright: np.ndarray) -> np.ndarray:
        """The slots of these tracks; one that was not among the brightest takes the slot of one that is no more."""
        entering = bright[self._slot[bright] < 0]
        self._owners, self._taken = (_resized(one, len(bright), -1) for one in (self._owners, self._taken))
        self._sums, self._known = (_resized(one, len(bright), 0) for one in (self._sums, self._known))
        (n_slots, n_frames), needed = self._values.shape, len(self._rows.numbers)
        if n_slots < len(self._owners) or n_frames < needed:
            larger = np.zeros((len(self._owners), needed + needed // 4))
            larger[:n_slots, :n_frames] = self._values
            self._values = larger
        if len(entering):
            free = np.setdiff1d(np.arange(len(self._owners)), self._slot[bright])[: len(entering)]
            leaving = self._owners[free]
            self._slot[leaving[leaving >= 0]] = -1
            self._owners[free], self._slot[entering], self._taken[free] = entering, free, -1
            self._sums[:, free] = self._known[:, free] = 0
            self._values[free] = 0
        return self._slot[bright]

    def _take_bright(self, bright: np.ndarray, slots: np.ndarray) -> None:
        """Add the rows of bright tracks that are new, or new to their slots, to what is known of them."""
        rows = self._rows
        taken, owners = _new_rows(self._last[bright], self._taken[slots], slots, self._previous)
        self._taken[slots] = self._last[bright]
        self._values[owners, np.searchsorted(rows.stops, taken, side="right")] = rows.column(self._value)[taken]
        for name, sums, known in zip(self._names, self._sums, self._known, strict=True):
            values = rows.column(name)[taken].astype(float)
            if name == AZIMUTH:
                angles = np.radians(values)
                values = np.cos(angles) + 1j * np.sin(angles)
            _add(owners, values.astype(complex), sums, known)

    def _places(self, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """Where the frames of the layout are among those of the rows, and whether they are."""
        numbers = self._rows.numbers
        at = np.searchsorted(numbers, layout.frames)
        here = at < len(numbers)
        here[here] = numbers[at[here]] == layout.frames[here]
        return np.where(here, at, 0), here


def _largest(total: np.ndarray, counts: np.ndarray, n: int | None) -> np.ndarray:
    """So many tracks that have peaks, the brightest first."""
    tracks = np.flatnonzero(counts)
    order = -total[tracks]
    if n is not None and n < len(tracks):
        least = np.partition(order, n - 1)[n - 1]
        tracks = tracks[~(order > least)]
    return tracks[np.argsort(-total[tracks], kind="stable")][:n]


def _resized(array: np.ndarray, length: int, fill: int) -> np.ndarray:
    """An array whose last axis is so long at least."""
    if length <= array.shape[-1]:
        return array
    larger = np.full((*array.shape[:-1], max(length, 3 * array.shape[-1] // 2)), fill, array.dtype)
    larger[..., : array.shape[-1]] = array
    return larger


@kernel()
def _count(
    particles: np.ndarray,
    values: np.ndarray,
    first: int,
    total: np.ndarray,
    counts: np.ndarray,
    last: np.ndarray,
    previous: np.ndarray,
) -> None:
    """Add the rows from the first one on to their tracks; those of none, below 0, are left out."""
    for row in range(first, len(particles)):
        track = particles[row]
        if track < 0:
            continue
        counts[track] += 1
        if np.isfinite(values[row - first]):
            total[track] += values[row - first]
        previous[row] = last[track]
        last[track] = row


@kernel()
def _new_rows(
    last: np.ndarray, taken: np.ndarray, slots: np.ndarray, previous: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of tracks behind those that were taken, rising for each track, and their slots."""
    count = 0
    for track in range(len(last)):
        row = last[track]
        while row > taken[track]:
            count += 1
            row = previous[row]
    rows, owners = np.empty(count, np.int64), np.empty(count, np.int64)
    stop = count
    for track in range(len(last)):
        row = last[track]
        while row > taken[track]:
            stop -= 1
            rows[stop], owners[stop] = row, slots[track]
            row = previous[row]
    return rows, owners


@kernel()
def _add(owners: np.ndarray, values: np.ndarray, sums: np.ndarray, known: np.ndarray) -> None:
    """Add the finite values one after the other, so that sums are the same however often they were asked for."""
    for row in range(len(owners)):
        if np.isfinite(values[row]):
            sums[owners[row]] += values[row]
            known[owners[row]] += 1


def warm_up_live_maps() -> None:
    """Compile what live maps need, or load it from the cache on disk."""
    rows = PeakRows()
    rows.put(1, np.zeros(1, np.int64), {"mass": np.ones(1)})
    LiveMaps(rows, "mass").brightest(lay_out(np.ones(1, np.int64), {}), 1)
