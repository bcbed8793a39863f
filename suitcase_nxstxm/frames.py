"""The frames of area detectors in the file under construction: stored when they come, and linked to their places."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import h5py
import numpy as np

from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.nexus import array, group
from suitcase_nxstxm.stream import FrameRows, Values

FRAMES = "frames"
"""The group of the frames, for as long as the file is under construction."""

Placed = Iterable[tuple[np.ndarray, Values]]
"""Frames, and which ones of a detector they are."""

_FLUSH_EVERY = 0.1  # s: what was flushed survives a kill


class Frames:
    """The frames of a scan, one a chunk, compressed, in datasets by what they are of.

    `opened` opens the file, and `check` raises an error if not all is on the disk that was written to it.
    """

    def __init__(self, opened: Callable[[], h5py.File], check: Callable[[], None]) -> None:
        self._opened, self._check = opened, check
        self._datasets: dict[str, h5py.Dataset] = {}
        self._flushed = 0.0

    def put(self, name: str, row: int, frame: np.ndarray) -> None:
        """Store a frame as a row of a dataset, which is made with its first one."""
        stored = self.dataset(name)
        if stored is None:
            parent = self._opened().require_group(FRAMES)
            shape = {"maxshape": (None, *frame.shape), "chunks": (1, *frame.shape)}
            stored = self._datasets[name] = array(parent, name, (0, *frame.shape), frame.dtype, large=True, **shape)
        if row >= stored.shape[0]:
            stored.resize(row + 1, axis=0)
        stored[row] = frame
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self.flush()
        self._check()

    def flush(self) -> None:
        """Bring to the file what HDF5 still has in memory."""
        if self._datasets:
            self._opened().flush()
            self._flushed = time.monotonic()
            self._check()

    def dataset(self, name: str) -> h5py.Dataset | None:
        """A dataset of frames; None if there is none, or if it didn't come to the disk before a kill."""
        if name not in self._datasets:
            found = self._opened().get(f"{FRAMES}/{name}")
            if not isinstance(found, h5py.Dataset):
                return None
            self._datasets[name] = found
        return self._datasets[name]

    def there(self, read: Values) -> np.ndarray:
        """Which of some frames there are: those that didn't come to the disk before a kill are not."""
        stored = self.dataset(read.frames) if isinstance(read, FrameRows) else None
        if stored is None or not isinstance(read, FrameRows):
            return np.full(len(read), isinstance(read, np.ndarray))
        zeros = (0,) * (stored.ndim - 1)
        known = (
            row < stored.shape[0] and stored.id.get_chunk_info_by_coord((row, *zeros)).byte_offset is not None
            for row in read.rows.tolist()
        )
        return np.fromiter(known, bool, len(read))

    def read(self, read: Values) -> Iterator[tuple[int, np.ndarray]]:
        """Those of some frames that there are, one by one, with their number among them."""
        stored = self.dataset(read.frames) if isinstance(read, FrameRows) else None
        for i in np.flatnonzero(self.there(read)).tolist():
            yield i, read[i] if isinstance(read, np.ndarray) else stored[int(read.rows[i])]  # type: ignore[index]

    def blocks(self, read: Values) -> Iterator[tuple[int, np.ndarray]]:
        """What some events have, some at a time: the first of them, and their numbers, shape (events, numbers)."""
        if isinstance(read, np.ndarray):
            yield 0, read.reshape(len(read), -1)
        else:
            yield from ((i, frame.reshape(1, -1)) for i, frame in self.read(read))

    def sums(self, read: Values) -> Iterator[tuple[int, np.ndarray]]:
        """The sums of what some events have, as `blocks`."""
        if isinstance(read, FrameRows) and not np.isnan(read.sums).any():
            yield 0, read.sums[:, np.newaxis]
        else:
            yield from ((i, found.sum(axis=1, dtype=float)[:, np.newaxis]) for i, found in self.blocks(read))


def write_frames(parent: h5py.Group, entry: h5py.Group, placed: Callable[[], Placed], frames: Frames) -> h5py.Dataset:
    """Make the dataset ``data`` of frames, one a point, in the type that holds all of them.

    Those never measured are NaN in floats; in integers they are 0, and the attribute ``never_measured`` has the first
    and the last one of each stretch of them.
    """
    measured = np.unique(np.concatenate([places[frames.there(read)] for places, read in placed()]))
    number = int(measured[-1]) + 1 if len(measured) else 0
    made = link_frames(parent, entry, number, placed(), frames, lambda dtypes: np.result_type(*dtypes))
    if made is None:
        stored = [frames.dataset(read.frames) if isinstance(read, FrameRows) else read for _, read in placed()]
        shape, *others = dict.fromkeys(found.shape[1:] for found in stored if found is not None)
        if others:
            what = f"a frame of {parent.name!r} has shape {others[0]}"
            raise MisfitError(f"{what} in a run that has others of shape {shape}")
        dtype = np.result_type(*(found.dtype for found in stored if found is not None))
        made = array(parent, "data", (number, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape))
        for places, read in placed():
            for i, frame in frames.read(read):
                made[int(places[i])] = frame
    missing = np.setdiff1d(np.arange(number), measured)
    if len(missing) and made.dtype.kind != "f":
        stretches = np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1)
        made.attrs["never_measured"] = [(int(part[0]), int(part[-1])) for part in stretches]
    return made


def link_frames(
    parent: h5py.Group,
    entry: h5py.Group,
    number: int,
    placed: Placed,
    frames: Frames,
    dtype_of: Callable[[list[np.dtype]], np.dtype],
) -> h5py.Dataset | None:
    """Make the dataset ``data`` of frames that are all stored: the very dataset of them, or a virtual one.

    None if some frames are not stored, or if they differ in their shape. `placed` are frames, and which of the `number`
    frames, measured or not, each of them is; several datasets are of the type that `dtype_of` finds for them, and are
    kept in the collection of the entry.
    """
    rows_of: dict[str, dict[int, int]] = defaultdict(dict)
    for places, read in placed:
        if isinstance(read, np.ndarray):
            return None
        there = frames.there(read)
        rows_of[read.frames].update(zip(places[there].tolist(), read.rows[there].tolist(), strict=True))
    sources = [(found, rows) for name, rows in rows_of.items() if rows and (found := frames.dataset(name)) is not None]
    if len({found.shape[1:] for found, _ in sources}) != 1:
        return None
    dtype, (first, rows) = dtype_of([found.dtype for found, _ in sources]), sources[0]
    if len(sources) == 1 and first.dtype == dtype and all(k == v for k, v in rows.items()) and len(first) <= number:
        first.resize(number, axis=0)
        parent["data"] = first
        linked = parent["data"]  # by the name that it keeps
        return linked if isinstance(linked, h5py.Dataset) else None
    kept = group(group(entry, "collection", "NXcollection"), "frames", "NXcollection")
    layout = h5py.VirtualLayout((number, *first.shape[1:]), dtype)
    for found, rows in sources:
        own = str(found.name).rpartition("/")[2]
        if own not in kept:
            kept[own] = found
        source = h5py.VirtualSource(".", f"{kept.name}/{own}", found.shape, found.dtype, found.maxshape)
        pairs = np.array(sorted(rows.items()))
        for part in np.split(pairs, np.flatnonzero((np.diff(pairs, axis=0) != 1).any(axis=1)) + 1):
            (place, row), size = part[0].tolist(), len(part)
            layout[place : place + size] = source[row : row + size]
    return parent.create_virtual_dataset("data", layout, fillvalue=np.nan if dtype.kind == "f" else 0)
