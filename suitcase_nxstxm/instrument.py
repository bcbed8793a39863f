"""The frames of an entry's detectors in their places: linked where they are stored as they are wanted, else written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.entry import Member
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.fill import LARGE, floats
from suitcase_nxstxm.frames import Frames, link
from suitcase_nxstxm.stream import FrameRows

__all__ = ["linked", "write_frames"]

Found = tuple[Member, str, np.ndarray]
"""A run, a data key of it, and which frame of the new dataset each event of it is."""


def linked(
    parent: h5py.Group,
    number: int,
    found: Sequence[Found],
    frames: Frames,
    kept: Callable[[], h5py.Group],
    shape: tuple[int, ...] | None,
) -> h5py.Dataset | None:
    """Make a dataset of frames that are all stored, in their order; None if some are not, or differ in their shape.

    Parameters
    ----------
    parent
        Where it goes, as ``data``.
    number
        How many frames it has, measured or not.
    found
        What it has.
    frames
        The frames that are stored.
    kept
        The group that keeps what a virtual dataset shows.
    shape
        The shape of the planes of a grid, whose numbers become floats. None for frames as they are.
    """
    stored: dict[str, tuple[list[int], list[int]]] = {}
    for member, key, places in found:
        if member.stream is None or member.part is None:
            return None
        own = dict(zip(_rows(member), places.tolist(), strict=True))
        for row, read in member.stream.blocks(key):
            if not isinstance(read, FrameRows):
                return None
            mine = stored.setdefault(read.frames, ([], []))
            there = frames.there(read.frames, read.rows)
            for i in np.flatnonzero(there).tolist():
                if row + i in own:
                    mine[0].append(int(read.rows[i]))
                    mine[1].append(own[row + i])
    sources: list[tuple[h5py.Dataset, np.ndarray, np.ndarray]] = []
    for name, (rows, places) in stored.items():
        dataset = frames.dataset(name)
        if dataset is not None and rows:
            # An event that came twice has one row, or its last one.
            last = dict(zip(places, rows, strict=True))
            order = sorted(last)
            sources.append((dataset, np.array([last[place] for place in order]), np.array(order)))
    shapes = {source[0].shape[1:] for source in sources}
    if len(shapes) != 1 or (shape is not None and shapes != {shape}):
        return None
    dtypes = [source[0].dtype for source in sources]
    dtype = floats(dtypes) if shape is not None else np.result_type(*dtypes)
    return link(parent, "data", number, dtype, sources, kept)


def write_frames(
    detector: h5py.Group,
    name: str,
    mine: Sequence[tuple[Member, str]],
    frames: Frames,
    kept: Callable[[], h5py.Group],
    units: str | None,
) -> None:
    """The frames of a detector, one a point, in the type that holds all of them.

    Those never measured are NaN in floats; in integers they are 0, and ``never_measured`` has the first and the last of
    each stretch of them.
    """
    found: list[Found] = [
        (member, key, (member.part.path.base + member.part.first) // member.part.unit)
        for member, key in mine
        if member.part is not None
    ]
    places = np.unique(np.concatenate([where[_with(member, key)] for member, key, where in found]))
    number = int(places[-1]) + 1 if len(places) else 0
    made = linked(detector, number, found, frames, kept, None)
    if made is None:
        made = _written(detector, name, number, found, frames)
    made.attrs["units"] = units or ""
    missing = np.setdiff1d(np.arange(number), places)
    if len(missing) and made.dtype.kind != "f":
        stretches = np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1)
        made.attrs["never_measured"] = [(int(part[0]), int(part[-1])) for part in stretches]


def _written(parent: h5py.Group, name: str, number: int, found: Sequence[Found], frames: Frames) -> h5py.Dataset:
    columns = [
        column
        for member, key, _ in found
        if member.stream is not None
        for column, _ in member.stream.keys().get(key, ())
    ]
    shapes = list(dict.fromkeys(column.shape for column in columns if column.numbers is not None))
    if len(shapes) > 1:
        raise MisfitError(f"a frame of {name!r} has shape {shapes[1]}, the ones before have {shapes[0]}")
    dtype = np.result_type(*(column.numbers for column in columns if column.numbers is not None))
    large = number * int(np.prod(shapes[0])) * dtype.itemsize > LARGE
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}
    made = parent.create_dataset(
        "data",
        (number, *shapes[0]),
        dtype,
        chunks=(1, *shapes[0]),
        fillvalue=np.nan if dtype.kind == "f" else None,
        **options,
    )
    for member, key, places in found:
        if member.stream is None or member.part is None:
            continue
        own = dict(zip(_rows(member), places.tolist(), strict=True))
        for row, read in member.stream.blocks(key):
            values = frames.read(read.frames, read.rows.tolist()) if isinstance(read, FrameRows) else read
            for i, frame in enumerate(values):
                if row + i in own and frame is not None:
                    made[own[row + i]] = frame
    return made


def _rows(member: Member) -> list[int]:
    part = member.part
    if part is None:
        return []
    return list(range(len(part.first))) if part.rows is None else part.rows.tolist()


def _with(member: Member, key: str) -> np.ndarray:
    """Which events of a run in the entry have a reading of a key."""
    if member.stream is None:
        return np.zeros(0, bool)
    return member.stream.sizes(key)[_rows(member)] > 0
