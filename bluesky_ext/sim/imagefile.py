"""Files that a simulated detector writes its images to, and the documents that lead back to them.

Both forms are those of areaDetector, so that the handlers of ``area_detector_handlers`` read them:
https://github.com/bluesky/area-detector-handlers
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from ophyd.areadetector.filestore_mixins import resource_factory

__all__ = ["SPECS", "HDF5Images", "ImageFile", "Spec", "TIFFImages"]

Spec = Literal["AD_TIFF", "AD_HDF5"]

# areaDetector's own: the directory with its slash, the name, the number of the frame.
TEMPLATE = "%s%s_%6.6d.tiff"

# How a resource document says which way the slashes of its path go.
PATH_SEMANTICS = {"posix": "posix", "nt": "windows"}[os.name]


class ImageFile(Protocol):
    """Where the images of one stage go."""

    resource: dict[str, Any]

    def write(self, images: NDArray[np.uint16]) -> dict[str, Any]:
        """Write the frames of one trigger, shape (frames, ny, nx); returns their datum document."""
        ...

    def close(self) -> None:
        """Close what is open; a second call does nothing."""
        ...


class TIFFImages:
    """One TIFF file a frame, in a directory of its own: resource with spec ``AD_TIFF``.

    Each file is whole before its datum is known, so the images can be read while the scan goes on, by any
    process and without locks.

    Parameters
    ----------
    directory : Path
        Where to make the directory of these images.
    name : str
        Start of the file names.
    shape : tuple of int
        Shape of the images of one trigger, (frames, ny, nx).
    """

    def __init__(self, directory: Path, name: str, shape: tuple[int, int, int]) -> None:
        path = directory / f"{name}_{uuid.uuid4()}"
        path.mkdir()
        self._stem = (os.path.join(path, ""), name)
        self._point = 0
        kwargs = {"template": TEMPLATE, "filename": name, "frame_per_point": shape[0]}
        self.resource, self._datum = resource_factory("AD_TIFF", directory, path.name, kwargs, PATH_SEMANTICS)

    def write(self, images: NDArray[np.uint16]) -> dict[str, Any]:
        """Write the frames of one trigger; returns their datum document."""
        for index, frame in enumerate(images, start=self._point * len(images)):
            tifffile.imwrite(TEMPLATE % (*self._stem, index), frame)
        datum = self._datum({"point_number": self._point})
        self._point += 1
        return datum

    def close(self) -> None:
        """Do nothing: no file is left open."""


class HDF5Images:
    """One HDF5 file, with all the frames in ``/entry/data/data``: resource with spec ``AD_HDF5``.

    It is flushed after each trigger and not locked. But the handler of this spec looks up the length of the
    dataset when it reads its first image, so read when the detector is unstaged, or with a new handler.

    Parameters
    ----------
    directory : Path
        Where to make the file.
    name : str
        Start of the file name.
    shape : tuple of int
        Shape of the images of one trigger, (frames, ny, nx).
    """

    def __init__(self, directory: Path, name: str, shape: tuple[int, int, int]) -> None:
        frames, *frame = shape
        path = directory / f"{name}_{uuid.uuid4()}.h5"
        # Without the lock, or no other process could open the file before it is closed.
        self._file = h5py.File(path, "w-", libver="earliest", locking=False)
        self._data = self._file.create_dataset(
            "entry/data/data", (0, *frame), np.uint16, maxshape=(None, *frame), chunks=(1, *frame)
        )
        self._file.flush()
        self._point = 0
        kwargs = {"frame_per_point": frames}
        self.resource, self._datum = resource_factory("AD_HDF5", directory, path.name, kwargs, PATH_SEMANTICS)

    def write(self, images: NDArray[np.uint16]) -> dict[str, Any]:
        """Append the frames of one trigger; returns their datum document."""
        stop = (self._point + 1) * len(images)
        self._data.resize(stop, axis=0)
        self._data[stop - len(images) : stop] = images
        self._file.flush()
        datum = self._datum({"point_number": self._point})
        self._point += 1
        return datum

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


#: What writes the files of each spec: called with the directory, the name and the shape of a trigger's images.
SPECS: dict[Spec, Callable[[Path, str, tuple[int, int, int]], ImageFile]] = {
    "AD_TIFF": TIFFImages,
    "AD_HDF5": HDF5Images,
}
