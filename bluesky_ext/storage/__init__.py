"""Whole runs in Tiled, images and all, embedded in a directory or on a server by the same calls; and back.

Tiled is imported when a catalogue is opened.
"""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy

if TYPE_CHECKING:
    from bluesky_ext.storage.adapters import as_sink, as_source
    from bluesky_ext.storage.catalog import close_catalog, open_catalog
    from bluesky_ext.storage.datasets import read
    from bluesky_ext.storage.find import find_derived, find_run
    from bluesky_ext.storage.saver import Saver, save
    from bluesky_ext.storage.sparse import read_sparse, write_sparse
    from bluesky_ext.storage.sparse_writer import SparseWriter
    from bluesky_ext.storage.stored import documents

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    # catalogues
    "close_catalog",
    "open_catalog",
    # runs into them, and back
    "Saver",
    "documents",
    "find_derived",
    "find_run",
    "read",
    "save",
    # runs of sparse images
    "SparseWriter",
    "read_sparse",
    "write_sparse",
    # sources and sinks, catalogues too
    "as_sink",
    "as_source",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.storage.adapters": ("as_sink", "as_source"),
        "bluesky_ext.storage.catalog": ("close_catalog", "open_catalog"),
        "bluesky_ext.storage.datasets": ("read",),
        "bluesky_ext.storage.find": ("find_derived", "find_run"),
        "bluesky_ext.storage.saver": ("Saver", "save"),
        "bluesky_ext.storage.sparse": ("read_sparse", "write_sparse"),
        "bluesky_ext.storage.sparse_writer": ("SparseWriter",),
        "bluesky_ext.storage.stored": ("documents",),
    },
)
