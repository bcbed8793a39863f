"""The arrays of an entry, filled with the numbers of its runs: some planes at a time, each of them once."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.nexus import LARGE, array
from suitcase_nxstxm.places import Part
from suitcase_nxstxm.request import Layout
from suitcase_nxstxm.stream import FrameRows, Stream, Values

_MEMORY = 4 << 20  # bytes that are filled at once, or a plane

_ADLER = 65521
_FINAL = b"\x03\x00"  # an empty last block

Source = Callable[[int, int, bool], Iterator[tuple[np.ndarray, np.ndarray]]]
"""What a part has for an array: given two flat indices that are bounds of planes, and whether these are of the points
as they were taken, flat indices, and the numbers for them."""


def create(
    parent: h5py.Group, name: str, layout: Layout, dtype: Any, units: str | None, *, taken: bool
) -> h5py.Dataset:
    """A dataset of NaN for the points of an entry: on the grid, or, with ``taken``, a list of them as they were taken.

    It has one plane a chunk if it consists of planes, and is compressed if it is large.
    """
    shape = (layout.size,) if taken else layout.shape
    plane = (layout.plane_size,) if taken else (1, *shape[1:])
    large = layout.size * np.dtype(dtype).itemsize > LARGE
    options = {"chunks": plane} if layout.plane_size < layout.size else {"chunks": shape} if large else {}
    made = array(parent, name, shape, dtype, **options)
    made.attrs["units"] = units or ""  # which NeXus wants, and which says that there is none
    return made


def fill(stored: h5py.Dataset, layout: Layout, sources: Iterable[Source], *, taken: bool) -> None:
    """Fill such a dataset with what the parts have for it; of two numbers for one point the later one counts."""
    plane, size, sources = max(layout.plane_size, 1), layout.size, list(sources)
    group = max(_MEMORY // (plane * stored.dtype.itemsize), 1) * plane
    for begin in range(0, size, group) if sources else ():
        end = min(begin + group, size)
        buffer = np.full(end - begin, np.nan, stored.dtype)
        touched = np.zeros(-(-(end - begin) // plane), bool)
        for source in sources:
            for where, values in source(begin, end, taken):
                inside = (where >= begin) & (where < end)
                buffer[where[inside] - begin] = values[inside]
                touched[np.unique((where[inside] - begin) // plane)] = True
        for number in np.flatnonzero(touched):
            first = int(number) * plane
            values = buffer[first : first + plane]
            if stored.ndim == 1:
                stored[begin + first : begin + first + len(values)] = values
            elif layout.planes:
                stored[(begin + first) // plane] = values.reshape(stored.shape[1:])
            else:
                stored[...] = values.reshape(stored.shape)


def constant(stored: h5py.Dataset, plane: int, number: int, value: float) -> None:
    """Put one value to all of a plane of a list of points."""
    if stored.compression is None:
        stored[number * plane : (number + 1) * plane] = value
    else:
        stored.id.write_direct_chunk((number * plane,), _constant_chunk(stored.dtype.type(value), plane))


def computed(part: Part, layout: Layout, points: Callable[[np.ndarray], np.ndarray]) -> Source:
    """Numbers of all points of the planes that a part has reached, by their flat indices in the array."""
    plane, base = max(layout.plane_size, 1), part.path.base
    reached = base + min(max(-(-part.reached // plane), 1) * plane, part.path.size)

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        numbers = np.arange(max(begin, base), min(end, reached))
        if len(numbers):
            flat = part.path.flat(numbers - base)
            yield numbers if taken else flat, points(flat)

    return source


def of_scalar(part: Part, stream: Stream, key: str, factor: float = 1.0, *, single: bool = False) -> Source:
    """A reading of each event that holds for all its points; or, with ``single``, for events of one point only."""

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for events, read in events_of(part, stream, key, part.events(begin, end, taken)):
            if isinstance(read, FrameRows) or read.dtype.kind == "O" or read.ndim > 1:
                continue
            number = np.full(len(read), part.unit) if part.number is None else part.number[events]
            for size in np.unique(number):
                if size == 1 or not single:
                    mine = number == size
                    where = part.points(events, int(size), taken)[mine]
                    yield where, np.broadcast_to(read[mine].astype(float)[:, np.newaxis] * factor, where.shape)

    return source


def of_detector(part: Part, stream: Stream, key: str, frames: Frames, *, summed: bool) -> Source:
    """The numbers of a detector for the points of each event, or the sums of its frames."""

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for events, read in events_of(part, stream, key, part.events(begin, end, taken)):
            for found, numbers in _numbers(events, read, frames, summed):
                if part.element is not None and numbers.shape[1] > 1:
                    numbers = numbers[:, [part.element]]
                yield part.points(found, numbers.shape[1], taken), numbers

    return source


def _numbers(events: slice, read: Values, frames: Frames, summed: bool) -> Iterator[tuple[slice, np.ndarray]]:
    """What a detector has for the points of each event, shape (events, points)."""
    if isinstance(read, np.ndarray):
        flat = read.reshape(len(read), -1)
        yield events, flat.sum(axis=1, dtype=float)[:, np.newaxis] if summed else flat
    elif summed and not np.isnan(read.sums).any():
        yield events, read.sums[:, np.newaxis]
    else:
        for i, frame in enumerate(frames.read(read), events.start):
            if frame is not None:
                yield slice(i, i + 1), np.array([[frame.sum(dtype=float)]]) if summed else frame.reshape(1, -1)


def events_of(part: Part, stream: Stream, key: str, events: slice) -> Iterator[tuple[slice, Values]]:
    """The readings of some events of a part, some at a time, with the events that they are of."""
    if part.rows is None:
        for row, read in stream.blocks(key, events.start, events.stop):
            yield slice(row, row + len(read)), read
    elif len(rows := part.rows[events]):
        for row, read in stream.blocks(key, int(rows[0]), int(rows[-1]) + 1):
            first, last = (int(found) for found in np.searchsorted(part.rows, [row, row + len(read)]))
            yield slice(first, last), read[part.rows[first:last] - row]


def floats(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The floats that hold numbers of these types and NaN, which points are that were not measured."""
    small = bool(dtypes) and all(dtype.kind == "f" and dtype.itemsize < 8 for dtype in dtypes)
    return np.dtype(np.float32 if small else np.float64)


def _constant_chunk(value: np.generic, number: int) -> bytes:
    """What HDF5's filters shuffle and deflate make of ``number`` times the same value.

    The shuffle puts all first bytes of the numbers first, then all second bytes: runs of one byte each. Deflated
    runs can be put one behind the other (RFC 1951), and their checksum is a sum (RFC 1950).
    """
    a, b = 1, 0
    runs = []
    for byte in value.tobytes():
        runs.append(_run(byte, number))
        b = (b + number * a + byte * number * (number + 1) // 2) % _ADLER
        a = (a + number * byte) % _ADLER
    return b"\x78\x01" + b"".join(runs) + _FINAL + (b << 16 | a).to_bytes(4, "big")


@functools.lru_cache(maxsize=512)
def _run(byte: int, number: int) -> bytes:
    """A run of a byte, deflated, ending at the end of a byte."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    return deflate.compress(bytes([byte]) * number) + deflate.flush(zlib.Z_FULL_FLUSH)
