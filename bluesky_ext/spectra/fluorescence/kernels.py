"""What is done to each spectrum: its background, and areas of lines none of which is negative."""

from __future__ import annotations

import functools

import numpy as np

from bluesky_ext._kernel import kernel

#: Of the largest gradient: a line whose gradient is below that stays where it is, at zero.
TOLERANCE = 1e-13
#: Of its norm: a shape that differs less than that from a sum of others is left out.
DEPENDENT = 1e-12


@kernel()
def _clip(left: np.ndarray, middle: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """The mean of two values, or the value in the middle, if that is less."""
    for i in range(len(out)):
        mean = 0.5 * (left[i] + right[i])
        out[i] = mean if mean < middle[i] else middle[i]


@kernel()
def snip(values: np.ndarray, width: int) -> None:
    """Take the peaks away from a spectrum, in place: what is left is its background (SNIP, as ``snip1d`` of PyMca)."""
    n = len(values)
    here, there = values, values.copy()
    for reach in range(min(width, (n - 1) // 2), 0, -1):
        count = n - 2 * reach
        # Beyond these both are as they were at the beginning.
        _clip(here[:count], here[reach : reach + count], here[2 * reach :], there[reach : reach + count])
        here, there = there, here
    values[:] = here


@kernel()
def smooth(values: np.ndarray, n_points: int) -> np.ndarray:
    """A smoothed spectrum (Savitsky-Golay, as PyMca does it); a copy if there are fewer than three points."""
    n = len(values)
    out = values.copy()
    n_points += 1 - n_points % 2
    if n_points < 3 or n < n_points or n_points > 100:
        return out
    half = n_points // 2
    coefficients = np.empty(n_points)
    norm = float((2 * half - 1) * (2 * half + 1) * (2 * half + 3))
    for i in range(-half, half + 1):
        coefficients[half + i] = 3 * (3 * half * half + 3 * half - 1 - 5 * i * i)
    for _ in range(n_points // 3 + 1):
        _mean_of_three(out[:half])
        _mean_of_three(out[n - half - 1 : n - 1])
    data = out.copy()
    for i in range(half, n - half):
        total = 0.0
        for j in range(n_points):
            total += coefficients[j] * data[i - half + j]
        if total > 0.0:
            out[i] = total / norm
    return out


@kernel()
def _mean_of_three(values: np.ndarray) -> None:
    n = len(values)
    if n < 3:
        return
    before = values[0]
    values[0] = 0.75 * values[0] + 0.25 * values[1]
    for i in range(1, n - 1):
        here = values[i]
        values[i] = 0.25 * (before + 2 * here + values[i + 1])
        before = here
    values[n - 1] = 0.25 * before + 0.75 * values[n - 1]


@kernel()
def background(values: np.ndarray, n_points: int, width: int, anchors: np.ndarray) -> np.ndarray:
    """The background of a spectrum: smoothed, and SNIP of each part between anchors, which are channels of it."""
    out = smooth(values, n_points)
    last = 0
    for anchor in anchors:
        if last < anchor < len(out):
            snip(out[last:anchor], width)
            last = anchor
    if last < len(out):
        snip(out[last:], width)
    return out


@kernel(fastmath=("reassoc", "contract"))
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


@kernel(fastmath=("reassoc", "contract"))
def misfit(shapes: np.ndarray, found: np.ndarray, values: np.ndarray, variance: np.ndarray, least: float) -> float:
    """The sum of squares of what rows leave over of a vector, over variances of at least so much."""
    rest = values.copy()
    used = np.flatnonzero(found)
    n = len(used) - len(used) % 4
    for at in range(0, n, 4):  # four at once, so that the rest is read and written less often
        one, two, three, four = shapes[used[at]], shapes[used[at + 1]], shapes[used[at + 2]], shapes[used[at + 3]]
        a, b, c, d = found[used[at]], found[used[at + 1]], found[used[at + 2]], found[used[at + 3]]
        for i in range(len(rest)):
            rest[i] -= (a * one[i] + b * two[i]) + (c * three[i] + d * four[i])
    for at in range(n, len(used)):
        one, a = shapes[used[at]], found[used[at]]
        for i in range(len(rest)):
            rest[i] -= a * one[i]
    total = 0.0
    for i in range(len(rest)):
        total += rest[i] * rest[i] / max(variance[i], least)
    return total


@kernel(fastmath=("reassoc", "contract"))
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
    values: np.ndarray,
    variance: np.ndarray,
    shapes: np.ndarray,
    gram: np.ndarray,
    inverse: np.ndarray,
    covariance: np.ndarray,
    spread: np.ndarray,
    n_free: int,
    is_nonnegative: bool,
    strips: bool,
    n_points: int,
    width: int,
    anchors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """What a spectrum is made of, how uncertain the lines are, and the sum of squared residuals over variances.

    Parameters
    ----------
    values, variance : (n_channels,) float64
        The counts, and their variance; infinite where a channel is no measurement.
    shapes, gram, inverse, covariance : (n, n_channels), (n, n), (n, n_channels), (n, n) float64
        The shapes, their products with each other, and the inverse of each of the two.
    spread : (n - n_free, n_channels) float32
        What makes variances of lines of those of the counts.
    n_free : int
        How many shapes belong to a continuum, and may be negative.
    is_nonnegative, strips : bool
        Whether no line may be negative, and whether a background is taken away: by the rest of the arguments, as for
        `background`.
    """
    net = values - background(values, n_points, width, anchors) if strips else values
    if is_nonnegative:
        target = products(shapes, net)
        found = nonnegative(gram, target, products(covariance, target), n_free)
    else:
        found = products(inverse, net)
    is_known = variance < np.inf
    total, counted = np.where(is_known, variance, 0.0).sum(), np.where(is_known, values, 0.0).sum()
    known = np.where(is_known & (variance > 0.0), variance, 0.0).astype(np.float32)
    least = (total / counted) ** 2 if total > 0.0 and counted > 0.0 else 1.0
    return found, np.sqrt(_variances(spread, known)), misfit(shapes, found, net, variance, least)


@kernel(fastmath=("reassoc", "contract"))
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
    values, shapes = np.ones(8), np.ones((1, 8))
    for is_nonnegative in (True, False):
        parts = (values, values, shapes, np.eye(1), shapes, np.eye(1), shapes.astype(np.float32))
        fit_lines(*parts, 0, is_nonnegative, True, 1, 2, np.array([0, 7]))
