"""A blurred image minus its local average: what is of the size of a peak stays.

The result is that of `trackpy.preprocessing.bandpass`, to the last bit. scipy's filters add in a fixed
order, and an addition in another order rounds differently; a peak in a few hundred frames then moves. So
every kernel here keeps the order of the additions, and says which one it is:

- the gaussian takes the centre first, then pairs of neighbours from the outermost inwards
  (``correlate1d`` with a symmetric kernel), along y, then along x, with zeros outside the image;
- the boxcar is a running sum, ``sum += entering - leaving`` (``uniform_filter1d``), along y, then along x,
  with the edge pixels repeated outside the image; after each axis the average is stored in the image's own
  dtype: integers lose the fraction, float32 is rounded.

Speed comes from doing four rows at a time: they share the reading of their neighbours, and their running
sums, each a chain of dependent additions, hide each other's latency.
"""

from __future__ import annotations

import numpy as np
from trackpy.masks import gaussian_kernel

from bluesky_ext._kernel import as_input, kernel

EXACT, SINGLE, INTEGER = 0, 1, 2
"""How a boxcar average is stored: as it is, rounded to float32, or without its fraction."""

TRUNCATE = 4.0
"""Where trackpy cuts the gaussian, in standard deviations."""


def gaussian_weights(noise_size: float) -> np.ndarray:
    """Weights of the gaussian, float64, odd length; a width of zero or less leaves the image as it is."""
    return as_input(gaussian_kernel(noise_size, TRUNCATE)) if noise_size > 0 else as_input([1.0])


def storage_of(dtype: np.dtype) -> int:
    """Which of EXACT, SINGLE and INTEGER scipy applies to averages of an image of this dtype."""
    if np.issubdtype(dtype, np.integer):
        return INTEGER
    return SINGLE if dtype == np.float32 else EXACT


@kernel(inner=True)
def _clamped(i: int, n: int) -> int:
    return 0 if i < 0 else (n - 1 if i >= n else i)


@kernel(inner=True)
def _stored(line: np.ndarray, storage: int) -> None:
    """Round a line of averages to what the image's dtype can hold."""
    if storage == SINGLE:
        for x in range(line.size):
            line[x] = np.float64(np.float32(line[x]))
    elif storage == INTEGER:
        for x in range(line.size):
            line[x] = np.trunc(line[x])


@kernel(inner=True)
def _blur_four_rows(image: np.ndarray, y: int, weights: np.ndarray, blurred: np.ndarray, margin: int) -> None:
    """Nine-tap gaussian along y of the rows y to y+3, which are at least four rows from the border.

    Twelve reads a column serve four results; nine taps are noise_size 1, the default.
    """
    # The margin is cut off each row by itself: to numba the rows of blurred[:, margin:] may have any stride.
    start, stop = margin, margin + image.shape[1]
    r0, r1, r2, r3 = image[y - 4], image[y - 3], image[y - 2], image[y - 1]
    r4, r5, r6, r7 = image[y], image[y + 1], image[y + 2], image[y + 3]
    r8, r9, r10, r11 = image[y + 4], image[y + 5], image[y + 6], image[y + 7]
    w4, w3, w2, w1, w0 = weights[0], weights[1], weights[2], weights[3], weights[4]
    out0, out1 = blurred[0, start:stop], blurred[1, start:stop]
    out2, out3 = blurred[2, start:stop], blurred[3, start:stop]
    for x in range(out0.size):
        a, b, c, d = np.float64(r0[x]), np.float64(r1[x]), np.float64(r2[x]), np.float64(r3[x])
        e, f, g, h = np.float64(r4[x]), np.float64(r5[x]), np.float64(r6[x]), np.float64(r7[x])
        i, j, k, m = np.float64(r8[x]), np.float64(r9[x]), np.float64(r10[x]), np.float64(r11[x])
        out0[x] = e * w0 + (a + i) * w4 + (b + h) * w3 + (c + g) * w2 + (d + f) * w1
        out1[x] = f * w0 + (b + j) * w4 + (c + i) * w3 + (d + h) * w2 + (e + g) * w1
        out2[x] = g * w0 + (c + k) * w4 + (d + j) * w3 + (e + i) * w2 + (f + h) * w1
        out3[x] = h * w0 + (d + m) * w4 + (e + k) * w3 + (f + j) * w2 + (g + i) * w1


