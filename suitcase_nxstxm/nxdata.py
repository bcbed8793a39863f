"""The numbers of an entry: NXdata on the grid of the scan; NXdetectors and the energy as the points were taken."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.entry import Known, Member
from suitcase_nxstxm.fill import LARGE, Source, computed, constant, create, fill, floats, of_detector, of_scalar
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.instrument import linked, write_frames
from suitcase_nxstxm.keys import is_time, seconds
from suitcase_nxstxm.layout import Layout, way
from suitcase_nxstxm.nexus import group, legal_names, put, text
from suitcase_nxstxm.scan_types import label

__all__ = ["Numbers"]

# What a detector of such a name would be mixed up with: groups and fields of the entry and of its instrument.
_RESERVED = (
    *("collection", "control", "definition", "end_time", "energy", "entry_identifier", "instrument", "monochromator"),
    *("name", "sample", "source", "start_time", "title", "user"),
)
_FLOAT = np.dtype(float)

Detectors = dict[str, list[tuple[Member, str]]]
"""The detectors of an entry by their names: the runs that have numbers of them, and the data key of these."""


class Numbers:
    """The numbers of an entry, to be written.

    Parameters
    ----------
    entry
        The NXentry.
    members
        The runs that have a primary stream, in the order of time.
    known
        What the baseline of the scan says.
    frames
        The frames that are stored.
    """

    def __init__(self, entry: h5py.Group, members: Sequence[Member], known: Known, frames: Frames) -> None:
        self._entry = entry
        self._instrument = group(entry, "instrument", "NXinstrument")
        self._members = [one for one in members if one.part is not None]
        self._frames = frames
        self._known = known
        self._first = self._members[0]
        self._request = self._first.request
        parts = [one.part for one in self._members if one.part is not None]
        self.layout = _grown(parts[0].image.layout, max(part.reached for part in parts))
        self._detectors = self._measured() or self._declared()
        self._points, self._units = self._fields()
        self._names: dict[str, str] = {}
        taken = {*_RESERVED, *self.layout.fields}
        for name in self._detectors:
            self._names[name] = next(own for own in legal_names(name) if own not in taken)
            taken.add(self._names[name])

    def write(self) -> None:
        """Write all of it; the default detector first, because readers take the first NXdata that they find."""
        default = self._default
        first: h5py.Group | None = None
        for name in sorted(self._detectors, key=lambda name: name != default):
            data = group(self._entry, self._names[name], "NXdata")
            grid = self._write_grid(data, name)
            if first is None:
                first = data
                self._describe(data)
            else:
                for inner in first:
                    if inner != "data":
                        data[inner] = first[inner]
                for attribute, value in first.attrs.items():
                    data.attrs[attribute] = value
            detector = group(self._instrument, self._names[name], "NXdetector")
            put(detector, "local_name", name)
            if self._names[name] != name:
                # At the numbers: an NXdata or an NXdetector with such an attribute isn't valid.
                grid.attrs["name"] = name
            self._write_list(detector, name, grid)
        self._entry.attrs["default"] = self._names[default]
        self._write_monitor()
        self._write_positions()

    def _measured(self) -> Detectors:
        found: Detectors = {}
        for member in self._members:
            if member.keys is not None and member.part is not None and member.places is not None:
                for key in member.part.keys:
                    if key in member.keys.detectors and key not in member.places.aside:
                        found.setdefault(member.keys.detectors[key], []).append((member, key))
        return found

    def _declared(self) -> Detectors:
        """The detectors of runs in which there wasn't a single event."""
        return {name: [] for one in self._members if one.keys is not None for name in one.keys.detectors.values()}

    @property
    def _default(self) -> str:
        for member in self._members:
            name = member.keys.detectors.get(member.default or "") if member.keys is not None else None
            if name in self._detectors:
                return str(name)
        return next(iter(self._detectors))

    def _write_grid(self, data: h5py.Group, name: str) -> h5py.Dataset:
        """The numbers of a detector on the grid: those that came as planes are linked, all others are moved there."""
        mine = self._detectors[name]
        linked = self._linked_planes(data, name)
        if linked is not None:
            return linked
        sources, dtypes = [], []
        for member, key in mine:
            part, stream, places = member.part, member.stream, member.places
            if part is not None and stream is not None and places is not None:
                summed = key in places.frames
                sources.append(of_detector(part, stream, key, self._frames, summed=summed))
                dtypes += [
                    _FLOAT if summed else column.numbers
                    for column, _ in stream.keys().get(key, ())
                    if column.numbers is not None
                ]
        layout = self.layout
        plane = max(layout.plane_size, 1)
        grid = create(data, "data", layout.shape, plane, floats(dtypes) if dtypes else _FLOAT, self._unit(name))
        fill(grid, layout, sources, taken=False)
        return grid

    def _linked_planes(self, data: h5py.Group, name: str) -> h5py.Dataset | None:
        """The planes of a detector that are stored as frames, in their place; None if there are other numbers too."""
        layout = self.layout
        if not layout.planes or not self._detectors[name]:
            return None
        plane, found = layout.plane_size, []
        for member, key in self._detectors[name]:
            part = member.part
            if part is None or member.places is None or key in member.places.frames:
                return None
            if part.unit != plane or not part.straight or part.element is not None:
                return None
            found.append((member, key, (part.path.base + part.first) // plane))
        made = linked(data, layout.shape[0], found, self._frames, self._kept, layout.shape[1:])
        if made is not None:
            made.attrs["units"] = self._unit(name) or ""
        return made

    def _kept(self) -> h5py.Group:
        return group(group(self._entry, "collection", "NXcollection"), "frames", "NXcollection")

    def _unit(self, name: str) -> str | None:
        for member, key in self._detectors[name]:
            if member.keys is not None and key in member.keys.info:
                return member.keys.info[key].get("units")
        return None

    def _write_list(self, detector: h5py.Group, name: str, grid: h5py.Dataset) -> None:
        """What a detector gave, in the order of the points: frames, or the numbers of the grid."""
        mine = self._detectors[name]
        self._write_dwells(detector, name)
        if any(one.places is not None and key in one.places.frames for one, key in mine):
            write_frames(detector, name, mine, self._frames, self._kept, self._unit(name))
            return
        size, layout = self.layout.size, self.layout
        parts = [one.part for one, _ in mine if one.part is not None]
        if all(part.straight for part in parts) and size * grid.dtype.itemsize > LARGE:
            # The same numbers in the same order, so they are stored once: a virtual dataset shows them as a list.
            seen = h5py.VirtualLayout((size,), grid.dtype)
            seen[:] = h5py.VirtualSource(".", grid.name, shape=grid.shape, dtype=grid.dtype)
            made = detector.create_virtual_dataset("data", seen, fillvalue=np.nan)
            made.attrs["units"] = self._unit(name) or ""
            return
        sources = [
            of_detector(one.part, one.stream, key, self._frames, summed=False)
            for one, key in mine
            if one.part is not None and one.stream is not None
        ]
        made = create(detector, "data", (size,), max(layout.plane_size, 1), grid.dtype, self._unit(name))
        fill(made, layout, sources, taken=True)

    def _write_dwells(self, detector: h5py.Group, name: str) -> None:
        """How long a detector counted at each point."""
        sources = []
        for member, key in self._detectors[name]:
            if member.keys is None or member.part is None or member.stream is None:
                continue
            dwell = member.keys.dwell_of(key, key == member.default)
            factor = None if dwell is None else self._factor(member, dwell)
            if dwell is not None and factor is not None:
                sources.append(of_scalar(member.part, member.stream, dwell, factor))
        if sources:
            self._fill_list(detector, "count_time", sources, "s")

    def _factor(self, member: Member, dwell: str) -> float | None:
        info = member.keys.info.get(dwell, {}) if member.keys is not None else {}
        return seconds(dwell, 1.0, info.get("units"), in_ms=not member.request.follows)

    def _fill_list(self, parent: h5py.Group, name: str, sources: Sequence[Source], units: str | None) -> None:
        made = create(parent, name, (self.layout.size,), max(self.layout.plane_size, 1), _FLOAT, units)
        fill(made, self.layout, sources, taken=True)

    def _write_monitor(self) -> None:
        """The ring current, or what else the intensity is to be divided by, on the grid."""
        sources, units = [], None
        for member in self._members:
            if member.keys is not None and member.stream is not None and member.part is not None:
                key = member.keys.monitor
                if key is not None and member.stream.keys().get(key):
                    sources.append(of_scalar(member.part, member.stream, key))
                    units = units or member.keys.info[key].get("units")
        if sources:
            control = group(self._entry, "control", "NXmonitor")
            plane = max(self.layout.plane_size, 1)
            fill(create(control, "data", self.layout.shape, plane, _FLOAT, units), self.layout, sources, taken=False)

    def _write_positions(self) -> None:
        """Where the positioners were, and the energy, at each point; without readings the set points."""
        layout, devices = self.layout, self._request.devices
        names = dict.fromkeys((*layout.fields, *(n for m in self._members if m.keys for n in m.keys.positions)))
        for name in names:
            if name in ("line_position", "point", "energy"):
                continue
            sources = [source for member in self._members if (source := self._read(member, name)) is not None]
            units = next(
                (m.keys.positions[name].units for m in self._members if m.keys and name in m.keys.positions), None
            )
            units = mended_units(devices.role_of(name), units)
            small = layout.size * _FLOAT.itemsize <= LARGE
            if not sources and (name not in layout.fields or not small):
                continue
            detector = group(self._instrument, name, "NXdetector")
            original = layout.fields[name][0].original if name in layout.fields else None
            if original:
                put(detector, "local_name", original)
            if not sources:
                put(detector, "description", "set points, because no position was read")
                units = self._units[name]
                sources = [self._set_points(member, name) for member in self._members]
            self._fill_list(detector, "data", sources, units)
        self._write_energy()

    def _read(self, member: Member, name: str) -> Source | None:
        """The positions that a run has read; None if it has none of this field."""
        position = member.keys.positions.get(name) if member.keys is not None else None
        if position is None or position.readback is None or member.part is None or member.stream is None:
            return None
        if not any(column.numbers is not None for column, _ in member.stream.keys().get(position.readback, ())):
            return None
        # What is read once a line holds for the line only if it didn't move along it.
        stands = name not in self.layout.fields or self.layout.fields[name][1] < len(self.layout.shape) - 1
        moving = not stands and member.part.unit > 1
        return None if moving else of_scalar(member.part, member.stream, position.readback, single=not stands)

    def _set_points(self, member: Member, name: str) -> Source:
        dimension, points = self.layout.fields[name][1], self._points[name]
        assert_part = member.part
        if assert_part is None:
            raise ValueError(f"run {member.run.uid} has no part of the entry")
        return computed(assert_part, lambda flat: points[self._step(flat, dimension)])

    def _step(self, flat: np.ndarray, dimension: int) -> np.ndarray:
        """The index along a dimension of the flat indices of points."""
        shape = self.layout.shape
        return flat // math.prod(shape[dimension + 1 :]) % shape[dimension]

    def _write_energy(self) -> None:
        """The energy of each point: as it was read, else as it was asked for, else as the baseline has it."""
        monochromator = group(self._instrument, "monochromator", "NXmonochromator")
        layout, sources, units = self.layout, [], "eV"
        whole: list[tuple[int, float]] = []
        for member in self._members:
            read, part = self._read(member, "energy"), member.part
            if part is None:
                continue
            if read is not None and member.keys is not None:
                units = mended_units("energy", member.keys.positions["energy"].units) or "eV"
                sources.append(read)
            elif "energy" not in layout.fields:
                energy = self._energy(member)
                sources.append(computed(part, lambda flat, energy=energy: np.full(flat.shape, energy)))
            elif layout.planes and part.path.by_planes:
                plane = layout.plane_size
                planes = max(-(-part.reached // plane), 1)
                first = part.path.base // plane
                whole += [(i, self._points["energy"][i]) for i in range(first, min(first + planes, layout.shape[0]))]
            else:
                sources.append(self._set_points(member, "energy"))
        made = create(monochromator, "energy", (layout.size,), max(layout.plane_size, 1), _FLOAT, units)
        for plane, value in whole:
            constant(made, layout.plane_size, plane, value)
        fill(made, layout, sources, taken=True)

    def _energy(self, member: Member) -> float:
        """The energy of a run that doesn't scan it: the baseline's, unless the run itself set one."""
        request = member.request
        if not (request.energy_is_set and not np.isnan(request.energies).all()) and "energy" in self._known:
            return self._known["energy"][0]
        return float(request.energies[min(request.plane, len(request.energies) - 1)])

    def _describe(self, data: h5py.Group) -> None:
        """Write the fields of an NXdata that all detectors have: axes, times, energies, where the sample is parked."""
        layout = self.layout
        text(data, "stxm_scan_type", label(self._request.scan_type))
        data.attrs["signal"] = "data"
        data.attrs["axes"] = np.array([axis.name.encode() for axis in layout.axes])
        for name, (axis, dimension) in layout.fields.items():
            data.attrs[f"{name}_indices"] = dimension
            put(data, name, self._points[name], units=self._units[name] or None, name=axis.original or None)
        put(data, "count_time", self._count_times(), units="s")
        if "energy" not in layout.fields:
            units = self._known.get("energy", (0, None))[1]
            put(data, "energy", [self._energy(self._first)], units=units or "eV")
        for name, place in (("sample_x", layout.sample_x), ("sample_y", layout.sample_y)):
            if name not in layout.fields:
                known, units = self._known.get(name, (np.nan, None))
                put(data, name, [known if place is None else place], units=(units if place is None else None) or "um")

    def _fields(self) -> tuple[dict[str, np.ndarray], dict[str, str | None]]:
        """The points and the units of the fields that run along a dimension, with what the events tell of them."""
        layout = self.layout
        points = {name: np.array(axis.points, float) for name, (axis, _) in layout.fields.items()}
        units = {name: axis.units for name, (axis, _) in layout.fields.items()}
        for member, (name, (axis, dimension)) in itertools.product(self._members, layout.fields.items()):
            position = member.keys.positions.get(name) if member.keys is not None else None
            if position is None or member.part is None:
                continue
            found = mended_units(self._request.devices.role_of(name), position.units)
            units[name] = units[name] or found
            if not (np.isnan(axis.points).any() or member.request.follows):
                continue
            aim, read = (_values(member, key) for key in (position.set_point, position.readback))
            value = np.where(np.isnan(aim), read, aim)
            step = self._step(member.part.flat(slice(None), 1)[:, 0], dimension)
            known = axis.points[step]
            rounding = 1e-9 * (float(np.ptp(axis.points)) or np.abs(known) + (known == 0))
            with np.errstate(invalid="ignore"):
                other = member.request.follows & (np.abs(aim - known) > rounding)
            told = ~np.isnan(value) & (np.isnan(known) | other)
            points[name][step[told][::-1]] = value[told][::-1]  # the first one counts
        for name in layout.along:
            if name in self._known and len(points[name]) and np.isnan(points[name]).all():
                # A coordinate of a line along which only the other one moves.
                points[name][:], units[name] = self._known[name][0], self._known[name][1] or units[name]
        if "line_position" in points and np.isnan(points["line_position"]).any():
            x, y = (points[name] for name in layout.along)
            points["line_position"] = way(x, y)
        return points, units

    def _count_times(self) -> np.ndarray:
        """The time at each energy; where nobody asked for one that of the events, or of the settings."""
        request, spectral = self._request, "energy" in self.layout.fields
        here = slice(None) if spectral else slice(request.plane, request.plane + 1)
        found = np.array(request.count_times[here], float)
        told: dict[int, set[float]] = {}
        for member in self._members:
            keys = member.keys
            dwell = keys.dwell_of(member.default, True) if keys is not None and member.default else None
            if keys is None or dwell is None or member.part is None:
                continue
            values = _values(member, dwell)
            steps = np.zeros(len(values), int)
            if spectral and len(found) > 1:
                steps = self._step(member.part.flat(slice(None), 1)[:, 0], self.layout.fields["energy"][1])
            units = keys.info.get(dwell, {}).get("units")
            for step, value in set(zip(steps.tolist(), values.tolist(), strict=True)):
                time = seconds(dwell, value, units, in_ms=not member.request.follows)
                if time is not None and not np.isnan(time):
                    told.setdefault(step, set()).add(time)
        for step, times in told.items():
            if step < len(found) and np.isnan(found[step]) and len(times) == 1:
                found[step] = times.pop()
        if np.isnan(found).all() and not told:
            found[:] = self._configured_time()
        return found

    def _configured_time(self) -> float:
        """How long the default detector counts by its settings, in s; NaN if they don't say it."""
        for member in self._members:
            device = member.keys.owner.get(member.default or "") if member.keys is not None else None
            for configuration in member.run.configurations:
                settings: dict[str, Any] = configuration.get(device or "") or {}
                for key, value in (settings.get("data") or {}).items():
                    info = (settings.get("data_keys") or {}).get(key, {})
                    if is_time(key) and isinstance(value, (int, float)) and not isinstance(value, bool):
                        time = seconds(key, float(value), info.get("units"), in_ms=not member.request.follows)
                        if time is not None:
                            return time
        return np.nan


def _values(member: Member, key: str | None) -> np.ndarray:
    """What each event of a run in the entry has of a key, NaN where it has nothing, or more points than one."""
    if member.part is None or member.stream is None:
        raise ValueError(f"run {member.run.uid} has no part of the entry")
    found = np.full(len(member.part.first), np.nan)
    if key is not None:
        for events, values in of_scalar(member.part, member.stream, key, single=True).values(slice(0, len(found))):
            found[events] = values[:, 0]
    return found


def _grown(layout: Layout, number: int) -> Layout:
    """A layout with all its points, where the number of these is known only now."""
    if not layout.grows:
        return layout

    def points(device: str) -> np.ndarray:
        return np.arange(1.0, number + 1) if device in ("", "point") else np.full(number, np.nan)

    axes = tuple(replace(axis, points=points(axis.device)) for axis in layout.axes)
    along = {name: (replace(axis, points=points(axis.device)), i) for name, (axis, i) in layout.along.items()}
    return replace(layout, axes=axes, along=along, grows=False)
