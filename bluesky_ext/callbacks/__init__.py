"""The stages that users subscribe."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy

if TYPE_CHECKING:
    from bluesky_ext.callbacks.crystal_map import CrystalMap
    from bluesky_ext.callbacks.crystal_mapper import CrystalMapper
    from bluesky_ext.callbacks.data_frame_dumper import DataFrameDumper
    from bluesky_ext.callbacks.image_orienter import ImageOrienter
    from bluesky_ext.callbacks.image_processor import ImageProcessor
    from bluesky_ext.callbacks.mask_applier import MaskApplier
    from bluesky_ext.callbacks.peak_tracker import PeakTracker
    from bluesky_ext.callbacks.sparsifier import Sparsifier
    from bluesky_ext.callbacks.spectra.azimuthal_integrator import AzimuthalIntegrator
    from bluesky_ext.callbacks.spectra.diffractograms import Diffractograms
    from bluesky_ext.callbacks.spectra.fluorescence_fit import FluorescenceFit
    from bluesky_ext.callbacks.spectra.fluorescence_map import FluorescenceMap
    from bluesky_ext.callbacks.track_linker import TrackLinker

__all__ = [
    "AzimuthalIntegrator",
    "CrystalMap",
    "CrystalMapper",
    "DataFrameDumper",
    "Diffractograms",
    "FluorescenceFit",
    "FluorescenceMap",
    "ImageOrienter",
    "ImageProcessor",
    "MaskApplier",
    "PeakTracker",
    "Sparsifier",
    "TrackLinker",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.callbacks.crystal_map": ("CrystalMap",),
        "bluesky_ext.callbacks.crystal_mapper": ("CrystalMapper",),
        "bluesky_ext.callbacks.data_frame_dumper": ("DataFrameDumper",),
        "bluesky_ext.callbacks.image_orienter": ("ImageOrienter",),
        "bluesky_ext.callbacks.image_processor": ("ImageProcessor",),
        "bluesky_ext.callbacks.mask_applier": ("MaskApplier",),
        "bluesky_ext.callbacks.peak_tracker": ("PeakTracker",),
        "bluesky_ext.callbacks.sparsifier": ("Sparsifier",),
        "bluesky_ext.callbacks.spectra.azimuthal_integrator": ("AzimuthalIntegrator",),
        "bluesky_ext.callbacks.spectra.diffractograms": ("Diffractograms",),
        "bluesky_ext.callbacks.spectra.fluorescence_fit": ("FluorescenceFit",),
        "bluesky_ext.callbacks.spectra.fluorescence_map": ("FluorescenceMap",),
        "bluesky_ext.callbacks.track_linker": ("TrackLinker",),
    },
)
