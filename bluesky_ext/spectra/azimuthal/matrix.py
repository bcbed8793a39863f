"""The pixels of a detector on bins: which share of each pixel goes to which bins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bluesky_ext._kernel import as_input, kernel

#: Dtypes of images that have kernels; others are made float64.
COMPILED = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


class _Shares(NamedTuple):
    """The shares of each pixel.

    ``first`` (n_pixels,) int32 is its first bin, ``share`` and ``next_share`` (n_pixels,) float32 are what goes to that
    bin and to the one after it. What goes elsewhere is in the rest: pixels and bins, (2, n) int32, and their shares.
    """

    first: np.ndarray
    share: np.ndarray
    next_share: np.ndarray
    rest: np.ndarray
    rest_share: np.ndarray


@kernel()
def _split(
    shares: np.ndarray,
    pixels: np.ndarray,
    ends: np.ndarray,
    to: _Shares,
) -> int:
    """Put the shares of each pixel (bin by bin, in `pixels`) where they are looked up; return how many are in the rest.

    The first bin of a pixel is -1 as long as there is none. The rest is only counted if there is no room for it.
    """
    n_rest = 0
    for k in range(ends.size):
        for j in range(ends[k - 1] if k else 0, ends[k]):
            pixel = pixels[j]
            if to.first[pixel] < 0:
                to.first[pixel] = k
                to.share[pixel] = shares[j]
            elif k == to.first[pixel] + 1 and to.next_share[pixel] == 0:
                to.next_share[pixel] = shares[j]
            else:
                if to.rest.shape[1]:
                    to.rest[0, n_rest] = pixel
                    to.rest[1, n_rest] = k
                    to.rest_share[n_rest] = shares[j]
                n_rest += 1
    return n_rest


@kernel()
def _add(
    matrix: _Shares,
    used: np.ndarray,
    values: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the shares of the values that are used to the sums of their bins."""
    for i in range(values.size):
        if used[i]:
            value = np.float64(values[i])
            k = matrix.first[i]
            sums[k] += matrix.share[i] * value
            sums[k + 1] += matrix.next_share[i] * value
    for j in range(matrix.rest_share.size):
        i = matrix.rest[0, j]
        if used[i]:
            sums[matrix.rest[1, j]] += matrix.rest_share[j] * np.float64(values[i])


