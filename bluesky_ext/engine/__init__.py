"""The plumbing: documents in, documents of a derived run out.

Stages are built on `Map` and `Reduce`; everything else here is what these stand on.
"""

from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.metrics import metrics
from bluesky_ext.engine.documents.stats import Stats
from bluesky_ext.engine.executors.lanes import Lanes
from bluesky_ext.engine.frames.references import FrameNotAvailable, as_image, image_blocks, image_of, with_images
from bluesky_ext.engine.recording.recorder import Recorder
from bluesky_ext.engine.recording.recording import Recording
from bluesky_ext.engine.stages.compose import Composed, compose
from bluesky_ext.engine.stages.map import Map, Rows, frames_of
from bluesky_ext.engine.stages.reduce import Reduce
from bluesky_ext.engine.stages.stage import Stage

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
    # runs in files
    "Recorder",
    "Recording",
    # what they are made of
    "DerivedRun",
    "FrameNotAvailable",
    "Stats",
    "as_image",
    "frames_of",
    "image_blocks",
    "image_of",
    "with_images",
    # counts, for a monitor
    "metrics",
]
