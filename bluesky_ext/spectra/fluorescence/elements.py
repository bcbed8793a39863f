"""The spectra of the elements of a detector put together, and channels of them that are no measurement."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Combined(NamedTuple):
    """A spectrum of several elements.

    Attributes
    ----------
    spectrum, variance : (n_channels,) float64
        The weighted sum of the counts, and its variance by counting statistics.
    bad : (n_channels,) bool or None
        Channels that are no measurement in some element; None if all are good.
    """

    spectrum: np.ndarray
    variance: np.ndarray
    bad: np.ndarray | None


def combine(spectra: np.ndarray, weights: np.ndarray | None = None) -> Combined:
    """The sum of spectra, (n_elements, n_channels) of numbers, each with its weight, (n_elements,), if these are given.

    No measurement are channels that are not finite, and of integers those below 0, and those at the largest value that
    up to 32 bits can have: there a counter is full. In floats a full counter is not known as one.

    Examples
    --------
    >>> total = combine(np.array([[1, 2], [3, 65535]], np.uint16), np.array([1.0, 2.0]))
    >>> float(total.spectrum[0]), float(total.variance[0]), total.bad
    (7.0, 13.0, array([False,  True]))
    """
    if weights is None:
        spectrum = variance = spectra.sum(axis=0, dtype=np.float64)
    else:
        each = weights[:, np.newaxis] * spectra  # a product of matrices depends on where in memory they are
        spectrum, variance = each.sum(axis=0), (weights[:, np.newaxis] * each).sum(axis=0)
    if spectra.dtype.kind in "iu":
        full = np.iinfo(spectra.dtype).max
        is_full = full < 2**32 and spectra.size > 0 and spectra.max() == full
        is_below = spectra.dtype.kind == "i" and spectra.size > 0 and spectra.min() < 0
        bad = ((spectra == full) & is_full | (spectra < 0)).any(axis=0) if is_full or is_below else None
    else:
        good = np.isfinite(spectrum)
        bad = None if good.all() else ~good
    if bad is not None:
        spectrum, variance = np.where(bad, 0.0, spectrum), np.where(bad, 0.0, variance)
    return Combined(spectrum, variance, bad)
