"""Grains: reflections that light up at the same points of a scan are of one crystal."""

from __future__ import annotations

import math
import operator
import warnings

import numpy as np
import xarray as xr
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from bluesky_ext.peaks.crystal_map import REFLECTION

#: The dim of the maps of grains, and how a reflection says which of them it is of.
GRAIN, GRAIN_OF = "grain", "grain_of"
#: What a dataset of grains has of its own, whatever the maps come with.
_OWN = ("maps", "total", "n_reflections", "overlap", GRAIN_OF)


def grains(
    dataset: xr.Dataset, threshold: float = 0.65, *, min_reflections: int = 2, min_points: int = 2
) -> xr.Dataset:
    """Dataset with a map a grain, the brightest grain first, and the grain of each reflection.

    How much two maps overlap is the cosine between them as vectors: 1 if one is a multiple of the other, 0 if they have
    no point in common; of two grains of one size it is the share of the points that they have in common. Reflections
    are put together as long as their maps overlap by the threshold on average (average linkage).

    Parameters
    ----------
    dataset : xarray.Dataset
        Crystal maps, as `bluesky_ext.CrystalMap` and `bluesky_ext.CrystalMapper` have them: ``maps`` (reflection, ...).
        Points that were not measured (NaN) count for nothing.
    threshold : float
        How much the maps of a grain's reflections overlap, on average, above 0 and up to 1. A higher one tells
        grains apart that lie over each other, and breaks up grains whose reflections are missing at many points.
    min_reflections : int
        A group of fewer reflections is no grain; they are of none.
    min_points : int
        A reflection that is seen at fewer points is of none: those of noise are seen once.

    Returns
    -------
    xarray.Dataset
        Along `grain`: ``maps`` (grain, ...) float64, the sum of the maps of its reflections; ``total``, the sum of
        that; ``n_reflections``. Along `reflection`, in the order of the dataset: ``grain_of``, the number of its grain,
        -1 if it is of none; ``overlap``, that of its map with its grain's, NaN if it is of none; and what else is known
        of each, such as y and x in pixels.

    Raises
    ------
    ValueError
        If there are no maps in the dataset, or an argument can't be meant.

    Warns
    -----
    UserWarning
        If a reflection overlaps with the map of another grain by the threshold as well.

    Examples
    --------
    >>> left, right = [5.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 3.0]
    >>> maps = xr.Dataset({"maps": (("reflection", "sample_x"), [left, right, right, left])})
    >>> found = grains(maps)
    >>> found["grain_of"].values
    array([0, 1, 1, 0])
    >>> found["maps"].values.tolist()
    [[10.0, 4.0, 0.0, 0.0], [0.0, 0.0, 6.0, 6.0]]
    """
    if "maps" not in dataset or dataset["maps"].dims[:1] != (REFLECTION,):
        raise ValueError(f"the dataset has no maps of reflections, only {list(dataset)}: give that of a CrystalMap")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold!r} is how much maps overlap: give a number above 0 and up to 1")
    for name, least in (("min_reflections", min_reflections), ("min_points", min_points)):
        if operator.index(least) < 1:
            raise ValueError(f"{name}={least!r} must be at least 1")
    maps = dataset["maps"]
    counts = np.nan_to_num(maps.to_numpy().reshape(len(maps), math.prod(maps.shape[1:])).astype(float))
    units = _units(counts)
    used = np.count_nonzero(counts, axis=1) >= min_points
    groups = np.zeros(len(counts), np.int64)  # group 0 has those that are not used
    groups[used] = _groups(units[used], threshold) + 1
    sizes = np.bincount(groups, minlength=1)
    sizes[0] = 0
    sums = np.zeros((len(sizes), counts.shape[1]))
    np.add.at(sums, groups, counts)
    whole = np.flatnonzero(sizes >= min_reflections)
    whole = whole[np.argsort(-sums[whole].sum(axis=1), kind="stable")]
    numbers = np.full(len(sizes), -1)
    numbers[whole] = np.arange(len(whole))
    grain_of = numbers[groups]
    overlaps = units @ _units(sums[whole]).T
    _warn_of_doubt(overlaps, grain_of, threshold)
    overlap = np.full(len(counts), np.nan)
    overlap[grain_of >= 0] = overlaps[np.flatnonzero(grain_of >= 0), grain_of[grain_of >= 0]]
    unmeasured = np.isnan(maps.to_numpy()).all(axis=0) if len(maps) else np.zeros(maps.shape[1:], bool)
    values = np.where(unmeasured, np.nan, sums[whole].reshape(len(whole), *maps.shape[1:]))
    variables = {
        "maps": ((GRAIN, *maps.dims[1:]), values, maps.attrs),
        "total": (GRAIN, sums[whole].sum(axis=1)),
        "n_reflections": (GRAIN, sizes[whole]),
        GRAIN_OF: (REFLECTION, grain_of),
        "overlap": (REFLECTION, overlap),
    }
    variables |= {name: one for name, one in dataset.items() if one.dims == (REFLECTION,) and name not in _OWN}
    return xr.Dataset(variables, {**dataset.coords, GRAIN: np.arange(len(whole))}, dataset.attrs)


def _units(maps: np.ndarray) -> np.ndarray:
    """The maps as vectors of the length 1; an empty one stays zero."""
    lengths = np.linalg.norm(maps, axis=1, keepdims=True)
    return np.divide(maps, lengths, out=np.zeros_like(maps), where=lengths > 0)


def _groups(units: np.ndarray, threshold: float) -> np.ndarray:
    """The group of each map, int64, from 0."""
    if len(units) < 2:
        return np.zeros(len(units), np.int64)
    distances = np.clip(1 - units @ units.T, 0, None)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    # A little more, since the cosine of a map with its double need not be 1 to the last bit.
    return fcluster(tree, 1 - threshold + 1e-9, "distance").astype(np.int64) - 1


def _warn_of_doubt(overlaps: np.ndarray, grain_of: np.ndarray, threshold: float) -> None:
    others = np.where(np.arange(overlaps.shape[1]) == grain_of[:, np.newaxis], 0, overlaps)
    doubtful = np.flatnonzero((grain_of >= 0) & (others.max(axis=1, initial=0) >= threshold))
    if len(doubtful):
        first = doubtful[0]
        warnings.warn(
            f"{len(doubtful)} reflections fit more than one grain, such as reflection {first}, which is of grain "
            f"{grain_of[first]} and overlaps with grain {others[first].argmax()} by {others[first].max():.2f}: "
            f"grains lie over each other; give a threshold above {others[first].max():.2f}, or scan in finer steps",
            stacklevel=3,
        )
