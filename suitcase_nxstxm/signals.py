"""The numbers of an entry: NXdata on the grid of the scan, NXdetector and NXmonochromator as they were taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.block import LARGE, Block
from suitcase_nxstxm.entry import Entry
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.layout import way
from suitcase_nxstxm.nexus import dataset, existing, group, put
from suitcase_nxstxm.placement import Path
from suitcase_nxstxm.readings import Readings
from suitcase_nxstxm.rows import Rows

__all__ = ["Signals", "as_floats"]

_FLOAT = np.dtype(np.float64)
_EXACT = 1 << 53


def as_floats(values: object, what: str) -> np.ndarray:
    """Numbers as floats of the same value: float32 stays what it is, integers and bools become float64.

    Points that were not measured are NaN, which integers don't have.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return array.astype(np.float32 if array.dtype.itemsize < 8 else np.float64, copy=False)
    if array.dtype.kind not in "iub":
        raise MisfitError(f"{what} holds {array.dtype} ({str(values)[:40]!r}), not numbers")
    if array.dtype.itemsize == 8 and array.size and (array.max() > _EXACT or array.min() < -_EXACT):
        raise MisfitError(f"{what} holds integers beyond 2**53, which have no exact place beside NaN")
    return array.astype(np.float64)


class Signals:
    """The arrays of an entry, made when their first numbers come.

    Parameters
    ----------
    entry
        The entry.
    path
        The way of the run through its arrays.
    rows_of
        How to get the rows that a stream has in the collection; None if there is no other run.
    """

    def __init__(self, entry: Entry, path: Path, rows_of: Callable[[str], Callable[[], Rows] | None]) -> None:
        self.entry = entry
        self.path = path
        self._rows_of = rows_of
        self.reached = 0
        self._arrays = entry.there.arrays
        self._frames: set[str] = set()
        self._seen: set[str] = set()
        self._detectors: dict[str, str | None] = {}
        self._listed: set[str] = set()
        self._learned: dict[str, set[int]] = {}
        self._aside: dict[str, Readings] = {}
        self._dwells: dict[int, float] = {}

    def flush(self) -> None:
        """Write what isn't written yet."""
        self._arrays.flush()
        for readings in self._aside.values():
            readings.flush()

    def declare(self, name: str, info: Mapping[str, Any], dtype: np.dtype = _FLOAT) -> None:
        """Make the NXdata and the NXdetector of a detector, if they aren't there."""
        self._detectors[name] = info.get("units")
        known = self._arrays.has(f"{self._own(name)}/data")
        block = self._grid(name, dtype)
        if known:
            return
        detector = group(self.entry.instrument, self._own(name), "NXdetector")
        if "local_name" not in detector:
            put(detector, "local_name", name)
        if self._own(name) != name:
            # At the numbers: an NXdata or an NXdetector with such an attribute isn't valid.
            block.dataset.attrs["name"] = name
        data = group(self.entry.group, self._own(name), "NXdata")
        if "axes" not in data.attrs:
            self.entry.axes_of(data)

    def detector(
        self,
        name: str,
        info: Mapping[str, Any],
        where: slice | np.ndarray,
        values: np.ndarray,
        taken: slice | None = None,
    ) -> None:
        """Put numbers of a detector to the grid; and as the points ``taken``, if their order isn't that of the path."""
        if name not in self._detectors:
            self.declare(name, info, values.dtype)
        self._grid(name, values.dtype).put(where, values)
        if taken is not None:
            self._taken(name, values.dtype).put(taken, values)
            self._listed.add(name)

    def _own(self, name: str) -> str:
        """What the groups of a detector are called."""
        return self.entry.there.detector(name)

    def _grid(self, name: str, dtype: np.dtype | None = None) -> Block:
        """The numbers of a detector on the grid."""
        units = self._detectors[name]
        return self._arrays.block(f"{self._own(name)}/data", "NXdata", self.entry.layout, dtype, units)

    def _taken(self, name: str, dtype: np.dtype) -> Block:
        """The numbers of a detector in the order in which they were taken."""
        return self._listing(f"instrument/{self._own(name)}/data", self._detectors[name], dtype)

    def _listing(self, path: str, units: str | None, dtype: np.dtype = _FLOAT) -> Block:
        """A list of the points in an NXdetector."""
        return self._arrays.block(path, "NXdetector", self.entry.layout, dtype, units, flat=True)

    def aside(self, stream: str, info: Mapping[str, Any], key: str, row: int, value: object) -> None:
        """Put to the collection what is read once for many points, and so has no place on the grid."""
        if key not in self._aside:
            descriptor = {"data_keys": {key: info}}
            devices = self.entry.request.devices
            there, run = self.entry.collection, self.entry.request.run
            self._aside[key] = Readings(there, stream, descriptor, [key], devices, self._rows_of(stream), run)
        self._aside[key].put(row, {key: value})

    def dwell(self, name: str, where: slice | np.ndarray, taken: slice, seconds: float, default: bool) -> None:
        """Put the time that a detector counted at each point to the list of those; and note that of the default one."""
        layout = self.entry.layout
        if not layout.grows:
            self._listing(f"instrument/{self._own(name)}/count_time", "s").put(taken, seconds)
        if default:
            flat = int(where.start if isinstance(where, slice) else where[0])
            step = self.step(flat, layout.fields["energy"][1]) if "energy" in layout.fields else 0
            if self._dwells.setdefault(step, seconds) != seconds:
                self._dwells[step] = np.nan

    def units(self, name: str, units: str) -> None:
        """Take the unit of an axis that the request knows none for."""
        data = self.entry.plot
        if data is not None and "units" not in existing(data, name).attrs:
            existing(data, name).attrs["units"] = units

    def monitor(self, info: Mapping[str, Any], where: slice | np.ndarray, value: float | np.ndarray) -> None:
        """Put numbers of the monitor to the grid: the NXmonitor ``control``."""
        block = self._arrays.block("control/data", "NXmonitor", self.entry.layout, _FLOAT, info.get("units"))
        block.put(where, np.asarray(value, _FLOAT))

    def readback(self, name: str, units: str | None, where: slice, value: float | np.ndarray) -> None:
        """Put a position, or the energy, that was read to the list of those, which is in the order of the points."""
        self._list(name, units).put(where, value)
        self._seen.add(name)

    def frame(self, name: str, info: Mapping[str, Any], index: int, values: np.ndarray) -> None:
        """Put what an area detector or a spectrometer has for one point: the data of its NXdetector."""
        place = f"instrument/{self._own(name)}"
        self._arrays.frames(place, name, self.entry.layout, info.get("units")).put(index, values)
        self._frames.add(name)

    def finish(self) -> None:
        """Write the lists of the instrument for the points of this run: what was taken, where, at which energy."""
        self.flush()
        self._count_times()
        if self.entry.layout.grows:
            self._finish_growing()
            return
        self._line_position()
        for first, number in self._parts():
            self._set_points(first, number)
            self._energies(first, number)
        for name in self._detectors:
            if name not in self._frames and name not in self._listed:
                self._as_taken(name)
        self.flush()

    def _count_times(self) -> None:
        """The time at each energy, where nobody asked for one and that of the events is always the same."""
        data = self.entry.plot
        if data is None or not self._dwells:
            return
        count_time = existing(data, "count_time")
        dwells = self._dwells
        if count_time.size == 1:
            values = set(dwells.values())
            dwells = {0: values.pop() if len(values) == 1 else np.nan}
        for step, seconds in dwells.items():
            if np.isnan(count_time[step]):
                count_time[step] = seconds

    def _line_position(self) -> None:
        """The way along a line whose points only the events have told."""
        data = self.entry.plot
        fields = self.entry.layout.fields
        if data is None or "line_position" not in fields or not np.isnan(fields["line_position"][0].points).any():
            return
        x, y = (existing(data, name)[()] for name in self.entry.layout.along)
        existing(data, "line_position")[...] = way(x, y)

    def _points(self, name: str) -> np.ndarray:
        """The set points of an axis, with what the events have told of them."""
        data = self.entry.plot
        return self.entry.layout.fields[name][0].points if data is None else existing(data, name)[()]

    def _set_points(self, first: int, number: int) -> None:
        """The set points in place of positions that nothing has read, unless there are very many."""
        layout = self.entry.layout
        if layout.size * _FLOAT.itemsize > LARGE:
            return
        flat = self._flat(first, number)
        for name, (axis, dimension) in layout.fields.items():
            if name not in self._seen and name not in ("energy", "line_position"):
                points = self._points(name)[self.step(flat, dimension)]
                self._list(name, axis.units).put(slice(self.path.base + first, self.path.base + first + number), points)
                detector = group(self.entry.instrument, name, "NXdetector")
                put(detector, "description", "set points, because no position was read")

    def _energies(self, first: int, number: int) -> None:
        """The energy of each point."""
        if "energy" in self._seen:
            return
        layout, request = self.entry.layout, self.entry.request
        where = slice(self.path.base + first, self.path.base + first + number)
        energy = self.entry.energy
        if "energy" not in layout.fields:
            values = request.energies[request.plane] if energy is None else energy
        elif layout.planes and self.path.by_planes:
            plane = where.start // layout.plane_size
            self._list("energy", "eV").put_constant(plane, self._points("energy")[plane])
            return
        else:
            values = self._points("energy")[self.step(self._flat(first, number), layout.fields["energy"][1])]
        self._list("energy", "eV").put(where, values)

    def _as_taken(self, name: str) -> None:
        """The list of a detector's numbers in the order of the points."""
        grid = self._grid(name)
        size = math.prod(grid.shape)
        detector = group(self.entry.instrument, self._own(name), "NXdetector")
        shown = dataset(detector, "data")
        listed = shown is not None and not shown.is_virtual  # by a run that went another way
        if self.path.straight and size * grid.dtype.itemsize > LARGE and not listed:
            if shown is not None and shown.dtype != grid.dtype:
                del detector["data"]  # of fewer digits than what has come since
                shown = None
            if shown is None:
                # The same numbers in the same order, so they are stored once: a virtual dataset shows them as a list.
                seen = h5py.VirtualLayout((size,), grid.dtype)
                seen[:] = h5py.VirtualSource(".", grid.dataset.name, shape=grid.shape)
                detector.create_virtual_dataset("data", seen, fillvalue=np.nan)
            return
        plane = self.entry.layout.plane_size
        for first, number in self._parts():
            flat = self._flat(first, number)
            values = np.empty(number, grid.dtype)
            for index in np.unique(flat // plane):
                mine = flat // plane == index
                values[mine] = grid.plane(int(index))[flat[mine] % plane]
            self._taken(name, grid.dtype).put(slice(self.path.base + first, self.path.base + first + number), values)

    def learn(self, name: str, step: int, value: float) -> None:
        """Take a position of an axis whose set points no start document has told, or not as they were."""
        data, learned = self.entry.plot, self._learned.setdefault(name, set())
        if data is None or step in learned:
            return
        axis = existing(data, name)
        if self.entry.layout.grows:
            if step >= axis.shape[0]:
                axis.resize((step + 1,))
        else:
            learned.add(step)
        axis[step] = value

    def _finish_growing(self) -> None:
        """The lists of a scan whose number of points is known only now."""
        data = self.entry.plot
        if data is None:
            return
        number = self._grid(next(iter(self._detectors))).shape[0]
        for name, (axis, _) in self.entry.layout.fields.items():
            points = existing(data, name)
            points.resize((number,))
            if axis.device in ("", "point"):
                points[...] = np.arange(1.0, number + 1)
        for name in self._detectors:
            if name not in self._frames:
                detector = group(self.entry.instrument, self._own(name), "NXdetector")
                stored = self._grid(name).dataset
                put(detector, "data", stored[()], units=stored.attrs["units"])
        if "energy" not in self._seen:
            known = self.entry.energy
            energy = self.entry.request.energies[0] if known is None else known
            monochromator = group(self.entry.instrument, "monochromator", "NXmonochromator")
            put(monochromator, "energy", np.full(number, energy), units="eV")

    def _parts(self) -> Iterator[tuple[int, int]]:
        """The planes that the run has reached, by their first point of the run and their number of points."""
        plane = self.entry.layout.plane_size
        for first in range(0, max(self.reached, 1), plane):
            yield first, min(plane, self.path.size - first)

    def _flat(self, first: int, number: int) -> np.ndarray:
        where = self.path.at(first, number)
        return np.arange(where.start, where.stop) if isinstance(where, slice) else where

    def step(self, flat: Any, dimension: int) -> Any:
        """The index along a dimension of the flat indices of points."""
        shape = self.entry.layout.shape
        return flat // math.prod(shape[dimension + 1 :]) % shape[dimension]

    def _list(self, name: str, units: str | None) -> Block:
        """The positions of an axis, or the energies, as they were read."""
        if name == "energy":
            path = "instrument/monochromator/energy"
            return self._arrays.block(path, "NXmonochromator", self.entry.layout, _FLOAT, units, flat=True)
        path, fields = f"instrument/{name}/data", self.entry.layout.fields
        original = fields[name][0].original if name in fields else None
        if original and not self._arrays.has(path):
            put(group(self.entry.instrument, name, "NXdetector"), "local_name", original)
        return self._listing(path, units)
