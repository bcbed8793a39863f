"""Live maps: the maps of the brightest tracks while frames arrive, in milliseconds for a million peaks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from bluesky_ext._kernel import kernel
from bluesky_ext.positions import Layout, lay_out


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
        The mean of each column of their peaks, of the finite values.
    """

    maps: np.ndarray
    particle: np.ndarray
    frames: np.ndarray
    total: np.ndarray
    means: list[np.ndarray]


class LiveMaps:
    """The peaks of a run in flat arrays that grow, frame by frame; a frame that comes again is replaced.

    Parameters
    ----------
    columns : sequence of str
        What is known of a peak.
    value : str
        Which of them is mapped.
    """

    def __init__(self, columns: Sequence[str], value: str) -> None:
        self.columns = tuple(columns)
        self._value = self.columns.index(value)
        self._spans: dict[int, tuple[int, int]] = {}  # of each frame: its first row, and how many it has room for
        self._n_peaks: dict[int, int] = {}
        self._n_rows = 0
        self._frames = np.empty(0, np.int64)
        self._particles = np.empty(0, np.int64)  # -1 where a row is no more
        self._peaks = np.empty((len(self.columns), 0))

    def put(self, frame: int, particles: np.ndarray, peaks: np.ndarray) -> None:
        """Take the peaks of a frame, for the first time or again.

        Parameters
        ----------
        frame : int
            Its number, from 1.
        particles : (n,) int64
            The tracks of its peaks, from 0.
        peaks : (columns, n) float64
            What is known of each.
        """
        first, room = self._spans.get(frame, (0, 0))
        if room < len(particles):
            self._particles[first : first + room] = -1
            first, room = self._n_rows, len(particles)
            self._reserve(first + room)
            self._n_rows += room
        self._spans[frame] = first, room
        self._n_peaks[frame] = len(particles)
        rows = slice(first, first + len(particles))
        self._particles[first : first + room] = -1
        self._particles[rows], self._peaks[:, rows], self._frames[rows] = particles, peaks, frame

    @property
    def frames(self) -> np.ndarray:
        """The numbers of the frames that were put, with peaks or without, (n,) int64, rising."""
        return np.array(sorted(self._spans), np.int64)

    def n_peaks(self, layout: Layout) -> np.ndarray:
        """How many peaks each point of the scan has, float64 of the layout's shape; NaN where nothing was measured."""
        return layout.placed(np.array([self._n_peaks.get(frame, 0) for frame in layout.frames.tolist()], float))

    def brightest(self, layout: Layout, max_maps: int | None, columns: Collection[str] | None = None) -> BrightTracks:
        """The maps of so many tracks at most; frames that the layout does not have are on no map.

        Of all columns, or of these, the means are computed.
        """
        n = self._n_rows
        frames, particles, values = self._frames[:n], self._particles[:n], self._peaks[self._value, :n]
        n_tracks = int(particles.max(initial=-1)) + 1
        numbers = None
        if n_tracks > 2 * n + 1000:  # numbers of another maker, which need not count from 0
            here = particles >= 0
            numbers, ranks = np.unique(particles[here], return_inverse=True)
            particles = np.full(n, -1)
            particles[here] = ranks
            n_tracks = len(numbers)
        total, counts = _totals(particles, values, n_tracks)
        bright = np.argsort(-total, kind="stable")
        bright = bright[counts[bright] > 0][:max_maps]
        order = np.full(n_tracks, -1)
        order[bright] = np.arange(len(bright))
        unmeasured = np.full(layout.n_cells, np.nan)
        unmeasured[layout.cells] = 0.0
        maps = np.repeat(unmeasured[np.newaxis], len(bright), axis=0)
        cells, at = layout.cells_of(frames)
        _spread(cells, at, particles, values, order, maps)
        known = range(len(self.columns)) if columns is None else map(self.columns.index, columns)
        means = [_means(particles, self._peaks[column, :n], order, len(bright)) for column in known]
        particle = bright if numbers is None else numbers[bright]
        return BrightTracks(maps.reshape(len(bright), *layout.shape), particle, counts[bright], total[bright], means)

    def _reserve(self, n_rows: int) -> None:
        if n_rows <= len(self._frames):
            return
        size = max(n_rows, 2 * len(self._frames), 1024)
        for name in ("_frames", "_particles", "_peaks"):
            old = getattr(self, name)
            new = np.empty((*old.shape[:-1], size), old.dtype)
            new[..., : self._n_rows] = old[..., : self._n_rows]
            setattr(self, name, new)


@kernel()
def _totals(particles: np.ndarray, values: np.ndarray, n_tracks: int) -> tuple[np.ndarray, np.ndarray]:
    total = np.zeros(n_tracks)
    counts = np.zeros(n_tracks, np.int64)
    for row in range(len(particles)):
        particle = particles[row]
        if particle >= 0:
            counts[particle] += 1
            if np.isfinite(values[row]):
                total[particle] += values[row]
    return total, counts


@kernel()
def _spread(
    cells: np.ndarray,
    at: np.ndarray,
    particles: np.ndarray,
    values: np.ndarray,
    order: np.ndarray,
    maps: np.ndarray,
) -> None:
    """Put the values of the bright tracks into their maps: each has its cell ``at`` a place of a table."""
    for row in range(len(at)):
        track = order[particles[row]] if particles[row] >= 0 else -1
        if track >= 0 and 0 <= at[row] < len(cells) and cells[at[row]] >= 0:
            maps[track, cells[at[row]]] = values[row]


@kernel()
def _means(particles: np.ndarray, values: np.ndarray, order: np.ndarray, n: int) -> np.ndarray:
    """The mean of the finite values of each of the bright tracks, NaN where there is none."""
    means = np.zeros(n)
    known = np.zeros(n)
    for row in range(len(particles)):
        track = order[particles[row]] if particles[row] >= 0 else -1
        if track >= 0 and np.isfinite(values[row]):
            means[track] += values[row]
            known[track] += 1
    for track in range(n):
        means[track] = means[track] / known[track] if known[track] else np.nan
    return means


def warm_up_live_maps() -> None:
    """Compile what live maps need, or load it from the cache on disk."""
    live = LiveMaps(["mass"], "mass")
    live.put(1, np.zeros(1, np.int64), np.ones((1, 1)))
    live.brightest(lay_out(np.ones(1, np.int64), {}), 1)
