"""The way of a run through an array: loops in an order of their own, back and forth, or as a list has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from suitcase_nxstxm.layout import Image, Layout
from suitcase_nxstxm.request import Request, number_of_points

__all__ = ["Path", "path_of", "sequence_numbers"]


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
    listed
        The flat index of the first point of each event, from ``base`` on; -1 where it isn't known. It goes before
        ``order`` and ``snaking``.
    covered
        How many points an event of ``listed`` covers.
    """

    shape: tuple[int, ...]
    base: int = 0
    order: tuple[int, ...] | None = None
    snaking: tuple[bool, ...] = ()
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


def path_of(request: Request, layout: Layout, images: Sequence[Image], several: Sequence[int] | None) -> Path:
    """The way of a run through the array of an entry.

    Parameters
    ----------
    request
        What the run asks for.
    layout
        That of the entry.
    images
        The images of the run.
    several
        Those of them that are in the entry, where the run takes more than one; else None.
    """
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
