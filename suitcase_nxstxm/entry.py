"""The entries of a file: by what their runs are for, each with what was asked for, the baseline and its runs."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.arranged import Arranged, Member
from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.frames import FRAMES, Frames
from suitcase_nxstxm.keys import Known
from suitcase_nxstxm.nexus import group, iso_time, legal, name_in, put, text
from suitcase_nxstxm.nxdata import Numbers
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import label
from suitcase_nxstxm.table import Rows, write_configuration, write_stream

logger = logging.getLogger(__name__)

# Where the lengths of a zone plate's definition go, and that they are in um; the outermost zone is in nm.
_ZONE_PLATE = {
    "zpD": ("outer_diameter", "um"),
    "zpCStop": ("central_stop_diameter", "um"),
    "zpOZone": ("outermost_zone_width", "nm"),
    "fl": ("focal_length", "um"),
}

_TEXT = h5py.string_dtype()
_ROW: list[tuple[str, object]] = [("uid", _TEXT), ("scan_id", float), ("plan_name", _TEXT), ("user", _TEXT)]
_ROW += [("plane", np.int64), ("placed_by", _TEXT), ("start_time", _TEXT), ("end_time", _TEXT)]
_ROW += [("exit_status", _TEXT), ("reason", _TEXT)]


def write(file: h5py.File, name: str, runs: Sequence[Arranged], options: Options, frames: Frames) -> None:
    """Write the entries of a scan, anew if there are any, of its runs in the order of time, to a file of this name."""
    for old in [old for old in file if old != FRAMES]:
        del file[old]
    file.attrs["NX_class"] = "NXroot"
    file.attrs["creator"] = "suitcase-nxstxm"
    file.attrs["file_time"] = datetime.now(UTC).isoformat()
    file.attrs["HDF5_Version"] = h5py.version.hdf5_version
    file.attrs["h5py_version"] = h5py.version.version
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
        _write_title(entry, members[0], mine, options, known)
        collection = group(entry, "collection", "NXcollection")
        asked = [one.request for one in measured[what]]
        _write_runs(collection, list(zip(mine, asked, strict=True)), options.timezone)
        Numbers(entry, members, known, frames).write()
        _write_streams(collection, mine, others, members[0].request.devices, written)
    file.attrs["default"] = min(names.values(), key=lambda name: (len(name), name))
    if FRAMES in file:
        del file[FRAMES]  # what is in the file by another name stays


def _entries(runs: Iterable[Arranged]) -> dict[str, list[Member | Arranged]]:
    """What the runs have for each entry, by what it is for; those that have measured nothing are there as well.

    A run whose frames are of another shape than those of the runs before it is an entry of its own.
    """
    found: dict[str, list[Member | Arranged]] = {}
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for one in runs:
        for part in one.places.parts:
            what = part.image.identity
            for key in one.places.frames.intersection(part.keys):
                name, shape = one.keys.detectors[key], one.stream.columns[key][0].shape
                first = shapes.setdefault((what, name), shape)
                if shape != first:
                    logger.warning(
                        "frames of %r of run %s have shape %s, in the runs before it %s: it is an entry of its own",
                        *(name, one.run.uid, shape, first),
                    )
                    what = json.dumps({**json.loads(what), "run": one.run.uid})
                    break
            found.setdefault(what, []).append(Member(one, part))
        if not one.places.parts:
            found.setdefault(one.images[0].identity, []).append(one)
    return found


def _write_title(entry: h5py.Group, first: Member, runs: Sequence[Arranged], options: Options, known: Known) -> None:
    """Write what an entry has beside its numbers: title, times, source, sample, what was asked for."""
    request, start = first.request, first.of.run.start
    text(entry, "definition", "NXstxm")
    title = options.title or start.get("title")
    if title is None:
        title = " ".join(str(start[key]) for key in ("plan_name", "scan_id") if key in start)
    text(entry, "title", str(title) or label(request.scan_type))
    text(entry, "entry_identifier", request.run)
    text(entry, "start_time", iso_time(min(one.run.start["time"] for one in runs), options.timezone))
    ends = [one.run.stop["time"] for one in runs if one.run.stop is not None]
    text(entry, "end_time", iso_time(max(ends), options.timezone) if ends else "")
    user = start.get("user") or start.get("login_id")
    if user:
        text(group(entry, "user", "NXuser"), "name", str(user))
    instrument = group(entry, "instrument", "NXinstrument")
    if options.instrument_name:
        text(instrument, "name", options.instrument_name)
    source = group(instrument, "source", "NXsource")
    text(source, "type", "Synchrotron X-ray Source")
    # The definition wants a name, and this is what is known of it unless someone gives it.
    text(source, "name", options.source_name or "unknown")
    text(source, "probe", "x-ray")
    if "ring_current" in known:
        value, units = known["ring_current"]
        put(source, "current", value, units=units)
    group(instrument, "monochromator", "NXmonochromator")
    angle, units = known.get("rotation", (np.nan, None)) if request.rotation is None else (request.rotation, None)
    sample = group(entry, "sample", "NXsample")
    put(sample, "rotation_angle", float(angle), units=units or "deg")
    name = start.get("sample_name", start.get("sample"))
    if isinstance(name, str) and name:
        text(sample, "name", name)
    collection = group(entry, "collection", "NXcollection")
    put(collection, "scan_request", request.text)
    put(collection, "scan_type", request.scan_type.name)
    if request.zone_plate:
        # As a group of the instrument it would be an error to the validator, which knows no zone plate there.
        plate = group(collection, "zone_plate", "NXcollection")
        for key, value in request.zone_plate.items():
            if isinstance(value, (int, float, str)):
                name, units = _ZONE_PLATE.get(key, (str(key), None))
                put(plate, name_in(plate, name, str(key)), value, units=units, name=str(key))
    asked = request.polarization
    if asked is not None:
        polarization = group(collection, "polarization", "NXcollection")
        said = [("number", asked.number, None), ("angle", asked.angle, "deg"), ("offset", asked.offset, None)]
        for name, value, units in said:
            if value is not None:
                put(polarization, name, value, units=units)


def _write_runs(collection: h5py.Group, runs: Sequence[tuple[Arranged, Request]], zone: tzinfo | None) -> None:
    """Write the table of an entry's runs, each with what it asks for there: who, what, when, how it ended."""
    rows = []
    for one, request in runs:
        start, stop = one.run.start, one.run.stop or {}
        scan_id = start.get("scan_id")
        rows.append(
            (
                *(start["uid"], scan_id if isinstance(scan_id, (int, float)) else np.nan),
                *(str(start.get("plan_name", "")), str(start.get("user") or start.get("login_id") or "")),
                *(request.plane, one.placed_by, iso_time(start["time"], zone)),
                *(iso_time(stop["time"], zone) if stop else "",),
                *(str(stop.get("exit_status") or "unknown") if stop else "", str(stop.get("reason") or "")),
            )
        )
    collection.create_dataset("runs", data=np.array(rows, np.dtype(_ROW)))
    ends = [row[-2] for row in rows if row[-2]]
    text(collection, "exit_status", next((end for end in ends if end != "success"), "success" if ends else "unknown"))


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
