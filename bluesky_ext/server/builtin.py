"""The pipelines of this package."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from bluesky_ext.server.filling import Filling
from bluesky_ext.server.pipeline import Callback, Pipeline, Site
from bluesky_ext.storage.adapters import Pair

log = logging.getLogger(__name__)


class CrystalMapping(Pipeline):
    """Crystal maps: images less their background, peaks located and linked, each track mapped on the scan's grid."""

    data_key: str = Field(description="The key of the image, as in the events.", examples=["dexela_image"])
    subtrahend: str | None = Field(
        None,
        description="What is taken away from each image: the latest event of a stream of the run, or an image's path.",
        examples=["dark"],
    )
    dark_age: PositiveFloat | None = Field(
        None,
        description="How many seconds old a dark of another run may be for a run that has none in that stream.",
        examples=[3600.0],
    )
    diameter: PositiveInt = Field(11, description="The extent of a peak in pixels, an odd number.")
    search_range: PositiveFloat = Field(5.0, description="How far a peak may move between two frames, in pixels.")
    memory: int = Field(0, ge=0, description="For how many frames a peak may be gone and still be the same.")
    max_maps: PositiveInt = Field(100, description="Maps are made of so many tracks, the brightest.")
    directory: Path = Field(Path("crystal-maps"), description="Where the maps of each run are saved (NetCDF).")
    gaps: Literal["auto"] | bool = Field(
        "auto", description="Whether pixels at the maximum of their dtype are gaps: auto, true or false."
    )
    poni: Path | None = Field(
        None,
        description="The geometry of the detector, a .poni file: peaks have q, two_theta, chi and d with it.",
        examples=["calibration.poni"],
    )
    locate: dict[str, bool | int | float | list[float] | Literal["auto", "python", "numba"]] = Field(
        {},
        description="Keywords of trackpy.locate.",
        examples=[{"minmass": 1000, "percentile": 80, "separation": 100}],
    )

    @field_validator("locate")
    @classmethod
    def _check_keywords(cls, locate: dict[str, Any]) -> dict[str, Any]:
        from bluesky_ext.peaks.parameters import LocateParameters

        known = [name for name in LocateParameters.__dataclass_fields__ if name != "diameter"]
        if unknown := sorted(locate.keys() - known):
            raise ValueError(f"{', '.join(unknown)} is no keyword of trackpy.locate: there are {', '.join(known)}")
        return locate

    def build(self, site: Site) -> Callback:
        """The stages from images to maps, put together."""
        from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, TrackLinker, compose

        link: dict[str, Any] = {"search_range": self.search_range, "memory": self.memory}
        darks = None if self.dark_age is None else site.catalog
        # One task for both: no image comes back from a worker.
        peaks = compose(
            ImageProcessor(self.data_key, self.subtrahend, gaps=self.gaps, dark_age=self.dark_age, db=darks),
            PeakTracker(self.data_key, self.diameter, gaps=self.gaps, poni=self.poni, **self.locate),
            executor=site.executor,
        )
        tracks, maps = TrackLinker(**link), CrystalMap(**link, max_maps=self.max_maps, directory=self.directory)
        peaks.subscribe(tracks)
        peaks.subscribe(maps)
        site.keep(peaks, tracks, maps)
        return peaks


class NXstxm(Pipeline):
    """NXstxm files of STXM scans of every type, written while they run, and renamed when the scan is complete."""

    distributes: ClassVar[bool] = False

    directory: Path = Field(Path("nxstxm"), description="Where the files go.")
    file_prefix: str = Field("{uid}", description="Their names without .hdf5: a template on the start document.")
    overwrite: bool = Field(False, description="Write over files that are there, as a replay of the same scans needs.")
    source_name: str | None = Field(
        None, description="The name of the facility; left out of the files unless given.", examples=["My Light Source"]
    )
    scan_type: str | None = Field(
        None, description="The type of scans that don't say it themselves.", examples=["sample image"]
    )

    def build(self, site: Site) -> Callback:
        """The writer of the suitcase, which is given whole scans, with their images."""
        from suitcase_nxstxm import NXstxmWriter

        return _Files(NXstxmWriter(**dict(self), on_error="raise"))


class _Files:
    """A suitcase at the end of a server: with images in the events, and nothing that a server made up."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self._filling = Filling()

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self._write(self._filling(name, document))
        if name == "stop":
            self._say_failures()

    def close(self) -> None:
        """Finish what can be finished; a file whose run is not over stays under construction."""
        self._write(self._filling.finish())
        self._say_failures()
        try:
            self.writer.finish()
        except RuntimeError as error:  # which names the runs
            log.warning("%s", error)

    def _write(self, pairs: Iterable[Pair]) -> None:
        for name, document in pairs:
            # The file of a run that was cut off stays under construction: a replay makes it whole.
            if not (name == "stop" and document.get("incomplete")):
                self.writer(name, document)

    def _say_failures(self) -> None:
        failures = self._filling.failures
        if failures:
            log.warning("%d events are left out, their images can't be read; the first: %s", len(failures), failures[0])
            failures.clear()


class Masks(Pipeline):
    """Masked images: every pixel that a mask of the registry says is bad is filled."""

    data_key: str = Field(description="The key of the image, as in the events.", examples=["eiger_image"])
    masks: list[str | list[str | int]] = Field(
        description="Masks of the catalog, combined: uids, or [detector, name] or [detector, name, version].",
        examples=[[["eiger4m", "beamstop"]]],
    )
    fill: Literal[0] | float = Field(0, description="What masked pixels become: 0 or nan.")
    sparse: bool = Field(False, description="Emit the pixels that are not zero, instead of images.")

    def build(self, site: Site) -> Callback:
        """The stage that masks."""
        from bluesky_ext.callbacks import MaskApplier, Sparsifier

        if site.catalog is None:
            raise ValueError("the masks pipeline needs the catalog that has the masks: give --catalog")
        masks = [tuple(mask) if isinstance(mask, list) else mask for mask in self.masks]
        options: dict[str, Any] = {"registry": site.catalog, "executor": site.executor}
        make = Sparsifier if self.sparse else partial(MaskApplier, fill=self.fill)
        stage = make(self.data_key, masks, **options)
        site.keep(stage)
        return stage
