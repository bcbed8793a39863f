"""The frames of area detectors in the file under construction: stored when they come, and linked to their places."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import h5py
import numpy as np

from suitcase_nxstxm.nexus import dataset, existing

__all__ = ["FRAMES", "Frames", "link"]

FRAMES = "frames"
"""The group of the frames, for as long as the file is under construction."""

_FLUSH_EVERY = 0.1  # s: what was flushed survives a kill


class Frames:
    """The frames of a scan, one a chunk, compressed, in datasets by what they are of.

    Parameters
    ----------
    opened
        What opens the file.
    """

    def __init__(self, opened: Callable[[], h5py.File]) -> None:
        self._opened = opened
        self._datasets: dict[str, h5py.Dataset] = {}
        self._flushed = 0.0

    def put(self, name: str, row: int, frame: np.ndarray) -> None:
        """Store a frame as a row of a dataset, which is made with its first one."""
        stored = self._datasets.get(name)
        if stored is None:
            group = self._opened().require_group(FRAMES)
            stored = dataset(group, name)
            if stored is None:
                stored = group.create_dataset(
                    name,
                    (0, *frame.shape),
                    frame.dtype,
                    maxshape=(None, *frame.shape),
                    chunks=(1, *frame.shape),
                    fillvalue=np.nan if frame.dtype.kind == "f" else None,
                    **{"compression": "gzip", "compression_opts": 1, "shuffle": True},
                )
            self._datasets[name] = stored
        if row >= stored.shape[0]:
            stored.resize(row + 1, axis=0)
        stored[row] = frame
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring to the file what HDF5 still has in memory."""
        if self._datasets:
            self._opened().flush()
            self._flushed = time.monotonic()

    def dataset(self, name: str) -> h5py.Dataset | None:
        """A dataset of frames; None if it didn't come to the disk before a kill."""
        if name not in self._datasets:
            found = self._opened().get(f"{FRAMES}/{name}")
            if not isinstance(found, h5py.Dataset):
                return None
            self._datasets[name] = found
        return self._datasets[name]

    def read(self, name: str, rows: Sequence[int]) -> Iterator[np.ndarray | None]:
        """The frames of these rows, one by one; None for one that didn't come to the disk before a kill."""
        stored = self.dataset(name)
        for row in rows:
            there = stored is not None and row < stored.shape[0] and _is_there(stored, row)
            yield stored[row] if there and stored is not None else None

    def there(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Which of these rows are on the disk."""
        stored = self.dataset(name)
        if stored is None:
            return np.zeros(len(rows), bool)
        return np.array([row < stored.shape[0] and _is_there(stored, int(row)) for row in rows], bool)


def _is_there(stored: h5py.Dataset, row: int) -> bool:
    corner = (row, *(0 for _ in stored.shape[1:]))
    return stored.id.get_chunk_info_by_coord(corner).byte_offset is not None


def link(
    parent: h5py.Group,
    name: str,
    number: int,
    dtype: np.dtype,
    sources: Sequence[tuple[h5py.Dataset, np.ndarray, np.ndarray]],
    kept: Callable[[], h5py.Group],
) -> h5py.Dataset:
    """Make a dataset of frames that are stored: the very dataset of them if it has them in order, else a virtual one.

    Parameters
    ----------
    parent, name
        Where it goes.
    number
        How many frames it has, measured or not.
    dtype
        Of its numbers.
    sources
        Datasets of frames; which rows of each; and which frames of the new dataset these are.
    kept
        The group that keeps what a virtual dataset shows.
    """
    first, rows, places = sources[0]
    if len(sources) == 1 and first.dtype == dtype and np.array_equal(rows, places) and first.shape[0] <= number:
        first.resize(number, axis=0)
        parent[name] = first
        return existing(parent, name)
    layout = h5py.VirtualLayout((number, *first.shape[1:]), dtype)
    for stored, stored_rows, stored_places in sources:
        own = str(stored.name).rpartition("/")[2]
        if own not in kept():
            kept()[own] = stored
        source = h5py.VirtualSource(".", f"{kept().name}/{own}", stored.shape, stored.dtype, stored.maxshape)
        steps = np.flatnonzero((np.diff(stored_rows) != 1) | (np.diff(stored_places) != 1)) + 1
        for part in np.split(np.arange(len(stored_rows)), steps):
            row, place = int(stored_rows[part[0]]), int(stored_places[part[0]])
            layout[place : place + len(part)] = source[row : row + len(part)]
    return parent.create_virtual_dataset(name, layout, fillvalue=np.nan if dtype.kind == "f" else 0)
