"""The demonstration of crystal mapping: the grains of a polycrystal, from images of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, RegionMaps
from bluesky_ext._compile import compile_kernels
from bluesky_ext.cli.demo.demonstration import Outcome, Settings
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.plots import annotate, plot_crystal_maps
from bluesky_ext.sim import beamline


class CrystalMapping:
    """A dark and images of a polycrystal; their peaks, and a map of each of its spots."""

    unit = "image"

    def __init__(self, settings: Settings) -> None:
        # All at once, which several processes do in less time than a stage after the other.
        compile_kernels(*dict.fromkeys((*PeakTracker.kernels, *ImageProcessor.kernels, *CrystalMap.kernels)))
        self._settings = settings
        self._beamline: Any = beamline(settings.seed, (settings.size, settings.size))
        self.total = settings.points[0] * settings.points[1]
        self.title = f"crystal mapping: a dark and {settings.grid} images of {settings.size}x{settings.size} pixels"
        key = f"{self._beamline.detector.name}_image"
        self._processor = ImageProcessor(key, subtrahend="dark")
        self._tracker = PeakTracker(key, diameter=11, minmass=1000)
        self._maps = CrystalMap(search_range=3, memory=self.total, directory=settings.directory)
        self._processor.subscribe(self._tracker)
        self._tracker.subscribe(self._maps)
        regions = RegionMaps(key)  # that are drawn in the browser
        self._processor.subscribe(regions)
        self._brightest = _Brightest(key)
        self._processor.subscribe(self._brightest, "event")
        self.shown = self._maps, self._tracker, regions
        self.kept = self._tracker, self._maps

    def plan(self) -> Any:
        """A grid over the whole sample, with the shutter closed for the dark."""
        b = self._beamline
        ny, nx = self._settings.points
        (y0, y1), (x0, x1) = b.crystal.extents
        exposure = {"time_per_point": 0.2, "time_per_frame": 0.1}
        shutter = {"shutter": b.shutter, "shutter_open": "open", "shutter_close": "closed"}
        return grid_scan_nd([b.detector], b.y, y0, y1, ny, b.x, x0, x1, nx, **exposure, **shutter, snake=True)

    def subscribers(self, advance: Callable[[], object]) -> dict[str, list[Any]]:
        """The chain of stages."""

        def count(name: str, doc: Any) -> None:
            if self._beamline.x.name in doc["data"]:  # not the dark
                advance()

        return {"all": [self._processor], "event": [count]}

    def outcome(self, uids: Sequence[str]) -> Outcome:
        """The grains of the sample that have a map of each of their spots; the maps, the peaks, pictures of both."""
        directory, dataset, tracks = self._settings.directory, self._maps.dataset, self._maps.tracks
        table = directory / "tracks.csv"
        tracks.to_csv(table, index=False)
        mapped = [_is_mapped(grain, dataset) for grain in self._beamline.crystal.grains]
        n_tracks = tracks["particle"].nunique()
        found = [
            f"{len(tracks)} peaks in {self.total} images, {n_tracks} tracks",
            f"grains with a map of each of their spots: {sum(mapped)} of {len(mapped)}",
        ]
        files = {directory / f"{uids[0]}.nc": "crystal maps", table: "peaks as a table"}
        return Outcome(found, all(mapped), files, _draw(directory, self._brightest.image, dataset))


def _is_mapped(grain: Any, dataset: Any) -> bool:
    """Whether each spot of a grain has a map that looks like the grain."""
    positions = np.stack([dataset["y"].values, dataset["x"].values], axis=1)
    places = np.meshgrid(*(dataset[name].values for name in dataset["maps"].dims[1:]), indexing="ij")
    truth = grain.intensity(*places).ravel()

    def has_map(spot: Any) -> bool:
        distances = np.hypot(*(positions - spot).T)
        nearest = int(np.argmin(distances))
        likeness = np.corrcoef(dataset["maps"].values[nearest].ravel(), truth)[0, 1]
        return bool(distances[nearest] < 1.0 and likeness > 0.8)

    return all(map(has_map, grain.spots))


class _Brightest:
    """The highest value that each pixel of the images has been: an image with all the spots of a scan."""

    def __init__(self, data_key: str) -> None:
        self._data_key = data_key
        self.image: Any = 0.0

    def __call__(self, name: str, doc: Any) -> None:
        if f"{self._data_key}_dark" in doc["data"]:  # not the dark itself
            self.image = np.maximum(self.image, doc["data"][self._data_key])


def _draw(directory: Path, brightest: Any, dataset: Any) -> list[Path]:
    """Draw the maps, and where their peaks are, on the brightest that each pixel has been."""
    peaks = pd.DataFrame({"y": dataset["y"].values, "x": dataset["x"].values, "mass": dataset["total"].values})
    figures = {"crystal_maps.png": plot_crystal_maps(dataset), "peaks.png": annotate(brightest, peaks)}
    for name, figure in figures.items():
        figure.savefig(directory / name, dpi=150)
    return [directory / name for name in figures]
