"""The pipeline from diffraction images to diffractograms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from bluesky_ext.server.pipeline import Callback, Pipeline, Site


class Azimuthal(Pipeline):
    """Diffractograms: images integrated azimuthally by pyFAI's geometry, stacked over the scan, and maps of regions."""

    data_key: str = Field(description="The key of the image, as in the events.", examples=["eiger_image"])
    poni: Path = Field(description="The geometry of the detector: a .poni file.", examples=["calibration.poni"])
    n_bins: PositiveInt = Field(1000, description="The number of radial bins.")
    unit: Literal["q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm"] = Field("q_nm^-1", description="The radial axis.")
    radial_range: tuple[float, float] | None = Field(
        None,
        description="From where to where the bins go, in that unit; all of the detector without.",
        examples=[[5, 40]],
    )
    sectors: PositiveInt | list[tuple[float, float]] | None = Field(
        None,
        description="So many sectors of equal width, or sectors in degrees; the whole ring without.",
        examples=[[[-15, 15], [75, 105]]],
    )
    splitting: Literal["bbox", "no", "full"] = Field("bbox", description="How pixels are split between bins.")
    solid_angle: bool = Field(True, description="Whether to correct for the solid angle of the pixels.")
    polarization: float | None = Field(
        None, ge=-1, le=1, description="The polarization factor to correct for.", examples=[0.99]
    )
    error_model: Literal["poisson", "azimuthal"] | None = Field(
        None, description="Where errors come from; none without.", examples=["poisson"]
    )
    monitor: str | None = Field(None, description="A reading that intensities are divided by.", examples=["i0"])
    masks: list[str | list[str | int]] = Field(
        [],
        description="Masks of the catalog, combined: uids, or [detector, name] or [detector, name, version].",
        examples=[[["eiger4m", "beamstop"]]],
    )
    gaps: Literal["auto"] | bool = Field(
        "auto", description="Whether pixels at the maximum of their dtype, or below 0, are gaps: auto, true or false."
    )
    shape: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="Rows and columns of the images, if the .poni doesn't say it.", examples=[[2048, 2048]]
    )
    rois: dict[str, tuple[float, float]] = Field(
        {}, description="Regions to be mapped: from where to where on the radial axis.", examples=[{"111": [19, 21]}]
    )
    directory: Path = Field(Path("diffractograms"), description="Where the files of the runs go (NXazint1d, HDF5).")

    def build(self, site: Site) -> Callback:
        """The stages from images to diffractograms and their maps, put together."""
        from bluesky_ext.callbacks import AzimuthalIntegrator, Diffractograms
        from bluesky_ext.live import ProcessedFiles

        if self.masks and site.catalog is None:
            raise ValueError("masks are looked up in a catalog: give --catalog, the one that has them")
        settings = {name: value for name, value in dict(self).items() if name not in ("masks", "rois", "directory")}
        masks = [tuple(mask) if isinstance(mask, list) else mask for mask in self.masks]
        stage = AzimuthalIntegrator(**settings, mask=masks or None, registry=site.catalog, executor=site.executor)
        stack = Diffractograms(self.data_key, self.rois or None)
        ProcessedFiles(stack, self.directory)
        stage.subscribe(stack)
        site.keep(stage, stack)
        return stage
