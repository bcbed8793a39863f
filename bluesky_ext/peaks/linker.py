"""Peaks linked from one frame to the next, as `trackpy.linking` does it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree
from trackpy.linking import Linker, SubnetOversizeException
from trackpy.linking.subnet import HashKDTree

from bluesky_ext._kernel import as_input, kernel
from bluesky_ext.peaks.assignment import EXHAUSTIVE, assign

#: So many results of linking are kept for others that link the same frames by the same rules.
RECENT = 64


@dataclass(frozen=True, eq=False, slots=True)
class LinkerState:
    """What is known after a frame, and enough to link the next: the peaks that it may be linked to.

    Nobody changes these arrays, so that a state can be kept to come back to, and shared. They are numpy's, and not an
    object for each peak, because a few hundred objects a frame that live for a while make the
    garbage collector walk through the whole process every few hundred frames: a quarter of a second each time.
    """

    last: int | None
    """Number of the last frame; None before the first peak."""
    tracks: int
    """How many tracks have begun."""
    positions: np.ndarray
    """(n, ndim) float64: the peaks of the last frame, and after them those that are remembered."""
    particles: np.ndarray
    """(n,) int64: their tracks."""
    seen: np.ndarray
    """(n,) int64: the frames they are from."""
    missing: np.ndarray
    """(n,) int64: for how many frames they have been missing."""
    crowd: int = 0
    """How many known peaks competed for new ones at most, so far, in one place."""


class _Track(NamedTuple):
    id: int


class _Point:
    """A peak as trackpy's functions want it: only where several peaks compete, or for a predictor."""

    __slots__ = ("forward_cands", "pos", "row", "subnet", "t", "track")

    def __init__(self, row: int, pos: np.ndarray, t: int, track: _Track | None = None) -> None:
        self.row = row
        self.pos = pos
        self.t = t
        self.track = track
        self.forward_cands: list[tuple[_Point | None, float]] = []
        self.subnet: int | None = None

    def __hash__(self) -> int:
        # Solvers go through sets of these. By where they lie in memory, as is the default, two links that are equally
        # good (saturated peaks lie on whole pixels) would be chosen between by chance, and a replay would differ.
        return hash((self.t, self.row))


