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

from suitcase_nxstxm.arranged import Arranged, Member
from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.entry import write_runs, write_title
from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.frames import FRAMES, Frames
from suitcase_nxstxm.nexus import group, legal
from suitcase_nxstxm.nxdata import Numbers
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.table import Rows, write_configuration, write_stream

logger = logging.getLogger(__name__)


def begin(file: h5py.File) -> None:
    """Write what every NeXus file has at its root."""
    file.attrs["NX_class"] = "NXroot"
    file.attrs["creator"] = "suitcase-nxstxm"
    file.attrs["file_time"] = datetime.now(UTC).isoformat()
    file.attrs["HDF5_Version"] = h5py.version.hdf5_version
    file.attrs["h5py_version"] = h5py.version.version


def write(file: h5py.File, name: str, runs: Sequence[Arranged], options: Options, frames: Frames) -> None:
    """Write the entries of a scan, anew if there are any, of its runs in the order of time, to a file of this name."""
    for old in [old for old in file if old != FRAMES]:
        del file[old]
    begin(file)
    entries = _entries(runs)
    measured = {what: found for what, found in entries.items() if any(isinstance(one, Member) for one in found)}
    if not measured:
        raise UnfinishedError(f"{name} has no data: nothing was measured in any of its runs")
    for what in entries.keys() - measured.keys():
        logger.warning(
            "%s of %s has no data: its run ended before anything was measured", json.loads(what)["entry"], name
        )
    names = _names(measured)
    written: dict[tuple[str, ...], h5py.Group] = {}
    for what in sorted(measured, key=lambda what: (len(names[what]), names[what])):
        entry = group(file, names[what], "NXentry")
        mine = [one.of if isinstance(one, Member) else one for one in measured[what]]
        members = [one for one in measured[what] if isinstance(one, Member)]
        scan = members[0].request.scan
        others = [*mine, *(one for one in runs if one.request.scan == scan)]
        # Without a baseline of its own an entry has that of the run of the scan which began first.
        known = next((one.known for one in others if one.known), {})
        write_title(entry, members[0], mine, options, known)
        collection = group(entry, "collection", "NXcollection")
        asked = [one.request for one in measured[what]]
        write_runs(collection, list(zip(mine, asked, strict=True)), options.timezone)
        Numbers(entry, members, known, frames).write()
        _write_streams(collection, mine, others, members[0].request.devices, written)
    file.attrs["default"] = min(names.values(), key=lambda name: (len(name), name))
    if FRAMES in file:
        del file[FRAMES]  # what is in the file by another name stays


def _entries(runs: Iterable[Arranged]) -> dict[str, list[Member | Arranged]]:
    """What the runs have for each entry, by what it is for; those that have measured nothing are there as well."""
    found: dict[str, list[Member | Arranged]] = {}
    for one in runs:
        for part in one.places.parts:
            found.setdefault(part.image.identity, []).append(Member(one, part))
        if not one.places.parts:
            found.setdefault(one.images[0].identity, []).append(one)
    return found


def _write_streams(
    collection: h5py.Group,
    mine: Sequence[Arranged],
    others: Sequence[Arranged],
    devices: Devices,
    written: dict[tuple[str, ...], h5py.Group],
) -> None:
    """Write the streams and the settings of an entry's runs; entries of the same runs have the same ones."""
    uids = tuple(one.run.uid for one in mine)
    if uids in written:
        for name, item in written[uids].items():
            if isinstance(item, h5py.Group) and name not in collection:
                collection[name] = item
        return
    written[uids] = collection
    for name in dict.fromkeys(name for one in mine for name in one.run.streams):
        found = [(one, one.run.streams[name]) for one in mine if name in one.run.streams]
        rows = [
            Rows(one.run.uid, stream, one.rest if name == "primary" else [*stream.columns]) for one, stream in found
        ]
        write_stream(collection, name, rows, devices)
    for one in others if "baseline" not in collection else ():
        if "baseline" in one.run.streams:
            stream = one.run.streams["baseline"]
            write_stream(collection, "baseline", [Rows(one.run.uid, stream, [*stream.columns])], devices)
            break
    write_configuration(collection, (found for one in mine for found in one.run.configurations), devices)


def _names(members: Mapping[str, Any]) -> dict[str, str]:
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
