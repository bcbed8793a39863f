"""Regions of diffractograms: how bright each is, and where its peak lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Where errors are known, a peak has more than so many of them: of its highest bin, or of the sum over the region.
IN_A_BIN, IN_ALL = 5.0, 3.0


class Regions:
    """Ranges of the radial axis, and what diffractograms have in them.

    Parameters
    ----------
    radial : (n_bins,) float64
        The centres of the bins.
    ranges : sequence of (float, float)
        From where to where each region goes. The bins are those with their centres in it.

    Raises
    ------
    ValueError
        If there are no bins in a region.

    Examples
    --------
    >>> regions = Regions(np.arange(8.0), [(1, 6)])
    >>> brightness, peaks = regions.measure(np.array([[1, 1, 1, 1, 3, 1, 1, 9]]))
    >>> brightness.round(3).tolist(), peaks.tolist()
    ([[1.333]], [[4.0]])
    """

    def __init__(self, radial: np.ndarray, ranges: Sequence[tuple[float, float]]) -> None:
        self._radial = radial
        self._slices = []
        for low, high in ranges:
            first, last = np.searchsorted(radial, [low, high], side="left")
            last += last < len(radial) and radial[last] == high
            if first >= last:
                raise ValueError(
                    f"the region from {low:g} to {high:g} has no bins: give one within {radial[0]:g} to {radial[-1]:g}"
                )
            self._slices.append(slice(int(first), int(last)))

    def measure(self, intensity: np.ndarray, sigma: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The mean intensity in each region, and the position of its peak, of diffractograms (n_sectors, n_bins).

        The position is the centre of mass of what is above the straight line from the first to the last bin of the
        region; NaN where nothing is, or, given the standard errors ``sigma`` of the intensities, where that is
        noise: no bin is 5 of them above the line, nor the sum 3 of its own. Without errors noise has a position, too.
        Bins that are NaN are left out. Both are (n_regions, n_sectors) float64.
        """
        brightness, peaks = np.full((2, len(self._slices), len(intensity)), np.nan)
        for number, region in enumerate(self._slices):
            for sector, row in enumerate(intensity[:, region].astype(float)):
                known = np.isfinite(row)
                if not known.any():
                    continue
                values, at = row[known], self._radial[region][known]
                brightness[number, sector] = values.mean()
                above = values - np.interp(at, at[[0, -1]], values[[0, -1]])
                above[above < 0] = 0
                if above.any() and (sigma is None or _is_peak(at, above, sigma[sector, region][known])):
                    peaks[number, sector] = (at * above).sum() / above.sum()
        return brightness, peaks


def _is_peak(at: np.ndarray, above: np.ndarray, sigma: np.ndarray) -> bool:
    """Whether what is above the line from the first to the last point is more than noise: in a point, or in the sum."""
    last = np.interp(at, at[[0, -1]], [0.0, 1.0])
    ends = np.array([1 - last, last]) * sigma[[0, -1], np.newaxis]  # the errors of the line
    inner = np.where((at > at[0]) & (at < at[-1]), sigma.astype(float), 0.0) ** 2
    of_sum = np.sqrt(inner.sum() + (np.where(inner, ends, 0.0).sum(axis=1) ** 2).sum())
    return bool((above > IN_A_BIN * np.sqrt(inner + (ends**2).sum(axis=0))).any() or above.sum() > IN_ALL * of_sum)
