"""Where in the array the numbers of an event go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.request import Axis

__all__ = ["Path", "by_set_points", "check_fits", "unit_of"]


@dataclass(frozen=True)
class Path:
    """The way of a run through the array of its entry.

    Parameters
    ----------
    shape
        The shape of the array.
    base
        The flat index in the array at which the run begins: that of its plane.
    order
        The dimension that each level of the scan's loops runs along, outermost first. None for the array's own order.
    snaking
        Which levels go back and forth. One shorter than the array if the planes are runs of their own.
    places
        For each event of the run the place of its first point, from ``base`` on; -1 where it isn't known. It goes
        before ``order`` and ``snaking``.
    covered
        How many points an event of ``places`` covers.
    """

    shape: tuple[int, ...]
    base: int = 0
    order: tuple[int, ...] | None = None
    snaking: tuple[bool, ...] = ()
    places: np.ndarray | None = None
    covered: int = 1

    @property
    def straight(self) -> bool:
        """Whether the run goes through the array as the array is stored."""
        order = self.order or ()
        return (
            self.places is None
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

    def at(self, first: int, number: int) -> slice | np.ndarray:
        """The flat indices in the array of ``number`` points from the ``first`` of the run on, as they were taken."""
        if self.straight:
            return slice(self.base + first, self.base + first + number)
        taken = np.arange(first, first + number)
        if self.places is not None:
            events = taken // self.covered
            begins = np.append(self.places, -1)[np.minimum(events, len(self.places))]
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


def unit_of(number: int, shape: Sequence[int], before: int = 1) -> int | None:
    """How many points of the scan an event covers that has this number of numbers; None if none would fit.

    A point, a line, some lines, a plane, everything; or less than a line, for a line that was broken off.

    Parameters
    ----------
    number
        How many numbers there are.
    shape
        The shape of the array.
    before
        What it was for the events before: a line of one point is a line.
    """
    line, size = shape[-1], math.prod(shape)
    if number <= before:
        return before
    if number in (1, line) or (number <= size and number % line == 0):
        return number
    return line if number < line else None


def by_set_points(axes: Sequence[Axis], data: Mapping[str, object], keys: Sequence[str | None]) -> int | None:
    """The flat index in the array of a point whose event has the set points of all axes; None if it hasn't.

    They must be those of the scan: a stage whose set points are in other coordinates says nothing.
    """
    flat = 0
    for axis, key in zip(axes, keys, strict=True):
        value = data.get(key) if key is not None else None
        if not isinstance(value, (int, float, np.number)) or not len(axis):
            return None
        nearest = int(np.argmin(np.abs(axis.points - float(value))))
        extent = float(np.ptp(axis.points)) or abs(float(axis.points[0])) or 1.0
        if not abs(axis.points[nearest] - float(value)) <= 1e-9 * extent:
            return None
        flat = flat * len(axis) + nearest
    return flat


def check_fits(first: int, number: int, path: Path, what: str) -> None:
    """Refuse points that the array has no place for."""
    if first < 0 or first + number > path.size:
        shape = " x ".join(map(str, path.shape))
        raise MisfitError(f"{what} is for points {first} to {first + number - 1} of a run with {path.size} ({shape})")