class FrameLinker:
    """The rules by which peaks are linked: those of `trackpy.linking.Linker`.

    Peaks that have one candidate, and are its only one, are linked here, all at once. Where several peaks compete,
    `assign` decides, or a solver of the user's own. trackpy's own linker makes an object of every peak, and counts
    tracks in a class attribute that each new linker sets to zero, so that two linkers at work at the same time mix up
    their tracks.

    What two linkers of equal rules make of the same frames is made once, if they are given them about the same time: a
    state depends on nothing else.

    Parameters
    ----------
    search_range : float, or one for each axis
        How far a peak may move from one frame to the next, in the unit of the positions.
    ndim : int
        Number of axes.
    **keywords
        As for `trackpy.link`: memory, predictor, adaptive_stop, adaptive_step, neighbor_strategy,
        link_strategy, dist_func, to_eucl.
    """

    def __init__(self, search_range: float | Sequence[float], ndim: int, **keywords: Any) -> None:
        self._search_range = search_range
        self._ndim = ndim
        if keywords.get("link_strategy") in EXHAUSTIVE:
            keywords["link_strategy"] = assign
        # A solver of the user's own is asked about every peak; trackpy's link single pairs without ado.
        self._own_solver = callable(keywords["link_strategy"]) and keywords["link_strategy"] is not assign
        self._rules: Any = Linker(search_range, **keywords)
        values = ((name, one if isinstance(one, Real | str) else id(one)) for name, one in sorted(keywords.items()))
        self._key = (repr(search_range), ndim, *values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameLinker) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def start(self) -> LinkerState:
        """State before the first frame."""
        return _start(self._ndim)

    def link(self, state: LinkerState, coordinates: np.ndarray, number: int) -> LinkerState:
        """State after one more frame; its first n particles are those of the frame's n peaks.

        Parameters
        ----------
        state : LinkerState
            State after the frame before, which stays as it is.
        coordinates : (n, ndim) float64 array
            Positions of the peaks.
        number : int
            Number of the frame, higher than the last one. Numbers left out are frames without peaks.

        Raises
        ------
        SubnetOversizeException
            If too many peaks are within reach of each other.
        """
        if state.last is None and len(coordinates) == 0:  # trackpy.link begins with the first peak
            return state
        return _linked(self, state, np.ascontiguousarray(coordinates, float).tobytes(), number)

    def link_next(self, state: LinkerState, coordinates: np.ndarray, number: int) -> LinkerState:
        """What `link` returns, computed."""
        if state.last is None:
            return self._next(state, coordinates, number)
        # After memory + 1 frames without peaks everything is forgotten; more of them change nothing.
        for missing in range(state.last + 1, min(number, state.last + 2 + self._rules.memory)):
            state = self._next(state, np.empty((0, self._ndim)), missing)
        try:
            return self._next(state, coordinates, number)
        except SubnetOversizeException as error:
            raise SubnetOversizeException(
                f"search_range={self._search_range!r} is too large for frame {number} with {len(coordinates)} "
                "peaks: make it smaller, give adaptive_stop, or let locate find fewer peaks"
            ) from error

    def _next(self, state: LinkerState, coordinates: np.ndarray, number: int) -> LinkerState:
        sources, crowd = self._sources(state, coordinates, number)
        found = sources >= 0
        particles = np.empty(len(coordinates), np.int64)
        particles[found] = state.particles[sources[found]]
        born = len(coordinates) - int(found.sum())
        particles[~found] = np.arange(state.tracks, state.tracks + born)

        remembered = state.missing < self._rules.memory
        remembered[sources[found]] = False
        zeros = np.zeros(len(coordinates), np.int64)
        return LinkerState(
            number,
            state.tracks + born,
            np.concatenate([coordinates, state.positions[remembered]]),
            np.concatenate([particles, state.particles[remembered]]),
            np.concatenate([zeros + number, state.seen[remembered]]),
            np.concatenate([zeros, state.missing[remembered] + 1]),
            max(state.crowd, crowd),
        )

    def _sources(self, state: LinkerState, coordinates: np.ndarray, number: int) -> tuple[np.ndarray, int]:
        """Of each new peak the row of the known one that it continues, or -1; and how many competed at most."""
        sources, crowd = np.full(len(coordinates), -1), 0
        if len(coordinates) == 0 or len(state.positions) == 0:
            return sources, crowd
        distances, candidates = self._candidates(state, coordinates, number)
        near = np.isfinite(distances)
        choices = near.sum(axis=1)
        rivals = np.bincount(candidates[near], minlength=len(state.positions))
        nearest = np.where(choices > 0, candidates[:, 0], 0)
        single = (choices == 1) & (rivals[nearest] == 1) & (not self._own_solver)
        sources[single] = nearest[single]
        contested = near & ~single[:, np.newaxis]
        pairs = (candidates[contested], np.nonzero(contested)[0], distances[contested])
        order, starts = _subnets(pairs[0], pairs[1], len(state.positions))
        known, new, apart = (column[order].tolist() for column in pairs)
        for start, stop in pairwise(starts.tolist()):
            subnet = zip(known[start:stop], new[start:stop], apart[start:stop], strict=True)
            crowd = max(crowd, len(set(known[start:stop])))
            for source, row in self._solved(subnet, state, coordinates, number):
                sources[row] = source
        return sources, crowd

    def _candidates(self, state: LinkerState, coordinates: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows of the known peaks around each new one, the nearest first, infinite if there is none."""
        rules = self._rules
        mapped = coordinates if rules.to_eucl is None else rules.to_eucl(coordinates)
        if rules.predictor is None and rules.hash_cls is HashKDTree:
            known = state.positions if rules.to_eucl is None else rules.to_eucl(state.positions)
            reach = rules.search_range + 1e-7  # the slack is trackpy's
            distances, rows = KDTree(known, 15).query(mapped, rules.MAX_NEIGHBORS, distance_upper_bound=reach)
            return np.asarray(distances), np.asarray(rows)
        columns = zip(state.positions, state.seen.tolist(), map(_Track, state.particles.tolist()), strict=True)
        points = [_Point(row, *column) for row, column in enumerate(columns)]
        tree = rules.hash_cls(points, ndim=self._ndim, to_eucl=rules.to_eucl, dist_func=rules.dist_func)
        if rules.predictor is not None:
            tree.set_predictor(rules.predictor, number)
        return tree.query(mapped, rules.MAX_NEIGHBORS, rescale=False, search_range=rules.search_range)

    def _solved(
        self, subnet: Iterable[tuple[int, int, float]], state: LinkerState, coordinates: np.ndarray, number: int
    ) -> list[tuple[int, int]]:
        """Rows of the known and the new peaks that trackpy's solver links, of candidates and their distances."""
        sources: dict[int, _Point] = {}
        destinations: dict[int, _Point] = {}
        for known, new, distance in subnet:
            if known not in sources:
                sources[known] = _Point(known, state.positions[known], int(state.seen[known]))
            if new not in destinations:
                destinations[new] = _Point(new, coordinates[new], number)
            sources[known].forward_cands.append((destinations[new], distance))
        for point in sources.values():
            point.forward_cands.sort(key=_by_distance)
        pairs = self._rules.subnet_linker(set(sources.values()), set(destinations.values()), self._rules.search_range)
        return [(a.row, b.row) for a, b in zip(*pairs, strict=True) if a is not None and b is not None]


@functools.cache
def _start(ndim: int) -> LinkerState:
    nothing = np.empty(0, np.int64)
    return LinkerState(None, 0, np.empty((0, ndim)), nothing, nothing, nothing)


@functools.lru_cache(RECENT)
def _linked(linker: FrameLinker, state: LinkerState, coordinates: bytes, number: int) -> LinkerState:
    return linker.link_next(state, np.frombuffer(coordinates).reshape(-1, state.positions.shape[1]), number)


def _by_distance(candidate: tuple[Any, float]) -> float:
    return candidate[1]


@kernel()
def _labels(known: np.ndarray, new: np.ndarray, n_known: int, parents: np.ndarray) -> np.ndarray:
    """The same number for all pairs that are connected with each other through their peaks."""
    labels = np.empty(known.size, np.int64)
    for i in range(known.size):
        a, b = known[i], n_known + new[i]
        while parents[a] != a:
            a = parents[a]
        while parents[b] != b:
            b = parents[b]
        parents[max(a, b)] = min(a, b)
    for i in range(known.size):
        a = known[i]
        while parents[a] != a:
            a = parents[a]
        labels[i] = a
    return labels


def _subnets(known: np.ndarray, new: np.ndarray, n_known: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of the pairs by subnet, and where each subnet begins and the last one ends.

    They are solved one after the other, so that there are never many objects at a time.
    """
    if len(known) == 0:
        return np.empty(0, np.int64), np.zeros(1, np.int64)
    parents = np.arange(n_known + new.max() + 1)
    labels = _labels(as_input(known), as_input(new), n_known, parents)
    order = np.argsort(labels, kind="stable")
    return order, np.flatnonzero(np.diff(labels[order], prepend=-1, append=-1))


def warm_up_linking() -> None:
    """Compile what linking needs, or load it from the cache on disk."""
    _subnets(np.zeros(2, np.int64), np.arange(2), 1)