@kernel(inner=True)
def _blur_row(image: np.ndarray, y: int, weights: np.ndarray, blurred: np.ndarray) -> None:
    """Gaussian along y of any row, with any number of taps."""
    ny = image.shape[0]
    reach = weights.size // 2
    row = image[y]
    for x in range(blurred.size):
        blurred[x] = row[x] * weights[reach]
    for j in range(reach, 0, -1):
        weight = weights[reach - j]
        above, below = image[_clamped(y - j, ny)], image[_clamped(y + j, ny)]
        if y - j >= 0 and y + j < ny:
            for x in range(blurred.size):
                blurred[x] += (np.float64(above[x]) + np.float64(below[x])) * weight
        elif y - j >= 0:
            for x in range(blurred.size):
                blurred[x] += above[x] * weight
        elif y + j < ny:
            for x in range(blurred.size):
                blurred[x] += below[x] * weight


@kernel(inner=True)
def _first_sums(image: np.ndarray, size: int, sums: np.ndarray) -> None:
    """Sum of the window of the first row, column by column."""
    for x in range(sums.size):
        sums[x] = 0.0
    for j in range(-(size // 2), size // 2 + 1):
        row = image[_clamped(j, image.shape[0])]
        for x in range(sums.size):
            sums[x] += row[x]


@kernel(inner=True)
def _average_row(image: np.ndarray, y: int, size: int, sums: np.ndarray, average: np.ndarray) -> None:
    """Average along y of row y; `sums` are those of row y-1 and become those of row y."""
    if size <= 1:
        row = image[y]
        for x in range(average.size):
            average[x] = row[x]
        return
    divisor = float(size)
    if y == 0:
        _first_sums(image, size, sums)
        for x in range(sums.size):
            average[x] = sums[x] / divisor
        return
    entering = image[_clamped(y + size // 2, image.shape[0])]
    leaving = image[_clamped(y - size // 2 - 1, image.shape[0])]
    for x in range(sums.size):
        sums[x] += np.float64(entering[x]) - np.float64(leaving[x])
        average[x] = sums[x] / divisor


@kernel(inner=True)
def _extend(padded: np.ndarray, margin: int) -> None:
    """Repeat the first and the last pixel of a row on its margins."""
    last = padded.size - 1
    for x in range(margin):
        padded[x] = padded[margin]
        padded[last - x] = padded[last - margin]


@kernel(inner=True)
def _sums_along(padded: np.ndarray, size: int, sums: np.ndarray) -> None:
    """Running sums along x of four rows side by side."""
    a = b = c = d = 0.0
    for x in range(size):
        a += padded[0, x]
        b += padded[1, x]
        c += padded[2, x]
        d += padded[3, x]
    sums[0, 0], sums[1, 0], sums[2, 0], sums[3, 0] = a, b, c, d
    leave0, leave1, leave2, leave3 = padded[0], padded[1], padded[2], padded[3]
    enter0, enter1, enter2, enter3 = padded[0, size:], padded[1, size:], padded[2, size:], padded[3, size:]
    sums0, sums1, sums2, sums3 = sums[0, 1:], sums[1, 1:], sums[2, 1:], sums[3, 1:]
    for x in range(sums0.size):
        a += enter0[x] - leave0[x]
        sums0[x] = a
        b += enter1[x] - leave1[x]
        sums1[x] = b
        c += enter2[x] - leave2[x]
        sums2[x] = c
        d += enter3[x] - leave3[x]
        sums3[x] = d


@kernel(inner=True)
def _copy(line: np.ndarray, out: np.ndarray) -> None:
    for x in range(out.size):
        out[x] = line[x]


@kernel(inner=True)
def _averaged(sums: np.ndarray, size: int, storage: int) -> None:
    """Turn the running sums of a row into stored averages."""
    for x in range(sums.size):
        sums[x] /= float(size)
    _stored(sums, storage)


@kernel(inner=True)
def _difference(
    blurred: np.ndarray, weights: np.ndarray, sums: np.ndarray, divisor: float, threshold: float, out: np.ndarray
) -> None:
    """Gaussian along x of a row with zeros on both sides, minus its average, where that reaches the threshold."""
    # Slices instead of blurred[x + shift]: numba would test each index for the negative case, and no SIMD.
    if weights.size == 9:
        w4, w3, w2, w1, w0 = weights[0], weights[1], weights[2], weights[3], weights[4]
        a, b, c, d, e = blurred, blurred[1:], blurred[2:], blurred[3:], blurred[4:]
        f, g, h, i = blurred[5:], blurred[6:], blurred[7:], blurred[8:]
        for x in range(out.size):
            smooth = e[x] * w0 + (a[x] + i[x]) * w4 + (b[x] + h[x]) * w3 + (c[x] + g[x]) * w2 + (d[x] + f[x]) * w1
            value = smooth - sums[x] / divisor
            out[x] = value if value >= threshold else 0.0
        return
    reach = weights.size // 2
    centre = blurred[reach:]
    for x in range(out.size):
        out[x] = centre[x] * weights[reach]
    for j in range(reach):
        left, right, weight = blurred[j:], blurred[2 * reach - j :], weights[j]
        for x in range(out.size):
            out[x] += (left[x] + right[x]) * weight
    for x in range(out.size):
        value = out[x] - sums[x] / divisor
        out[x] = value if value >= threshold else 0.0


@kernel(inner=True)
def _highest(line: np.ndarray, highest: int) -> int:
    """Largest bit pattern of a line of numbers >= 0: as integers, unlike as floats, they compare in SIMD."""
    for x in range(line.size):
        highest = line[x] if line[x] > highest else highest
    return highest


@kernel()
def bandpass(
    image: np.ndarray,
    weights_y: np.ndarray,
    weights_x: np.ndarray,
    size_y: int,
    size_x: int,
    threshold: float,
    storage: int,
    out: np.ndarray,
) -> tuple[float, bool]:
    """Highest value of the bandpassed image, and whether the running sums stayed finite to the end.

    A NaN or an infinity that once entered a running sum never leaves it, so that the sums at the last row
    tell of every non-finite pixel of the image without another look at it (only if `size_y` is above 1).

    Parameters
    ----------
    image : (ny, nx) array
        The raw image.
    weights_y, weights_x : float64 arrays
        The gaussian along y and along x; see `gaussian_weights`.
    size_y, size_x : int
        Odd sizes of the boxcar, in pixels; 1 leaves that axis alone.
    threshold : float
        Values below it become zero. Not negative.
    storage : int
        See `storage_of`.
    out : (ny, nx) float64 array
        Receives the bandpassed image, >= 0.
    """
    ny, nx = image.shape
    zeros, margin = weights_x.size // 2, size_x // 2
    blurred = np.zeros((4, nx + 2 * zeros))
    padded = np.zeros((4, nx + 2 * margin))
    sums = np.zeros((4, nx))
    column_sums = np.zeros(nx)
    highest = 0
    for top in range(0, ny, 4):
        rows = 4 if top + 4 <= ny else ny - top
        if weights_y.size == 9 and top >= 4 and top + 8 <= ny:
            _blur_four_rows(image, top, weights_y, blurred, zeros)
        else:
            for q in range(rows):
                _blur_row(image, top + q, weights_y, blurred[q, zeros : zeros + nx])
        for q in range(rows):
            average = padded[q, margin : margin + nx]
            _average_row(image, top + q, size_y, column_sums, average)
            _stored(average, storage)
            _extend(padded[q], margin)
        if size_x > 1:
            _sums_along(padded, size_x, sums)
        else:
            for q in range(rows):
                _copy(padded[q], sums[q])
        for q in range(rows):
            divisor = float(size_x)
            if storage != EXACT:
                _averaged(sums[q], size_x, storage)
                divisor = 1.0
            _difference(blurred[q], weights_x, sums[q], divisor, threshold, out[top + q])
            highest = _highest(out[top + q].view(np.int64), highest)
    bits = np.empty(1, np.int64)
    bits[0] = highest
    is_finite = True
    for x in range(nx):
        is_finite &= np.isfinite(column_sums[x])
    return bits.view(np.float64)[0], is_finite
