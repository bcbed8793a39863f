"""Crystal maps: the intensity of each tracked peak at every point of a scan."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.peaks.tracks import PARTICLE

GRAIN = "grain"


def scan_indices(frames: np.ndarray, shape: Sequence[int], snaking: Sequence[bool] | None = None) -> np.ndarray:
    """Place of each frame in the grid of a scan, (n, ndim) int64, the slowest axis first.

    Parameters
    ----------
    frames : (n,) array of int
        Numbers of the frames in the order of the scan, from 1: the seq_num of a grid scan.
    shape : sequence of int
        Number of points along each axis, the slowest first.
    snaking : sequence of bool, optional
        Whether an axis is run through forwards and backwards in turn, as in the start document of a grid
        scan. For the first axis, which is run through once, it makes no difference.
    """
    places = np.empty((len(frames), len(shape)), np.int64)
    step = math.prod(shape)
    for axis, length in enumerate(shape):
        step //= length
        turn, places[:, axis] = np.divmod((np.asarray(frames, np.int64) - 1) // step, length)
        if snaking is not None and snaking[axis]:
            backwards = turn % 2 == 1
            places[backwards, axis] = length - 1 - places[backwards, axis]
    return places


def crystal_maps(
    linked: pd.DataFrame,
    shape: Sequence[int],
    extents: Sequence[Sequence[float]] | None = None,
    snaking: Sequence[bool] | None = None,
    *,
    dims: Sequence[str] | None = None,
    value: str = "mass",
    max_maps: int | None = None,
    t_column: str = "frame",
) -> xr.Dataset:
    """Dataset with a map a track, the brightest track first.

    Parameters
    ----------
    linked : pandas.DataFrame
        A row a peak, with the columns `particle` (see `link`), the frame number and `value`.
    shape, extents, snaking : sequences
        Those of the start document of a grid scan, slowest axis first: numbers of points, first and last
        position, and whether an axis is run through in both directions. Without extents the axes have no positions.
    dims : sequence of str, optional
        Names of the scan's axes; dim_0, dim_1, ... by default.
    value : str
        Column of the intensity that is mapped.
    max_maps : int, optional
        Only so many maps, of the brightest tracks. A map has 8 bytes a point.
    t_column : str
        Column of the frame numbers, which count from 1: the seq_num of the events.

    Returns
    -------
    xarray.Dataset
        Along `grain`: ``maps`` (grain, *dims) float64, zero where the track has no peak; ``particle``;
        ``frames``, the number of frames with a peak; ``total``, the sum of `value`; and the mean of every other
        numeric column of the peaks under its own name, such as y and x in pixels. Along the axes: their
        positions.

    Raises
    ------
    ValueError
        If the scan's description doesn't fit together, a frame lies outside of the scan, or a column is missing.
    """
    shape = [operator.index(length) for length in shape]
    names = [f"dim_{axis}" for axis in range(len(shape))] if dims is None else list(dims)
    check_scan(shape, extents, snaking, names)
    missing = {PARTICLE, t_column, value} - set(linked.columns)
    if missing:
        raise ValueError(f"the table has no column {min(missing)!r}, only {list(linked.columns)}")
    if max_maps is not None and operator.index(max_maps) < 1:
        raise ValueError(f"max_maps={max_maps!r} must be at least 1, or None for all")

    frames = linked[t_column].to_numpy(np.int64)
    outside = (frames < 1) | (frames > math.prod(shape))
    if outside.any():
        raise ValueError(
            f"frame {frames[outside][0]} is not one of the {math.prod(shape)} of a scan of shape {tuple(shape)}"
        )
    particles, track = np.unique(linked[PARTICLE].to_numpy(), return_inverse=True)
    intensity = linked[value].to_numpy(float)
    total = _sums(track, intensity, len(particles))
    brightest = np.argsort(-total, kind="stable")[:max_maps]
    grain = np.full(len(particles), -1)
    grain[brightest] = np.arange(len(brightest))

    maps = np.zeros((len(brightest), *shape))
    mapped = grain[track] >= 0
    places = scan_indices(frames[mapped], shape, snaking)
    maps[(grain[track][mapped], *places.T)] = intensity[mapped]

    per_grain = {
        PARTICLE: particles[brightest],
        "frames": np.bincount(track, minlength=len(particles))[brightest],
        "total": total[brightest],
    }
    for name in linked.select_dtypes("number").columns.difference(
        [PARTICLE, t_column, "maps", GRAIN, *per_grain], sort=False
    ):
        values = linked[name].to_numpy(float)
        known = np.isfinite(values).astype(float)
        with np.errstate(invalid="ignore"):  # a mean of nothing is NaN
            mean = _sums(track, values, len(particles)) / _sums(track, known, len(particles))
        per_grain[str(name)] = mean[brightest]
    clash = sorted({*per_grain, "maps", GRAIN}.intersection(names))
    if clash:
        raise ValueError(f"dims={names!r}: {clash[0]!r} is the name of a variable of the maps, use another")

    coords: dict[str, np.ndarray] = {GRAIN: np.arange(len(brightest))}
    for name, (first, last), length in zip(names, extents or (), shape, strict=False):
        coords[name] = np.linspace(first, last, length)
    variables = {"maps": ((GRAIN, *names), maps)} | {name: (GRAIN, column) for name, column in per_grain.items()}
    return xr.Dataset(variables, coords)


def _sums(track: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    """Sum of the finite values of each track, float64."""
    return np.bincount(track, weights=np.where(np.isfinite(values), values, 0.0), minlength=length)


def check_scan(
    shape: Sequence[int],
    extents: Sequence[Sequence[float]] | None,
    snaking: Sequence[bool] | None,
    names: Sequence[str],
) -> None:
    """Refuse a description of a scan whose parts don't belong to the same axes."""
    if not shape or min(shape) < 1:
        raise ValueError(f"shape={tuple(shape)!r} must have a number of points, at least 1, for each axis of the scan")
    for name, given in (("extents", extents), ("snaking", snaking), ("dims", names)):
        if given is not None and len(given) != len(shape):
            raise ValueError(f"{name}={given!r} must have {len(shape)} items, one for each axis of {tuple(shape)}")
    if len(set(names)) != len(names):
        raise ValueError(f"dims={names!r} must all be different")
