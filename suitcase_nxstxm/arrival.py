"""The numbers of an event on their way to the arrays of an entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.placement import by_set_points, check_fits, unit_of
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.signals import Signals, as_floats
from suitcase_nxstxm.streams import Stream, scalar

__all__ = ["Arrival"]


class Arrival:
    """Puts the numbers of a run's events to their places.

    Parameters
    ----------
    request
        What the run asks for.
    signals
        The arrays of all its entries.
    """

    def __init__(self, request: Request, signals: Iterable[Signals]) -> None:
        self.default: str | None = None
        self._request = request
        self._signals = list(signals)

    def place(self, signals: Signals, stream: Stream, index: int, data: Mapping[str, Any], what: str) -> None:
        """Put the numbers of an event to their places."""
        present = [key for key in stream.detectors if key in data]
        if self.default is None and present:
            self.begin(stream, present)
        values = {key: as_floats(data[key], f"{key!r} of {what}") for key in self.default_first(present)}
        frames = {key for key, array in values.items() if self._is_frame(signals, stream, key, array, what)}
        sizes = [array.size for key, array in values.items() if key not in frames]
        shape = signals.entry.layout.shape
        stream.unit = max([stream.unit, *(unit_of(size, shape, stream.unit) or 1 for size in sizes)])
        unit, path = stream.unit, signals.path
        first = index * unit
        number = max([*sizes, 1]) if sizes else 1
        if not signals.entry.layout.grows:
            check_fits(first, number, path, what)
        taken = slice(path.base + first, path.base + first + number)
        found = self._set_points(signals, stream, index, data) if unit == 1 else None
        where = path.at(first, number) if found is None else slice(found, found + 1)
        signals.reached = max(signals.reached, first + number)
        for key, array in values.items():
            name, info = stream.detectors[key], stream.info.get(key, {})
            if key in frames:
                signals.declare(name, info)
                signals.frame(name, info, path.base + index, np.asarray(data[key]))
                signals.detector(name, info, where, np.atleast_1d(array.sum(dtype=np.float64)))
            elif array.size == number:
                signals.detector(name, info, where, array.ravel(), None if found is None else taken)
            else:
                raise MisfitError(f"{key!r} of {what} has {array.size} numbers where another detector has {number}")
        if stream.monitor is not None and (current := scalar(data.get(stream.monitor))) is not None:
            signals.monitor(stream.info[stream.monitor], where, current)
        self._positions(signals, stream, data, where, taken)

    def _positions(
        self, signals: Signals, stream: Stream, data: Mapping[str, Any], where: slice | np.ndarray, taken: slice
    ) -> None:
        """Put the positions that were read to their lists; and to axes whose set points aren't known."""
        layout, number = signals.entry.layout, taken.stop - taken.start
        for name, position in stream.positions.items():
            read = scalar(data.get(position.readback)) if position.readback else None
            aim = scalar(data.get(position.set_point)) if position.set_point else None
            units = mended_units(self._request.devices.role_of(name), position.units)
            # What is read once a line holds for the line only if it didn't move along it.
            stands = name not in layout.fields or layout.fields[name][1] < len(layout.shape) - 1
            if read is not None and not layout.grows and (number == 1 or stands):
                signals.readback(name, units, taken, read)
            if name in layout.fields and number == 1:
                axis, dimension = layout.fields[name]
                value = read if aim is None else aim
                flat = int(where.start if isinstance(where, slice) else where[0])
                step = flat if layout.grows else signals.step(flat, dimension)
                if value is not None and (layout.grows or np.isnan(axis.points[step])):
                    signals.learn(name, step, value)

    def _set_points(self, signals: Signals, stream: Stream, index: int, data: Mapping[str, Any]) -> int | None:
        """The place of a point in its plane by the set points that its event has, if it has those of all axes."""
        layout = signals.entry.layout
        axes, keys = [], []
        for axis in layout.axes[layout.planes :]:
            chosen = axis
            if axis.name == "line_position":
                lines = [other for other, _ in layout.along.values() if other.name in stream.positions]
                moving = [other for other in lines if len(np.unique(other.points)) == len(other)]
                if not moving:
                    return None
                chosen = moving[0]
            position = stream.positions.get(chosen.name)
            if position is None or position.set_point is None or len(np.unique(chosen.points)) < len(chosen):
                return None
            axes.append(chosen)
            keys.append(position.set_point)
        flat = by_set_points(axes, data, keys)
        if flat is None:
            return None
        return signals.path.base + index // layout.plane_size * layout.plane_size + flat

    def _is_frame(self, signals: Signals, stream: Stream, key: str, array: np.ndarray, what: str) -> bool:
        """Whether an array is what a detector has for one point, not what it has for many."""
        layout, size = signals.entry.layout, array.size
        if size <= 1:
            return False
        if self._request.scan_type is scan_types.PTYCHOGRAPHY_SCAN and array.ndim > 1:
            return True
        if layout.grows or self._request.num_points in (layout.plane_size, layout.size):
            return True
        fast = layout.axes[-1].name if layout.axes[-1].name != "line_position" else next(iter(layout.along), "")
        read_by_point = fast in stream.positions
        if size < layout.shape[-1] and read_by_point:
            return True
        if unit_of(size, layout.shape) is not None:
            return False
        if read_by_point or array.ndim > 1:
            return True
        shape = " x ".join(map(str, layout.shape))
        raise MisfitError(f"{key!r} of {what} has {size} numbers, which are neither points nor lines of {shape}")

    def default_first(self, keys: Iterable[str]) -> list[str]:
        """The detectors with the default one first: readers take the first NXdata that they find."""
        return sorted(keys, key=lambda key: key != self.default)

    def begin(self, stream: Stream, keys: Iterable[str]) -> None:
        """Choose the detector of the default plot."""
        self.default = stream.default(self._request, keys)
        for signals in self._signals:
            signals.entry.group.attrs["default"] = legal(stream.detectors[self.default])