@kernel()
def _add_variances(
    matrix: _Shares,
    used: np.ndarray,
    values: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the variances of the shares of counts: as much as was counted, and that of one count if that is less."""
    for i in range(values.size):
        if used[i]:
            variance = max(np.float64(values[i]), 1.0)
            k = matrix.first[i]
            sums[k] += np.float64(matrix.share[i]) ** 2 * variance
            sums[k + 1] += np.float64(matrix.next_share[i]) ** 2 * variance
    for j in range(matrix.rest_share.size):
        i = matrix.rest[0, j]
        if used[i]:
            sums[matrix.rest[1, j]] += np.float64(matrix.rest_share[j]) ** 2 * max(np.float64(values[i]), 1.0)


@kernel()
def _add_deviations(
    matrix: _Shares,
    used: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the squares of what each share of a value differs from the mean of its bin, times the weight of its pixel."""
    for i in range(values.size):
        if used[i]:
            value = np.float64(values[i])
            k = matrix.first[i]
            sums[k] += (matrix.share[i] * (value - weights[i] * means[k])) ** 2
            if matrix.next_share[i]:
                sums[k + 1] += (matrix.next_share[i] * (value - weights[i] * means[k + 1])) ** 2
    for j in range(matrix.rest_share.size):
        i, k = matrix.rest[0, j], matrix.rest[1, j]
        if used[i]:
            sums[k] += (matrix.rest_share[j] * (np.float64(values[i]) - weights[i] * means[k])) ** 2


class Matrix:
    """The shares of pixels that go to bins, by pixel: an image is read once, in order, and the bins stay in the cache.

    Nearly every pixel lies in one bin or two that are neighbours; what goes beyond these is in the rest.

    Parameters
    ----------
    n_pixels : int
        The number of pixels.
    shares : (n,) float32
        What goes to the bins, bin by bin.
    pixels : (n,) int
        Which pixel each share is of.
    ends : (n_bins,) int
        Where the shares of each bin end.

    Examples
    --------
    >>> m = Matrix(3, np.float32([1, 0.25, 0.75]), np.array([0, 1, 1]), np.array([2, 3]))
    >>> m.sums(np.array([10.0, 4.0, 7.0]), np.ones(3, bool)).tolist()
    [11.0, 3.0]
    """

    def __init__(self, n_pixels: int, shares: np.ndarray, pixels: np.ndarray, ends: np.ndarray) -> None:
        shares, pixels, ends = shares.astype(np.float32), pixels.astype(np.int32), ends.astype(np.int64)
        self.n_bins = len(ends)
        n_rest, split = 0, None
        while split is None or len(split.rest_share) < n_rest:  # once more if there is a rest, whose size is known then
            split = _Shares(
                np.full(n_pixels, -1, np.int32),
                np.zeros(n_pixels, np.float32),
                np.zeros(n_pixels, np.float32),
                np.empty((2, n_rest), np.int32),
                np.empty(n_rest, np.float32),
            )
            n_rest = _split(as_input(shares), as_input(pixels), as_input(ends), split)
        split.first[split.first < 0] = self.n_bins  # behind the last one
        self._shares = _Shares(*map(as_input, split))

    def sums(self, values: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The sums of the shares of values (n_pixels,) in each bin, (n_bins,) float64, where ``used`` is True."""
        sums = np.zeros(self.n_bins + 2)
        _add(self._shares, as_input(used), _as_values(values), sums)
        return sums[: self.n_bins]

    def variances(self, counts: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The variances of the `sums` of counts whose distribution is Poisson's; that of a count below 1 is 1."""
        sums = np.zeros(self.n_bins + 2)
        _add_variances(self._shares, as_input(used), _as_values(counts), sums)
        return sums[: self.n_bins]

    def deviations(self, values: np.ndarray, used: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
        """The sums of ``(share * (value - weight * mean of the bin))**2``, as `sums`; the weights are float32."""
        sums = np.zeros(self.n_bins + 2)
        _add_deviations(self._shares, as_input(used), _as_values(values), as_input(weights), means, sums)
        return sums[: self.n_bins]


def _as_values(values: np.ndarray) -> np.ndarray:
    return as_input(values if values.dtype.newbyteorder("=").name in COMPILED else values.astype(np.float64))


def integration_kernels() -> list[Callable[[], None]]:
    """What compiles the kernels for images of common dtypes, for `bluesky_ext._compile.compile_kernels`."""
    return [_warm_up_deviations, _warm_up_variances, _warm_up_sums]


def _warm_up_sums() -> None:
    matrix = Matrix(1, np.ones(1), np.zeros(1), np.ones(1))
    for values, used in _pixels():
        matrix.sums(values, used)


def _warm_up_variances() -> None:
    for values, used in _pixels():
        _add_variances(_ONE_PIXEL, used, values, np.zeros(3))


def _warm_up_deviations() -> None:
    for values, used in _pixels():
        _add_deviations(_ONE_PIXEL, used, values, as_input(np.ones(1, np.float32)), np.zeros(3), np.zeros(3))


def _pixels() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for dtype in COMPILED:
        yield as_input(np.zeros(1, dtype)), as_input(np.ones(1, bool))


_ONE_PIXEL = _Shares(
    as_input(np.zeros(1, np.int32)),
    as_input(np.ones(1, np.float32)),
    as_input(np.ones(1, np.float32)),
    as_input(np.empty((2, 0), np.int32)),
    as_input(np.empty(0, np.float32)),
)
