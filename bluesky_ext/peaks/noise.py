"""Mean and spread of the raw image away from every peak, and what they mean for a peak's position."""

from __future__ import annotations

import numpy as np
from trackpy.masks import binary_mask, x_squared_masks

from bluesky_ext._kernel import as_input, kernel


@kernel(inner=True)
def _join(near: np.ndarray, row: np.ndarray) -> None:
    """Set the bits of `near` that are set in `row`: one bit a pixel, 64 a word."""
    for k in range(near.size):
        near[k] |= row[k]


@kernel(inner=True)
def _widen(near: np.ndarray, spare: np.ndarray) -> None:
    """Widen every set bit by a pixel to both sides."""
    one, top = np.uint64(1), np.uint64(63)
    for k in range(near.size):
        spare[k] = near[k]
    for k in range(near.size):
        near[k] |= (spare[k] << one) | (spare[k] >> one)
    to_left, to_right = near[1:], spare[1:]
    for k in range(to_left.size):
        to_left[k] |= spare[k] >> top
        near[k] |= to_right[k] << top


@kernel(inner=True)
def _near_features(bits: np.ndarray, half_widths: np.ndarray, y: int, near: np.ndarray, spare: np.ndarray) -> None:
    """Bits of row y within an elliptic neighbourhood of a set bit.

    The neighbourhood is a stack of horizontal bars. Instead of widening each row by its own bar, the rows
    are taken in from the widest bar to the narrowest and widened together, one pixel a step.
    """
    ny = bits.shape[0]
    reach = half_widths.size // 2
    near[:] = 0
    for width in range(half_widths[reach], -1, -1):
        for d in range(-reach, reach + 1):
            if half_widths[reach + d] == width and 0 <= y + d < ny:
                _join(near, bits[y + d])
        if width > 0:
            _widen(near, spare)


# Sums of several pixels at a time: the mean and the spread are not compared bit by bit with trackpy's.
@kernel(fastmath={"reassoc", "nsz", "contract"}, inner=True)
def _background_of_row(row: np.ndarray, near: np.ndarray, hidden: np.ndarray, pivot: float) -> tuple[int, float, float]:
    """Number, sum and sum of squares of (pixel - pivot) of a row's pixels whose bits are not set."""
    count = 0
    total = 0.0
    squares = 0.0
    for k in range(near.size):
        word = ~(near[k] | hidden[k])
        if word == 0:
            continue
        part = row[64 * k : min(64 * k + 64, row.size)]
        for x in range(part.size):
            used = (word >> np.uint64(x)) & np.uint64(1)
            value = (np.float64(part[x]) - pivot) * used
            count += used
            total += value
            squares += value * value
    return count, total, squares


@kernel(inner=True)
def _first_background(row: np.ndarray, near: np.ndarray, hidden: np.ndarray) -> float:
    """First pixel of a row whose bits are not set; zero if there is none."""
    for x in range(row.size):
        if ((near[x >> 6] | hidden[x >> 6]) >> np.uint64(x & 63)) & np.uint64(1) == 0:
            return np.float64(row[x])
    return 0.0


@kernel()
def _background(
    raw: np.ndarray, bits: np.ndarray, hidden: np.ndarray, half_widths: np.ndarray
) -> tuple[int, float, float]:
    """Number, mean and sum of squared deviations of the background pixels.

    Each row is summed around the mean of those before it, and then merged: squares of the pixels themselves
    would lose the noise of an image on a high pedestal.
    """
    near = np.empty(bits.shape[1], np.uint64)
    spare = np.empty(bits.shape[1], np.uint64)
    count = 0
    mean = 0.0
    deviations = 0.0
    for y in range(raw.shape[0]):
        _near_features(bits, half_widths, y, near, spare)
        hidden_row = hidden[min(y, hidden.shape[0] - 1)]
        pivot = mean if count else _first_background(raw[y], near, hidden_row)
        n, total, squares = _background_of_row(raw[y], near, hidden_row, pivot)
        if n == 0:
            continue
        step = pivot + total / n - mean
        deviations += squares - total * total / n + step * step * count * n / (count + n)
        mean += step * n / (count + n)
        count += n
    return count, mean, deviations


def _packed(flags: np.ndarray) -> np.ndarray:
    """(ny, nx) flags as (ny, words) uint64, the first pixel in the lowest bit."""
    packed = np.packbits(flags, axis=1, bitorder="little")
    padded = np.zeros((flags.shape[0], -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8").astype(np.uint64, copy=False)


def measure_noise(
    quantised: np.ndarray, raw: np.ndarray, radius: tuple[int, int], mask: np.ndarray | None = None
) -> tuple[float, float]:
    """Mean and standard deviation of the raw pixels that have no bright pixel within `radius`.

    As `trackpy.uncertainty.measure_noise`, up to the rounding of the sums: NaN where there are too few pixels.

    Parameters
    ----------
    quantised : (ny, nx) array of integers
        The quantised image; its non-zero pixels are bright.
    raw : (ny, nx) array
        The raw image.
    radius : tuple of int
        Half axes of the elliptic neighbourhood, in pixels.
    mask : (ny, nx) bool array, optional
        False leaves a pixel out.
    """
    half_widths = as_input(binary_mask(radius, 2).sum(axis=1).astype(np.int64) // 2)
    bits = _packed(quantised != 0 if quantised.dtype != np.uint8 else quantised)
    # Without a mask one empty row serves all rows. The bits past the last pixel are never read.
    hidden = np.zeros((1, bits.shape[1]), np.uint64) if mask is None else _packed(~mask)
    count, mean, deviations = _background(raw, bits, hidden, half_widths)
    if count == 0:
        return np.nan, np.nan
    return mean, (np.sqrt(max(0.0, deviations) / count) if count > 1 else np.nan)


def position_error(
    raw_mass: np.ndarray,
    black_level: float,
    noise: float,
    radius: tuple[int, int],
    noise_size: tuple[float, float],
) -> np.ndarray:
    """Static error of the positions in pixels: (n,), or (n, 2) for y and x where the axes differ.

    After Savin and Doyle, https://doi.org/10.1529/biophysj.104.042457, as trackpy computes it: negative or
    infinite where a peak is not brighter than the background.
    """
    pixels = np.sum(binary_mask(radius, 2))
    lengths = np.sqrt(np.sum(x_squared_masks(radius, 2), axis=(1, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = noise / (raw_mass - pixels * black_level)
    if radius[0] == radius[1] and noise_size[0] == noise_size[1]:
        return relative * noise_size[0] * lengths[0]
    return relative[:, np.newaxis] * (np.array(noise_size) * lengths)[np.newaxis, :]
