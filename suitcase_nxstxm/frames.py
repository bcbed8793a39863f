"""What an area detector or a spectrometer has for each point, in the file: the frames of an NXdetector."""

from __future__ import annotations

import math

import h5py
import numpy as np

from suitcase_nxstxm.block import LARGE
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.nexus import dataset

__all__ = ["Frames"]


class Frames:
    """The frames of a detector, one a chunk, in the type that they come in; made when the first one comes.

    Those that were never measured are NaN where the frames are of floats, and 0 where they are of integers.

    Parameters
    ----------
    detector
        The NXdetector.
    name
        What people call it.
    size
        How many points there are; None if nobody knows.
    units
        Of the numbers.
    """

    def __init__(self, detector: h5py.Group, name: str, size: int | None, units: str | None) -> None:
        self._detector = detector
        self._name = name
        self._size = size
        self._units = units
        self._stored = dataset(detector, "data")

    def put(self, index: int, values: np.ndarray) -> None:
        """Put the frame of a point.

        Raises
        ------
        MisfitError
            If it has another shape than the ones before.
        """
        stored = self._stored
        if stored is None:
            stored = self._stored = self._create("data", values.shape, values.dtype)
        if stored.shape[1:] != values.shape:
            raise MisfitError(
                f"a frame of {self._name!r} has shape {values.shape}, the ones before have {stored.shape[1:]}"
            )
        if not np.can_cast(values.dtype, stored.dtype):
            # Integers beyond 2**53 don't get here, so those that become floats beside others keep their values.
            stored = self._stored = self._wider(stored, np.promote_types(values.dtype, stored.dtype))
        if index >= stored.shape[0]:
            stored.resize(index + 1, axis=0)
        stored[index] = values

    def _create(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
        large = (self._size or 1) * math.prod(shape) * dtype.itemsize > LARGE
        made = self._detector.create_dataset(
            name,
            (0, *shape),
            dtype,
            maxshape=(self._size, *shape),
            chunks=(1, *shape),
            fillvalue=np.nan if dtype.kind == "f" else None,
            **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}),
        )
        made.attrs["units"] = self._units or ""
        return made

    def _wider(self, old: h5py.Dataset, dtype: np.dtype) -> h5py.Dataset:
        """The frames in a type that holds those to come as well."""
        made = self._create("data_wide", old.shape[1:], dtype)
        made.resize(old.shape[0], axis=0)
        for index in range(old.shape[0]):
            if old.id.get_chunk_info_by_coord((index, *(0 for _ in old.shape[1:]))).byte_offset is not None:
                made[index] = old[index]
        del self._detector["data"]
        self._detector.move("data_wide", "data")
        return made
