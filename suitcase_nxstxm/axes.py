"""The points of an entry's axes and the times at its energies: as they were asked for, and as the events tell them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from suitcase_nxstxm.arranged import Member
from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.keys import Known, is_time, seconds
from suitcase_nxstxm.request import Axis, Layout, way


def told(members: Sequence[Member], known: Known) -> Layout:
    """The layout of an entry with the points and the units of its axes as far as the events or a baseline tell them."""
    layout = _grown(members[0].part.image.layout, max(one.part.reached for one in members))
    axes = {name: _told(members, layout, axis, i) for name, (axis, i) in layout.fields.items()}
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
    return replace(layout, axes=tuple(axes[axis.name] for axis in layout.axes), along=along)


def _grown(layout: Layout, number: int) -> Layout:
    """A layout with all its points, where the number of these is known only now."""
    if not layout.grows:
        return layout

    def grown(axis: Axis) -> Axis:
        counted = axis.device in ("", "point")
        return replace(axis, points=np.arange(1.0, number + 1) if counted else np.full(number, np.nan))

    along = {name: (grown(axis), i) for name, (axis, i) in layout.along.items()}
    return replace(layout, axes=tuple(map(grown, layout.axes)), along=along, grows=False)


def _told(members: Sequence[Member], layout: Layout, axis: Axis, dimension: int) -> Axis:
    """An axis with what the events tell of its points, where nobody asked for them or it is truer, and of its unit."""
    points, units = np.array(axis.points, float), axis.units
    for one in members:
        position = one.of.keys.positions.get(axis.name)
        if position is None:
            continue
        units = units or mended_units(one.request.devices.role_of(axis.name), position.units)
        if not (np.isnan(axis.points).any() or one.request.follows):
            continue
        at_points = one.part.sizes == 1
        aim, read = (np.where(at_points, one.numbers(key), np.nan) for key in (position.set_point, position.readback))
        value = np.where(np.isnan(aim), read, aim)
        steps = step(one.part.points(slice(None), 1, False)[:, 0], layout, dimension)
        asked = axis.points[steps]
        rounding = 1e-9 * (float(np.ptp(axis.points)) or np.abs(asked) + (asked == 0))
        with np.errstate(invalid="ignore"):
            other = one.request.follows & (np.abs(aim - asked) > rounding)
        truer = ~np.isnan(value) & (np.isnan(asked) | other)
        points[steps[truer][::-1]] = value[truer][::-1]  # the first one counts
    return replace(axis, points=points, units=units)


def count_times(members: Sequence[Member], layout: Layout) -> np.ndarray:
    """The time at each energy; where nobody asked for one that of the events, or of the settings."""
    request, spectral = members[0].request, "energy" in layout.fields
    found = np.array(request.count_times[slice(None) if spectral else [request.plane]], float)
    read: dict[int, set[float]] = {}
    for one in members if np.isnan(found).any() else ():
        dwell = one.of.keys.dwell_of(one.of.default, True)
        if dwell is None:
            continue
        values = one.numbers(dwell) * (seconds_of(one, dwell) or np.nan)
        steps = np.zeros(len(values), int)
        if spectral and len(found) > 1:
            steps = step(one.part.points(slice(None), 1, False)[:, 0], layout, layout.fields["energy"][1])
        for place, time in set(zip(steps.tolist(), values.tolist(), strict=True)):
            if not np.isnan(time):
                read.setdefault(place, set()).add(time)
    for place, times in read.items():
        if np.isnan(found[place]) and len(times) == 1:
            found[place] = times.pop()
    if np.isnan(found).all() and not read:
        found[:] = next((time for one in members if (time := _configured(one)) is not None), np.nan)
    return found


def step(flat: np.ndarray, layout: Layout, dimension: int) -> np.ndarray:
    """The index along a dimension of the flat indices of points."""
    return flat // math.prod(layout.shape[dimension + 1 :]) % layout.shape[dimension]


def seconds_of(one: Member, dwell: str) -> float | None:
    """A unit of a time of counting that events of a run have, in s; None if it isn't known."""
    return seconds(dwell, one.of.keys.info.get(dwell, {}).get("units"), in_ms=not one.request.follows)


def _configured(one: Member) -> float | None:
    """How long the default detector of a run counts by its settings, in s; None if they don't say it."""
    for configuration in one.of.run.configurations:
        settings = configuration.get(one.of.keys.owner.get(one.of.default, "")) or {}
        for key, value in (settings.get("data") or {}).items():
            units = (settings.get("data_keys") or {}).get(key, {}).get("units")
            unit = seconds(key, units, in_ms=not one.request.follows)
            if is_time(key) and isinstance(value, (int, float)) and not isinstance(value, bool):
                return None if unit is None else value * unit
    return None
