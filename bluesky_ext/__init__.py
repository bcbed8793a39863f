"""Live analysis for Bluesky beamlines, as callbacks."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy
from bluesky_ext._version import __version__

if TYPE_CHECKING:
    from bluesky_ext.callbacks import (
        CrystalMap,
        CrystalMapper,
        DataFrameDumper,
        ImageProcessor,
        PeakTracker,
        TrackLinker,
    )
    from bluesky_ext.documents import Lanes, Recorder, Recording, as_sink, as_source, compose
    from bluesky_ext.playback import replay

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    # stages
    "ImageProcessor",
    "PeakTracker",
    "TrackLinker",
    "CrystalMap",
    "CrystalMapper",
    # putting them together
    "Lanes",
    "compose",
    # sources and sinks
    "DataFrameDumper",
    "Recorder",
    "Recording",
    "as_sink",
    "as_source",
    "replay",
    "__version__",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.callbacks": (
            *("CrystalMap", "CrystalMapper", "DataFrameDumper"),
            *("ImageProcessor", "PeakTracker", "TrackLinker"),
        ),
        "bluesky_ext.documents": ("Lanes", "Recorder", "Recording", "as_sink", "as_source", "compose"),
        "bluesky_ext.playback": ("replay",),
    },
)
