"""The live server: HDF5 over HTTP, status and parameters, and a page, beside an analysis."""

from bluesky_ext.view.server import LiveServer

__all__ = ["LiveServer"]
