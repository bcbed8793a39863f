"""The pipeline from fluorescence spectra to element maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from bluesky_ext.server.pipeline import Callback, Pipeline, Site


class Fluorescence(Pipeline):
    """Element maps: fluorescence spectra fitted by the linear model of a .cfg of PyMca, each by itself."""

    data_key: str = Field(description="The key of the spectra, as in the events.", examples=["xspress3_spectra"])
    cfg: Path = Field(description="The configuration of PyMca.", examples=["sample.cfg"])
    sums: Literal["before", "after"] = Field(
        "before", description="Whether the spectra of the elements of a detector are added before the fit, or after."
    )
    elements: list[NonNegativeInt] | None = Field(
        None, description="Which elements of the detector are used, from 0; all unless given.", examples=[[0, 1, 3]]
    )
    live_time: str | None = Field(
        None, description="The reading of the live times, in s.", examples=["xspress3_live_time"]
    )
    dead_time: str | None = Field(
        None, description="Or that of the dead times, in percent.", examples=["xspress3_dead_time"]
    )
    correction: str | None = Field(
        None, description="Or that of what counts are multiplied by.", examples=["xspress3_dead_time_correction"]
    )
    monitor: str | None = Field(None, description="The reading of the incoming intensity.", examples=["i0"])
    monitor_reference: PositiveFloat = Field(1.0, description="The monitor for the flux that the .cfg has.")
    refit: bool = Field(True, description="Whether no area may be negative.")
    concentrations: bool = Field(True, description="Whether there are mass fractions.")
    motors: list[str] | None = Field(
        None,
        description="The motors of the maps, the slowest first; those of the scan unless given.",
        examples=[["sample_y", "sample_x"]],
    )
    keep_bytes: NonNegativeInt = Field(2**28, description="How many bytes the spectra may take that are kept.")
    directory: Path = Field(Path("fluorescence"), description="Where the maps of each run are saved (NeXus).")

    def build(self, site: Site) -> Callback:
        """The fit and the maps, which are written to a processed file while a run goes."""
        from bluesky_ext import FluorescenceFit, FluorescenceMap
        from bluesky_ext.live import ProcessedFiles

        of_maps = {"motors", "keep_bytes", "directory"}
        settings: dict[str, Any] = {name: value for name, value in dict(self).items() if name not in of_maps}
        fit = FluorescenceFit(**settings, executor=site.executor)
        maps = FluorescenceMap(self.data_key, self.cfg, motors=self.motors, keep_bytes=self.keep_bytes)
        fit.subscribe(maps)
        ProcessedFiles(maps, self.directory)
        site.keep(fit, maps)
        return fit
