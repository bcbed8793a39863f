"""Where numbers go: the way of a run through an array, and the events of a run that go this way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from suitcase_nxstxm.request import Image, Layout, Request, number_of_points


@dataclass(frozen=True)
class Path:
    """The way of a run through the array of its entry."""

    shape: tuple[int, ...]
    base: int = 0  # the flat index in the array at which the run begins: that of its plane
    order: tuple[int, ...] | None = None  # see `Request`
    snaking: tuple[bool, ...] = ()  # one shorter than the array if the planes are runs of their own
    # The flat index of the first point of each event, from `base` on, and how many points each of these events covers;
    # -1 where it isn't known. It goes before `order` and `snaking`.
    listed: np.ndarray | None = None
    covered: int = 1

    @property
    def straight(self) -> bool:
        """Whether the run goes through the array as the array is stored."""
        order = self.order or ()
        return (
            self.listed is None
            and not any(self.snaking)
            and order == tuple(range(len(self.shape)))[len(self.shape) - len(order) :]
        )

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
        if self.listed is not None:
            events = taken // self.covered
            begins = np.append(self.listed, -1)[np.minimum(events, len(self.listed))]
            return self.base + np.where(begins < 0, taken, begins + taken % self.covered)
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
    at: np.ndarray | None = None  # the flat index of each event whose set points say it, -1 for the others
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
        if self.at is None or size != 1:
            return found
        told = self.at[events, np.newaxis]
        return np.where(told < 0, found, told)

    @cached_property
    def straight(self) -> bool:
        """Whether the points were taken in the order in which the array has them."""
        return self.path.straight and (self.at is None or bool((self.at < 0).all()))

    @cached_property
    def _ascending(self) -> bool:
        return bool((np.diff(self.first) >= 0).all())

    @cached_property
    def _by_planes(self) -> bool:
        if self.at is None:
            return self.path.by_planes
        plane = self.image.layout.plane_size
        return bool(((self.at < 0) | (self.at // plane == (self.path.base + self.first) // plane)).all())

    def events(self, begin: int, end: int, taken: bool) -> slice:
        """The events that may have points in some planes, which are between two flat indices.

        With ``taken`` these are the numbers of points as they were taken.
        """
        if not self._ascending or not (taken or self._by_planes):
            return slice(0, len(self.first))
        found = np.searchsorted(self.first, [begin - self.path.base - self.unit + 1, end - self.path.base])
        return slice(int(found[0]), int(found[1]))


@dataclass(frozen=True, eq=False)
class Places:
    """Where the numbers of a run go."""

    parts: list[Part]  # its events by the entry that they go to
    frames: frozenset[str] = frozenset()  # detectors with an array a point: its sum goes to the grid
    aside: frozenset[str] = frozenset()  # detectors that are read once for many points, which have no place on the grid


def path_of(request: Request, layout: Layout, images: Sequence[Image], several: Sequence[int] | None) -> Path:
    """The way of a run through the array of an entry; `several` are the images of a run of several that go there."""
    levels = len(request.order or layout.shape)
    fits = len(request.snaking) == levels or (layout.planes and len(request.snaking) == levels - 1)
    base = request.plane * layout.plane_size if layout.planes and several is None else 0
    path = Path(layout.shape, base, request.order, request.snaking if fits else ())
    listed, shape = request.sequence, layout.shape
    if listed is None or not len(listed) or len(shape) < 2 or (listed[:, 1:] >= shape[-2:]).any():
        return path  # without a list, or with one of something else than what is stored here
    covered = shape[-1] if listed[:, 2].max() <= 0 else 1
    plane = math.prod(shape[-2:])
    image, row, column = listed.T
    within = np.where(image < 0, -1, row * shape[-1] + column)
    if several is None:
        found = np.where(image < 0, -1, image * plane + within)
    else:
        events = plane // covered
        found = np.full(number_of_points(path.size // covered, request.max_points, "a run of images"), -1)
        for number in several:
            mine = np.flatnonzero(image == number)[:events]
            begin = images[number].plane * events
            found[begin : begin + len(mine)] = images[number].plane * plane + within[mine]
    usual = np.arange(len(found)) * covered
    if (found >= path.size).any() or (((found == usual) | (found < 0)).all() and not any(path.snaking)):
        return path
    return replace(path, listed=found, covered=covered)


def sequence_numbers(listed: np.ndarray) -> np.ndarray:
    """For each event of a ``sequence_map`` its number among the events of its image; shape (n,)."""
    numbers = np.zeros(len(listed), np.int64)
    for image in np.unique(listed[:, 0]):
        mine = listed[:, 0] == image
        numbers[mine] = np.arange(np.count_nonzero(mine))
    return numbers
