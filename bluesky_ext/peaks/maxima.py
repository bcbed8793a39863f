"""Pixels of a quantised image that are the brightest of the box around them.

They are those of `trackpy.find.grey_dilation`: a pixel equal to the maximum of its box and above a
threshold. trackpy takes the maximum of every box; here most pixels are never looked at twice. The image is cut
into tiles small enough to lie within the box of each of their pixels, so that a pixel can only be the
maximum of its box if it is the maximum of its tile; and of the tiles around, only those with a higher
maximum have to be searched.
"""

from __future__ import annotations

import numpy as np

from bluesky_ext._kernel import kernel


@kernel(inner=True)
def _least(a: int, b: int) -> int:
    return a if a < b else b


@kernel(inner=True)
def _most(a: int, b: int) -> int:
    return a if a > b else b


@kernel(inner=True)
def _highest_of_tiles(image: np.ndarray, tile_y: int, tile_x: int) -> np.ndarray:
    """Maximum of every tile of tile_y by tile_x pixels; those at the far borders may be smaller."""
    ny, nx = image.shape
    highest = np.empty((-(-ny // tile_y), -(-nx // tile_x)), image.dtype)
    line = np.empty(nx, image.dtype)
    for i in range(highest.shape[0]):
        row = image[i * tile_y]
        for x in range(nx):
            line[x] = row[x]
        for y in range(i * tile_y + 1, _least((i + 1) * tile_y, ny)):
            row = image[y]
            for x in range(nx):
                line[x] = row[x] if row[x] > line[x] else line[x]
        for j in range(highest.shape[1]):
            best = line[j * tile_x]
            for x in range(j * tile_x + 1, _least((j + 1) * tile_x, nx)):
                best = line[x] if line[x] > best else best
            highest[i, j] = best
    return highest


@kernel(inner=True)
def _outshone(image: np.ndarray, highest: np.ndarray, y: int, x: int, size_y: int, size_x: int) -> bool:
    """Whether the box around a pixel has a brighter one.

    scipy's box for a size s is the pixels -(s - 1)//2 to s//2 around the centre, for even s as well.
    """
    ny, nx = image.shape
    tile_y, tile_x = (size_y + 1) // 2, (size_x + 1) // 2
    top, bottom = _most(0, y - (size_y - 1) // 2), _least(ny - 1, y + size_y // 2)
    left, right = _most(0, x - (size_x - 1) // 2), _least(nx - 1, x + size_x // 2)
    value = image[y, x]
    for i in range(top // tile_y, bottom // tile_y + 1):
        for j in range(left // tile_x, right // tile_x + 1):
            if highest[i, j] <= value:
                continue
            for v in range(_most(top, i * tile_y), _least(bottom, (i + 1) * tile_y - 1) + 1):
                for u in range(_most(left, j * tile_x), _least(right, (j + 1) * tile_x - 1) + 1):
                    if image[v, u] > value:
                        return True
    return False


@kernel()
def _maxima(image: np.ndarray, threshold: float, size_y: int, size_x: int, margin_y: int, margin_x: int) -> np.ndarray:
    """Coordinates (n, 2) int64 of the maxima, tile by tile."""
    ny, nx = image.shape
    tile_y, tile_x = (size_y + 1) // 2, (size_x + 1) // 2
    highest = _highest_of_tiles(image, tile_y, tile_x)
    found = np.empty((256, 2), np.int64)
    count = 0
    for i in range(highest.shape[0]):
        for j in range(highest.shape[1]):
            value = highest[i, j]
            if not value > threshold:
                continue
            left, right = _most(j * tile_x, margin_x), _least((j + 1) * tile_x, nx - margin_x)
            for y in range(_most(i * tile_y, margin_y), _least((i + 1) * tile_y, ny - margin_y)):
                row = image[y]
                for x in range(left, right):
                    if row[x] != value or _outshone(image, highest, y, x, size_y, size_x):
                        continue
                    if count == found.shape[0]:
                        longer = np.empty((2 * count, 2), np.int64)
                        for k in range(count):
                            longer[k, 0], longer[k, 1] = found[k, 0], found[k, 1]
                        found = longer
                    found[count, 0], found[count, 1] = y, x
                    count += 1
    return found[:count]


def maxima(quantised: np.ndarray, threshold: float, size: tuple[int, int], margin: tuple[int, int]) -> np.ndarray:
    """Coordinates (y, x) of the local maxima, (n, 2) int64, row by row.

    Parameters
    ----------
    quantised : (ny, nx) array of integers
        The image. What is outside of it counts as black.
    threshold : float
        Maxima are brighter than this.
    size : tuple of int
        Height and width of the box, in pixels; below 2 it is the pixel itself on that axis.
    margin : tuple of int
        Maxima closer to a border than this are left out, though they still outshine others.
    """
    found = _maxima(quantised, float(threshold), max(1, size[0]), max(1, size[1]), *margin)
    return found[np.lexsort((found[:, 1], found[:, 0]))]
