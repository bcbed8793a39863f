"""What is kept of a run whose windows are mapped: two images, and a few numbers for each frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.callbacks.extremes import Extremes
from bluesky_ext.callbacks.scan import ScanPoints
from bluesky_ext.callbacks.stored import StoredRun, check_whole
from bluesky_ext.callbacks.window_maps import WindowMaps
from bluesky_ext.engine import DerivedRun, image_blocks
from bluesky_ext.images import mean_blocks
from bluesky_ext.peaks import mean_in_windows
from bluesky_ext.peaks.crystal_map import REFLECTION

NO_MAPS = "no maps: the windows were not known before the end; give windows= (those found are emitted), or db="
STALE = (
    "dark and light have what was taken back, and are to be computed anew from the stored run: give db=, or replay it"
)


@dataclass
class MappedRun:
    """Minimum and maximum of the frames of a run so far, and the mean of each frame in the windows that are known."""

    start: Mapping[str, Any]
    points: ScanPoints
    maps: WindowMaps
    data_key: str
    #: That of its first image; None before that.
    shape: tuple[int, ...] | None = None
    #: None until they are known, which without `WindowMaps.known` is at the end.
    windows: pd.DataFrame | None = None
    means: dict[int, np.ndarray] = field(default_factory=dict)
    extremes: Extremes = field(default_factory=Extremes)

    @property
    def images(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Dark and light, (ny, nx) float64; None before the first frame."""
        return self.extremes.images()

    def retract(self, seq_num: int) -> bool:
        """Take back a frame that comes again; return whether dark and light are stale by that."""
        was_stale = self.extremes.stale
        self.means.pop(seq_num, None)
        self.extremes.retract(seq_num)
        return self.extremes.stale and not was_stale

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a frame."""
        image = self._image(event)
        self.points.note(event["seq_num"], event["data"])
        self.extremes.add(event["seq_num"], image)
        if self.windows is not None:
            self.means[event["seq_num"]] = mean_in_windows(image, self.windows)

    def dataset(self, *, find: bool = False) -> xr.Dataset:
        """The maps so far, the windows, dark and light; windows that are not known are found if that is asked for."""
        images = self.images
        if images is None:
            return xr.Dataset()
        windows = self.maps.found(*images) if find and self.windows is None else self.windows
        return self.maps.dataset(self.start, self.points.layout(), self.means, windows, *images)

    def lacks(self) -> list[str]:
        """What is to be said of it where it can't be read a second time."""
        return [] if self.shape is None else [NO_MAPS] * (self.windows is None) + [STALE] * self.extremes.stale

    def look_again(self, stored: Callable[[], StoredRun] | None) -> None:
        """Do what only the end allows: find the windows, and take from the stored run what did not come by."""
        try:
            if self.extremes.stale and stored is not None:
                extremes = Extremes()
                stored().read_last(lambda event: extremes.add(event["seq_num"], self._image(event)))
                check_whole(self.extremes.frames, extremes.frames)
                self.extremes = extremes
        finally:
            images = self.images
            if self.windows is None and images is not None:
                windows = self.maps.found(*images)
                if windows.empty:
                    raise ValueError(f"no peak on light - dark of run {self.start['uid']}: see percentile and minmass")
                self.windows = windows
                if stored is not None:
                    stored().read(lambda event: self._measure(event, windows))
                    check_whole(self.extremes.frames, self.means)

    def emit(self, derived: DerivedRun) -> xr.Dataset:
        """Emit the maps, and return their dataset."""
        dataset, images = self.dataset(), self.images
        if images is None:
            return dataset
        columns = {str(name): array.to_numpy() for name, array in dataset.items() if array.dims == (REFLECTION,)}
        if "maps" in dataset:
            columns = {"map": dataset["maps"].to_numpy(), **columns}
        for number in range(dataset.sizes.get(REFLECTION, 0)):
            said = {name: values[number] for name, values in columns.items()}
            derived.event("primary", None, {REFLECTION: number, **said})
        self.points.emit(derived)
        dark, light = images
        derived.event("light_dark", None, {"light": light, "dark": dark, "n_frames": len(self.extremes.frames)})
        return dataset

    def _image(self, event: Mapping[str, Any]) -> np.ndarray:
        """The mean image of an event."""
        image = np.array(mean_blocks(image_blocks(event["data"], self.data_key), gaps=False), float)  # ours, to keep
        if self.shape is None:  # diameter and windows are tried on the first image
            if self.maps.known is None:
                self.maps.located(image, image)
            self.windows, self.shape = self.maps.placed(image.shape), image.shape
        if image.shape != self.shape:
            raise ValueError(f"{self.data_key} has shape {image.shape}, the first image of the run has {self.shape}")
        return image

    def _measure(self, event: Mapping[str, Any], windows: pd.DataFrame) -> None:
        self.means.pop(event["seq_num"], None)
        self.means[event["seq_num"]] = mean_in_windows(self._image(event), windows)
