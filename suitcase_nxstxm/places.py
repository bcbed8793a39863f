"""Where numbers go: the way of a run through an array, and the events of a run that go this way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from suitcase_nxstxm.request import Image

_BLOCK = 1 << 16  # points, or events, that are looked up at once


@dataclass(frozen=True)
class Path:
    """The way of a run through the array of its entry."""

    shape: tuple[int, ...]
    base: int = 0  # the flat index in the array at which the run begins: that of its plane
    order: tuple[int, ...] | None = None  # see `Request`
    snaking: tuple[bool, ...] = ()  # one shorter than the array if the planes are runs of their own

    @property
    def straight(self) -> bool:
        """Whether the run goes through the array as the array is stored."""
        order, levels = self.order or (), tuple(range(len(self.shape)))
        return not any(self.snaking) and order == levels[len(levels) - len(order) :]

    @property
    def by_planes(self) -> bool:
        """Whether the run goes through one plane of the array after the other."""
        return self.order is None or len(self.order) < len(self.shape) or self.order[0] == 0

    @property
    def size(self) -> int:
        """How many points the array has from the beginning of the run on."""
        return math.prod(self.shape) - self.base

    def flat(self, taken: np.ndarray) -> np.ndarray:
        """The flat indices in the array of points by their number in the run, from 0; the same shape."""
        if self.straight:
            return self.base + taken
        if len(taken) > _BLOCK:
            return np.concatenate([self.flat(taken[i : i + _BLOCK]) for i in range(0, len(taken), _BLOCK)])
        levels = self.order or tuple(range(len(self.shape)))[len(self.shape) - len(self.snaking) :]
        inner = math.prod(self.shape[level] for level in levels)
        # A plane that is a run of its own begins at its own beginning, whichever way the one before it ended.
        plane, within = np.divmod(taken, inner)
        flat = self.base + plane * inner
        for i, level in enumerate(levels):
            passes = within // inner
            inner //= self.shape[level]
            step = within // inner % self.shape[level]
            if i < len(self.snaking) and self.snaking[i]:
                step = np.where(passes % 2, self.shape[level] - 1 - step, step)
            flat = flat + step * math.prod(self.shape[level + 1 :])
        return flat


@dataclass(frozen=True, eq=False)
class Part:
    """The events of a run that go to one entry."""

    image: Image  # of the entry, or the first one of several
    path: Path  # the way through its array
    rows: np.ndarray | None  # of these events, ascending; None if they are all
    first: np.ndarray  # for each of them the number of its first point on the path
    unit: int  # how many points a whole event covers
    keys: tuple[str, ...]  # the detectors that are for the entry
    element: int | None  # which number of an event is for the entry, where an event has one for each of several
    at: np.ndarray | None = None  # the flat index of the first point of each event that says it, -1 for the others
    number: np.ndarray | None = None  # how many points each event covers; None if all cover a unit of them
    reached: int = 0  # how many points of the path have been reached

    def points(self, events: slice, size: int, taken: bool) -> np.ndarray:
        """The flat indices of the points of some events, each of this size; shape (events, size).

        With ``taken`` their numbers in the entry as they were taken, instead of those in the array.
        """
        numbers = self.first[events, np.newaxis] + np.arange(size)
        if taken:
            return self.path.base + numbers
        found = self.path.flat(numbers)
        if self.at is None or size > self.unit:
            return found
        told = self.at[events, np.newaxis]
        return np.where(told < 0, found, told + np.arange(size))

    @property
    def straight(self) -> bool:
        """Whether the points were taken in the order in which the array has them."""
        return self.path.straight and self.at is None

    @property
    def sizes(self) -> np.ndarray:
        """How many points each event covers."""
        return np.full(len(self.first), self.unit) if self.number is None else self.number

    def events(self, begin: int, end: int, taken: bool) -> slice:
        """The events that may have points between two flat indices, which are bounds of planes; ``taken`` as above."""
        if taken or self.straight:
            low = self.path.base + self.first
            high = low + self.sizes
        else:
            plane = max(self.image.layout.plane_size, 1)
            first = self.points(slice(None), 1, False)[:, 0]
            last = self.path.flat(self.first + self.sizes - 1) if self.unit > 1 else first
            low, high = np.minimum(first, last) // plane * plane, (np.maximum(first, last) // plane + 1) * plane
        found = np.flatnonzero((low < end) & (high > begin))
        return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the numbers of a run go."""

    parts: list[Part]  # its events by the entry that they go to
    frames: frozenset[str] = frozenset()  # detectors with an array a point: its sum goes to the grid
    aside: frozenset[str] = frozenset()  # detectors that are read once for many points, which have no place on the grid
