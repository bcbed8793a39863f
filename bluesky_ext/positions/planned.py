"""What is said of the points of a scan before it is run."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Planned:
    """The grid that a scan is meant to have, the slowest axis first, as the start document of a grid scan says it.

    Parameters
    ----------
    shape : sequence of int
        Number of points along each axis.
    extents : sequence of (first, last), optional
        Positions along each axis.
    snaking : sequence of bool, optional
        Whether an axis is run through forwards and backwards in turn. For the first axis, which is run through once,
        it makes no difference.
    is_relative : bool
        Whether the extents count from where the motors were before the scan.
    """

    shape: Sequence[int]
    extents: Sequence[Sequence[float]] | None = None
    snaking: Sequence[bool] | None = None
    is_relative: bool = False

    def __post_init__(self) -> None:
        try:
            shape = tuple(operator.index(length) for length in _items(self.shape))
        except TypeError:
            raise ValueError(f"shape={self.shape!r} must have a whole number of points for each axis") from None
        if not shape or min(shape) < 1:
            raise ValueError(f"shape={shape!r} must have a number of points, at least 1, for each axis of the scan")
        for name, given in (("extents", self.extents), ("snaking", self.snaking)):
            if given is not None and len(_items(given)) != len(shape):
                raise ValueError(f"{name}={given!r} must have {len(shape)} items, one for each axis of {shape}")
        if self.extents is not None and np.shape(self.extents) != (len(shape), 2):
            raise ValueError(f"extents={self.extents!r} must have a first and a last position for each axis")
        object.__setattr__(self, "shape", shape)

    @property
    def n_points(self) -> int:
        """Number of points of the whole scan."""
        return math.prod(self.shape)

    def cells(self, frames: np.ndarray) -> np.ndarray:
        """The cell of each frame by its number, from 1, in the order of the scan: (n, ndim) int64."""
        cells = np.empty((len(frames), len(self.shape)), np.int64)
        step = self.n_points
        for axis, length in enumerate(self.shape):
            step //= length
            turn, cells[:, axis] = np.divmod((np.asarray(frames, np.int64) - 1) // step, length)
            if self.snaking is not None and self.snaking[axis]:
                backwards = turn % 2 == 1
                cells[backwards, axis] = length - 1 - cells[backwards, axis]
        return cells

    def positions(self, axis: int) -> np.ndarray | None:
        """The positions along an axis, (length,) float64; None if nobody says them."""
        if self.extents is None:
            return None
        first, last = self.extents[axis]
        return np.linspace(first, last, self.shape[axis])


def _items(value: Any) -> Sequence[Any]:
    try:
        return tuple(value)
    except TypeError:
        raise ValueError(f"{value!r} is given where a sequence is needed, one item for each axis") from None
