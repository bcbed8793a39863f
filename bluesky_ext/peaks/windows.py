"""Windows on an image: where they are, the mean intensity in each, and maps of it over a scan."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from bluesky_ext._kernel import as_input, kernel
from bluesky_ext.peaks.crystal_map import REFLECTION, along_reflections
from bluesky_ext.positions import Layout

EDGES = ("y_start", "y_stop", "x_start", "x_stop")
#: Names in a dataset of maps that no column of the windows and no axis of the scan may have.
RESERVED = (REFLECTION, "maps", "background", "dark", "light", "pixel_y", "pixel_x")


def windows_around(peaks: pd.DataFrame, half_width: int, shape: Sequence[int], n: int | None = None) -> pd.DataFrame:
    """Table of the windows around the brightest peaks, the brightest first.

    Parameters
    ----------
    peaks : pandas.DataFrame
        A row a peak: y and x in pixels, and mass, by which they are sorted. Without mass, they stay in their order.
    half_width : int
        How many pixels a window has on each side of the peak's own.
    shape : (ny, nx)
        Of the image.
    n : int, optional
        Only so many windows.

    Returns
    -------
    pandas.DataFrame
        The columns of the peaks, and those of `place_windows`.
    """
    if operator.index(half_width) < 0:
        raise ValueError(f"half_width={half_width!r} must be a number of pixels, at least 0")
    if n is not None and operator.index(n) < 1:
        raise ValueError(f"n={n!r} must be a number of windows, at least 1, or None for all")
    if "mass" in peaks:
        peaks = peaks.sort_values("mass", ascending=False, kind="stable")
    return place_windows(peaks.head(n if n is not None else len(peaks)).assign(dy=half_width, dx=half_width), shape)


def place_windows(windows: pd.DataFrame, shape: Sequence[int]) -> pd.DataFrame:
    """The windows with their edges on an image of this shape, beyond which they don't reach.

    Parameters
    ----------
    windows : pandas.DataFrame
        A row a window: y and x, the pixels in the middle (fractions are cut off), and dy and dx, how many pixels
        there are on each side of that.
    shape : (ny, nx)
        Of the image.

    Returns
    -------
    pandas.DataFrame
        The same columns, and y_start, y_stop, x_start, x_stop (int64): ``image[y_start:y_stop, x_start:x_stop]``.

    Raises
    ------
    ValueError
        If a window has no pixel of the image, or a column is missing.
    """
    missing = [name for name in ("y", "x", "dy", "dx") if name not in windows]
    if missing:
        raise ValueError(f"the windows have no column {missing[0]!r}, only {list(windows.columns)}")
    placed = windows.reset_index(drop=True)
    for axis, length in zip("yx", shape, strict=True):
        middle = np.floor(placed[axis].to_numpy(float))
        reach = placed[f"d{axis}"].to_numpy(float)
        start, stop = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, length)
        outside = ~(start < stop) | ~np.isfinite(middle) | (reach != np.floor(reach))  # NaN is not below anything
        if outside.any():
            at = int(outside.argmax())
            raise ValueError(
                f"window {at}, with {axis}={placed[axis][at]:g} and d{axis}={placed[f'd{axis}'][at]:g}, has no pixel "
                f"of an image of shape {tuple(shape)}: give windows of this detector, in whole pixels"
            )
        placed[f"{axis}_start"], placed[f"{axis}_stop"] = start.astype(np.int64), stop.astype(np.int64)
    return placed


@kernel()
def _means(image: np.ndarray, edges: np.ndarray, out: np.ndarray) -> None:
    for w in range(len(edges)):
        total, count = 0.0, 0
        for y in range(edges[w, 0], edges[w, 1]):
            for x in range(edges[w, 2], edges[w, 3]):
                value = image[y, x]
                if np.isfinite(value):
                    total += value
                    count += 1
        out[w] = total / count if count else np.nan


def mean_in_windows(image: npt.ArrayLike, windows: pd.DataFrame) -> np.ndarray:
    """Mean of the image in each window, (n,) float64. Pixels that are NaN or infinite don't count.

    A window without any other pixel has NaN. The pixels are summed in float64, row by row, without the GIL.
    (Cumulative sums over the whole image take 200 times as long as a hundred windows of 51 x 51 pixels.)

    Parameters
    ----------
    image : (ny, nx) array of real numbers
        The image.
    windows : pandas.DataFrame
        With y_start, y_stop, x_start, x_stop, as `windows_around` and `place_windows` make them.
    """
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ValueError(f"an array of shape {values.shape} and dtype {values.dtype} is not an image: give a 2-d one")
    if values.dtype.kind == "b" or values.dtype.itemsize not in (1, 2, 4, 8) or values.dtype == np.float16:
        values = values.astype(float)
    edges = windows[list(EDGES)].to_numpy(np.int64)
    out = np.empty(len(edges))
    if len(edges):
        low, high = edges.min(axis=0), edges.max(axis=0)
        if min(low) < 0 or high[1] > values.shape[0] or high[3] > values.shape[1]:
            raise ValueError(f"the windows reach beyond an image of shape {values.shape}: place them on it")
        _means(as_input(values), np.ascontiguousarray(edges), out)
    return out


def window_maps(
    means: npt.ArrayLike, frames: npt.ArrayLike, windows: pd.DataFrame, background: npt.ArrayLike, layout: Layout
) -> xr.Dataset:
    """Dataset with a map a window: its mean intensity above the background at each point of a scan.

    Parameters
    ----------
    means : (n_frames, n_windows) array
        Those of `mean_in_windows` for each frame.
    frames : (n_frames,) array of int
        Numbers of the frames: the seq_num of the events. Those that the layout does not have are on no map.
    windows : pandas.DataFrame
        A row a window.
    background : (n_windows,) array
        The mean in each window that is taken away.
    layout : Layout
        Where the frames were taken, see `bluesky_ext.positions.lay_out`.

    Returns
    -------
    xarray.Dataset
        Along `reflection`, in the order of the windows: ``maps`` (reflection, *dims) float64, NaN where nothing was
        measured; ``background``; and the columns of the windows under their own names. Along the dims of the layout:
        the positions of the motors.
    """
    layout = layout.clear_of({*windows.columns, *RESERVED})
    numbers = np.asarray(frames, np.int64).reshape(-1)
    above = np.asarray(means, float).reshape(len(numbers), len(windows)) - np.asarray(background, float)
    cells, at = layout.cells_of(numbers)
    here = (at >= 0) & (at < len(cells))
    here[here] = cells[at[here]] >= 0
    maps = np.full((len(windows), layout.n_cells), np.nan)
    maps[:, cells[at[here]]] = above[here].T
    variables = {"maps": ((REFLECTION, *layout.dims), maps.reshape(len(windows), *layout.shape))}
    variables["background"] = ((REFLECTION,), np.asarray(background, float))
    variables |= {str(name): along_reflections(str(name), windows[name].to_numpy()) for name in windows}
    return xr.Dataset(variables, {REFLECTION: np.arange(len(windows)), **layout.coordinates()})


def warm_up_windows() -> None:
    """Compile what `mean_in_windows` needs for averaged images, or load it from the cache on disk."""
    mean_in_windows(np.zeros((2, 2)), windows_around(pd.DataFrame({"y": [0.0], "x": [0.0]}), 1, (2, 2)))
