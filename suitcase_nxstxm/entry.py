"""An NXentry without its numbers: what was asked for, what the baseline says, which runs there were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import h5py
import numpy as np

from suitcase_nxstxm.arranged import Arranged, Member
from suitcase_nxstxm.keys import Known
from suitcase_nxstxm.nexus import group, iso_time, name_in, put, text
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import label

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


def write_title(entry: h5py.Group, first: Member, runs: Sequence[Arranged], options: Options, known: Known) -> None:
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
    _zone_plate(collection, request)
    _polarization(collection, request)


def _zone_plate(collection: h5py.Group, request: Request) -> None:
    if not request.zone_plate:
        return
    # As a group of the instrument it would be an error to the validator, which knows no zone plate there.
    plate = group(collection, "zone_plate", "NXcollection")
    for key, value in request.zone_plate.items():
        if isinstance(value, (int, float, str)):
            name, units = _ZONE_PLATE.get(key, (str(key), None))
            put(plate, name_in(plate, name, str(key)), value, units=units, name=str(key))


def _polarization(collection: h5py.Group, request: Request) -> None:
    asked = request.polarization
    if asked is None:
        return
    polarization = group(collection, "polarization", "NXcollection")
    put(polarization, "number", asked.number)
    for name, value, units in (("angle", asked.angle, "deg"), ("offset", asked.offset, None)):
        if value is not None:
            put(polarization, name, value, units=units)


def write_runs(collection: h5py.Group, runs: Sequence[tuple[Arranged, Request]], zone: tzinfo | None) -> None:
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
