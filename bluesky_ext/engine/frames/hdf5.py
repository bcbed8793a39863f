"""HDF5: the frames of an event in a dataset, which may still be growing."""

from __future__ import annotations

import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from bluesky_ext import _deadline
from bluesky_ext.engine.frames.hdf5_links import Links
from bluesky_ext.engine.frames.readable import Readable

BLOCK = 64 * 2**20  # bytes that are read at once
#: Frames are read together up to so many bytes, and of so many resources they are kept.
AHEAD_BYTES, RESOURCES = 2**22, 8


def read_hdf5(
    path: str,
    parameters: Mapping[str, Any],
    shape: Sequence[int | None],
    index: int,
    readable: Readable,
    n_told: int = 1,
    part: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return events from `index` on of a dataset whose first axis counts events, or the frames of events.

    One event at least, (n, *shape); of small ones as many more as are there, of the `n_told` that have been written.

    Which of the two is told by the number of axes: with as many as `shape`, every event has
    ``shape[0]`` rows; with one more, one row. The parameter `join_method` is not asked, because Tiled replays
    "stack" for both. The ``parameters`` are those of the stream_resource. The dataset may be in other files, to which
    this one leads, if these are ``readable`` too. A ``part`` is the first and the last + 1 of the frames of an event.
    """
    dataset = parameters.get("dataset", parameters.get("path"))  # "path" until ophyd-async 0.5
    if not dataset:
        raise ValueError("the stream_resource has no 'dataset' in its parameters")
    try:
        with open_hdf5(readable.check(path), bool(parameters.get("swmr", True))) as file:
            if readable.is_limited:
                Links(readable, open_hdf5).check(file, dataset)
            return _rows(_dataset(file, dataset), parameters, shape, index, n_told, part)
    except RuntimeError as error:  # what h5py makes of metadata that is being written at this moment
        raise OSError(f"dataset {dataset!r} cannot be read: {error}") from error


def _rows(
    data: Any, parameters: Mapping, shape: Sequence[int | None], index: int, n_told: int, part: tuple[int, int] | None
) -> np.ndarray:
    squeeze = bool(parameters.get("squeeze"))
    first, *rest = _expand(parse_slice(parameters.get("slice") or ""), data.ndim)
    lengths = [len(range(n)[k]) for n, k in zip(data.shape[1:], rest, strict=True) if isinstance(k, slice)]
    frame = [n for n in lengths if not (squeeze and n == 1)]
    one_row = len(frame) == len(shape)
    count = 1 if one_row else shape[0] if len(frame) + 1 == len(shape) else None
    if count is None:
        raise ValueError(
            f"dataset {data.name!r} of shape {data.shape} does not hold events of shape {tuple(shape)}: "
            "correct the shape in the device's describe()"
        )
    rows = range(data.shape[0])[first]
    start, stop = index * count, (index + 1) * count
    if part is not None and one_row:
        axis = next(n for n, k in enumerate(rest) if isinstance(k, slice) and not (squeeze and data.shape[n + 1] == 1))
        some = range(data.shape[axis + 1])[rest[axis]][slice(*part)]
        rest[axis] = slice(some.start, some.stop, some.step)
        lengths[sum(isinstance(k, slice) for k in rest[:axis])] = frame[0] = len(some)
    elif part is not None:
        start, stop = start + part[0], start + part[1]
    if len(rows) < stop:
        raise OSError(f"dataset {data.name!r} has {len(rows)} rows, rows {start} to {stop - 1} are asked for")
    n_rows = stop - start
    n_events = 1
    if part is None:
        n_bytes = max(1, n_rows * math.prod(lengths) * data.dtype.itemsize)
        n_events = max(1, min(n_told, AHEAD_BYTES // n_bytes, len(rows) // max(count, 1) - index))
    array = _in_blocks(data, rows[start : start + n_events * n_rows], rest, lengths)
    return array.reshape((n_events, *frame) if one_row else (n_events, n_rows, *frame))


def _in_blocks(data: Any, rows: range, rest: Sequence[Any], lengths: Sequence[int]) -> np.ndarray:
    """Read rows of a dataset, of these lengths; many of them block by block."""
    step = max(1, BLOCK // max(1, math.prod(lengths) * data.dtype.itemsize), (data.chunks or (1,))[0])
    if len(rows) <= step:
        return np.asarray(data[(slice(rows.start, rows.stop, rows.step), *rest)])
    array = np.empty((len(rows), *lengths), data.dtype)
    for at in range(0, len(rows), step):
        _deadline.check()
        some = rows[at : at + step]
        array[at : at + step] = data[(slice(some.start, some.stop, some.step), *rest)]
    return array


def _dataset(file: Any, name: str) -> Any:
    import h5py

    try:
        data = file[name]
    except KeyError as error:
        raise OSError(f"dataset {name!r} cannot be opened: {error}") from error
    if not isinstance(data, h5py.Dataset) or not data.ndim:
        raise ValueError(f"{name!r} is {data} and not a dataset with rows: correct it in the stream_resource")
    filters = data.id.get_create_plist()
    labels = {filters.get_filter(number)[0]: filters.get_filter(number)[3] for number in range(filters.get_nfilters())}
    if missing := [label.decode() for code, label in labels.items() if not h5py.h5z.filter_avail(code)]:
        try:
            import hdf5plugin  # noqa: F401 - importing it is what makes the filters known  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError(
                f"dataset {name!r} is compressed with {missing[0]!r}, which HDF5 does not have: pip install hdf5plugin"
            ) from error
    return data


def open_hdf5(path: str, swmr: bool = True) -> Any:
    """Return the file opened for reading, whether its writer is done, in SWMR mode or holds a plain lock."""
    import h5py

    failure: Exception | None = None
    # The order matters: a writer in this process needs the lock that it has itself, one in another process is
    # passed by `locking=False`, and SWMR reading fails on files that a plain writer has open with libver latest.
    for locking in (None, False):
        for mode in (swmr, not swmr):
            try:
                return h5py.File(path, "r", swmr=mode, locking=locking)
            except FileNotFoundError:
                raise
            except (OSError, RuntimeError) as error:  # RuntimeError: a superblock that is half written
                failure = failure or error
    raise OSError(f"cannot be opened: {failure}") from failure


def parse_slice(text: str | Sequence[str]) -> tuple[Any, ...]:
    """Return the index that a string like ``"(:, 0, 10:20)"`` stands for."""
    if not isinstance(text, str):
        text = ",".join(map(str, text))
    items: list[Any] = []
    for part in filter(None, text.strip("([])").replace(" ", "").split(",")):
        if part == "...":
            items.append(...)
        elif re.fullmatch(r"-?\d+", part):
            items.append(int(part))
        elif re.fullmatch(r"(-?\d*)(:-?\d*){1,2}", part):
            items.append(slice(*(int(number) if number else None for number in part.split(":"))))
        else:
            raise ValueError(f"slice {text!r} of a stream_resource is not understood at {part!r}")
    if items and isinstance(items[0], int):
        raise ValueError(f"slice {text!r} of a stream_resource takes one row only; it must keep the first axis")
    if any(isinstance(item, slice) and (item.step or 1) < 0 for item in items):
        raise ValueError(f"slice {text!r} of a stream_resource goes backwards, which HDF5 cannot do")
    return tuple(items) if ... in items else (*items, ...)


def _expand(cut: Sequence[Any], ndim: int) -> list[Any]:
    if len(cut) > ndim + 1:
        raise ValueError(f"the slice of the stream_resource is for more than the {ndim} axes of the dataset")
    at = list(cut).index(...)
    return [*cut[:at], *[slice(None)] * (ndim - len(cut) + 1), *cut[at + 1 :]]


class Ahead:
    """Of each resource the small events that were read last, since to open a file takes as long as to read a hundred.

    Only events are read ahead that documents have told of: their frames are written. What is kept is known by the run
    and the resource, and by who may read it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must, whose parent's lock may be held forever."""
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, tuple[int, np.ndarray]] = OrderedDict()

    def get(self, key: Hashable, index: int) -> np.ndarray | None:
        """The frames of an event, if they were read: a copy, which is its owner's, and keeps no others in memory."""
        with self._lock:
            first, events = self._blocks.get(key, (0, ()))
            return events[index - first].copy() if first <= index < first + len(events) else None

    def put(self, key: Hashable, first: int, events: np.ndarray) -> None:
        """Keep the frames of some events, (n, ...), the first of which has this index."""
        with self._lock:
            self._blocks.pop(key, None)
            self._blocks[key] = first, events
            if len(self._blocks) > RESOURCES:
                self._blocks.popitem(last=False)


AHEAD = Ahead()
os.register_at_fork(after_in_child=AHEAD.forget)
