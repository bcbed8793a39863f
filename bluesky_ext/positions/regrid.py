"""Scattered points seen on a grid: pictures of scans whose points lie on none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: How far a cell may be from the point whose value it has, in steps of the grid.
REACH = 1.5


@dataclass(frozen=True)
class Regridded:
    """A grid over scattered points: each cell shows the nearest point, and none where all are far.

    Attributes
    ----------
    y, x : (ny,), (nx,) float64
        The positions along the axes, rising.
    nearest : (ny, nx) int64
        Which point each cell shows; -1 for none.
    """

    y: np.ndarray
    x: np.ndarray
    nearest: np.ndarray

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Values of the points, (..., n), in the cells: (..., ny, nx) float64, NaN where no point is near."""
        if not values.shape[-1]:
            return np.full((*values.shape[:-1], *self.nearest.shape), np.nan)
        return np.where(self.nearest >= 0, values[..., self.nearest], np.nan)


def regrid(y: np.ndarray, x: np.ndarray) -> Regridded:
    """A grid over points, with about as many cells as there are points in the rectangle around them.

    No value is made up: a cell has that of the point nearest to it, NaN if this is more than 1.5 steps away.

    Parameters
    ----------
    y, x : (n,) float64
        Where the points are. One whose position is not finite is in no cell.

    Examples
    --------
    >>> grid = regrid(np.array([0.0, 0.1, 2.0]), np.array([0.0, 2.0, 0.1]))
    >>> grid.placed(np.array([1.0, 2.0, 3.0]))
    array([[1., 2.],
           [3., 2.]])
    """
    from scipy.spatial import KDTree  # takes a fifth of a second, and few scans need it

    points = np.stack([np.asarray(y, float), np.asarray(x, float)], axis=1)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(known):
        return Regridded(np.empty(0), np.empty(0), np.empty((0, 0), np.int64))
    points = points[known]
    low, high = points.min(axis=0), points.max(axis=0)
    height, width = high - low
    step = math.sqrt(height * width / len(points))
    if step:
        counts = [max(1, min(len(points), round(way / step))) for way in (height, width)]
    else:  # a line along one of the axes
        counts = [len(points) if way else 1 for way in (height, width)]
    axes = [np.linspace(first, last, count) for first, last, count in zip(low, high, counts, strict=True)]
    steps = [axis[1] - axis[0] if len(axis) > 1 else 1.0 for axis in axes]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    _, nearest = KDTree(points / steps).query(cells / steps, distance_upper_bound=REACH)
    found = np.append(known, -1)[nearest]  # one past the last is said of those that are far
    return Regridded(axes[0], axes[1], found.reshape(counts))
