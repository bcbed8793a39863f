"""Crystal maps: the intensity of each tracked peak at every point of a scan."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.peaks.live_maps import REFLECTION, RESERVED, LiveMaps
from bluesky_ext.peaks.rows import PARTICLE, PeakRows
from bluesky_ext.peaks.table import UNITS
from bluesky_ext.positions import Layout


def crystal_maps(
    linked: pd.DataFrame,
    layout: Layout,
    *,
    value: str = "mass",
    max_maps: int | None = None,
    t_column: str = "frame",
) -> xr.Dataset:
    """Dataset with a map a track, the brightest track first.

    Parameters
    ----------
    linked : pandas.DataFrame
        A row a peak, with the columns `particle` (see `link`), the frame number and `value`.
    layout : Layout
        Where the frames were taken, see `bluesky_ext.positions.lay_out`.
    value : str
        Column of the intensity that is mapped.
    max_maps : int, optional
        Only so many maps, of the brightest tracks. A map has 8 bytes a point.
    t_column : str
        Column of the frame numbers: the seq_num of the events.

    Returns
    -------
    xarray.Dataset
        Along `reflection`: ``maps`` (reflection, *dims) float64, zero where the track has no peak and NaN where nothing
        was measured; ``particle``; ``frames``, the number of frames with a peak; ``total``, the sum of `value`; and the
        mean of every other numeric column of the peaks under its own name, such as y and x in pixels. Along the dims of
        the layout: ``n_peaks``, how many peaks each frame has, on a map or not; and the positions of the motors.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> from bluesky_ext.positions import lay_out
    >>> linked = pd.DataFrame({"frame": [1, 2], "particle": [0, 0], "mass": [5.0, 7.0]})
    >>> crystal_maps(linked, lay_out(np.array([1, 2, 3]), {"sample_x": [0.0, 0.5, 1.0]}))["maps"].to_numpy()
    array([[5., 7., 0.]])
    """
    missing = {PARTICLE, t_column, value} - set(linked.columns)
    if missing:
        raise ValueError(f"the table has no column {min(missing)!r}, only {list(linked.columns)}")
    if max_maps is not None and operator.index(max_maps) < 1:
        raise ValueError(f"max_maps={max_maps!r} must be at least 1, or None for all")
    linked = linked.sort_values(t_column, kind="stable")
    frames = linked[t_column].to_numpy(np.int64)
    numeric = linked.select_dtypes("number").drop(columns=[t_column, PARTICLE])
    columns = {str(name): column.to_numpy() for name, column in numeric.items()}
    particles, rows = linked[PARTICLE].to_numpy(np.int64), PeakRows(columns)
    bounds = [0, *(np.flatnonzero(np.diff(frames)) + 1).tolist(), len(frames)]
    for first, last in pairwise(bounds if len(frames) else ()):
        its_own = {name: column[first:last] for name, column in columns.items()}
        rows.put(int(frames[first]), particles[first:last], its_own)
    live = LiveMaps(rows, value)
    return maps_dataset(live, layout, max_maps, live.columns)


def along_reflections(name: str, values: np.ndarray) -> tuple[tuple[str], np.ndarray, dict[str, str]]:
    """What xarray makes a variable of that is known of each reflection: its dim, values and attributes."""
    return (REFLECTION,), values, {"units": UNITS[name]} if name in UNITS else {}


def maps_dataset(live: LiveMaps, layout: Layout, max_maps: int | None, columns: Sequence[str]) -> xr.Dataset:
    """The dataset of the maps of so many tracks and of the means of these columns, see `crystal_maps`."""
    layout = layout.clear_of({*live.columns, *RESERVED})
    bright = live.brightest(layout, max_maps, columns)
    known = {PARTICLE: bright.particle, "frames": bright.frames, "total": bright.total}
    known |= dict(zip(columns, bright.means, strict=True))
    variables: dict[str, tuple] = {"maps": ((REFLECTION, *layout.dims), bright.maps)}
    variables["n_peaks"] = (layout.dims, live.n_peaks(layout))
    variables |= {name: along_reflections(name, values) for name, values in known.items()}
    return xr.Dataset(variables, {REFLECTION: np.arange(len(bright.maps)), **layout.coordinates()})
