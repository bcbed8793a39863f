"""The numbers of an entry: NXdata on the grid of the scan; NXdetectors and the energy as the points were taken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import h5py
import numpy as np

from suitcase_nxstxm.arranged import Member
from suitcase_nxstxm.fill import Source, computed, constant, create, of_detector, of_scalar
from suitcase_nxstxm.frames import Frames, link_frames, write_frames
from suitcase_nxstxm.keys import Known, Position, is_time, mended_units, seconds
from suitcase_nxstxm.nexus import LARGE, group, legal_names, put, text
from suitcase_nxstxm.request import Axis, Layout, way
from suitcase_nxstxm.scan_types import label
from suitcase_nxstxm.stream import Values

# What a detector of such a name would be mixed up with: groups and fields of the entry and of its instrument.
_RESERVED = (
    *("collection", "control", "definition", "end_time", "energy", "entry_identifier", "instrument", "monochromator"),
    *("name", "sample", "source", "start_time", "title", "user"),
)

Detector = Sequence[tuple[Member, str]]
"""The runs that have numbers of a detector, each with the data key of these."""


class Numbers:
    """The numbers of an entry: what runs have for it in the order of time, what the baseline says, stored frames."""

    def __init__(self, entry: h5py.Group, members: Sequence[Member], known: Known, frames: Frames) -> None:
        self._entry, self._members, self._known, self._frames = entry, members, known, frames
        self._instrument = group(entry, "instrument", "NXinstrument")
        self._layout = _axes_of(members, known)

    def write(self) -> None:
        """Write all of it; the default detector first, because readers take the first NXdata that they find."""
        measured: dict[str, list[tuple[Member, str]]] = {}
        for one in self._members:
            detectors = one.of.keys.detectors
            for key in (key for key in one.part.keys if key in detectors and key not in one.of.places.aside):
                measured.setdefault(detectors[key], []).append((one, key))
        # Of runs without a single event all detectors are there.
        measured = measured or {name: [] for one in self._members for name in one.of.keys.detectors.values()}
        wanted = (one.of.keys.detectors.get(one.of.default) for one in self._members)
        default = next((name for name in wanted if name in measured), next(iter(measured)))
        taken, names = {*_RESERVED, *self._layout.fields}, {}
        for name in measured:
            names[name] = next(own for own in legal_names(name) if own not in taken)
            taken.add(names[name])
        self._entry.attrs["default"] = names[default]
        first = group(self._entry, names[default], "NXdata")
        for name in sorted(measured, key=lambda name: name != default):
            own, mine = names[name], measured[name]
            data = group(self._entry, own, "NXdata")
            grid = self._write_grid(data, mine)
            if name == default:
                self._describe(data)
            else:
                for inner in (inner for inner in first if inner != "data"):
                    data[inner] = first[inner]
                for attribute, value in first.attrs.items():
                    data.attrs[attribute] = value
            detector = group(self._instrument, own, "NXdetector")
            put(detector, "local_name", name)
            if own != name:  # at the numbers: an NXdata or an NXdetector with such an attribute isn't valid
                grid.attrs["name"] = name
            self._write_list(detector, name, mine, grid)
        monitors = [(one, key) for one in self._members if (key := one.of.keys.monitor or "") in one.of.stream.columns]
        if monitors:
            control, sources = group(self._entry, "control", "NXmonitor"), [of_scalar(*pair) for pair in monitors]
            create(control, "data", self._layout, float, _unit(monitors), sources, taken=False)
        for name in dict.fromkeys((*self._layout.fields, *(n for one in self._members for n in one.of.keys.positions))):
            if name not in ("line_position", "point", "energy"):
                self._write_positions(name)
        self._write_energy()

    def _describe(self, data: h5py.Group) -> None:
        """Write the fields of an NXdata that all detectors have: axes, times, energies, where the sample is parked."""
        layout = self._layout
        text(data, "stxm_scan_type", label(self._members[0].request.scan_type))
        data.attrs["signal"] = "data"
        data.attrs["axes"] = np.array([axis.name.encode() for axis in layout.axes])
        for name, (axis, dimension) in layout.fields.items():
            data.attrs[f"{name}_indices"] = dimension
            put(data, name, axis.points, units=axis.units or None, name=axis.original or None)
        put(data, "count_time", _count_times(self._members, layout), units="s")
        if "energy" not in layout.fields:
            units = self._known.get("energy", (0, None))[1]
            put(data, "energy", [self._energy(self._members[0])], units=units or "eV")
        for name, place in (("sample_x", layout.sample_x), ("sample_y", layout.sample_y)):
            if name not in layout.fields:
                value, units = self._known.get(name, (np.nan, None)) if place is None else (place, None)
                put(data, name, [value], units=units or "um")

    def _write_grid(self, data: h5py.Group, mine: Detector) -> h5py.Dataset:
        """The numbers of a detector on the grid: those that came as planes are linked, all others are moved there."""
        layout, plane, dtypes = self._layout, max(self._layout.plane_size, 1), []
        by_planes = layout.planes and bool(mine)
        for one, key in mine:
            summed = key in one.of.places.frames
            dtypes += [np.dtype(float)] if summed else one.of.stream.dtypes(key)
            by_planes &= not summed and one.part.unit == plane and one.part.straight and one.part.element is None
        if by_planes:
            linked = link_frames(data, self._entry, layout.shape[0], self._placed(mine, plane), self._frames, _floats)
            if linked is not None:
                linked.attrs["units"] = _unit(mine) or ""
                return linked
        sources = [of_detector(*one, self._frames) for one in mine]
        return create(data, "data", layout, _floats(dtypes), _unit(mine), sources, taken=False)

    def _placed(self, mine: Detector, unit: int | None = None) -> Iterator[tuple[np.ndarray, Values]]:
        """What a detector has for events, and which event, or which plane, of the entry each is."""
        for one, key in mine:
            places = (one.part.path.base + one.part.first) // (unit or one.part.unit)
            yield from ((places[events], read) for events, read in one.read(key))

    def _write_list(self, detector: h5py.Group, name: str, mine: Detector, grid: h5py.Dataset) -> None:
        """What a detector gave, in the order of the points: frames, or the numbers."""
        layout = self._layout
        if any(key in one.of.places.frames for one, key in mine):
            made = write_frames(detector, self._entry, lambda: self._placed(mine), self._frames)
            made.attrs["units"] = _unit(mine) or ""
        elif all(one.part.straight for one, _ in mine) and layout.size * grid.dtype.itemsize > LARGE:
            # The same numbers in the same order, so they are stored once: a virtual dataset shows them as a list.
            seen = h5py.VirtualLayout((layout.size,), grid.dtype)
            seen[:] = h5py.VirtualSource(".", grid.name, shape=grid.shape, dtype=grid.dtype)
            made = detector.create_virtual_dataset("data", seen, fillvalue=np.nan)
            made.attrs["units"] = grid.attrs["units"]
        else:
            sources = [of_detector(*one, self._frames) for one in mine]
            create(detector, "data", layout, grid.dtype, _unit(mine), sources, taken=True)

    def _write_positions(self, name: str) -> None:
        """Where a positioner was at each point; without readings the set points."""
        layout, sources = self._layout, self._readbacks(name, self._members)
        axis, _ = layout.fields.get(name, (None, 0))
        units = self._units(name)
        if not sources and (axis is None or layout.size * 8 > LARGE):
            return
        detector = group(self._instrument, name, "NXdetector")
        if axis is not None and axis.original:
            put(detector, "local_name", axis.original)
        if axis is not None and not sources:
            put(detector, "description", "set points, because no position was read")
            units, sources = axis.units, [self._set_points(one, name) for one in self._members]
        create(detector, "data", layout, float, units, sources, taken=True)

    def _units(self, name: str) -> str | None:
        """The unit of what a positioner reads."""
        positions = [one.of.keys.positions[name] for one in self._members if name in one.of.keys.positions]
        role = self._members[0].request.devices.role_of(name)
        return mended_units(role, positions[0].units if positions else None)

    def _readbacks(self, name: str, members: Sequence[Member]) -> list[Source]:
        """The positions that runs have read."""
        # What is read once a line holds for the line only if it didn't move along it.
        moves = name in self._layout.fields and self._layout.fields[name][1] == len(self._layout.shape) - 1
        found = []
        for one in members if not (moves and all(one.part.unit > 1 for one in members)) else ():
            key = one.of.keys.positions.get(name, Position()).readback
            if key is not None and one.of.stream.dtypes(key):
                found.append(of_scalar(one, key, single=moves))
        return found

    def _set_points(self, one: Member, name: str) -> Source:
        axis, dimension = self._layout.fields[name]
        stride = math.prod(self._layout.shape[dimension + 1 :])
        return computed(one, self._layout, lambda flat: axis.points[flat // stride % len(axis)])

    def _write_energy(self) -> None:
        """The energy of each point: as it was read, else as it was asked for, else as the baseline has it."""
        layout, sources, plane = self._layout, [], max(self._layout.plane_size, 1)
        whole: list[int] = []
        for one in self._members:
            part, read = one.part, self._readbacks("energy", [one])
            if read:
                sources += read
            elif "energy" not in layout.fields:
                energy = self._energy(one)
                sources.append(computed(one, layout, lambda flat, energy=energy: np.full(flat.shape, energy)))
            elif layout.planes and part.path.by_planes:
                first = part.path.base // plane
                whole += range(first, min(first + max(-(-part.reached // plane), 1), layout.shape[0]))
            else:
                sources.append(self._set_points(one, "energy"))
        monochromator, units = group(self._instrument, "monochromator", "NXmonochromator"), self._units("energy")
        made = create(monochromator, "energy", layout, float, units or "eV", sources, taken=True)
        for number in whole:
            constant(made, plane, number, layout.fields["energy"][0].points[number])

    def _energy(self, one: Member) -> float:
        """The energy of a run that doesn't scan it: the baseline's, unless the run itself set one."""
        request = one.request
        if not (request.energy_is_set and not np.isnan(request.energies).all()) and "energy" in self._known:
            return self._known["energy"][0]
        return float(request.energies[min(request.plane, len(request.energies) - 1)])


def _floats(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The floats that hold numbers of these types and NaN, which points are that were not measured."""
    small = bool(dtypes) and all(dtype.kind == "f" and dtype.itemsize < 8 for dtype in dtypes)
    return np.dtype(np.float32 if small else np.float64)


