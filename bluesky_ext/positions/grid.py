"""Grids recognised from the readings of motors: noisy, uneven, in any order, finished or under way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bluesky_ext.positions.planned import Planned

#: Of a step: how far a motor may be from its level, as the root of the mean of squares.
NOISE = 0.25
#: Of a step: the noise of a grid that nobody planned and of which each level was seen a few times only.
TIGHT = 0.02
#: How many times wider the gaps between levels are than those within, at least.
WIDER = 1.5
#: Of the cells of a grid that was planned: how many have been measured at least. A triangular lattice has half of them.
FILLED = 0.6
#: Of the way of another motor: how far a motor that stands may be read to move.
STANDS = 0.02


class Grid(NamedTuple):
    """A grid, and the cell of each point in it.

    Attributes
    ----------
    axes : list of (length,) float64
        The positions along each axis, rising.
    cells : (n, ndim) int64
        The cell of each point.
    """

    axes: list[np.ndarray]
    cells: np.ndarray


def planned_grid(readings: np.ndarray, frames: np.ndarray, planned: Planned) -> Grid | None:
    """The grid that was planned, where the readings agree with it; None if they don't.

    Positions that the scan has not come to yet are those of the plan, of a relative one moved to where the motors are;
    they are left out if the plan doesn't tell where they would be.
    """
    if len(planned.shape) != readings.shape[1] or frames.max() > planned.n_points:
        return None
    axes, columns = [], []
    for axis, length in enumerate(planned.shape):
        cells = planned.cells(frames)[:, axis]
        expected = planned.positions(axis)
        reached = np.flatnonzero(np.bincount(cells, minlength=length))
        labels = cells if len(reached) == length else np.searchsorted(reached, cells)
        levels = _levels(readings[:, axis], labels, len(reached))
        if len(reached) == 1:
            step = 0.0 if expected is None or length == 1 else abs(expected[1] - expected[0])
            if _span(readings[:, axis]) > max(0.4 * step, _standing(readings, axis)):
                return None
        elif not _near(readings[:, axis], labels, levels):
            return None
        if len(reached) < length and expected is not None:
            moved = expected + (np.median(levels - expected[reached]) if planned.is_relative else 0.0)
            if np.abs(levels - moved[reached]).max() <= 0.5 * abs(expected[1] - expected[0]):
                moved[reached] = levels
                levels, labels = moved, cells
        order = np.argsort(levels, kind="stable")
        axes.append(levels[order])
        columns.append(np.argsort(order)[labels])
    return Grid(axes, np.stack(columns, axis=1))


def found_grid(
    readings: np.ndarray, n_lost: int, planned: Planned | None, setpoints: np.ndarray | None = None
) -> Grid | None:
    """The grid that the readings themselves make; None if they make none.

    Parameters
    ----------
    readings : (n, ndim) float64
        Of each motor, the slowest first.
    n_lost : int
        How many points of the scan are missing among them.
    planned : Planned, optional
        Its shape says how many levels a motor may have.
    setpoints : (n, ndim) float64, optional
        Where the motors were sent, which have no noise: they tell the levels if there are any.
    """
    n_axes = readings.shape[1]
    if n_axes == 1:  # a line: every position is a point of it
        levels, labels = np.unique(readings[:, 0], return_inverse=True)
        return Grid([levels], labels[:, np.newaxis]) if len(levels) == len(readings) else None
    if setpoints is not None:
        labels = [_cut(column, 1e-6 * _span(column)) for column in setpoints.T]
        grid = _grid(readings, labels, n_lost, filled=FILLED)
        if grid is not None or len(np.unique(setpoints, axis=0)) == len(setpoints):
            return grid
    shape = (None,) * n_axes if planned is None or len(planned.shape) != n_axes else planned.shape
    choices = [list(_choices(readings, axis, shape[axis])) for axis in range(n_axes)]
    for labels in itertools.product(*choices):
        sizes = tuple(int(column.max()) + 1 for column in labels)
        seldom = sizes != shape and len(readings) < 2 * sum(sizes)
        grid = _grid(readings, labels, n_lost, filled=1.0 if shape[0] is None else FILLED, tight=seldom)
        if grid is not None:
            return grid
    return None


def _grid(
    readings: np.ndarray, labels: Sequence[np.ndarray], n_lost: int, *, filled: float, tight: bool = False
) -> Grid | None:
    """The grid of levels with these labels, if each cell has one point at most and each point is near its cell.

    So many of the cells must have a point, or all but those of a row that the scan is in.
    """
    sizes = [int(column.max()) + 1 for column in labels]
    n_cells, n = math.prod(sizes), len(readings)
    if n > n_cells or (n < filled * n_cells and n_cells - n - n_lost >= n_cells / min(sizes)):
        return None
    cells = np.stack(labels, axis=1)
    if len(np.unique(np.ravel_multi_index(tuple(cells.T), sizes))) < n:
        return None
    axes = []
    for axis, size in enumerate(sizes):
        column = readings[:, axis]
        levels = _levels(column, cells[:, axis], size)
        if size > 1 and not _near(column, cells[:, axis], levels, tight=tight):
            return None
        axes.append(levels)
    if any((np.diff(levels) <= 0).any() for levels in axes):  # set points whose readings are in another order
        return None
    return Grid(axes, cells)


def _choices(readings: np.ndarray, axis: int, count: int | None) -> Iterator[np.ndarray]:
    """The level of each reading of a motor, in some ways that are worth a try, the likeliest first."""
    values = readings[:, axis]
    if _span(values) <= _standing(readings, axis):
        yield np.zeros(len(values), np.int64)
        return
    floor = 1e-9 * _span(values)
    gaps = np.append(np.sort(np.maximum(np.diff(np.sort(values)), floor))[::-1], floor)
    ratios = gaps[:-1] / gaps[1:]
    best = [*np.argsort(-ratios, kind="stable")[:3].tolist(), *np.argsort(np.diff(gaps), kind="stable")[:2].tolist()]
    likely = [at for at in dict.fromkeys(best) if ratios[at] > WIDER]
    if count is not None and 1 < count <= len(values):
        likely = [count - 2, *(at for at in likely if at != count - 2)]
    for at in likely:
        yield _cut(values, (gaps[at] + gaps[at + 1]) / 2)


def _cut(values: np.ndarray, width: float) -> np.ndarray:
    """The level of each value, from 0 upwards: a gap wider than this is one between levels."""
    order = np.argsort(values, kind="stable")
    labels = np.empty(len(values), np.int64)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(values[order]) > width)])
    return labels


def _near(values: np.ndarray, labels: np.ndarray, levels: np.ndarray, *, tight: bool = False) -> bool:
    """Whether readings lie near their levels, measured by the way to the next level."""
    order = np.argsort(levels, kind="stable")
    between = np.diff(levels[order])
    if not (between > 0).all():
        return False
    steps = np.empty(len(levels))
    steps[order] = np.minimum(np.append(between, np.inf), np.append(np.inf, between))
    away = np.abs(values - levels[labels]) / steps[labels]
    if tight:
        return bool(away.max() <= TIGHT)
    noise = math.sqrt(np.mean(away**2))
    return noise <= NOISE and bool(away.max() <= max(0.5, 5 * noise))


def _levels(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The mean of the values with each label, (count,) float64, exact where they are all the same; NaN for none."""
    one = np.full(count, np.nan)
    one[labels] = values
    away = np.bincount(labels, values - one[labels], minlength=count)
    return one + away / np.maximum(np.bincount(labels, minlength=count), 1)


def _standing(readings: np.ndarray, axis: int) -> float:
    """How far a motor that stands may be read to move."""
    return STANDS * max((_span(column) for at, column in enumerate(readings.T) if at != axis), default=0.0)


def _span(values: np.ndarray) -> float:
    return float(values.max() - values.min())
