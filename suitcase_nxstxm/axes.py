"""The points of an entry's axes and the times at its energies: as they were asked for, and as the events tell them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from suitcase_nxstxm.arranged import Member
from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.keys import Known, is_time, seconds
from suitcase_nxstxm.request import Layout, way


def axis_points(
    members: Sequence[Member], layout: Layout, known: Known
) -> tuple[dict[str, np.ndarray], dict[str, str | None]]:
    """The points and the units of the fields that run along a dimension, with what the events tell of them."""
    points = {name: np.array(axis.points, float) for name, (axis, _) in layout.fields.items()}
    units = {name: axis.units for name, (axis, _) in layout.fields.items()}
    for one, name in ((one, name) for one in members for name in layout.fields):
        position, (axis, dimension) = one.of.keys.positions.get(name), layout.fields[name]
        if position is None:
            continue
        units[name] = units[name] or mended_units(one.request.devices.role_of(name), position.units)
        if not (np.isnan(axis.points).any() or one.request.follows):
            continue
        aim, read = (_of_points(one, key) for key in (position.set_point, position.readback))
        value = np.where(np.isnan(aim), read, aim)
        steps = step(one.part.points(slice(None), 1, False)[:, 0], layout, dimension)
        asked = axis.points[steps]
        rounding = 1e-9 * (float(np.ptp(axis.points)) or np.abs(asked) + (asked == 0))
        with np.errstate(invalid="ignore"):
            other = one.request.follows & (np.abs(aim - asked) > rounding)
        told = ~np.isnan(value) & (np.isnan(asked) | other)
        points[name][steps[told][::-1]] = value[told][::-1]  # the first one counts
    for name in layout.along:
        if name in known and len(points[name]) and np.isnan(points[name]).all():
            # A coordinate of a line along which only the other one moves.
            points[name][:], units[name] = known[name][0], known[name][1] or units[name]
    if "line_position" in points and np.isnan(points["line_position"]).any():
        points["line_position"] = way(*(points[name] for name in layout.along))
    return points, units


def count_times(members: Sequence[Member], layout: Layout) -> np.ndarray:
    """The time at each energy; where nobody asked for one that of the events, or of the settings."""
    request, spectral = members[0].request, "energy" in layout.fields
    found = np.array(request.count_times[slice(None) if spectral else [request.plane]], float)
    told: dict[int, set[float]] = {}
    for one in members if np.isnan(found).any() else ():
        dwell = one.of.keys.dwell_of(one.of.default, True)
        if dwell is None:
            continue
        values = _of_points(one, dwell, single=False)
        steps = np.zeros(len(values), int)
        if spectral and len(found) > 1:
            flat = one.part.points(slice(None), 1, False)[:, 0]
            steps = step(flat, layout, layout.fields["energy"][1])
        for place, value in set(zip(steps.tolist(), values.tolist(), strict=True)):
            time = seconds_of(one, dwell, value)
            if time is not None and not np.isnan(time):
                told.setdefault(place, set()).add(time)
    for place, times in told.items():
        if np.isnan(found[place]) and len(times) == 1:
            found[place] = times.pop()
    if np.isnan(found).all() and not told:
        found[:] = next((time for one in members if (time := _configured(one)) is not None), np.nan)
    return found


def step(flat: np.ndarray, layout: Layout, dimension: int) -> np.ndarray:
    """The index along a dimension of the flat indices of points."""
    return flat // math.prod(layout.shape[dimension + 1 :]) % layout.shape[dimension]


def seconds_of(one: Member, dwell: str, value: float) -> float | None:
    """A time of counting that an event of a run has, in s; None if its unit isn't known."""
    return seconds(dwell, value, one.of.keys.info.get(dwell, {}).get("units"), in_ms=not one.request.follows)


def _configured(one: Member) -> float | None:
    """How long the default detector of a run counts by its settings, in s; None if they don't say it."""
    for configuration in one.of.run.configurations:
        settings = configuration.get(one.of.keys.owner.get(one.of.default, "")) or {}
        for key, value in (settings.get("data") or {}).items():
            units = (settings.get("data_keys") or {}).get(key, {}).get("units")
            if is_time(key) and isinstance(value, (int, float)) and not isinstance(value, bool):
                return seconds(key, float(value), units, in_ms=not one.request.follows)
    return None


def _of_points(one: Member, key: str | None, *, single: bool = True) -> np.ndarray:
    """The number that each event of a run in the entry has of a key; with ``single``, NaN for events of more points."""
    found = one.of.stream.numbers(key)
    found = found if one.part.rows is None else found[one.part.rows]
    if single:
        found[(np.full(len(found), one.part.unit) if one.part.number is None else one.part.number) > 1] = np.nan
    return found


def grown(layout: Layout, number: int) -> Layout:
    """A layout with all its points, where the number of these is known only now."""
    if not layout.grows:
        return layout

    def points(device: str) -> np.ndarray:
        return np.arange(1.0, number + 1) if device in ("", "point") else np.full(number, np.nan)

    axes = tuple(replace(axis, points=points(axis.device)) for axis in layout.axes)
    along = {name: (replace(axis, points=points(axis.device)), i) for name, (axis, i) in layout.along.items()}
    return replace(layout, axes=axes, along=along, grows=False)
