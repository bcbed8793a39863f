"""The peaks of an image: `trackpy.locate`, many times faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import trackpy

from bluesky_ext._kernel import as_input
from bluesky_ext.peaks.mask import as_mask, fill_masked, on_masked
from bluesky_ext.peaks.parameters import Axes, LocateParameters
from bluesky_ext.peaks.search import FAST_DTYPES, passing, search, without_nonfinite
from bluesky_ext.peaks.table import constant_table, trackpy_table


def peak_columns(diameter: int | Sequence[int], **keywords: Any) -> list[str]:
    """Columns of the table that `locate` makes with these keywords, when it has rows.

    Checks the keywords as well: call it where they are given, long before there is an image.

    Parameters
    ----------
    diameter : odd int, or one for y and one for x
        As for `locate`.
    **keywords
        The other keywords of `trackpy.locate`.

    Raises
    ------
    ValueError
        If a value is one that `locate` would refuse.
    TypeError
        If there is no such keyword.
    """
    parameters = LocateParameters(diameter, **keywords)
    return parameters.peak_columns + parameters.error_columns


def locate(
    raw_image: npt.ArrayLike,
    diameter: int | Sequence[int],
    minmass: float | None = None,
    maxsize: float | None = None,
    separation: Axes | None = None,
    noise_size: Axes = 1,
    smoothing_size: int | Sequence[int] | None = None,
    threshold: float | None = None,
    invert: bool = False,
    percentile: float = 64,
    topn: int | None = None,
    preprocess: bool = True,
    max_iterations: int = 10,
    filter_before: None = None,
    filter_after: bool | None = None,
    characterize: bool = True,
    engine: Literal["auto", "python", "numba"] = "auto",
    *,
    mask: npt.ArrayLike | None = None,
    constant_columns: bool = False,
) -> pd.DataFrame:
    """Table of the peaks of an image: the one that `trackpy.locate` returns for the same arguments.

    For a two-dimensional image of dtype float64, float32, or integers of 8, 16 or 32 bits, the
    columns, the index and every value but `ep` are trackpy's to the last bit, and `ep` to 1e-9 (less with
    float32, where trackpy averages the background in single precision). Everything else is handed to
    trackpy: other dtypes, other numbers of dimensions, ``invert``, ``preprocess=False``,
    ``engine="python"``, ``filter_after``, a negative threshold or separation.

    Four things differ. A non-finite pixel counts as zero, where trackpy would find no peak in the whole
    image; ``table.attrs["nonfinite"]`` tells how many there were. An image without peaks gives an empty
    table and no warning. An image smaller than a peak is an error. An image of float16, or of 64-bit
    integers whose values allow it, is taken as one of 32 bits: trackpy fails on the one and overflows on the other.

    It may be called from several threads at once; the kernels release the GIL. Each thread keeps 9 to 12
    bytes a pixel from one frame to the next (see `release_buffers`).

    Parameters
    ----------
    raw_image : (ny, nx) array
        The image; axes of length 1 are dropped.
    diameter : odd int, or one for y and one for x
        Size of a peak in pixels.
    minmass : float, optional
        Peaks of this brightness or less are left out.
    maxsize : float, optional
        Peaks of this radius of gyration, in pixels, or more are left out.
    separation : float, or one for y and one for x; optional
        Least distance of two peaks in pixels; diameter + 1 by default.
    noise_size : float, or one for y and one for x
        Standard deviation of the gaussian, in pixels.
    smoothing_size : odd int, or one for y and one for x; optional
        Size of the boxcar in pixels; the diameter by default.
    threshold : float, optional
        Bandpassed values below it are black; 1/255 for floats and 1 for integers by default.
    invert, preprocess, filter_before, filter_after, engine
        As trackpy has them.
    percentile : float
        A peak is brighter than this percentage of the pixels that aren't black.
    topn : int, optional
        Only the brightest so many peaks.
    max_iterations : int
        Steps by which a peak's position is refined, at most.
    characterize : bool
        Whether there are columns beyond y, x and mass.
    mask : (ny, nx) bool array, optional
        False where a pixel is not to be used, whatever it holds. A masked pixel takes the mean of the used
        ones in the smoothing window around it, is black after the bandpass, and doesn't count for the noise.
        A peak whose centre comes to lie on one is dropped before any filter; one beside a gap stays, with the
        mass of the part that can be seen.
    constant_columns : bool
        Return the columns of `peak_columns` in float64 and the index 0, 1, 2, ..., with or without peaks.
        trackpy leaves out `ep` when there are none, and gaps in the index where peaks were filtered out.

    Returns
    -------
    pandas.DataFrame
        A row a peak: y and x (pixels; 0 is the centre of the first), mass (integrated brightness after the
        bandpass), size (radius of gyration in pixels; size_y and size_x if the diameters differ), ecc
        (0 is round), signal (highest brightness), raw_mass (of the raw image), and ep (position error in
        pixels; ep_y and ep_x if the axes differ).

    Raises
    ------
    ValueError
        If a keyword has a value that makes no sense, the image is smaller than the diameter, or the mask has
        another shape. One line that names the value.
    """
    keywords: dict[str, Any] = {
        "minmass": minmass,
        "maxsize": maxsize,
        "separation": separation,
        "noise_size": noise_size,
        "smoothing_size": smoothing_size,
        "threshold": threshold,
        "invert": invert,
        "percentile": percentile,
        "topn": topn,
        "preprocess": preprocess,
        "max_iterations": max_iterations,
        "filter_before": filter_before,
        "filter_after": filter_after,
        "characterize": characterize,
        "engine": engine,
    }
    image = np.squeeze(np.asanyarray(raw_image))
    if not image.dtype.isnative:  # which numba does not take, nor trackpy with it
        image = image.astype(image.dtype.newbyteorder("="))
    if image.ndim != 2:
        if mask is not None or constant_columns:
            raise ValueError(f"mask and constant_columns are for images of two dimensions, not of shape {image.shape}")
        cleaned, nonfinite = without_nonfinite(image)
        table = trackpy.locate(cleaned, diameter, **keywords)
        table.attrs["nonfinite"] = nonfinite
        return table
    parameters = LocateParameters(diameter, **keywords)
    if image.shape[0] < parameters.box[0] or image.shape[1] < parameters.box[1]:
        raise ValueError(f"the image, of shape {image.shape}, is smaller than the diameter {diameter!r}")
    used = None if mask is None else as_mask(mask, image.shape)
    image = _in_32_bits(image, used)
    # trackpy warns of a side of three or four pixels (is this a colour image?), so it gets those as well.
    if parameters.ordinary and image.dtype in FAST_DTYPES and not {3, 4} & set(image.shape):
        found = search(image, parameters, used)
        nonfinite = found.nonfinite
        table = constant_table(found, parameters) if constant_columns else trackpy_table(found, parameters)
        frame_number = getattr(image, "frame_no", None)  # of a pims.Frame; trackpy's table has it as a column
        if frame_number is not None and len(table) and not constant_columns:
            table["frame"] = int(frame_number)
    else:
        if used is None and not constant_columns:
            table, nonfinite = _by_trackpy(image, parameters)
        else:
            table, nonfinite = _by_trackpy_filtered(image, parameters, used)
        if constant_columns:
            columns = parameters.peak_columns + parameters.error_columns
            table = table.reindex(columns=columns).reset_index(drop=True).astype(float)
    table.attrs["nonfinite"] = nonfinite
    return table


def _in_32_bits(image: np.ndarray, used: np.ndarray | None) -> np.ndarray:
    """The image; one of half precision, or of 64-bit integers that allow it, in 32 bits: trackpy fails on both.

    What is masked may have any value.
    """
    if image.dtype == np.float16:
        return image.astype(np.float32)
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8:
        values = image if used is None else image[used]
        lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))
        for dtype in (np.uint32, np.int32):
            if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max:
                return image.astype(dtype)
    return image


def _by_trackpy(image: np.ndarray, parameters: LocateParameters) -> tuple[pd.DataFrame, int]:
    """Table of `trackpy.locate`, and the number of non-finite pixels."""
    cleaned, nonfinite = without_nonfinite(image)
    return trackpy.locate(cleaned, **asdict(parameters)), nonfinite


def _by_trackpy_filtered(
    image: np.ndarray, parameters: LocateParameters, mask: np.ndarray | None
) -> tuple[pd.DataFrame, int]:
    """Table of `trackpy.locate` with a mask, filtered here; the number of non-finite pixels.

    trackpy knows no mask, and once it has filtered, the position errors of two axes are in wrong rows.
    """
    if mask is not None:
        image = fill_masked(as_input(image), mask, parameters.smoothing)
    unfiltered = replace(parameters, minmass=None, maxsize=None, topn=None)
    table, nonfinite = _by_trackpy(image, unfiltered)
    if mask is not None:
        table = table.loc[~on_masked(table[["y", "x"]].to_numpy(float), mask)]
    size = table["size"].to_numpy(float) if "size" in table else None
    return table.iloc[passing(table["mass"].to_numpy(float), size, parameters)].copy(), nonfinite
