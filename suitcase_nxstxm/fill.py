"""The arrays of an entry, filled with the numbers of its runs: some planes at a time, each of them once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.arrange import Part
from suitcase_nxstxm.constant import constant_chunk
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.layout import Layout
from suitcase_nxstxm.stream import FrameRows, Stream

__all__ = [
    "LARGE",
    "Source",
    "computed",
    "constant",
    "create",
    "exact_floats",
    "fill",
    "floats",
    "of_detector",
    "of_scalar",
]

LARGE = 1 << 20
"""Arrays of more bytes than this are compressed."""

_MEMORY = 8 << 20  # bytes that are filled at once, or a plane
_EXACT = 1 << 53

Values = Iterator[tuple[slice, np.ndarray]]
"""Some events of a part, one behind the other, and the numbers of each; shape (events, numbers)."""


@dataclass(frozen=True, eq=False)
class Source:
    """What a part has for an array.

    Parameters
    ----------
    part
        The part.
    values
        The numbers of some of its events.
    points
        The flat indices of the points instead, for numbers that no event has: which are known wherever the part was.
    """

    part: Part
    values: Callable[[slice], Values]
    points: Callable[[np.ndarray], np.ndarray] | None = None


def floats(dtypes: Iterable[np.dtype]) -> np.dtype:
    """The floats that hold numbers of these types and NaN, which points are that were not measured."""
    small = all(dtype.kind == "f" and dtype.itemsize < 8 for dtype in dtypes)
    return np.dtype(np.float32 if small else np.float64)


def exact_floats(values: np.ndarray) -> bool:
    """Whether floats hold these numbers."""
    large = values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size
    return not large or bool(values.max() <= _EXACT and values.min() >= -_EXACT)


def create(
    parent: h5py.Group, name: str, shape: tuple[int, ...], plane: int, dtype: np.dtype, units: str | None
) -> h5py.Dataset:
    """A dataset of NaN, with one plane a chunk if it consists of planes, and compressed if it is large."""
    size = math.prod(shape)
    options: dict[str, Any] = {}
    if plane < size:
        options["chunks"] = (plane,) if len(shape) == 1 else (1, *shape[1:])
    if size * dtype.itemsize > LARGE:
        options.setdefault("chunks", shape)
        options |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    made = parent.create_dataset(name, shape, dtype, fillvalue=np.nan, **options)
    made.attrs["units"] = units or ""  # which NeXus wants, and which says that there is none
    return made


def fill(stored: h5py.Dataset, layout: Layout, sources: Sequence[Source], *, taken: bool) -> None:
    """Fill an array of an entry with what the parts have for it; what none has stays NaN.

    Parameters
    ----------
    stored
        The array: of the layout's shape, or, with ``taken``, of as many points.
    layout
        That of the entry.
    sources
        What there is; of two numbers for one point the later one counts.
    taken
        Whether the array has the points in the order in which they were taken.
    """
    plane, size = max(layout.plane_size, 1), layout.size
    group = max(_MEMORY // (plane * stored.dtype.itemsize), 1) * plane
    for begin in range(0, size, group):
        end = min(begin + group, size)
        buffer = np.full(end - begin, np.nan, stored.dtype)
        touched = np.zeros(-(-(end - begin) // plane), bool)
        for source in sources:
            for where, values in _between(source, begin, end, plane, taken):
                buffer[where] = values
                touched[np.unique(where // plane)] = True
        for number in np.flatnonzero(touched):
            first = int(number) * plane
            _write_plane(stored, layout, begin + first, buffer[first : first + plane])


def _between(source: Source, begin: int, end: int, plane: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of a part for the points between two flat indices, and which of these points they are for."""
    part = source.part
    if source.points is not None:
        base = part.path.base
        reached = min(base + max(-(-part.reached // plane), 1) * plane, base + part.path.size)
        for first in range(max(begin, base // plane * plane), min(end, reached), plane):
            numbers = np.arange(max(first, base), min(first + plane, end, reached))
            flat = part.path.flat(numbers - base)
            yield (numbers if taken else flat) - begin, source.points(flat)
        return
    for events, values in source.values(part.events(begin, end, taken)):
        where = part.taken(events, values.shape[1]) if taken else part.flat(events, values.shape[1])
        inside = (where >= begin) & (where < end)
        if inside.all():
            yield (where - begin).ravel(), values.ravel()
        elif inside.any():
            yield where[inside] - begin, values[inside]


def _write_plane(stored: h5py.Dataset, layout: Layout, first: int, values: np.ndarray) -> None:
    if stored.ndim == 1:
        stored[first : first + len(values)] = values
    elif layout.planes:
        stored[first // layout.plane_size] = values.reshape(stored.shape[1:])
    else:
        stored[...] = values.reshape(stored.shape)


def constant(stored: h5py.Dataset, plane: int, number: int, value: float) -> None:
    """Put one value to all of a plane of a list of points."""
    if stored.compression is None:
        stored[number * plane : (number + 1) * plane] = value
    else:
        stored.id.write_direct_chunk((number * plane,), constant_chunk(stored.dtype.type(value), plane))


def computed(part: Part, points: Callable[[np.ndarray], np.ndarray]) -> Source:
    """Numbers of each point of the planes that a part has reached."""
    return Source(part, lambda events: iter(()), points)


def of_scalar(part: Part, stream: Stream, key: str, factor: float = 1.0, *, single: bool = False) -> Source:
    """A reading of each event that holds for all its points; or, with ``single``, for events of one point only."""

    def values(events: slice) -> Values:
        for found, read in _rows(part, stream, key, events):
            if not isinstance(read, np.ndarray) or read.ndim > 1:
                continue
            column = read.astype(float)[:, np.newaxis] * factor
            if part.number is None:
                if part.unit == 1 or not single:
                    yield found, np.repeat(column, part.unit, axis=1)
                continue
            for i, number in enumerate(part.number[found]):
                if number == 1 or not single:
                    yield slice(found.start + i, found.start + i + 1), np.repeat(column[i : i + 1], number, axis=1)

    return Source(part, values)


def of_detector(part: Part, stream: Stream, key: str, frames: Frames, *, summed: bool) -> Source:
    """The numbers of a detector for the points of each event, or the sums of its frames."""

    def values(events: slice) -> Values:
        for found, read in _rows(part, stream, key, events):
            if isinstance(read, FrameRows):
                yield from _of_frames(found, read, frames, summed)
            elif isinstance(read, np.ndarray):
                flat = read.reshape(len(read), -1)
                if summed:
                    yield found, flat.sum(axis=1, dtype=float)[:, np.newaxis]
                else:
                    yield found, flat if part.element is None or flat.shape[1] == 1 else flat[:, [part.element]]

    return Source(part, values)


def _of_frames(found: slice, read: FrameRows, frames: Frames, summed: bool) -> Values:
    if summed and not np.isnan(read.sums).any():
        yield found, read.sums[:, np.newaxis]
        return
    for i, frame in enumerate(frames.read(read.frames, read.rows.tolist())):
        if frame is not None:
            numbers = np.array([[frame.sum(dtype=float)]]) if summed else frame.reshape(1, -1)
            yield slice(found.start + i, found.start + i + 1), numbers


def _rows(part: Part, stream: Stream, key: str, events: slice) -> Iterator[tuple[slice, Any]]:
    """The readings of some events of a part, with the events that they are of."""
    if part.rows is None:
        for row, read in stream.blocks(key, events.start, events.stop):
            number = len(read.rows) if isinstance(read, FrameRows) else len(read)
            yield slice(row, row + number), read
        return
    rows = part.rows[events]
    if not len(rows):
        return
    for row, read in stream.blocks(key, int(rows[0]), int(rows[-1]) + 1):
        number = len(read.rows) if isinstance(read, FrameRows) else len(read)
        first, last = np.searchsorted(part.rows, [row, row + number])
        mine = part.rows[first:last] - row
        found = slice(int(first), int(last))
        if isinstance(read, FrameRows):
            yield found, FrameRows(read.frames, read.rows[mine], read.sums[mine])
        else:
            yield found, [read[i] for i in mine] if isinstance(read, list) else read[mine]
