"""What is done to each spectrum without its background: areas of lines none of which is negative."""

from __future__ import annotations

import functools

import numpy as np

from bluesky_ext._kernel import kernel
from bluesky_ext.spectra.fluorescence.background import background

#: Of the largest gradient: a line whose gradient is below that stays where it is, at zero.
TOLERANCE = 1e-13
#: Of its norm: a shape that differs less than that from a sum of others is left out.
DEPENDENT = 1e-12


@kernel(fastmath=("reassoc", "contract"), inner=True)
def products(shapes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The products of rows with a vector."""
    out = np.empty(len(shapes))
    for row in range(len(shapes)):
        shape = shapes[row]
        total = 0.0
        for i in range(len(values)):
            total += shape[i] * values[i]
        out[row] = total
    return out


@kernel(fastmath=("reassoc", "contract"), inner=True)
def products_within(shapes: np.ndarray, spans: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The products of rows, which are 0 outside of their spans, with a vector."""
    out = np.empty(len(shapes))
    for row in range(len(shapes)):
        first, end = spans[row]
        shape, part = shapes[row, first:end], values[first:end]
        total = 0.0
        for i in range(len(part)):
            total += shape[i] * part[i]
        out[row] = total
    return out


@kernel(fastmath=("reassoc", "contract"), inner=True)
def misfit(shapes: np.ndarray, spans: np.ndarray, found: np.ndarray, values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted sum of squares of what rows, which are 0 outside of their spans, leave over of a vector."""
    rest = values.copy()
    for row in range(len(shapes)):
        if found[row] != 0.0:
            first, end = spans[row]
            shape, part, much = shapes[row, first:end], rest[first:end], found[row]
            for i in range(len(part)):
                part[i] -= much * shape[i]
    total = 0.0
    for i in range(len(rest)):
        total += weights[i] * rest[i] * rest[i]
    return total


@kernel(fastmath=("reassoc", "contract"), inner=True)
def _known(values: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances with none below 0 and 0 for those that are infinite, and the weights of channels.

    Weights are one over the variance, which is at least that of a count: the square of what counts are multiplied
    with on the average.
    """
    known, total, counted = np.empty(len(values), np.float32), 0.0, 0.0
    for i in range(len(values)):
        is_known = variance[i] < np.inf
        here = variance[i] if is_known else 0.0
        total += here
        counted += values[i] if is_known else 0.0
        known[i] = here if here > 0.0 else 0.0
    least = (total / counted) ** 2 if total > 0.0 and counted > 0.0 else 1.0
    weights = np.empty(len(values))
    for i in range(len(values)):
        weights[i] = 1.0 / max(variance[i], least)
    return known, weights


@kernel(fastmath=("reassoc", "contract"), inner=True)
def _solve(gram: np.ndarray, target: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, int]:
    """The least squares solution with some shapes alone, and the first one that depends on others, or -1."""
    n = len(used)
    at = np.flatnonzero(used)
    m = len(at)
    lower = np.empty((m, m))
    for i in range(m):
        for j in range(i + 1):
            total = gram[at[i], at[j]]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if total <= DEPENDENT * gram[at[i], at[i]]:
                    return np.zeros(n), at[i]
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    part = np.empty(m)
    for i in range(m):
        total = target[at[i]]
        for k in range(i):
            total -= lower[i, k] * part[k]
        part[i] = total / lower[i, i]
    for i in range(m - 1, -1, -1):
        total = part[i]
        for k in range(i + 1, m):
            total -= lower[k, i] * part[k]
        part[i] = total / lower[i, i]
    solution = np.zeros(n)
    for i in range(m):
        solution[at[i]] = part[i]
    return solution, -1


@kernel()
def nonnegative(gram: np.ndarray, target: np.ndarray, start: np.ndarray, n_free: int) -> np.ndarray:
    """Least squares without negative values: the exact solution, by the active set method of Lawson and Hanson.

    Parameters
    ----------
    gram, target : (n, n), (n,) float64
        The products of the shapes with each other, and with the spectrum.
    start : (n,) float64
        The least squares solution that may be negative: the search begins with what is positive in it. The result is
        the same whatever it begins with, since there is one only.
    n_free : int
        So many at the beginning may be negative.
    """
    n = len(target)
    used = np.empty(n, np.bool_)
    for i in range(n):
        used[i] = i < n_free or start[i] > 0.0
    barred = np.zeros(n, np.bool_)  # shapes that depend on others
    values = np.zeros(n)
    while True:  # from the start to a point that is allowed
        values, dependent = _solve(gram, target, used)
        if dependent >= 0:
            used[dependent] = False
            barred[dependent] = True
            continue
        is_allowed = True
        for i in range(n_free, n):
            if used[i] and values[i] <= 0.0:
                used[i] = False
                is_allowed = False
        if is_allowed:
            break
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(target[i]))
    for _ in range(3 * n):
        best, gradient = -1, TOLERANCE * largest
        for i in range(n_free, n):
            if not used[i] and not barred[i]:
                slope = target[i]
                for k in range(n):
                    slope -= gram[i, k] * values[k]
                if slope > gradient:
                    best, gradient = i, slope
        if best < 0:
            break
        used[best] = True
        while True:
            trial, dependent = _solve(gram, target, used)
            if dependent >= 0:
                used[best] = False
                barred[best] = True
                break
            limit, way = -1, 1.0
            for i in range(n_free, n):
                if used[i] and trial[i] <= 0.0:
                    share = values[i] / (values[i] - trial[i]) if values[i] > 0.0 else 0.0
                    if limit < 0 or share < way:
                        limit, way = i, share
            if limit < 0:
                values = trial
                break
            for i in range(n):
                if used[i]:
                    values[i] += way * (trial[i] - values[i])
            values[limit] = 0.0
            used[limit] = False
            if limit == best:  # its gradient is no more than what rounding makes of none
                barred[best] = True
                break
    return values


@kernel()
def fit_lines(
    net: np.ndarray,
    values: np.ndarray,
    variance: np.ndarray,
    shapes: np.ndarray,
    spans: np.ndarray,
    gram: np.ndarray,
    inverse: np.ndarray,
    covariance: np.ndarray,
    spread: np.ndarray,
    n_free: int,
    is_nonnegative: bool,
) -> tuple[np.ndarray, np.ndarray, float]:
    """What a spectrum is made of, how uncertain the lines are, and the sum of squared residuals over variances.

    Parameters
    ----------
    net, values, variance : (n_channels,) float64
        The counts above the background, all of them, and their variance; infinite where a channel is no measurement.
    shapes : (n, n_channels) float64
        The counts in the channels for each unit of what is fitted.
    spans : (n, 2) int64
        The first channel in which each of them is not 0, and the one after the last.
    gram, inverse, covariance : (n, n), (n, n_channels), (n, n) float64
        The products of the shapes with each other, and the inverses of the shapes and of these.
    spread : (n - n_free, n_channels) float32
        What makes variances of lines of those of the counts.
    n_free : int
        How many shapes belong to a continuum, and may be negative.
    is_nonnegative : bool
        Whether no line may be negative.
    """
    if is_nonnegative:
        target = products_within(shapes, spans, net)
        found = nonnegative(gram, target, products(covariance, target), n_free)
    else:
        found = products(inverse, net)
    known, weights = _known(values, variance)
    return found, np.sqrt(_variances(spread, known)), misfit(shapes, spans, found, net, weights)


@kernel(fastmath=("reassoc", "contract"), inner=True)
def _variances(spread: np.ndarray, variance: np.ndarray) -> np.ndarray:
    out = np.empty(len(spread))
    for row in range(len(spread)):
        shape = spread[row]
        total = np.float32(0.0)
        for i in range(len(variance)):
            total += shape[i] * variance[i]
        out[row] = total
    return out


@functools.cache
def warm_up() -> None:
    """Compile what a fit needs, or load it from the cache on disk."""
    values, shapes, spans = np.ones(8), np.ones((1, 8)), np.array([[0, 8]])
    for is_nonnegative in (True, False):
        parts = (values, values, values, shapes, spans, np.eye(1), shapes, np.eye(1), shapes.astype(np.float32))
        fit_lines(*parts, 0, is_nonnegative)
    background(values, 1, 2, np.array([0, 7]))
