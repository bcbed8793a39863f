"""The pixels of a detector on bins: which share of each pixel goes to which bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from bluesky_ext._kernel import as_input, kernel

#: Dtypes of images that have kernels; others are made float64.
COMPILED = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


@kernel()
def _split(
    shares: np.ndarray,
    pixels: np.ndarray,
    ends: np.ndarray,
    first: np.ndarray,
    share: np.ndarray,
    next_share: np.ndarray,
    rest: np.ndarray,
    rest_share: np.ndarray,
) -> int:
    """Put the shares of each pixel (bin by bin, in `pixels`) where it is looked up; return how many are in the rest.

    The first bin of a pixel is -1 as long as there is none. `rest` is (2, n): pixels and bins; only counted if n is 0.
    """
    n_rest = 0
    for k in range(ends.size):
        for j in range(ends[k - 1] if k else 0, ends[k]):
            pixel = pixels[j]
            if first[pixel] < 0:
                first[pixel] = k
                share[pixel] = shares[j]
            elif k == first[pixel] + 1 and next_share[pixel] == 0:
                next_share[pixel] = shares[j]
            else:
                if rest.shape[1]:
                    rest[0, n_rest] = pixel
                    rest[1, n_rest] = k
                    rest_share[n_rest] = shares[j]
                n_rest += 1
    return n_rest


@kernel()
def _add(
    first: np.ndarray,
    share: np.ndarray,
    next_share: np.ndarray,
    rest: np.ndarray,
    rest_share: np.ndarray,
    used: np.ndarray,
    values: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the shares of the values that are used to the sums of their bins."""
    for i in range(values.size):
        if used[i]:
            value = np.float64(values[i])
            k = first[i]
            sums[k] += share[i] * value
            sums[k + 1] += next_share[i] * value
    for j in range(rest_share.size):
        i = rest[0, j]
        if used[i]:
            sums[rest[1, j]] += rest_share[j] * np.float64(values[i])


@kernel()
def _add_variances(
    first: np.ndarray,
    share: np.ndarray,
    next_share: np.ndarray,
    rest: np.ndarray,
    rest_share: np.ndarray,
    used: np.ndarray,
    values: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the variances of the shares of counts: as much as was counted, and that of one count if that is less."""
    for i in range(values.size):
        if used[i]:
            variance = max(np.float64(values[i]), 1.0)
            k = first[i]
            sums[k] += np.float64(share[i]) ** 2 * variance
            sums[k + 1] += np.float64(next_share[i]) ** 2 * variance
    for j in range(rest_share.size):
        i = rest[0, j]
        if used[i]:
            sums[rest[1, j]] += np.float64(rest_share[j]) ** 2 * max(np.float64(values[i]), 1.0)


@kernel()
def _add_deviations(
    first: np.ndarray,
    share: np.ndarray,
    next_share: np.ndarray,
    rest: np.ndarray,
    rest_share: np.ndarray,
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
            k = first[i]
            sums[k] += (share[i] * (value - weights[i] * means[k])) ** 2
            if next_share[i]:
                sums[k + 1] += (next_share[i] * (value - weights[i] * means[k + 1])) ** 2
    for j in range(rest_share.size):
        i, k = rest[0, j], rest[1, j]
        if used[i]:
            sums[k] += (rest_share[j] * (np.float64(values[i]) - weights[i] * means[k])) ** 2


@dataclass(frozen=True, eq=False)
class Matrix:
    """The shares of pixels that go to bins, by pixel: an image is read once, in order, and the bins stay in the cache.

    Nearly every pixel lies in one bin or two that are neighbours; what goes beyond these is in the rest.

    Parameters
    ----------
    n_bins : int
        The number of bins.
    first : (n_pixels,) int32
        The first bin of each pixel; `n_bins`, which is none, for one that has none.
    share, next_share : (n_pixels,) float32
        What goes to that bin and to the one after it.
    rest : (2, n) int32
        Pixels and the bins that they go to beside these.
    rest_share : (n,) float32
        What goes there.
    """

    n_bins: int
    first: np.ndarray
    share: np.ndarray
    next_share: np.ndarray
    rest: np.ndarray
    rest_share: np.ndarray

    @classmethod
    def of(cls, n_pixels: int, shares: np.ndarray, pixels: np.ndarray, ends: np.ndarray) -> Self:
        """The matrix with the shares of these pixels, bin by bin, where each bin ends at ``ends``.

        Examples
        --------
        >>> m = Matrix.of(3, np.float32([1, 0.25, 0.75]), np.array([0, 1, 1]), np.array([2, 3]))
        >>> m.sums(np.array([10.0, 4.0, 7.0]), np.ones(3, bool)).tolist()
        [11.0, 3.0]
        """
        inputs = [as_input(one) for one in (shares.astype(np.float32), pixels.astype(np.int32), ends.astype(np.int64))]
        first = np.full(n_pixels, -1, np.int32)
        share, next_share = np.zeros(n_pixels, np.float32), np.zeros(n_pixels, np.float32)
        rest, rest_share = np.empty((2, 0), np.int32), np.empty(0, np.float32)
        if n_rest := _split(*inputs, first, share, next_share, rest, rest_share):
            first[:], next_share[:] = -1, 0
            rest, rest_share = np.empty((2, n_rest), np.int32), np.empty(n_rest, np.float32)
            _split(*inputs, first, share, next_share, rest, rest_share)
        first[first < 0] = len(ends)
        return cls(len(ends), *map(as_input, (first, share, next_share, rest, rest_share)))

    def sums(self, values: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The sums of the shares of values (n_pixels,) in each bin, (n_bins,) float64, where ``used`` is True."""
        sums = np.zeros(self.n_bins + 2)
        _add(*self._arrays, as_input(used), _as_values(values), sums)
        return sums[: self.n_bins]

    def variances(self, counts: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The variances of the `sums` of counts whose distribution is Poisson's; that of a count below 1 is 1."""
        sums = np.zeros(self.n_bins + 2)
        _add_variances(*self._arrays, as_input(used), _as_values(counts), sums)
        return sums[: self.n_bins]

    def deviations(self, values: np.ndarray, used: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
        """The sums of ``(share * (value - weight * mean of the bin))**2``, as `sums`; the weights are float32."""
        sums = np.zeros(self.n_bins + 2)
        _add_deviations(*self._arrays, as_input(used), _as_values(values), as_input(weights), means, sums)
        return sums[: self.n_bins]

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.first, self.share, self.next_share, self.rest, self.rest_share


def _as_values(values: np.ndarray) -> np.ndarray:
    return as_input(values if values.dtype.newbyteorder("=").name in COMPILED else values.astype(np.float64))


def warm_up() -> None:
    """Compile the kernels for images of common dtypes, or load them from the cache on disk."""
    matrix = Matrix.of(1, np.ones(1), np.zeros(1), np.ones(1))
    used = np.ones(1, bool)
    for dtype in COMPILED:
        matrix.sums(np.zeros(1, dtype), used)
        matrix.variances(np.zeros(1, dtype), used)
        matrix.deviations(np.zeros(1, dtype), used, np.ones(1, np.float32), np.zeros(3))
