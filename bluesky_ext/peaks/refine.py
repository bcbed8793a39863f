"""Peaks refined to a fraction of a pixel, with their mass, size, eccentricity, signal and raw mass.

The numbers are those of `trackpy.refine.refine_com_arr`, to the last bit: the pixels of the neighbourhood
are added row by row, one after the other. trackpy's own kernels hold the GIL and are compiled again by
every process; these are neither.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from trackpy.masks import binary_mask, cosmask, r_squared_mask, sinmask, x_squared_masks

from bluesky_ext._kernel import as_input, kernel

SHIFT = 0.6
"""The neighbourhood moves on by a pixel as long as the centre of mass is further than this from its middle."""


Y, X, MASS, SIZE, SIZE_X, ECC, SIGNAL, RAW_MASS = range(8)
"""Columns of a refined table; SIZE is that along y, or of a round peak."""


class Neighbourhood(NamedTuple):
    """The pixels of an ellipse, row by row: their places in its box and their weights in each moment."""

    places: np.ndarray
    """(n, 2) int64: y and x from the corner of the box."""
    bars: np.ndarray
    """(height, 2) int64: the same by row, the first x and the one after the last."""
    size_weights: np.ndarray
    """(2, n) float64: squared distances whose mean is the squared size; both rows alike in a circle."""
    angle_weights: np.ndarray
    """(2, n) float64: cosine and sine of twice the angle."""


@functools.lru_cache(maxsize=32)
def neighbourhood(radius: tuple[int, int]) -> Neighbourhood:
    """Neighbourhood of the given half axes in pixels; trackpy's masks, so that no weight differs."""
    inside = binary_mask(radius, 2)
    in_circle = radius[0] == radius[1]
    squares = [r_squared_mask(radius, 2)] * 2 if in_circle else list(2 * x_squared_masks(radius, 2))
    return Neighbourhood(
        as_input(np.argwhere(inside)),
        as_input(np.column_stack([inside.argmax(axis=1), inside.argmax(axis=1) + inside.sum(axis=1)])),
        as_input(np.array([mask[inside] for mask in squares], float)),
        as_input(np.array([cosmask(radius)[inside], sinmask(radius)[inside]], float)),
    )


@kernel(inner=True)
def _centre(image: np.ndarray, corner_y: int, corner_x: int, bars: np.ndarray) -> tuple[float, float, float]:
    """Centre of mass, from the corner of the box, and the mass.

    Sums of whole numbers are exact in any order (up to 2**53, which takes a saturated 32-bit peak of over a
    hundred pixels), so that integers do here what trackpy does in floats.
    """
    cy = cx = mass = 0
    for y in range(bars.shape[0]):
        start, stop = bars[y, 0], bars[y, 1]
        row = image[corner_y + y, corner_x + start : corner_x + stop]
        total = moment = 0
        for x in range(row.size):
            total += np.int64(row[x])
            moment += np.int64(row[x]) * x
        cy += total * y
        cx += moment + total * start
        mass += total
    return cy / mass, cx / mass, float(mass)


@kernel(inner=True)
def _next(position: int, offset: float, radius: int, length: int) -> int:
    """Place a pixel closer to the centre of mass, as far as the box stays inside the image."""
    if offset > SHIFT:
        position += 1
    elif offset < -SHIFT:
        position -= 1
    return min(max(position, radius), length - radius - 1)


@kernel(inner=True)
def _characterise(
    raw: np.ndarray,
    image: np.ndarray,
    corner_y: int,
    corner_x: int,
    places: np.ndarray,
    size_weights: np.ndarray,
    angle_weights: np.ndarray,
    row: np.ndarray,
) -> None:
    """Fill size_y, size_x, ecc (without its divisor), signal and raw_mass of one peak."""
    size_y = size_x = cosine = sine = signal = raw_mass = 0.0
    for i in range(places.shape[0]):
        y, x = corner_y + places[i, 0], corner_x + places[i, 1]
        pixel = np.float64(image[y, x])
        size_y += size_weights[0, i] * pixel
        size_x += size_weights[1, i] * pixel
        cosine += angle_weights[0, i] * pixel
        sine += angle_weights[1, i] * pixel
        raw_mass += raw[y, x]
        signal = pixel if pixel > signal else signal
    row[0], row[1] = size_y, size_x
    row[2] = np.sqrt(cosine * cosine + sine * sine)
    row[3], row[4] = signal, raw_mass


@kernel()
def _refine(
    raw: np.ndarray,
    image: np.ndarray,
    radius_y: int,
    radius_x: int,
    coordinates: np.ndarray,
    max_iterations: int,
    places: np.ndarray,
    bars: np.ndarray,
    size_weights: np.ndarray,
    angle_weights: np.ndarray,
    table: np.ndarray,
) -> None:
    ny, nx = image.shape
    for n in range(coordinates.shape[0]):
        y, x = coordinates[n, 0], coordinates[n, 1]
        corner_y, corner_x = y - radius_y, x - radius_x
        cy = cx = mass = 0.0
        for _ in range(max_iterations):
            corner_y, corner_x = y - radius_y, x - radius_x
            cy, cx, mass = _centre(image, corner_y, corner_x, bars)
            off_y, off_x = cy - radius_y, cx - radius_x
            # The position belongs to the box that was weighed last, whether or not it moves on after it.
            table[n, 0], table[n, 1], table[n, 2] = cy - radius_y + y, cx - radius_x + x, mass
            if abs(off_y) < SHIFT and abs(off_x) < SHIFT:
                break
            y, x = _next(y, off_y, radius_y, ny), _next(x, off_x, radius_x, nx)
        row = table[n, 3:]
        _characterise(raw, image, corner_y, corner_x, places, size_weights, angle_weights, row)
        row[0], row[1] = np.sqrt(row[0] / mass), np.sqrt(row[1] / mass)
        row[2] /= mass - image[corner_y + radius_y, corner_x + radius_x] + 1e-6


def refine(
    raw: np.ndarray, quantised: np.ndarray, radius: tuple[int, int], coordinates: np.ndarray, max_iterations: int
) -> np.ndarray:
    """Table (n, 8) float64 of y, x, mass, size_y, size_x, ecc, signal and raw_mass.

    Parameters
    ----------
    raw : (ny, nx) array
        The raw image, for raw_mass.
    quantised : (ny, nx) array of integers
        The quantised image, for everything else.
    radius : tuple of int
        Half axes of the neighbourhood in pixels; no coordinate is closer to the border.
    coordinates : (n, 2) int64 array
        Where to start: bright pixels.
    max_iterations : int
        At most so many boxes are weighed for a peak.
    """
    table = np.empty((len(coordinates), 8))
    _refine(raw, quantised, *radius, as_input(coordinates), max_iterations, *neighbourhood(radius), table)
    return table
