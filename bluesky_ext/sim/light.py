"""Where the light falls on a detector: air scatter, powder rings, and Bragg spots, without noise."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stamp", "background", "stamp"]

# A spot is drawn up to this many sigma from its middle: there it has fallen to 4e-6 of its height.
REACH = 5.0

# Radius where the air scatter is half as high as at the beam, and the sigma of a powder ring, as fractions of half
# the shorter side. Rings are much wider than spots, so that they are background to a peak finder.
SCATTER_RADIUS = 0.5
RING_SIGMA = 0.04

Stamp = tuple[tuple[slice, slice], NDArray[np.float32]]


def background(
    shape: tuple[int, int], scatter_rate: float, ring_rate: float, rings: Iterable[float]
) -> NDArray[np.float32]:
    """Air scatter and powder rings around the middle of the detector, in counts per second.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    scatter_rate, ring_rate : float
        Height of the scatter in the middle, and of each ring.
    rings : iterable of float
        Radii of the rings, as fractions of half the shorter side.

    Returns
    -------
    ndarray
        Shape ``shape``, float32.
    """
    y, x = (np.arange(side) - (side - 1) / 2 for side in shape)
    radius = np.hypot(y[:, None], x[None, :]) / (min(shape) / 2)
    counts = scatter_rate / (1 + (radius / SCATTER_RADIUS) ** 2)
    for ring in rings:
        counts += ring_rate * np.exp(-0.5 * ((radius - ring) / RING_SIGMA) ** 2)
    return counts.astype(np.float32)


def stamp(shape: tuple[int, int], y: float, x: float, sigma: float, height: float) -> Stamp:
    """A gaussian spot, and the window of the detector that it falls on.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the detector.
    y, x : float
        Middle of the spot in px; it may lie near a border.
    sigma : float
        Its standard deviation in px.
    height : float
        Its height.

    Returns
    -------
    window : tuple of slice
        Rows and columns.
    spot : ndarray
        Shape of the window, float32.
    """
    reach = math.ceil(REACH * sigma)
    (top, bottom), (left, right) = (
        (max(round(middle) - reach, 0), min(round(middle) + reach + 1, side))
        for middle, side in zip((y, x), shape, strict=True)
    )
    down, across = (
        np.exp(-0.5 * ((np.arange(low, high) - middle) / sigma) ** 2)
        for low, high, middle in ((top, bottom, y), (left, right, x))
    )
    return (slice(top, bottom), slice(left, right)), (height * np.outer(down, across)).astype(np.float32)
