"""Settings for locating and linking peaks, found on a few images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import KDTree

from bluesky_ext.peaks.locate import locate

DIAMETERS = (5, 7, 9, 11, 13, 15, 19, 23, 29)
#: So many peaks are looked at with each diameter, the brightest.
PEAKS = 300
#: Peaks stand out if the faintest of them is so many times as bright as noise.
STANDS_OUT = 2.0
#: What holds a whole peak, in diameters that show it best: those are of its core.
WHOLE = 1.5


class Suggestion(NamedTuple):
    """Settings, and what they were found by."""

    diameter: int
    minmass: float
    separation: float
    search_range: float
    #: A row a diameter: how many ``peaks`` stand out, by what factor (``contrast``) from what does not, and the
    #: ``minmass`` between the two.
    table: pd.DataFrame
    #: Those of the first image, with these settings.
    peaks: pd.DataFrame

    def __str__(self) -> str:
        locating = f"diameter={self.diameter}, minmass={self.minmass:g}, separation={self.separation:g}"
        return f"PeakTracker(key, {locating}); CrystalMap(search_range={self.search_range:g})"


def suggest(image: npt.ArrayLike, *others: npt.ArrayLike, diameters: Sequence[int] = DIAMETERS) -> Suggestion:
    """Settings for the peaks of an image, and of those that followed it in a scan.

    ``minmass`` lies in the widest gap between the brightness of peaks and that of noise; ``diameter`` is half as much
    again as the one for which that gap is widest; ``separation`` is the usual one for that, a pixel more;
    ``search_range`` lies between the way of a peak to the next image and that to its neighbours. They are a
    beginning: look at the picture, ``annotate(image, suggestion.peaks, diameter=suggestion.diameter)``.

    Parameters
    ----------
    image : (ny, nx) array
        An image with peaks, its background subtracted.
    *others : (ny, nx) arrays
        The images after it, if there are any: without them, the search range is a third of the way to the neighbours.
    diameters : sequence of odd int
        Those to try, rising, two or more.

    Raises
    ------
    ValueError
        If no peaks stand out from the noise.
    """
    first = np.asarray(image)
    tried = [(one, *_standing_out(first, one)) for one in diameters if 4 * one < min(first.shape)]
    table = pd.DataFrame(dict(zip(("diameter", "peaks", "contrast", "minmass"), zip(*tried, strict=True), strict=True)))
    good = [row for row in tried if row[1] and row[2] >= STANDS_OUT]
    if not good:
        raise ValueError("no peaks stand out from the noise: give an image that has some, its background subtracted")
    # Most diameters show the same peaks; one that shows others has mistaken something else for them.
    usual = Counter(peaks for _, peaks, _, _ in good).most_common(1)[0][0]
    core = max((row for row in good if row[1] == usual), key=itemgetter(2))
    diameter = 2 * int(WHOLE * core[0] / 2) + 1
    _, contrast, between = _standing_out(first, diameter)
    if contrast < STANDS_OUT:
        diameter, between = core[0], core[3]
    minmass = _rounded(between)
    keywords = {"minmass": minmass, "separation": diameter + 1}
    peaks = locate(first, diameter, **keywords).reset_index(drop=True)
    images = [peaks, *(locate(np.asarray(one), diameter, **keywords) for one in others)]
    return Suggestion(diameter, minmass, diameter + 1.0, _search_range(images, diameter), table, peaks)


def _standing_out(image: np.ndarray, diameter: int) -> tuple[int, float, float]:
    """How many peaks stand out, by what factor from what does not, and the brightness in the middle of the two."""
    levels = np.sort(locate(image, diameter, topn=PEAKS)["mass"].to_numpy())
    levels = levels[levels > 0]
    if len(levels) < 2:
        return 0, 1.0, 0.0
    steps = np.diff(np.log(levels))
    widest = int(steps.argmax())
    return len(steps) - widest, float(np.exp(steps[widest])), float(np.sqrt(levels[widest] * levels[widest + 1]))


def _search_range(images: Sequence[pd.DataFrame], diameter: int) -> float:
    """A way between that of peaks from one image to the next and that to their neighbours."""
    positions = [peaks[["y", "x"]].to_numpy() for peaks in images]
    apart = [KDTree(one).query(one, 2)[0][:, 1] for one in positions if len(one) > 1]
    neighbours = float(np.min(np.concatenate(apart))) if apart else 4.0 * diameter
    ways = [KDTree(b).query(a)[0] for a, b in pairwise(positions) if len(a) and len(b)]
    moved = np.concatenate(ways) if ways else np.empty(0)
    moved = moved[moved < neighbours / 2]  # the others were not seen again
    if not len(moved):
        return _rounded(neighbours / 3)
    # Twice the longest way, or a part of a peak, but nearer to that than to the neighbours.
    return _rounded(min(max(2 * float(moved.max()), diameter / 4), neighbours / 2))


def _rounded(value: float) -> float:
    """Two digits are enough for a setting."""
    return float(f"{value:.2g}")
