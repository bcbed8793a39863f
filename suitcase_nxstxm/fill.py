"""The arrays of an entry, filled with the numbers of its runs: some planes at a time, each of them once."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.arranged import Member
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.nexus import LARGE, array
from suitcase_nxstxm.request import Layout
from suitcase_nxstxm.stream import FrameRows

_MEMORY = 4 << 20  # bytes that are filled at once, or a plane

Source = Callable[[int, int, bool], Iterator[tuple[np.ndarray, np.ndarray]]]
"""The numbers that a run has for an array between two flat indices, which are bounds of planes, and where each goes.

With the last argument these are the numbers of points as they were taken.
"""


def create(
    parent: h5py.Group,
    name: str,
    layout: Layout,
    dtype: Any,
    units: str | None,
    sources: Iterable[Source],
    *,
    taken: bool,
) -> h5py.Dataset:
    """A dataset for the points of an entry with what its runs have: of two numbers for a point the later one counts.

    It is on the grid, or, with ``taken``, a list of the points as they were taken; NaN where there is nothing. It has
    one plane a chunk if it consists of planes, and is compressed if it is large.
    """
    shape, plane, size = (layout.size,) if taken else layout.shape, max(layout.plane_size, 1), layout.size
    large = size * np.dtype(dtype).itemsize > LARGE
    chunks = ((plane,) if taken else (1, *shape[1:])) if plane < size else shape if large else None
    made = array(parent, name, shape, dtype, **({} if chunks is None else {"chunks": chunks}))
    made.attrs["units"] = units or ""  # which NeXus wants, and which says that there is none
    sources = list(sources)
    group = max(_MEMORY // (plane * made.dtype.itemsize), 1) * plane
    for begin in range(0, size, group) if sources else ():
        end = min(begin + group, size)
        buffer = np.full(end - begin, np.nan, made.dtype)
        touched = np.zeros(-(-(end - begin) // plane), bool)
        for source in sources:
            for where, values in source(begin, end, taken):
                inside = (where >= begin) & (where < end)
                buffer[where[inside] - begin] = values[inside]
                touched[np.unique((where[inside] - begin) // plane)] = True
        for first in (int(number) * plane for number in np.flatnonzero(touched)):
            values, at = buffer[first : first + plane], begin + first
            if made.ndim == 1:
                made[at : at + len(values)] = values
            elif layout.planes:
                made[at // plane] = values.reshape(shape[1:])
            else:
                made[...] = values.reshape(shape)
    return made


def computed(one: Member, layout: Layout, points: Callable[[np.ndarray], np.ndarray]) -> Source:
    """Numbers of all points of the planes that a run has reached, by their flat indices in the array."""
    path, plane = one.part.path, max(layout.plane_size, 1)
    reached = path.base + min(max(-(-one.part.reached // plane), 1) * plane, path.size)

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        numbers = np.arange(max(begin, path.base), min(end, reached))
        if len(numbers):
            flat = path.flat(numbers - path.base)
            yield numbers if taken else flat, points(flat)

    return source


def of_scalar(one: Member, key: str, *, single: bool = False) -> Source:
    """A reading of each event that holds for all its points; or, with ``single``, for events of one point only."""

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for events, read in one.read(key, one.part.events(begin, end, taken)):
            if isinstance(read, FrameRows) or read.dtype.kind == "O" or read.ndim > 1:
                continue
            sizes = one.part.sizes[events]
            for size in np.unique(sizes):
                if size == 1 or not single:
                    where = one.part.points(events, int(size), taken)[sizes == size]
                    yield where, np.broadcast_to(read[sizes == size, np.newaxis].astype(float), where.shape)

    return source


def of_detector(one: Member, key: str, frames: Frames) -> Source:
    """The numbers of a detector for the points of each event, or the sums of its frames."""
    part, summed = one.part, key in one.of.places.frames

    def source(begin: int, end: int, taken: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for events, read in one.read(key, part.events(begin, end, taken)):
            for first, numbers in frames.sums(read) if summed else frames.blocks(read):
                mine = slice(events.start + first, events.start + first + len(numbers))
                if part.element is not None and numbers.shape[1] > 1:
                    numbers = numbers[:, [part.element]]
                yield part.points(mine, numbers.shape[1], taken), numbers

    return source


def constant(stored: h5py.Dataset, plane: int, number: int, value: float) -> None:
    """Put one value to all of a plane of a list of points.

    Of a compressed list the chunk is made here, because HDF5 takes long to find that all its numbers are the same. The
    shuffle puts all first bytes of the numbers first, then all second bytes: runs of one byte each. Deflated runs can
    be put one behind the other (RFC 1951), and their checksum goes on from one to the next (RFC 1950).
    """
    if stored.compression is None:
        stored[number * plane : (number + 1) * plane] = value
        return
    chunk, checksum = b"\x78\x01", 1
    for byte in stored.dtype.type(value).tobytes():
        chunk += _run(byte, plane)
        checksum = zlib.adler32(bytes([byte]) * plane, checksum)
    stored.id.write_direct_chunk((number * plane,), chunk + b"\x03\x00" + checksum.to_bytes(4, "big"))


@functools.lru_cache(maxsize=512)
def _run(byte: int, number: int) -> bytes:
    """A run of a byte, deflated, ending at the end of a byte."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    return deflate.compress(bytes([byte]) * number) + deflate.flush(zlib.Z_FULL_FLUSH)
