"""The arrays of an entry in the file, which all runs of its scan fill."""

from __future__ import annotations

import h5py
import numpy as np

from suitcase_nxstxm.block import Block, create
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.layout import Layout
from suitcase_nxstxm.nexus import dataset, group

__all__ = ["Arrays"]


class Arrays:
    """The arrays of an entry: made when their first numbers come, and found again by each run after.

    Parameters
    ----------
    entry
        The NXentry.
    """

    def __init__(self, entry: h5py.Group) -> None:
        self._entry = entry
        self._blocks: dict[str, Block] = {}
        self._frames: dict[str, Frames] = {}

    @property
    def completed(self) -> int:
        """How many planes have become full so far."""
        return sum(block.completed for block in self._blocks.values())

    def flush(self) -> None:
        """Write what isn't written yet."""
        for block in self._blocks.values():
            block.flush()

    def has(self, path: str) -> bool:
        """Whether the array at a path has been asked for."""
        return path in self._blocks

    def frames(self, path: str, name: str, layout: Layout, units: str | None) -> Frames:
        """The frames of the detector at a path of the entry.

        Parameters
        ----------
        path
            Of its NXdetector.
        name
            What people call it.
        layout
            What the arrays of the entry look like.
        units
            Of the numbers.
        """
        if path not in self._frames:
            detector = group(self._entry, path, "NXdetector")
            self._frames[path] = Frames(detector, name, layout.size or None, units)
        return self._frames[path]

    def block(
        self,
        path: str,
        nx_class: str,
        layout: Layout,
        dtype: np.dtype | None,
        units: str | None,
        *,
        flat: bool = False,
    ) -> Block:
        """The array at a path of the entry.

        Parameters
        ----------
        path
            Of the dataset; all groups but the last one are there.
        nx_class
            Of the group that it is in.
        layout
            What the arrays of the entry look like.
        dtype
            Of the numbers that come now; an array that is there and can't hold them is made wider. None: as it is.
        units
            Of the numbers.
        flat
            Whether it is a list of the points in the order in which they were taken.

        Raises
        ------
        MisfitError
            If it is there with another shape.
        """
        shape = (layout.size,) if flat else layout.shape
        block = self._blocks.get(path)
        if block is None:
            place, _, name = path.rpartition("/")
            parent = group(self._entry, place, nx_class)
            stored = dataset(parent, name)
            if stored is None:
                stored = create(parent, name, shape, layout.plane_size, dtype or np.dtype(float), layout.grows)
                stored.attrs["units"] = units or ""  # which NeXus wants, and which says that there is none
            block = self._blocks[path] = Block(stored, layout.plane_size)
            if stored.is_virtual:  # writing to it would write to what it shows
                block = self._blocks[path] = _anew(block, stored.dtype)
        if not layout.grows and block.shape != shape:
            raise MisfitError(
                f"{block.dataset.name} has shape {block.shape} in the file, and this run is for {shape}: "
                "set the unfinished file aside"
            )
        if dtype is not None and not np.can_cast(dtype, block.dtype):
            block = self._blocks[path] = _anew(block, dtype)
        return block


def _anew(block: Block, dtype: np.dtype) -> Block:
    """A block of the same numbers in the place of one, as a dataset of its own with as many digits as are wanted."""
    block.flush()
    old = block.dataset
    path, _, name = str(old.name).rpartition("/")
    parent = old.file[path]
    if not isinstance(parent, h5py.Group):
        raise TypeError(f"{old.name} is in no group")
    made = create(parent, f"{name}_wide", block.shape, block.plane_size, dtype, block.grows)
    made.attrs.update(old.attrs)
    wide = Block(made, block.plane_size)
    size = old.size or 0
    for number in range(-(-size // block.plane_size)):
        plane = block.plane(number)[: size - number * block.plane_size]
        if not np.isnan(plane).all():
            first = number * block.plane_size
            wide.put(slice(first, first + plane.size), plane)
    wide.flush()
    wide.completed = block.completed
    del parent[name]
    parent.move(f"{name}_wide", name)
    return wide
