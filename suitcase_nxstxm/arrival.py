"""The numbers of an event on their way to the arrays of an entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.metadata import as_number
from suitcase_nxstxm.placement import by_set_points, check_fits, unit_of
from suitcase_nxstxm.request import Axis, Request
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.signals import Signals, as_floats
from suitcase_nxstxm.streams import Stream

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

    def place(self, signals: Signals, stream: Stream, index: int, data: Mapping[str, Any], seq_num: int) -> None:
        """Put the numbers of an event to their places; its index is that among the events of the entry."""
        what = f"event {seq_num} of stream {stream.name!r}"
        present = [key for key in stream.detectors if key in data]
        values = {key: as_floats(data[key], f"{key!r} of {what}") for key in self.default_first(present)}
        frames = {key for key, array in values.items() if self._is_frame(signals, stream, key, array, what)}
        frames |= self._spectra(signals, stream, values, frames)
        self._put_aside(signals, stream, seq_num - 1, values, frames)
        if self.default is None and values:
            self.begin(stream, values)
            values = {key: values[key] for key in self.default_first(values)}
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
        if stream.monitor is not None and (current := as_number(data.get(stream.monitor))) is not None:
            signals.monitor(stream.info[stream.monitor], where, current)
        self._dwells(signals, stream, data, where, taken)
        self._positions(signals, stream, data, where, taken)

    def _spectra(
        self, signals: Signals, stream: Stream, values: Mapping[str, np.ndarray], frames: set[str]
    ) -> set[str]:
        """The arrays that are for one point, because the detector that is wanted first has one number for it."""
        scalars = [key for key, array in values.items() if array.size == 1]
        arrays = {key for key, array in values.items() if array.size > 1} - frames
        by_point = bool(scalars and arrays) and stream.unit == 1 and self._fast(signals) in stream.positions
        return arrays if by_point and any(stream.wants(key, self._request) for key in scalars) else set()

    def _put_aside(
        self, signals: Signals, stream: Stream, row: int, values: dict[str, np.ndarray], frames: set[str]
    ) -> None:
        """Take from the values what is read once where other detectors have a number for each of many points.

        Which of the points it is for nobody knows, so it goes to the collection, and to no grid.
        """
        if any(array.size > 1 for key, array in values.items() if key not in frames):
            stream.aside |= {key for key, array in values.items() if array.size == 1}
        for key in stream.aside & set(values):
            signals.aside(stream.name, stream.info.get(key, {}), key, row, values.pop(key).item())

    def _dwells(
        self, signals: Signals, stream: Stream, data: Mapping[str, Any], where: slice | np.ndarray, taken: slice
    ) -> None:
        """Put the times that detectors counted."""
        for key, name in stream.detectors.items():
            if stream.dwells and key in data and key not in stream.aside:
                dwell = stream.dwell_of(key, key == self.default)
                value = as_number(data.get(dwell)) if dwell is not None else None
                if dwell is not None and value is not None:
                    seconds = stream.seconds(dwell, value, in_ms=not self._request.follows)
                    if seconds is not None:
                        signals.dwell(name, where, taken, seconds, key == self.default)

    def _positions(
        self, signals: Signals, stream: Stream, data: Mapping[str, Any], where: slice | np.ndarray, taken: slice
    ) -> None:
        """Put the positions that were read to their lists; and to axes whose set points aren't known."""
        layout, number = signals.entry.layout, taken.stop - taken.start
        for name, position in stream.positions.items():
            read = as_number(data.get(position.readback)) if position.readback else None
            aim = as_number(data.get(position.set_point)) if position.set_point else None
            units = mended_units(self._request.devices.role_of(name), position.units)
            # What is read once a line holds for the line only if it didn't move along it.
            stands = name not in layout.fields or layout.fields[name][1] < len(layout.shape) - 1
            if read is not None and not layout.grows and (number == 1 or stands):
                signals.readback(name, units, taken, read)
            if name in layout.fields and units and layout.fields[name][0].units is None:
                signals.units(name, units)
            if name in layout.fields and number == 1:
                axis, dimension = layout.fields[name]
                value = read if aim is None else aim
                flat = int(where.start if isinstance(where, slice) else where[0])
                step = flat if layout.grows else signals.step(flat, dimension)
                known = np.nan if layout.grows else axis.points[step]
                if value is not None and (np.isnan(known) or (self._request.follows and _other(aim, axis, step))):
                    signals.learn(name, step, value)

    def _set_points(self, signals: Signals, stream: Stream, index: int, data: Mapping[str, Any]) -> int | None:
        """The place of a point in the array by the set points that its event has, if it has those of all axes."""
        layout, request = signals.entry.layout, self._request
        if request.ordered or layout.grows:
            return None
        all_planes = request.num_points is None or request.num_points > layout.plane_size
        if layout.planes and request.plane == 0 and all_planes:
            # The energies need not be the outermost loop.
            found = self._by_set_points(layout.axes, signals, stream, data)
            if found is not None:
                return found
        if layout.planes and not signals.path.by_planes:
            return None
        flat = self._by_set_points(layout.axes[layout.planes :], signals, stream, data)
        return None if flat is None else signals.path.base + index // layout.plane_size * layout.plane_size + flat

    def _by_set_points(
        self, wanted: Sequence[Axis], signals: Signals, stream: Stream, data: Mapping[str, Any]
    ) -> int | None:
        """The flat index of a point in an array with these axes, if its event has the set points of all of them."""
        layout = signals.entry.layout
        axes, keys = [], []
        for axis in wanted:
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
        return by_set_points(axes, data, keys)

    def _is_frame(self, signals: Signals, stream: Stream, key: str, array: np.ndarray, what: str) -> bool:
        """Whether an array is what a detector has for one point, not what it has for many."""
        layout, size = signals.entry.layout, array.size
        if size <= 1:
            return False
        if self._request.scan_type is scan_types.PTYCHOGRAPHY_SCAN and array.ndim > 1:
            return True
        if layout.grows or self._request.num_points in (layout.plane_size, layout.size):
            return True
        read_by_point = self._fast(signals) in stream.positions
        if size < layout.shape[-1] and read_by_point:
            return True
        if unit_of(size, layout.shape) is not None:
            return False
        if read_by_point or array.ndim > 1:
            return True
        shape = " x ".join(map(str, layout.shape))
        raise MisfitError(f"{key!r} of {what} has {size} numbers, which are neither points nor lines of {shape}")

    def _fast(self, signals: Signals) -> str:
        """The field of the positioner that moves from point to point."""
        layout = signals.entry.layout
        return layout.axes[-1].name if layout.axes[-1].name != "line_position" else next(iter(layout.along), "")

    def default_first(self, keys: Iterable[str]) -> list[str]:
        """The detectors with the default one first: readers take the first NXdata that they find."""
        return sorted(keys, key=lambda key: key != self.default)

    def begin(self, stream: Stream, keys: Iterable[str]) -> None:
        """Choose the detector of the default plot."""
        self.default = stream.default(self._request, keys)
        for signals in self._signals:
            signals.entry.there.show(stream.detectors[self.default])


def _other(aim: float | None, axis: Axis, step: int) -> bool:
    """Whether a set point is another one than the axis has at a step, by more than what rounding does."""
    known = float(axis.points[step])
    if aim is None or aim == known:
        return False
    return abs(aim - known) > 1e-9 * (float(np.ptp(axis.points)) or abs(known) or 1.0)
