"""The numbers of an entry: NXdata on the grid of the scan, NXdetector and NXmonochromator as they were taken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.block import LARGE, Block, create
from suitcase_nxstxm.entry import Entry
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.layout import way
from suitcase_nxstxm.nexus import dataset, existing, group, legal, put
from suitcase_nxstxm.placement import Path
from suitcase_nxstxm.readings import Readings

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
    """

    def __init__(self, entry: Entry, path: Path) -> None:
        self.entry = entry
        self.path = path
        self.reached = 0
        self._blocks: dict[str, Block] = {}
        self._frames: dict[str, h5py.Dataset] = {}
        self._seen: set[str] = set()
        self._detectors: dict[str, Block] = {}
        self._listed: set[str] = set()
        self._learned: dict[str, set[int]] = {}
        self._aside: dict[str, Readings] = {}
        self._dwells: dict[int, float] = {}

    @property
    def completed(self) -> int:
        """How many planes have become full so far."""
        return sum(block.completed for block in self._detectors.values())

    def flush(self) -> None:
        """Write what isn't written yet."""
        for name in self._detectors:
            self._detectors[name] = self._current(name)
        for block in (*self._detectors.values(), *self._blocks.values()):
            block.flush()
        for readings in self._aside.values():
            readings.flush()

    def declare(self, name: str, info: Mapping[str, Any], dtype: np.dtype = _FLOAT) -> None:
        """Make the NXdata and the NXdetector of a detector, if they aren't there."""
        if name in self._detectors:
            return
        data = group(self.entry.group, legal(name), "NXdata")
        detector = group(self.entry.instrument, legal(name), "NXdetector")
        if "local_name" not in detector:
            put(detector, "local_name", name)
        self._detectors[name] = self._block(data, dtype, info.get("units"))
        if legal(name) != name:
            # At the numbers: an NXdata or an NXdetector with such an attribute isn't valid.
            self._detectors[name].dataset.attrs["name"] = name
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
        self.declare(name, info, values.dtype)
        self._detectors[name] = _wide_enough(self._current(name), values.dtype)
        self._detectors[name].put(where, values)
        if taken is not None:
            listed = _wide_enough(self._taken(name), values.dtype)
            self._blocks[f"instrument/{legal(name)}/data"] = listed
            listed.put(taken, values)
            self._listed.add(name)

    def _current(self, name: str) -> Block:
        """The block of a detector: a new one if another run has put one of more digits in its place."""
        block = self._detectors[name]
        if block.dataset.name is not None:
            return block
        found = Block(existing(group(self.entry.group, legal(name), "NXdata"), "data"), block.plane_size)
        if block.number is not None:
            plane = block.plane(block.number)
            (measured,) = np.nonzero(~np.isnan(plane))
            if measured.size:
                found.put(measured + block.number * block.plane_size, plane[measured])
        return found

    def aside(self, stream: str, info: Mapping[str, Any], key: str, row: int, value: object) -> None:
        """Put to the collection what is read once for many points, and so has no place on the grid."""
        if key not in self._aside:
            descriptor = {"data_keys": {key: info}}
            devices = self.entry.request.devices
            self._aside[key] = Readings(self.entry.collection, stream, descriptor, [key], devices)
        self._aside[key].put(row, {key: value})

    def dwell(self, name: str, where: slice | np.ndarray, taken: slice, seconds: float, default: bool) -> None:
        """Put the time that a detector counted at each point to the list of those; and note that of the default one."""
        layout = self.entry.layout
        if not layout.grows:
            path = f"instrument/{legal(name)}/count_time"
            if path not in self._blocks:
                detector = group(self.entry.instrument, legal(name), "NXdetector")
                self._blocks[path] = self._block(detector, _FLOAT, "s", name="count_time", flat=True)
            self._blocks[path].put(taken, seconds)
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
        if "control/data" not in self._blocks:
            control = group(self.entry.group, "control", "NXmonitor")
            self._blocks["control/data"] = self._block(control, _FLOAT, info.get("units"))
        self._blocks["control/data"].put(where, np.asarray(value, _FLOAT))

    def readback(self, name: str, units: str | None, where: slice, value: float | np.ndarray) -> None:
        """Put a position, or the energy, that was read to the list of those, which is in the order of the points."""
        self._list(name, units).put(where, value)
        self._seen.add(name)

    def frame(self, name: str, info: Mapping[str, Any], index: int, values: np.ndarray) -> None:
        """Put what an area detector or a spectrometer has for one point: the data of its NXdetector."""
        frames = self._frames.get(name)
        if frames is None:
            detector = group(self.entry.instrument, legal(name), "NXdetector")
            frames = dataset(detector, "data")
            if frames is None:
                size = self.entry.layout.size or None
                large = (size or 1) * values.nbytes > LARGE
                frames = detector.create_dataset(
                    "data",
                    (0, *values.shape),
                    values.dtype,
                    maxshape=(size, *values.shape),
                    chunks=(1, *values.shape),
                    fillvalue=np.nan if values.dtype.kind == "f" else None,
                    **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}),
                )
                frames.attrs["units"] = info.get("units") or ""
            self._frames[name] = frames
        if frames.shape[1:] != values.shape:
            raise MisfitError(f"a frame of {name!r} has shape {values.shape}, the ones before have {frames.shape[1:]}")
        if index >= frames.shape[0]:
            frames.resize(index + 1, axis=0)
        frames[index] = values

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
        detector, grid = group(self.entry.instrument, legal(name), "NXdetector"), self._detectors[name]
        size, dtype = grid.dataset.size, grid.dataset.dtype
        if self.path.straight and size * dtype.itemsize > LARGE:
            if "data" not in detector:
                # The same numbers in the same order, so they are stored once: a virtual dataset shows them as a list.
                seen = h5py.VirtualLayout((size,), dtype)
                seen[:] = h5py.VirtualSource(".", grid.dataset.name, shape=grid.dataset.shape)
                detector.create_virtual_dataset("data", seen, fillvalue=np.nan)
            return
        plane = self.entry.layout.plane_size
        for first, number in self._parts():
            flat = self._flat(first, number)
            values = np.empty(number, dtype)
            for index in np.unique(flat // plane):
                mine = flat // plane == index
                values[mine] = grid.plane(int(index))[flat[mine] % plane]
            self._taken(name).put(slice(self.path.base + first, self.path.base + first + number), values)

    def _taken(self, name: str) -> Block:
        path = f"instrument/{legal(name)}/data"
        if path not in self._blocks:
            grid = self._detectors[name].dataset
            detector = group(self.entry.instrument, legal(name), "NXdetector")
            self._blocks[path] = self._block(detector, grid.dtype, grid.attrs.get("units"), flat=True)
        return self._blocks[path]

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
        number = self._detectors[next(iter(self._detectors))].dataset.shape[0]
        for name, (axis, _) in self.entry.layout.fields.items():
            points = existing(data, name)
            points.resize((number,))
            if axis.device in ("", "point"):
                points[...] = np.arange(1.0, number + 1)
        for name, block in self._detectors.items():
            if name not in self._frames:
                detector = group(self.entry.instrument, legal(name), "NXdetector")
                put(detector, "data", block.dataset[()], units=block.dataset.attrs["units"])
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
        path = f"instrument/{name}/{'energy' if name == 'energy' else 'data'}"
        if path not in self._blocks:
            if name == "energy":
                parent = group(self.entry.instrument, "monochromator", "NXmonochromator")
            else:
                parent = group(self.entry.instrument, name, "NXdetector")
                original = self.entry.layout.fields[name][0].original if name in self.entry.layout.fields else None
                if original:
                    put(parent, "local_name", original)
            self._blocks[path] = self._block(parent, _FLOAT, units, name=path.rpartition("/")[2], flat=True)
        return self._blocks[path]

    def _block(
        self, parent: h5py.Group, dtype: np.dtype, units: str | None, *, name: str = "data", flat: bool = False
    ) -> Block:
        layout = self.entry.layout
        shape = (layout.size,) if flat else layout.shape
        there = dataset(parent, name)
        if there is None:
            made = create(parent, name, shape, layout.plane_size, dtype, layout.grows)
            made.attrs["units"] = units or ""  # which NeXus wants, and which says that there is none
        elif not layout.grows and there.shape != shape:
            raise MisfitError(
                f"{there.name} has shape {there.shape} in the file, and run {self.entry.request.run} is for {shape}: "
                "set the unfinished file aside"
            )
        else:
            made = there
        return Block(made, layout.plane_size)


def _wide_enough(block: Block, dtype: np.dtype) -> Block:
    """The block, or, if its numbers have less digits than those that come now, one of more digits in its place."""
    old = block.dataset
    if np.can_cast(dtype, old.dtype):
        return block
    block.flush()
    path, _, name = str(old.name).rpartition("/")
    parent, grows = old.file[path], None in (old.maxshape or ())
    if not isinstance(parent, h5py.Group) or old.size is None:
        raise TypeError(f"{old.name} is in no group, or without a shape")
    made = create(parent, f"{name}_wide", old.shape, block.plane_size, dtype, grows)
    made.attrs.update(old.attrs)
    wide = Block(made, block.plane_size)
    for number in range(-(-old.size // block.plane_size)):
        plane = block.plane(number)[: old.size - number * block.plane_size]
        if not np.isnan(plane).all():
            first = number * block.plane_size
            wide.put(slice(first, first + plane.size), plane)
    wide.flush()
    wide.completed = block.completed
    del parent[name]
    parent.move(f"{name}_wide", name)
    return wide
