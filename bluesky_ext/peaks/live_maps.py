"""Live maps: the maps of the brightest tracks while frames arrive, in milliseconds for a million peaks."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from bluesky_ext._kernel import kernel


class BrightTracks(NamedTuple):
    """The brightest tracks, the brightest first.

    Attributes
    ----------
    maps : (n, points) float64
        The value of each at every point of the scan, zero where it has no peak.
    particle, frames : (n,) int64
        Their numbers, and in how many frames they are.
    total : (n,) float64
        The sum of their values.
    positions : (n, axes) float64
        The mean of their positions.
    """

    maps: np.ndarray
    particle: np.ndarray
    frames: np.ndarray
    total: np.ndarray
    positions: np.ndarray


class LiveMaps:
    """The peaks of a run in flat arrays that grow, frame by frame; a frame that comes again is replaced.

    Parameters
    ----------
    n_axes : int
        How many coordinates a peak has.
    """

    def __init__(self, n_axes: int) -> None:
        self._spans: dict[int, tuple[int, int]] = {}  # of each frame: its first row, and how many it has room for
        self._n_rows = 0
        self._frames = np.empty(0, np.int64)
        self._particles = np.empty(0, np.int64)  # -1 where a row is no more
        self._values = np.empty(0)
        self._positions = np.empty((0, n_axes))

    def put(self, frame: int, particles: np.ndarray, values: np.ndarray, positions: np.ndarray) -> None:
        """Take the peaks of a frame, for the first time or again.

        Parameters
        ----------
        frame : int
            Its number, from 1.
        particles : (n,) int64
            The tracks of its peaks, from 0.
        values : (n,) float64
            What is mapped.
        positions : (n, axes) float64
            Where the peaks are.
        """
        first, room = self._spans.get(frame, (0, 0))
        if room < len(particles):
            self._particles[first : first + room] = -1
            first, room = self._n_rows, len(particles)
            self._reserve(first + room)
            self._spans[frame] = first, room
            self._n_rows += room
        rows = slice(first, first + len(particles))
        self._particles[first : first + room] = -1
        self._particles[rows], self._values[rows], self._positions[rows] = particles, values, positions
        self._frames[rows] = frame

    @property
    def last_frame(self) -> int:
        """The highest number of a frame; 0 before the first."""
        return max(self._spans, default=0)

    def brightest(self, places: np.ndarray, max_maps: int) -> BrightTracks:
        """The maps of so many tracks.

        Parameters
        ----------
        places : (frames,) int64
            The point of each frame, the first of which is number 1; peaks of other frames have none.
        max_maps : int
            How many tracks at most.
        """
        n = self._n_rows
        frames, particles, values = self._frames[:n], self._particles[:n], self._values[:n]
        n_tracks = int(particles.max(initial=-1)) + 1
        numbers = None
        if n_tracks > 2 * n + 1000:  # numbers of another maker, which need not count from 0
            here = particles >= 0
            numbers, ranks = np.unique(particles[here], return_inverse=True)
            particles = np.full(n, -1)
            particles[here] = ranks
            n_tracks = len(numbers)
        total, counts = _totals(particles, values, n_tracks)
        bright = np.argsort(-total, kind="stable")[:max_maps]
        bright = bright[counts[bright] > 0]
        grains = np.full(n_tracks, -1)
        grains[bright] = np.arange(len(bright))
        maps = np.zeros((len(bright), int(places.max(initial=-1)) + 1))
        sums = np.zeros((len(bright), self._positions.shape[1]))
        _spread(frames, particles, values, self._positions[:n], grains, places, maps, sums)
        counts = counts[bright]
        particle = bright if numbers is None else numbers[bright]
        return BrightTracks(maps, particle, counts, total[bright], sums / counts[:, np.newaxis])

    def _reserve(self, n_rows: int) -> None:
        if n_rows <= len(self._frames):
            return
        size = max(n_rows, 2 * len(self._frames), 1024)
        for name in ("_frames", "_particles", "_values", "_positions"):
            old = getattr(self, name)
            new = np.empty((size, *old.shape[1:]), old.dtype)
            new[: self._n_rows] = old[: self._n_rows]
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
    frames: np.ndarray,
    particles: np.ndarray,
    values: np.ndarray,
    positions: np.ndarray,
    grains: np.ndarray,
    places: np.ndarray,
    maps: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Put the values of the bright tracks into their maps, and add up their positions."""
    for row in range(len(frames)):
        grain = grains[particles[row]] if particles[row] >= 0 else -1
        if grain < 0:
            continue
        for axis in range(positions.shape[1]):
            sums[grain, axis] += positions[row, axis]
        if 0 < frames[row] <= len(places):
            maps[grain, places[frames[row] - 1]] = values[row]


@functools.cache
def warm_up_live_maps() -> None:
    """Compile what live maps need, or load it from the cache on disk."""
    live = LiveMaps(2)
    live.put(1, np.zeros(1, np.int64), np.ones(1), np.ones((1, 2)))
    live.brightest(np.zeros(1, np.int64), 1)
