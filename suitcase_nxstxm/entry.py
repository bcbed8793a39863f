"""An NXentry: everything in it but the numbers of the detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.entries import EntryGroup
from suitcase_nxstxm.layout import Layout
from suitcase_nxstxm.nexus import existing, group, iso_time, name_in, put, text
from suitcase_nxstxm.request import Axis, Request
from suitcase_nxstxm.scan_types import label

__all__ = ["Entry", "Facts"]

# Where the lengths of a zone plate's definition go, and that they are in um; the outermost zone is in nm.
_ZONE_PLATE = {
    "zpD": ("outer_diameter", "um"),
    "zpCStop": ("central_stop_diameter", "um"),
    "zpOZone": ("outermost_zone_width", "nm"),
    "fl": ("focal_length", "um"),
}


@dataclass(frozen=True)
class Facts:
    """What no document says: who exports, and where.

    Parameters
    ----------
    source_name, instrument_name
        The names of the synchrotron and of the beamline.
    title
        The title of every entry. By default the plan's name and the number of the scan.
    timezone
        The zone that times are written in, with its offset from UTC; by default UTC.
    """

    source_name: str | None = None
    instrument_name: str | None = None
    title: str | None = None
    timezone: tzinfo | None = None


class Entry:
    """The NXentry of a layout, made or, if another run has made it, taken as it is.

    Parameters
    ----------
    there
        The entry in the file.
    layout, request
        What the entry's arrays look like, and the run that writes now.
    facts
        What no document says.
    """

    def __init__(self, there: EntryGroup, layout: Layout, request: Request, facts: Facts) -> None:
        self.there = there
        self.layout = layout
        self.request = request
        self._facts = facts
        there.reserve(layout.fields)
        self._known: dict[str, tuple[float, str | None]] = {}

    @property
    def group(self) -> h5py.Group:
        """The NXentry."""
        return self.there.group

    @property
    def instrument(self) -> h5py.Group:
        """Its NXinstrument."""
        return self.there.instrument

    @property
    def collection(self) -> h5py.Group:
        """Its NXcollection."""
        return self.there.collection

    @property
    def plot(self) -> h5py.Group | None:
        """The NXdata of the default plot; None as long as nothing is in it."""
        return self.there.plot

    def begin(self, start: Mapping[str, Any]) -> None:
        """Write what the start document says."""
        request, facts = self.request, self._facts
        began = iso_time(start["time"], facts.timezone)
        self.there.runs.begin(request.run, began, request.plane, start)
        if "definition" not in self.group:
            self._describe(start)
            text(self.group, "start_time", began)
        if request.rotation is not None:
            self._rotation(request.rotation, None)

    def end(self, stop: Mapping[str, Any]) -> None:
        """Write what the stop document says."""
        self.there.runs.end(self.request.run, iso_time(stop["time"], self._facts.timezone), stop)

    def _describe(self, start: Mapping[str, Any]) -> None:
        request, facts = self.request, self._facts
        text(self.group, "definition", "NXstxm")
        title = facts.title or start.get("title")
        if title is None:
            title = " ".join(str(start[key]) for key in ("plan_name", "scan_id") if key in start)
        text(self.group, "title", str(title) or label(request.scan_type))
        text(self.group, "entry_identifier", request.run)
        user = start.get("user") or start.get("login_id")
        if user:
            text(group(self.group, "user", "NXuser"), "name", str(user))
        if facts.instrument_name:
            text(self.instrument, "name", facts.instrument_name)
        source = group(self.instrument, "source", "NXsource")
        text(source, "type", "Synchrotron X-ray Source")
        # The definition wants a name, and this is what is known of it unless someone gives it.
        text(source, "name", facts.source_name or "unknown")
        text(source, "probe", "x-ray")
        group(self.instrument, "monochromator", "NXmonochromator")
        self._rotation(np.nan, None)
        sample = start.get("sample_name", start.get("sample"))
        if isinstance(sample, str) and sample:
            text(group(self.group, "sample", "NXsample"), "name", sample)
        put(self.collection, "scan_request", request.text)
        put(self.collection, "scan_type", request.scan_type.name)
        self._zone_plate()
        self._polarization()

    def _zone_plate(self) -> None:
        if not self.request.zone_plate:
            return
        # As a group of the instrument it would be an error to the validator, which knows no zone plate there.
        plate = group(self.collection, "zone_plate", "NXcollection")
        for key, value in self.request.zone_plate.items():
            if isinstance(value, (int, float, str)):
                name, units = _ZONE_PLATE.get(key, (str(key), None))
                put(plate, name_in(plate, name, str(key)), value, units=units, name=str(key))

    def _polarization(self) -> None:
        asked = self.request.polarization
        if asked is None:
            return
        polarization = group(self.collection, "polarization", "NXcollection")
        put(polarization, "number", asked.number)
        for name, value, units in (("angle", asked.angle, "deg"), ("offset", asked.offset, None)):
            if value is not None:
                put(polarization, name, value, units=units)

    def _rotation(self, angle: float, units: str | None) -> None:
        sample = group(self.group, "sample", "NXsample")
        put(sample, "rotation_angle", float(angle), units=units or "deg")

    def axes_of(self, data: h5py.Group) -> None:
        """Write the fields of an NXdata that all detectors have, or link it to them."""
        first = self.plot
        if first is not None and first != data:
            for name, item in first.items():
                if name != "data" and name not in data:
                    data[name] = item
            for name, value in first.attrs.items():
                data.attrs[name] = value
            return
        layout, request = self.layout, self.request
        text(data, "stxm_scan_type", label(request.scan_type))
        data.attrs["signal"] = "data"
        data.attrs["axes"] = np.array([axis.name.encode() for axis in layout.axes])
        for name, (axis, dimension) in layout.fields.items():
            data.attrs[f"{name}_indices"] = dimension
            if layout.grows:
                data.create_dataset(name, data=axis.points, maxshape=(None,), chunks=(1024,), fillvalue=np.nan)
            else:
                put(data, name, axis.points)
            for attribute, value in (("units", axis.units), ("name", axis.original)):
                if value:
                    existing(data, name).attrs[attribute] = value
        spectral = "energy" in layout.fields
        here = slice(None) if spectral else slice(request.plane, request.plane + 1)
        put(data, "count_time", request.count_times[here], units="s")
        if not spectral:
            put(data, "energy", request.energies[here], units="eV")
        for name, place in (("sample_x", layout.sample_x), ("sample_y", layout.sample_y)):
            if name not in layout.fields:
                put(data, name, [np.nan if place is None else place], units="um")
        self._fill_in()

    def know(self, role: str, value: float, units: str | None, *, first: bool) -> None:
        """Take a value that the baseline has for what the request left open; the entry has that of its first run."""
        self._known[role] = (value, units)
        if not first:
            return
        if role == "rotation" and self.request.rotation is None:
            self._rotation(value, units)
        elif role == "ring_current":
            put(group(self.instrument, "source", "NXsource"), "current", value, units=units)
        self._fill_in()

    @property
    def energy(self) -> float | None:
        """The energy that the baseline has, where it is better than what was asked for."""
        asked = self.request.energy_is_set and not np.isnan(self.request.energies).all()
        return None if asked or "energy" not in self._known else self._known["energy"][0]

    def _fill_in(self) -> None:
        data = self.plot
        if data is not None:
            for role, (value, units) in self._known.items():
                open_ = {
                    "energy": "energy" not in self.layout.fields and self.energy is not None,
                    "sample_x": "sample_x" not in self.layout.fields and self.layout.sample_x is None,
                    "sample_y": "sample_y" not in self.layout.fields and self.layout.sample_y is None,
                }
                if open_.get(role):
                    put(data, role, [value], units=units)
                elif role in self.layout.along and not self.layout.grows:
                    # A coordinate of a line along which only the other one moves.
                    points = existing(data, role)
                    if np.isnan(points[()]).all():
                        points[...] = value
                        if units:
                            points.attrs["units"] = units

    def axis(self, name: str) -> Axis:
        """The axis, or the coordinate beside one, of this name."""
        return self.layout.fields[name][0]
