"""The points of an entry's axes and its times of counting: as they were asked for, and as the runs tell them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from suitcase_nxstxm.arranged import Member
from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.keys import Known, is_time, seconds
from suitcase_nxstxm.request import Axis, Layout, way


def told(members: Sequence[Member], known: Known) -> Layout:
    """The layout of an entry with the points and the units of its axes as far as the events or a baseline tell them."""
    layout, number = members[0].part.image.layout, max(one.part.reached for one in members)
    axes: dict[str, Axis] = {}
    for name, (axis, dimension) in layout.fields.items():
        if layout.grows:  # to as many points as there are events
            counted = axis.device in ("", "point")
            axis = replace(axis, points=np.arange(1.0, number + 1) if counted else np.full(number, np.nan))
        shape = (number,) if layout.grows else layout.shape
        axes[name] = _told(members, axis, math.prod(shape[dimension + 1 :]))
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


def _told(members: Sequence[Member], axis: Axis, stride: int) -> Axis:
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
        steps = one.part.points(slice(None), 1, False)[:, 0] // stride % len(axis)
        asked = axis.points[steps]
        rounding = 1e-9 * (float(np.ptp(axis.points)) or np.abs(asked) + (asked == 0))
        with np.errstate(invalid="ignore"):
            other = one.request.follows & (np.abs(aim - asked) > rounding)
        truer = ~np.isnan(value) & (np.isnan(asked) | other)
        points[steps[truer][::-1]] = value[truer][::-1]  # the first one counts
    return replace(axis, points=points, units=units)


def count_times(members: Sequence[Member], layout: Layout) -> np.ndarray:
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
