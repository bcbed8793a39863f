"""TIFF: the pages of a file, and of no other one that it names."""

from __future__ import annotations

import numpy as np

from bluesky_ext.engine.frames.readable import Unreadable


def read_tiff(path: str) -> np.ndarray:
    """Return the page of a file, or its pages; OSError if it is not whole."""
    import tifffile

    try:
        # Series of these kinds go on in other files.
        with tifffile.TiffFile(path, is_ome=False, is_ndtiff=False, is_mmstack=False) as file:
            # A page written by a call of its own is a series of its own; a thumbnail is one of another shape.
            arrays = [series.asarray() for series in file.series]
    except OSError:
        raise
    except Exception as error:  # half a file makes the parser stumble in any way: ValueError, struct.error, ...
        raise OSError(f"{path} is not a whole TIFF file: {error}") from error
    if not arrays:
        raise OSError(f"{path} has no page yet")
    alike = [array for array in arrays if array.shape == arrays[0].shape]
    return alike[0] if len(alike) == 1 else np.stack(alike)


def check_tiff(path: str) -> None:
    """Raise `Unreadable` if what is at a path is a TIFF file, and a handler would go on in other files."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            others = file.is_ndtiff or file.is_mmstack or "FileName=" in (file.ome_metadata or "")
    except (OSError, ValueError):  # another file, or half of one: the handler will say so
        return
    if others:
        raise Unreadable(f"{path} goes on in other files: give TIFF files that hold what belongs to their frames")
