"""Peaks: images in, tables of peaks, tracks and crystal maps out."""

from bluesky_ext.peaks.buffers import release_buffers
from bluesky_ext.peaks.crystal_map import crystal_maps
from bluesky_ext.peaks.grains import grains
from bluesky_ext.peaks.linker import warm_up_linking
from bluesky_ext.peaks.live_maps import BrightTracks, LiveMaps, warm_up_live_maps
from bluesky_ext.peaks.locate import locate, peak_columns
from bluesky_ext.peaks.parameters import LocateParameters
from bluesky_ext.peaks.rows import PeakRows
from bluesky_ext.peaks.suggest import Suggestion, suggest
from bluesky_ext.peaks.tracks import StreamLinker, link
from bluesky_ext.peaks.warmup import locate_kernels
from bluesky_ext.peaks.windows import mean_in_windows, place_windows, warm_up_windows, window_maps, windows_around

__all__ = [
    "BrightTracks",
    "LiveMaps",
    "LocateParameters",
    "PeakRows",
    "StreamLinker",
    "Suggestion",
    "crystal_maps",
    "grains",
    "link",
    "locate",
    "locate_kernels",
    "mean_in_windows",
    "peak_columns",
    "place_windows",
    "release_buffers",
    "suggest",
    "warm_up_linking",
    "warm_up_live_maps",
    "warm_up_windows",
    "window_maps",
    "windows_around",
]
