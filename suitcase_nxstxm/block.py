"""A dataset that is filled a little at a time, with the plane being filled in memory."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.constant import constant_chunk

__all__ = ["LARGE", "Block", "create"]

LARGE = 1 << 20
"""Arrays of more bytes than this are compressed."""

_GROWING = 1024


def create(
    parent: h5py.Group, name: str, shape: tuple[int, ...], plane_size: int, dtype: np.dtype, grows: bool = False
) -> h5py.Dataset:
    """A dataset of NaN, with one plane a chunk if it consists of planes, and compressed if it is large."""
    size = math.prod(shape)
    options: dict[str, Any] = {}
    if grows:
        options = {"chunks": (_GROWING,), "maxshape": (None,)}
    elif plane_size < size:
        options["chunks"] = (plane_size,) if len(shape) == 1 else (1, *shape[1:])
    if not grows and size * dtype.itemsize > LARGE:
        options.setdefault("chunks", shape)
        options |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    return parent.create_dataset(name, shape, dtype, fillvalue=np.nan, **options)


class Block:
    """A dataset and the plane of it that is being filled.

    The plane is written when it is full, when another one begins, and when `flush` is called. Each plane keeps the
    place in the file that it got first, so that what a flush has written stays readable if the process is killed: a
    plane that is flushed before it is full is stored without compression, because a compressed one changes its size.

    Parameters
    ----------
    dataset
        Float, any shape.
    plane_size
        The number of elements of a plane: all of them, or those of one index of the first dimension.
    """

    def __init__(self, dataset: h5py.Dataset, plane_size: int) -> None:
        self.dataset = dataset
        # The dataset would ask the file for these each time.
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype = dataset.dtype
        self.grows = dataset.maxshape is not None and dataset.maxshape[0] is None
        self._compressed = dataset.compression is not None
        self.plane_size = _GROWING if self.grows else max(plane_size, 1)
        self.completed = 0
        self._number: int | None = None
        self._plane = np.empty(0, self.dtype)
        self._filled = np.empty(0, bool)
        self._dirty = False
        self._raw = False

    def put(self, where: slice | np.ndarray, values: np.ndarray | float) -> None:
        """Put values to flat indices of the dataset; a growing one grows as far as they need."""
        last = where.stop if isinstance(where, slice) else int(where.max()) + 1
        if self.grows and last > self.shape[0]:
            self.flush()
            self._number = None
            self.dataset.resize((last,))
            self.shape = (last,)
        if isinstance(where, slice):
            flat = np.broadcast_to(np.ravel(values), (where.stop - where.start,))
            position = where.start
            while position < where.stop:
                number, offset = divmod(position, self.plane_size)
                count = min(self.plane_size - offset, where.stop - position)
                done = position - where.start
                if count == self.plane_size and not self.grows and self._free(number):
                    self._put_plane(number, flat[done : done + count])
                    position += count
                    continue
                self._select(number)
                self._set(slice(offset, offset + count), flat[done : done + count])
                position += count
        else:
            flat = np.broadcast_to(np.ravel(values), where.shape)
            numbers, offsets = np.divmod(where, self.plane_size)
            for number in np.unique(numbers):
                mine = numbers == number
                self._select(int(number))
                self._set(offsets[mine], flat[mine])

    def _free(self, number: int) -> bool:
        """Whether a plane can be written as a whole: it isn't the one in memory, nor in the file as it is."""
        if number == self._number:
            return False
        if not self._compressed:
            return True
        chunk = self.dataset.id.get_chunk_info_by_coord(self._offset(number))
        return chunk.byte_offset is None or not chunk.filter_mask

    def _put_plane(self, number: int, values: np.ndarray) -> None:
        self.dataset[self._region(number)] = values if len(self.shape) == 1 else values.reshape(self._plane_shape)
        self.completed += 1

    def put_constant(self, number: int, value: float) -> None:
        """Put one value to all of a plane."""
        if not self._compressed or number == self._number:
            self.put(slice(number * self.plane_size, (number + 1) * self.plane_size), value)
            return
        chunk = constant_chunk(self.dtype.type(value), self.plane_size)
        self.dataset.id.write_direct_chunk(self._offset(number), chunk)

    def plane(self, number: int) -> np.ndarray:
        """A copy of the numbers of a plane, flat."""
        self._select(number)
        return self._plane.copy()

    def flush(self) -> None:
        """Write what isn't written yet."""
        if not self._dirty or self._number is None:
            return
        if self._compressed and (self._raw or not self._filled.all()):
            # The mask says which of the two filters were left out: both.
            self.dataset.id.write_direct_chunk(self._offset(self._number), self._plane.tobytes(), 0b11)
            self._raw = True
        else:
            plane = self._plane if len(self.shape) == 1 else self._plane.reshape(self._plane_shape)
            self.dataset[self._region(self._number)] = plane
        self._dirty = False

    @property
    def _whole(self) -> bool:
        """Whether the plane is all there is."""
        return self.plane_size >= math.prod(self.shape) and not self.grows

    @property
    def _plane_shape(self) -> tuple[int, ...]:
        return self.shape if self._whole else self.shape[1:]

    def _set(self, where: slice | np.ndarray, values: np.ndarray) -> None:
        self._plane[where] = values
        self._filled[where] = True
        self._dirty = True
        if self._filled.all():
            self.flush()
            self.completed += not self.grows

    def _select(self, number: int) -> None:
        if number == self._number:
            return
        self.flush()
        self._number = number
        self._plane, self._raw = self._read(number)
        self._filled = ~np.isnan(self._plane)

    def _read(self, number: int) -> tuple[np.ndarray, bool]:
        """The plane as it is in the file, and whether it is there without compression."""
        if self._compressed:
            offset = self._offset(number)
            chunk = self.dataset.id.get_chunk_info_by_coord(offset)
            if chunk.byte_offset is None:
                return np.full(self.plane_size, np.nan, self.dtype), False
            if chunk.filter_mask:
                # HDF5 2.0 fails to read such a chunk that it has just written, unless it is asked for it as it is.
                _, stored = self.dataset.id.read_direct_chunk(offset)
                return np.frombuffer(stored, self.dtype).copy(), True
        return np.ravel(self.dataset[self._region(number)]), False

    def _region(self, number: int) -> Any:
        if self._whole:
            return ...
        if len(self.shape) == 1:
            return slice(number * self.plane_size, min((number + 1) * self.plane_size, self.shape[0]))
        return number

    def _offset(self, number: int) -> tuple[int, ...]:
        first = number * self.plane_size if len(self.shape) == 1 else number
        return (first, *(0 for _ in self.shape[1:]))
