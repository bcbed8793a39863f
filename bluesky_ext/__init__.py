"""Live analysis for Bluesky beamlines, as callbacks."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy
from bluesky_ext._version import __version__

if TYPE_CHECKING:
    from bluesky_ext.callbacks import (
        AzimuthalIntegrator,
        CrystalMap,
        CrystalMapper,
        DataFrameDumper,
        Diffractograms,
        FluorescenceFit,
        FluorescenceMap,
        ImageOrienter,
        ImageProcessor,
        MaskApplier,
        PeakTracker,
        Sparsifier,
        TrackLinker,
    )
    from bluesky_ext.engine import Lanes, Recorder, Recording, compose
    from bluesky_ext.live import LiveAnalysis, RegionMaps
    from bluesky_ext.masks import MaskClient, combine_masks
    from bluesky_ext.server import redo, replay, serve
    from bluesky_ext.storage import as_sink, as_source, open_catalog, save
    from bluesky_ext.transport import Proxy, Publisher, RemoteDispatcher, background
    from bluesky_ext.view import LiveMap, LiveServer

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    # stages
    "ImageOrienter",
    "ImageProcessor",
    "MaskApplier",
    "Sparsifier",
    "PeakTracker",
    "TrackLinker",
    "CrystalMap",
    "CrystalMapper",
    "AzimuthalIntegrator",
    "Diffractograms",
    "FluorescenceFit",
    "FluorescenceMap",
    "LiveAnalysis",
    "RegionMaps",
    # what shows them
    "LiveMap",
    "LiveServer",
    # putting them together
    "Lanes",
    "compose",
    # masks
    "MaskClient",
    "combine_masks",
    # sources, sinks and stores
    "DataFrameDumper",
    "Recorder",
    "Recording",
    "as_sink",
    "as_source",
    "open_catalog",
    "redo",
    "replay",
    "save",
    # beside the RunEngine, and in other processes
    "Proxy",
    "Publisher",
    "RemoteDispatcher",
    "background",
    "serve",
    "__version__",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.callbacks": (
            *("AzimuthalIntegrator", "CrystalMap", "CrystalMapper", "DataFrameDumper", "Diffractograms"),
            *("FluorescenceFit", "FluorescenceMap", "ImageOrienter", "ImageProcessor", "MaskApplier"),
            *("PeakTracker", "Sparsifier", "TrackLinker"),
        ),
        "bluesky_ext.engine": ("Lanes", "Recorder", "Recording", "compose"),
        "bluesky_ext.live": ("LiveAnalysis", "RegionMaps"),
        "bluesky_ext.masks": ("MaskClient", "combine_masks"),
        "bluesky_ext.server": ("redo", "replay", "serve"),
        "bluesky_ext.storage": ("as_sink", "as_source", "open_catalog", "save"),
        "bluesky_ext.transport": ("Proxy", "Publisher", "RemoteDispatcher", "background"),
        "bluesky_ext.view": ("LiveMap", "LiveServer"),
    },
)
