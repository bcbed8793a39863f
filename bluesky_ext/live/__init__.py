"""One's own live analysis: a worker for events and a reducer for results, with parameters that change while it runs."""

from bluesky_ext.live.analysis import LiveAnalysis
from bluesky_ext.live.events import Event, Result, State, Stream
from bluesky_ext.live.files import read_parameters
from bluesky_ext.live.outcome import Outcome
from bluesky_ext.live.parameters import (
    BinaryParameter,
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Parameters,
    RegionsParameter,
    StrParameter,
)
from bluesky_ext.live.processed.crystal_maps import crystal_map_tables, export_crystal_maps
from bluesky_ext.live.processed.processed_file import ProcessedFile
from bluesky_ext.live.processed.processed_files import ProcessedFiles
from bluesky_ext.live.processed.tree_file import save_tree
from bluesky_ext.live.protocols import Reducer, Worker
from bluesky_ext.live.region_maps import RegionMaps
from bluesky_ext.live.replay.run_pair import run_pair
from bluesky_ext.live.routes import by_key

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    "LiveAnalysis",
    "RegionMaps",
    "Worker",
    "Reducer",
    "run_pair",
    "by_key",
    "Outcome",
    # what they are given
    "Event",
    "Stream",
    "Result",
    "State",
    # parameters
    "IntParameter",
    "FloatParameter",
    "StrParameter",
    "BoolParameter",
    "BinaryParameter",
    "RegionsParameter",
    "Parameter",
    "Parameters",
    "read_parameters",
    # files of what comes of it
    "ProcessedFile",
    "ProcessedFiles",
    "save_tree",
    # crystal maps for other programs
    "export_crystal_maps",
    "crystal_map_tables",
]
