"""Images with pixels that are not to be used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bluesky_ext._kernel import as_input, kernel


def as_mask(mask: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Mask as a read-only bool array of the shape of an image, True where the pixel is used."""
    flags = as_input(np.asarray(mask, bool))
    if flags.shape != shape:
        raise ValueError(f"the mask has shape {flags.shape}, the image {shape}: they must be equal")
    return flags


@kernel(inner=True)
def _count_in(image: np.ndarray, mask: np.ndarray, y: int, sign: int, sums: np.ndarray, counts: np.ndarray) -> None:
    """Add (or take away) the used pixels of row y, if there is such a row, to the sums of the columns."""
    if y < 0 or y >= image.shape[0]:
        return
    row, used = image[y], mask[y]
    for x in range(row.size):
        if used[x] and np.isfinite(row[x]):
            sums[x] += sign * np.float64(row[x])
            counts[x] += sign


@kernel()
def _fill(image: np.ndarray, mask: np.ndarray, size_y: int, size_x: int, filled: np.ndarray) -> None:
    ny, nx = image.shape
    sums = np.zeros(nx)
    counts = np.zeros(nx, np.int64)
    for y in range(size_y // 2):
        _count_in(image, mask, y, 1, sums, counts)
    for y in range(ny):
        _count_in(image, mask, y + size_y // 2, 1, sums, counts)
        for x in range(nx):
            if mask[y, x]:
                filled[y, x] = image[y, x]
                continue
            total = 0.0
            count = 0
            for u in range(max(0, x - size_x // 2), min(nx, x + size_x // 2 + 1)):
                total += sums[u]
                count += counts[u]
            filled[y, x] = total / count if count else 0.0
        _count_in(image, mask, y - size_y // 2, -1, sums, counts)


def fill_masked(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Copy of an image in which every masked pixel is the mean of the used ones around it.

    With zeros instead, the bandpass would see an edge along every gap of a detector, and peaks on it.

    Parameters
    ----------
    image : (ny, nx) array
        The image; what it holds where the mask is False doesn't matter, and its non-finite pixels don't count.
    mask : (ny, nx) bool array
        True where the pixel is used.
    size : tuple of int
        Height and width, odd, of the window around a masked pixel. Where it has no used pixel it gets zero.
    """
    filled = np.empty(image.shape, image.dtype)
    _fill(image, mask, *size, filled)
    return filled


@kernel()
def _blank(bandpassed: np.ndarray, mask: np.ndarray) -> float:
    highest = 0.0
    for y in range(bandpassed.shape[0]):
        row, used = bandpassed[y], mask[y]
        for x in range(row.size):
            row[x] = row[x] if used[x] else 0.0
            highest = row[x] if row[x] > highest else highest
    return highest


def blank_masked(bandpassed: np.ndarray, mask: np.ndarray) -> float:
    """Highest value of a bandpassed image (>= 0, float64) after its masked pixels are set to zero, in place."""
    return _blank(bandpassed, mask)


def on_masked(positions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether the pixel at each position, (n, 2) as y and x, is masked; (n,) bool."""
    y, x = np.rint(positions).astype(np.int64).T
    return ~mask[y, x]
