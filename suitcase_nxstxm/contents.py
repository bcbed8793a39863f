"""What a file has: its entries by what their runs are for, and the way to the default plot."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import h5py

from suitcase_nxstxm.arranged import Arranged
from suitcase_nxstxm.entry import Facts, Known, Member, write_runs, write_title
from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.frames import FRAMES, Frames
from suitcase_nxstxm.nexus import group, legal
from suitcase_nxstxm.nxdata import Numbers
from suitcase_nxstxm.table import Rows, write_configuration, write_stream

__all__ = ["begin", "write"]

logger = logging.getLogger(__name__)


def begin(file: h5py.File) -> None:
    """Write what every NeXus file has at its root."""
    file.attrs["NX_class"] = "NXroot"
    file.attrs["creator"] = "suitcase-nxstxm"
    file.attrs["file_time"] = datetime.now(UTC).isoformat()
    file.attrs["HDF5_Version"] = h5py.version.hdf5_version
    file.attrs["h5py_version"] = h5py.version.version


def write(file: h5py.File, name: str, runs: Sequence[Arranged], facts: Facts, frames: Frames) -> None:
    """Write the entries of a scan.

    Parameters
    ----------
    file
        The file; entries that are in it are written anew.
    name
        What people call it.
    runs
        The runs in the order of time.
    facts
        What no document says.
    frames
        The frames that are stored in the file.

    Raises
    ------
    UnfinishedError
        If nothing was measured in any of the runs.
    """
    for old in [old for old in file if old != FRAMES]:
        del file[old]
    begin(file)
    members = _members(runs)
    measured = {what: found for what, found in members.items() if any(one.part is not None for one in found)}
    if not measured:
        raise UnfinishedError(f"{name} has no data: nothing was measured in any of its runs")
    for what in members:
        if what not in measured:
            wanted = json.loads(what)["entry"]
            logger.warning("%s of %s has no data: its run ended before anything was measured", wanted, name)
    shared: dict[tuple[str, ...], h5py.Group] = {}
    names = _names(measured)
    for what in sorted(measured, key=lambda what: (len(names[what]), names[what])):
        entry = group(file, names[what], "NXentry")
        _write_entry(entry, measured[what], _known(measured[what], runs), runs, facts, frames, shared)
    file.attrs["default"] = min(names.values(), key=lambda name: (len(name), name))
    if FRAMES in file:
        del file[FRAMES]  # what is in the file by another name stays


def _members(runs: Iterable[Arranged]) -> dict[str, list[Member]]:
    """What the runs have for each entry, by what the entry is for."""
    found: dict[str, list[Member]] = {}
    for one in runs:
        parts = one.places.parts if one.places is not None else []
        for part in parts:
            member = Member(one.run, part.image.request, one.placed_by, one.known)
            member.stream, member.keys, member.places, member.part = one.stream, one.keys, one.places, part
            member.default = one.default
            found.setdefault(part.image.identity, []).append(member)
        if not parts:
            image = one.images[0]
            found.setdefault(image.identity, []).append(Member(one.run, image.request, one.placed_by, one.known))
    return found


def _known(members: Sequence[Member], runs: Sequence[Arranged]) -> Known:
    """What the baseline of an entry's first run says; if none of its runs has one, that of another run of the scan."""
    scan = members[0].request.scan
    others = [one.known for one in runs if one.request.scan == scan]
    return next((known for known in (*(one.known for one in members), *others) if known), {})


def _write_entry(
    entry: h5py.Group,
    members: Sequence[Member],
    known: Known,
    runs: Sequence[Arranged],
    facts: Facts,
    frames: Frames,
    shared: dict[tuple[str, ...], h5py.Group],
) -> None:
    first = next(member for member in members if member.part is not None)
    write_title(entry, first, members, facts, known)
    collection = group(entry, "collection", "NXcollection")
    write_runs(collection, members, facts.timezone)
    Numbers(entry, members, known, frames).write()
    uids = tuple(member.run.uid for member in members)
    mine = [one for one in runs if one.run.uid in uids]
    devices = first.request.devices
    streams = dict.fromkeys(name for one in mine for name in one.run.streams)
    if uids in shared:
        for name in [name for name, item in shared[uids].items() if name not in collection]:
            collection[name] = shared[uids][name]
    else:
        for name in streams:
            rows = [
                Rows(one.run.uid, stream, one.rest if name == "primary" else [*stream.keys()])
                for one in mine
                if (stream := one.run.streams.get(name)) is not None
            ]
            write_stream(collection, name, rows, devices)
        write_configuration(collection, [one.run.configurations for one in mine], devices)
        shared[uids] = collection
    if "baseline" not in collection:
        # That of the run of the scan which began first.
        scan = first.request.scan
        for one in runs:
            stream = one.run.streams.get("baseline")
            if one.request.scan == scan and stream is not None and len(stream):
                write_stream(collection, "baseline", [Rows(one.run.uid, stream, [*stream.keys()])], devices)
                break


def _names(members: Mapping[str, Sequence[Member]]) -> dict[str, str]:
    """The name of each entry: the one that its runs ask for; of several that ask for one, the first has it."""
    held: dict[str, dict[str, Any]] = {what: json.loads(what) for what in members}
    asked = {one["entry"] for one in held.values()}
    found: dict[str, str] = {}
    for what in sorted(held, key=lambda what: (len(held[what]["entry"]), held[what]["entry"], _rank(held[what]))):
        name = legal(held[what]["entry"])
        if name in found.values():
            name = _unused(name, asked | set(found.values()))
        found[what] = name
    return found


def _rank(held: Mapping[str, Any]) -> tuple[Any, ...]:
    angle = held["angle"]
    return held["polarization"], held["region"], -math.inf if angle is None else angle, held["time"], held["run"]


def _unused(name: str, taken: Iterable[str]) -> str:
    """The name if nothing has it, else the first like it with a number that nothing has."""
    taken = set(taken)
    stem = name.rstrip("0123456789")
    first = name[len(stem) :]
    numbers = itertools.count(int(first) + 1 if first else 1)
    while name in taken:
        name = f"{stem}{next(numbers)}"
    return name
