"""Maps of windows: where the windows come from, and the dataset that is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.peaks import locate, mean_in_windows, peak_columns, place_windows, window_maps, windows_around
from bluesky_ext.peaks.crystal_map import REFLECTION
from bluesky_ext.peaks.windows import EDGES, RESERVED
from bluesky_ext.positions import Layout, lay_out
from bluesky_ext.spectra.azimuthal import scattering


@dataclass(frozen=True)
class WindowMaps:
    """How windows are found on images, and what is made of the intensities in them; refused if it makes no sense.

    Parameters
    ----------
    diameter, locate_kwargs
        As for `bluesky_ext.peaks.locate`.
    half_width, n_windows
        As for `bluesky_ext.peaks.windows_around`.
    known : DataFrame, optional
        The windows, or the peaks that they are around; see `known_windows`.
    poni : bytes, optional
        The geometry of the detector: windows have what their positions mean, see `bluesky_ext.spectra.azimuthal`.
    """

    diameter: int | tuple[int, int]
    locate_kwargs: Mapping[str, Any]
    half_width: int
    n_windows: int
    known: pd.DataFrame | None = None
    poni: bytes | None = None

    def __post_init__(self) -> None:
        anywhere = (2**31, 2**31)
        columns = peak_columns(self.diameter, **self.locate_kwargs)
        windows_around(pd.DataFrame({name: [0.0] for name in columns}), self.half_width, anywhere, self.n_windows)
        placed = self._placed(anywhere)
        if self.poni is not None:
            scattering(self.poni, (), ())
        # What xarray imports with the first dataset takes half a second.
        nowhere = lay_out(np.empty(0, np.int64), {})
        window_maps([], [], pd.DataFrame() if placed is None else placed.head(0), [], nowhere)

    def placed(self, shape: tuple[int, ...]) -> pd.DataFrame | None:
        """The windows that are known, on an image of this shape; None if none are."""
        windows = self._placed(shape)
        return None if windows is None else self._with_scattering(windows, shape)

    def _placed(self, shape: tuple[int, ...]) -> pd.DataFrame | None:
        if self.known is None:
            return None
        if {"dy", "dx"}.isdisjoint(self.known):
            return windows_around(self.known, self.half_width, shape, self.n_windows)
        return place_windows(self.known, shape)

    def located(self, dark: np.ndarray, light: np.ndarray) -> pd.DataFrame:
        """The peaks on light - dark."""
        with np.errstate(invalid="ignore"):  # of a pixel that was infinite all the time
            return locate(light - dark, self.diameter, constant_columns=True, **self.locate_kwargs)

    def found(self, dark: np.ndarray, light: np.ndarray) -> pd.DataFrame:
        """The windows around the brightest peaks on light - dark."""
        windows = windows_around(self.located(dark, light), self.half_width, dark.shape, self.n_windows)
        return self._with_scattering(windows, dark.shape)

    def _with_scattering(self, windows: pd.DataFrame, shape: tuple[int, ...]) -> pd.DataFrame:
        if self.poni is None:
            return windows
        return windows.assign(**scattering(self.poni, windows["y"], windows["x"], (shape[0], shape[1])))

    def dataset(
        self,
        start: Mapping[str, Any],
        layout: Layout,
        means: Mapping[int, np.ndarray],
        windows: pd.DataFrame | None,
        dark: np.ndarray,
        light: np.ndarray,
    ) -> xr.Dataset:
        """What `bluesky_ext.peaks.window_maps` makes, and the images, with what there is.

        Parameters
        ----------
        start : dict
            The start document of the run.
        layout : Layout
            Where its frames were taken.
        means : dict
            The mean in each window by seq_num; without any there are no maps.
        windows : DataFrame, optional
            The windows.
        dark, light : (ny, nx) float64
            Minimum and maximum.
        """
        dataset = xr.Dataset()
        if windows is not None:
            frames = sorted(means)
            intensities = [means[frame] for frame in frames]
            dataset = window_maps(intensities, frames, windows, mean_in_windows(dark, windows), layout)
            if not frames:
                dataset = dataset.drop_dims(set(dataset.dims) - {REFLECTION})
        pixels = ("pixel_y", "pixel_x")
        about = {"original_run_uid": start.get("original_run_uid", start["uid"]), "scan_id": start.get("scan_id", -1)}
        return dataset.assign(dark=(pixels, dark), light=(pixels, light)).assign_attrs(about)


def known_windows(windows: Any) -> pd.DataFrame:
    """A table of windows, or of peaks, from a table, a mapping or the dataset of an earlier run.

    It has the numeric columns, y and x among them, but for those that are made of the others.
    """
    if isinstance(windows, xr.Dataset):
        windows = {str(name): windows[name].to_numpy() for name in windows if windows[name].dims == (REFLECTION,)}
    table = pd.DataFrame(windows).rename(columns=str).select_dtypes("number")
    table = table.drop(columns=[*RESERVED, *EDGES], errors="ignore")
    for name in ("y", "x"):
        if name not in table:
            raise ValueError(f"windows= has no column {name!r}, only {[*table]}: give y and x of each, in pixels")
    if table.empty:
        raise ValueError("windows= is an empty table: give one window at least, or None to have them found")
    return table.reset_index(drop=True)
