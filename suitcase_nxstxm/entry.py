"""The entries of a file: by what their runs are for, each with what was asked for, the baseline and its runs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.arranged import Arranged, Member
from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.frames import FRAMES, Frames
from suitcase_nxstxm.keys import Known
from suitcase_nxstxm.nexus import group, iso_time, legal, name_in, put, text
from suitcase_nxstxm.nxdata import Numbers
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.places import Part
from suitcase_nxstxm.request import Identity, Request
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
_RUN = np.dtype(
    [(name, _TEXT) for name in ("uid", "plan_name", "user", "start_time", "end_time", "exit_status", "reason")]
    + [("scan_id", float), ("plane", np.int64)]
)

Entries = dict[Identity, list[tuple[Arranged, Part | None]]]
"""The runs of each entry, with what they have for it; None of those that have measured nothing."""


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
    measured = {what: found for what, found in entries.items() if any(part for _, part in found)}
    if not measured:
        raise UnfinishedError(f"{name} has no data: nothing was measured in any of its runs")
    for what in entries.keys() - measured.keys():
        logger.warning("%s of %s has no data: its run ended before anything was measured", what.entry, name)
    names = _names(measured)
    _say_contradictions(measured, names)
    written: dict[tuple[str, ...], h5py.Group] = {}
    for what in sorted(measured, key=lambda what: (len(names[what]), names[what])):
        entry = group(file, names[what], "NXentry")
        mine = [one for one, _ in measured[what]]
        members = [Member(one, part) for one, part in measured[what] if part is not None]
        asked = [one.request if part is None else part.image.request for one, part in measured[what]]
        scan = members[0].request.scan
        others = [*mine, *(one for one in runs if one.request.scan == scan)]
        # Without a baseline of its own an entry has that of the run of the scan which began first.
        known = next((one.known for one in others if one.known), {})
        _write_title(entry, members[0], mine, options, known)
        collection = group(entry, "collection", "NXcollection")
        _write_request(collection, members[0].request)
        _write_runs(collection, mine, asked, options.timezone)
        Numbers(entry, members, known, frames).write()
        _write_streams(collection, mine, others, written)
    file.attrs["default"] = min(names.values(), key=lambda name: (len(name), name))
    if FRAMES in file:
        del file[FRAMES]  # what is in the file by another name stays


def _entries(runs: Iterable[Arranged]) -> Entries:
    """What the runs have for each entry; a run whose frames are of another shape than those before it has its own."""
    found: Entries = {}
    shapes: dict[tuple[Identity, str], tuple[int, ...]] = {}
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
                    what = what._replace(run=one.run.uid)
                    break
            found.setdefault(what, []).append((one, part))
        if not one.places.parts:
            found.setdefault(one.images[0].identity, []).append((one, None))
    return found


def _names(entries: Iterable[Identity]) -> dict[Identity, str]:
    """The name of each entry: the one that its runs ask for; of several that ask for one, the first has it."""
    asked = {what.entry for what in entries}
    found: dict[Identity, str] = {}
    for what in sorted(entries, key=lambda what: (len(what.entry), what)):
        name = legal(what.entry)
        if name in found.values():
            taken, stem = asked | set(found.values()), name.rstrip("0123456789")
            numbers = itertools.count(int(name[len(stem) :] or 0) + 1)
            name = next(other for number in numbers if (other := f"{stem}{number}") not in taken)
        found[what] = name
    return found


def _say_contradictions(entries: Entries, names: dict[Identity, str]) -> None:
    """Say which runs are an entry of their own because their scan has other axes than the one before it."""
    scans: dict[Identity, Identity] = {}
    for what in sorted(names, key=lambda what: (len(names[what]), names[what])):
        first = scans.setdefault(what._replace(scan=""), what)
        if first.scan == what.scan:
            continue
        one, other = (next(part.image for _, part in entries[of] if part is not None) for of in (first, what))
        axes = zip(one.layout.fields.items(), other.layout.fields.items(), strict=False)
        differ = [b for (_, (x, _)), (b, (y, _)) in axes if not np.array_equal(x.points, y.points, equal_nan=True)]
        logger.warning(
            "run %s contradicts run %s, which is for the same entry, in its %s: it is %s, and the other one %s",
            *(other.request.run, one.request.run, ", ".join(differ) or "request", names[what], names[first]),
        )


def _write_title(entry: h5py.Group, first: Member, runs: Sequence[Arranged], options: Options, known: Known) -> None:
    """Write what an entry has beside its numbers: title, times, source, sample."""
    request, start, zone = first.request, first.of.run.start, options.timezone
    title = options.title or start.get("title")
    if title is None:
        title = " ".join(str(start[key]) for key in ("plan_name", "scan_id") if key in start)
    ends = [one.run.stop["time"] for one in runs if one.run.stop is not None]
    text(entry, "definition", "NXstxm")
    text(entry, "title", str(title) or label(request.scan_type))
    text(entry, "entry_identifier", request.run)
    text(entry, "start_time", iso_time(min(one.run.start["time"] for one in runs), zone))
    text(entry, "end_time", iso_time(max(ends), zone) if ends else "")
    user, sample = _user(start), start.get("sample_name", start.get("sample"))
    if user:
        text(group(entry, "user", "NXuser"), "name", user)
    instrument = group(entry, "instrument", "NXinstrument")
    if options.instrument_name:
        text(instrument, "name", options.instrument_name)
    source = group(instrument, "source", "NXsource")
    # The definition wants a name, and this is what is known of it unless someone gives it.
    names = {"type": "Synchrotron X-ray Source", "name": options.source_name or "unknown", "probe": "x-ray"}
    for name, value in names.items():
        text(source, name, value)
    if "ring_current" in known:
        put(source, "current", known["ring_current"][0], units=known["ring_current"][1])
    group(instrument, "monochromator", "NXmonochromator")
    angle, units = known.get("rotation", (np.nan, None)) if request.rotation is None else (request.rotation, None)
    put(group(entry, "sample", "NXsample"), "rotation_angle", float(angle), units=units or "deg")
    if isinstance(sample, str) and sample:
        text(group(entry, "sample", "NXsample"), "name", sample)


def _write_request(collection: h5py.Group, request: Request) -> None:
    """Write what was asked for, in the words of the start document; polarisation and zone plate under their names."""
    put(collection, "scan_request", request.text)
    put(collection, "scan_type", request.scan_type.name)
    for key, value in request.zone_plate.items():
        # As a group of the instrument it would be an error to the validator, which knows no zone plate there.
        plate = group(collection, "zone_plate", "NXcollection")
        if isinstance(value, (int, float, str)):
            name, units = _ZONE_PLATE.get(key, (str(key), None))
            put(plate, name_in(plate, name, str(key)), value, units=units, name=str(key))
    for name, value in request.polarization.items():
        if value is not None:
            polarization = group(collection, "polarization", "NXcollection")
            put(polarization, name, value, units="deg" if name == "angle" else None)


def _write_runs(
    collection: h5py.Group, runs: Sequence[Arranged], asked: Sequence[Request], zone: tzinfo | None
) -> None:
    """Write the table of an entry's runs, each with what it asks for there: who, what, when, how it ended."""
    rows = np.zeros(len(runs), _RUN)
    for row, one, request in zip(rows, runs, asked, strict=True):
        start, stop = one.run.start, one.run.stop or {}
        scan_id = start.get("scan_id")
        row["uid"], row["plan_name"], row["user"] = start["uid"], str(start.get("plan_name", "")), _user(start)
        row["scan_id"], row["plane"] = scan_id if isinstance(scan_id, (int, float)) else np.nan, request.plane
        row["start_time"], row["end_time"] = iso_time(start["time"], zone), iso_time(stop["time"], zone) if stop else ""
        row["exit_status"] = str(stop.get("exit_status") or "unknown") if stop else ""
        row["reason"] = str(stop.get("reason") or "")
    collection.create_dataset("runs", data=rows)
    ends = [end for end in rows["exit_status"] if end]
    text(collection, "exit_status", next((end for end in ends if end != "success"), "success" if ends else "unknown"))


def _user(start: Mapping[str, Any]) -> str:
    return str(start.get("user") or start.get("login_id") or "")


def _write_streams(
    collection: h5py.Group,
    mine: Sequence[Arranged],
    others: Sequence[Arranged],
    written: dict[tuple[str, ...], h5py.Group],
) -> None:
    """Write the streams and the settings of an entry's runs; entries of the same runs have the same ones."""
    uids, devices = tuple(one.run.uid for one in mine), mine[0].request.devices
    if uids in written:
        for name, item in written[uids].items():
            if isinstance(item, h5py.Group) and name not in collection:
                collection[name] = item
        return
    written[uids] = collection
    streams = dict.fromkeys((name for one in mine for name in one.run.streams), mine)
    if "baseline" not in streams:
        streams["baseline"] = [one for one in others if "baseline" in one.run.streams][:1]
    for name, runs in streams.items():
        found = [(one, one.run.streams[name]) for one in runs if name in one.run.streams]
        rows = [Rows(one.run.uid, its, one.rest if name == "primary" else [*its.columns]) for one, its in found]
        write_stream(collection, name, rows, devices)
    write_configuration(collection, (found for one in mine for found in one.run.configurations), devices)
