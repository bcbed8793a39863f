"""A bandpassed image on the integers, and the brightness that a peak has to exceed.

Both are those of `trackpy.preprocessing.convert_to_int` and `trackpy.find.percentile_threshold`, to the last bit.
"""

from __future__ import annotations

import numpy as np

from bluesky_ext._kernel import kernel


def top_of(dtype: np.dtype) -> int:
    """Highest value of the quantised image: that of its own dtype for an integer image, of 8 bits for any other."""
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 255


def scale_factor(highest: float, top: int) -> float:
    """Factor that takes the highest value of the bandpassed image to the top of the quantised one.

    It may fall one short: ``int((255 / v) * v)`` is 254 for one value in eight. trackpy multiplies by
    the rounded quotient, and so do we.
    """
    return top / highest if highest > 0 else 1.0


@kernel()
def quantise(bandpassed: np.ndarray, scale: float, quantised: np.ndarray) -> None:
    """Fill the quantised image, (ny, nx) integers, with the whole part of scale times the bandpassed one."""
    for y in range(bandpassed.shape[0]):
        values, out = bandpassed[y], quantised[y]
        for x in range(out.size):
            out[x] = np.int64(scale * values[x])


@kernel()
def _count(quantised: np.ndarray, counts: np.ndarray) -> None:
    """Add the histogram of the image to four tables in turn: equal neighbours don't wait for each other."""
    for y in range(quantised.shape[0]):
        row = quantised[y]
        for x in range(row.size):
            counts[x & 3, row[x]] += 1


@kernel()
def _value_at(counts: np.ndarray, rank: int) -> int:
    """Value of the given rank (from 0) among the sorted values that a histogram has counted."""
    below = 0
    for value in range(counts.size):
        below += counts[value]
        if below > rank:
            return value
    return counts.size - 1


def brightness_threshold(quantised: np.ndarray, percentile: float) -> float:
    """Percentile of the non-zero pixels of a quantised image; NaN if it is all black.

    Images of up to 16 bits are counted rather than sorted. The value is then interpolated between two
    neighbouring ranks with the roundings of `numpy.percentile`.
    """
    if quantised.dtype.itemsize > 2:
        bright = quantised[quantised != 0]
        return float(np.percentile(bright, percentile)) if bright.size else np.nan
    tables = np.zeros((4, int(np.iinfo(quantised.dtype).max) + 1), np.int64)
    _count(quantised, tables)
    counts = tables.sum(axis=0)
    counts[0] = 0
    last = int(counts.sum()) - 1
    if last < 0:
        return np.nan
    rank = last * (percentile / 100)
    lower = int(rank)
    fraction = rank - lower
    low = _value_at(counts, lower)
    high = _value_at(counts, min(lower + 1, last))
    step = high - low
    return high - step * (1 - fraction) if fraction >= 0.5 else low + step * fraction