def _unit(mine: Detector) -> str | None:
    """The unit of a detector's numbers."""
    return next((one.of.keys.info[key].get("units") for one, key in mine if key in one.of.keys.info), None)


def _axes_of(members: Sequence[Member], known: Known) -> Layout:
    """The layout of an entry with the points and the units of its axes as far as the events or a baseline tell them."""
    layout, number = members[0].part.image.layout, max(one.part.reached for one in members)
    axes: dict[str, Axis] = {}
    for name, (axis, dimension) in layout.fields.items():
        if layout.grows:  # to as many points as there are events
            counted = axis.device in ("", "point")
            axis = replace(axis, points=np.arange(1.0, number + 1) if counted else np.full(number, np.nan))
        shape = (number,) if layout.grows else layout.shape
        axes[name] = _axis(members, axis, math.prod(shape[dimension + 1 :]))
    for name in layout.along:
        axis = axes[name]
        if name in known and len(axis) and np.isnan(axis.points).all():
            # A coordinate of a line along which only the other one moves.
            value, units = known[name]
            axes[name] = replace(axis, points=np.full(len(axis), value), units=units or axis.units)
    if "line_position" in axes and np.isnan(axes["line_position"].points).any():
        points = way(*(axes[name].points for name in layout.along))
        axes["line_position"] = replace(axes["line_position"], points=points)
    along = {name: (axes[name], i) for name, (_, i) in layout.along.items()}
    return replace(layout, axes=tuple(axes[axis.name] for axis in layout.axes), along=along, grows=False)


