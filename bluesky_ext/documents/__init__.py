"""The plumbing: documents in, documents of a derived run out.

Stages are built on `Map` and `Reduce`; everything else here is what these stand on.
"""

from bluesky_ext.documents.adapters import as_sink, as_source
from bluesky_ext.documents.compose import Composed, compose
from bluesky_ext.documents.derive import DerivedRun
from bluesky_ext.documents.frames import FrameNotAvailable, as_image
from bluesky_ext.documents.guard import Stats
from bluesky_ext.documents.lanes import Lanes
from bluesky_ext.documents.map import Map, Rows, frames_of
from bluesky_ext.documents.recorder import Recorder
from bluesky_ext.documents.recording import Recording
from bluesky_ext.documents.reduce import Reduce
from bluesky_ext.documents.stage import Stage

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    # the bases of all analyses
    "Map",
    "Reduce",
    "Rows",
    "Stage",
    # making one map of several, and where it works
    "Composed",
    "Lanes",
    "compose",
    # sources and sinks
    "Recorder",
    "Recording",
    "as_sink",
    "as_source",
    # what they are made of
    "DerivedRun",
    "FrameNotAvailable",
    "Stats",
    "as_image",
    "frames_of",
]
