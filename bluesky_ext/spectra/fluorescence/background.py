"""What lies under the peaks of a spectrum."""

from __future__ import annotations

import numpy as np

from bluesky_ext._kernel import kernel


@kernel(inner=True)
def _clip(left: np.ndarray, middle: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """The mean of two values, or the value in the middle, if that is less."""
    for i in range(len(out)):
        mean = 0.5 * (left[i] + right[i])
        out[i] = mean if mean < middle[i] else middle[i]


@kernel(inner=True)
def snip(values: np.ndarray, width: int) -> None:
    """Take the peaks away from a spectrum, in place: what is left is its background (SNIP, as ``snip1d`` of PyMca)."""
    n = len(values)
    here, there = values, values.copy()
    for reach in range(min(width, (n - 1) // 2), 0, -1):
        count = n - 2 * reach
        # Beyond these both are as they were at the beginning.
        _clip(here[:count], here[reach : reach + count], here[2 * reach :], there[reach : reach + count])
        here, there = there, here
    for i in range(n):
        values[i] = here[i]


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


@kernel(inner=True)
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
