"""The plumbing: documents in, documents of a derived run out.

Stages are built on `Map` and `Reduce`; everything else here is what these stand on. The way of an event::

    stages/stage.py            Stage: of which run and stream it is (documents/open_runs.py), and that it came
    frames/join.py             Joiner: only where a frame of it is in a file, a reference takes the frame's place
    stages/run.py              StageRun: what the stage keeps of the run; events wait there until its derived run begins
    stages/map.py, reduce.py   Map has its kernel work on it; Reduce folds it into its state, and is through with it
    executors/in_flight.py     the tasks under way, at once or in an executor (pool.py, lanes.py)
    executors/kernel.py        where the task is done: frames are read there, and the kernel is called
    documents/derived_run.py   DerivedRun: the derived event, its descriptor, and what counts in the sha256 (digest.py)
    stages/emitter.py          the next stage, or a sink

A stage is added as a `Map` or `Reduce` in ``callbacks``; a source or a sink in ``storage/adapters.py``; another way in
which events refer to images as a `FrameReference` in ``frames``, which `Joiner` makes.
"""

from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.stats import Stats, metrics
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