def _axis(members: Sequence[Member], axis: Axis, stride: int) -> Axis:
    """An axis with what the events tell of its points, where nobody asked for them or it is truer, and of its unit."""
    points, units = np.array(axis.points, float), axis.units
    for one in members:
        position = one.of.keys.positions.get(axis.name)
        if position is None:
            continue
        units = units or mended_units(one.request.devices.role_of(axis.name), position.units)
        if not (np.isnan(axis.points).any() or one.request.follows):
            continue
        aim, read = one.numbers(position.set_point), one.numbers(position.readback)
        known = np.flatnonzero((one.part.sizes == 1) & ~(np.isnan(aim) & np.isnan(read)))
        # The first event at each of its points counts.
        steps = (one.part.points(slice(None), 1, False)[:, 0] // stride % max(len(axis), 1)).astype(np.int32)
        steps, first = np.unique(steps[known], return_index=True)
        asked, aim, read = axis.points[steps], aim[known[first]], read[known[first]]
        rounding = 1e-9 * (float(np.ptp(axis.points)) or np.abs(asked) + (asked == 0))
        with np.errstate(invalid="ignore"):
            truer = np.isnan(asked) | (one.request.follows & (np.abs(aim - asked) > rounding))
        points[steps[truer]] = np.where(np.isnan(aim), read, aim)[truer]
    return replace(axis, points=points, units=units)


def _count_times(members: Sequence[Member], layout: Layout) -> np.ndarray:
    """The time of counting at each energy; where nobody asked for one that which the runs tell, if it is one."""
    request = members[0].request
    found = np.array(request.count_times[slice(None) if "energy" in layout.fields else [request.plane]], float)
    if np.isnan(found).any():
        times = {time for one in members for time in _counted(one)}
        found[np.isnan(found)] = times.pop() if len(times) == 1 else np.nan
    return found


def _counted(one: Member) -> Iterator[float]:
    """How long the default detector of a run counts by its events, else by its settings, in s."""
    keys, in_ms = one.of.keys, not one.request.follows
    dwell = keys.dwell_of(one.of.default)
    if dwell is not None:
        times = np.unique(one.numbers(dwell)) * (seconds(dwell, keys.info[dwell].get("units"), in_ms) or np.nan)
        yield from times[~np.isnan(times)].tolist()
        return
    for configuration in one.of.run.configurations:
        settings = configuration.get(keys.owner.get(one.of.default, "")) or {}
        for key, value in (settings.get("data") or {}).items():
            unit = seconds(key, (settings.get("data_keys") or {}).get(key, {}).get("units"), in_ms)
            if is_time(key) and unit is not None and isinstance(value, (int, float)):
                yield value * unit
