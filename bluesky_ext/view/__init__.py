"""What an analysis makes, seen while it runs: HDF5 over HTTP, status and parameters, a page; and pictures."""

from bluesky_ext.view.live_map import LiveMap
from bluesky_ext.view.server import LiveServer

__all__ = ["LiveMap", "LiveServer"]
