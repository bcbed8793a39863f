"""The base of maps of numbers that each point of a scan has: areas of lines, intensities of regions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from bluesky_ext.callbacks.scan import Scan, ScanPoints
from bluesky_ext.callbacks.tree import entry, nxdata
from bluesky_ext.engine import DerivedRun, Reduce
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.positions import Layout, PointColumns, Regridded, regrid

#: What maps are called in the groups of a tree, and the numbers of points in a dataset.
VALUES, SEQ_NUM = "values", "seq_num"


@dataclass
class Points:
    """The numbers of the points of a run so far, and where these were.

    Attributes
    ----------
    names : dict of lists
        The names of the numbers by the group that they are in; known from the first descriptor of the stream on.
    """

    start: Mapping[str, Any]
    scan: ScanPoints
    names: dict[str, list[str]] = field(default_factory=dict)
    columns: PointColumns = field(default_factory=lambda: PointColumns(0))
    regridded: tuple[Layout | None, Regridded | None] = (None, None)

    def begin(self, names: Mapping[str, Sequence[str]]) -> None:
        """Learn what is known of a point, once: the names of numbers by group."""
        if not self.names:
            self.names = {group: list(some) for group, some in names.items() if len(some)}
            self.columns = PointColumns(sum(map(len, self.names.values())))

    @property
    def all_names(self) -> list[str]:
        """The names of all groups."""
        return list(dict.fromkeys(name for some in self.names.values() for name in some))

    def values(self) -> dict[str, np.ndarray]:
        """The numbers of the points of the layout, in the order of their frames: (names, n) float64 by group."""
        values, layout = self.columns.values, self.scan.layout()
        if values.shape[1] != len(layout.frames):  # points of which nobody knows where they were are on no map
            values = values[:, np.isin(self.columns.frames, layout.frames)]
        ends = np.cumsum([0, *map(len, self.names.values())]).tolist()
        return {group: values[first:last] for group, (first, last) in zip(self.names, pairwise(ends), strict=True)}

    def regrid(self) -> Regridded | None:
        """A grid over the points, if they are scattered and two motors moved them."""
        layout = self.scan.layout()
        if self.regridded[0] is not layout:
            positions = [*self.scan.positions().values()]
            self.regridded = layout, None if layout.is_grid or len(positions) != 2 else regrid(*positions)
        return self.regridded[1]


class PointMap(Reduce):
    """The base of reduces that keep some numbers for each event and lay them on the scan.

    A subclass says which numbers there are (`names_of`) and which those of an event are (`numbers_of`). It publishes
    ``map/<group>/<name>``, each an NXdata with ``x``, ``y`` and ``values`` in the order of the frames, and
    ``grid/<group>/<name>``, the same on the grid of the scan; scattered points are seen on a grid in ``regridded``. At
    the stop an event is emitted for each name with its map of each group, and where the motors were.

    Parameters
    ----------
    scan : Scan
        What the user says of scans.
    stream_name : str
        The stream whose events are the points.
    **stage
        As for `bluesky_ext.engine.Reduce`.
    """

    #: What the names are names of: the axis of datasets.
    dim = "name"

    def __init__(self, scan: Scan, *, stream_name: str, **stage: Any) -> None:
        self._scan, self._stream_name = scan, stream_name
        super().__init__(**stage)

    @abstractmethod
    def names_of(self, descriptor: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """The names of the numbers of each point by group, from a descriptor of the stream; empty if it has none."""

    @abstractmethod
    def numbers_of(self, state: Any, data: Mapping[str, Any]) -> Sequence[float] | np.ndarray:
        """The numbers of an event, as many as there are names, group after group."""

    def more(self, state: Any) -> dict[str, Any]:
        """Groups of the tree that are no maps."""
        return {}

    @property
    def dataset(self) -> xr.Dataset:
        """The maps of the run that started last, as far as it is: a variable a group, along the names and the scan.

        Beside them ``seq_num``, the number of the event of each point, NaN where there is none.
        """
        with self._open_runs.lock:
            state: Points = self.latest or self.begin({"uid": ""})
            layout = state.scan.layout().clear_of({*state.names, self.dim})
            variables: dict[str, Any] = {}
            for group, maps in _by_name(state, layout).items():
                variables[group] = ((self.dim, *layout.dims), np.stack([*maps.values()]))
            if layout.is_grid:  # scattered points have it as a coordinate
                variables[SEQ_NUM] = (layout.dims, layout.placed(layout.frames))
            uid = state.start.get("original_run_uid", state.start["uid"])
            about = {"original_run_uid": uid, "scan_id": state.start.get("scan_id", -1)}
            return xr.Dataset(variables, {self.dim: state.all_names, **layout.coordinates()}, about)

    def begin(self, start: Mapping[str, Any]) -> Points:
        """No points yet."""
        return Points(start, ScanPoints(self._scan, start))

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Learn what the numbers are called, and which readings are those of the motors."""
        if stream.name == self._stream_name and (names := self.names_of(stream.descriptor)):
            run.state.begin(names)
            run.state.scan.describe(stream.descriptor)

    def reduce(self, state: Any, stream: str, event: Mapping[str, Any]) -> bool:
        """Take the numbers of a point."""
        if stream != self._stream_name or not state.names:
            return False
        state.columns.put(event["seq_num"], self.numbers_of(state, event["data"]))
        state.scan.note(event["seq_num"], event["data"])
        return True

    def tree(self, state: Any) -> dict[str, Any]:
        """The maps so far: of points, and on a grid."""
        groups: dict[str, Any] = {}
        if len(state.columns):
            values = state.values()
            groups = {"map": _points(state, values), **_grid(state, values)}
        default = next((name for name in ("grid", "regridded", "map") if name in groups), "")
        return entry(state.start, default, **groups, **self.more(state))

    def finish(self, state: Any, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, an event a name, and where the motors were."""
        if not len(state.columns):
            return
        maps = _by_name(state, state.scan.layout())
        for name in state.all_names:
            derived.event("primary", None, {self.dim: name, **{group: some[name] for group, some in maps.items()}})
        state.scan.emit(derived)
        state.scan.report(self._log, self.name)


def _by_name(state: Points, layout: Layout) -> dict[str, dict[str, np.ndarray]]:
    """The map of each name in each group; of NaN where a group has no such name."""
    missing = np.full(layout.shape, np.nan)
    maps = {}
    for group, columns in state.values().items():
        known = dict(zip(state.names[group], layout.placed_columns(columns), strict=True))
        maps[group] = {name: known.get(name, missing) for name in state.all_names}
    return maps


def _points(state: Points, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The numbers of each point, and where it was; without motors x is the number of the frame."""
    layout, positions = state.scan.layout(), state.scan.positions()
    axes: dict[str, Any] = {"x": layout.frames.astype(float), "y": np.zeros(len(layout.frames)), SEQ_NUM: layout.frames}
    for axis, motor in zip(("x", "y"), [*positions][::-1], strict=False):
        axes[axis] = positions[motor]
        axes[f"{axis}_attrs"] = {"long_name": motor, **_units(layout, motor)}
    return _groups(state, values, ["x", "y"], axes)


def _grid(state: Points, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The maps on the grid of the scan, or on one over its points; nothing if there is neither."""
    layout = state.scan.layout().clear_of({VALUES})
    if layout.is_grid:
        kind, maps = "grid", {group: layout.placed_columns(columns) for group, columns in values.items()}
        known = {name: positions for name, (_, positions) in layout.coords.items()}
        axes = {name: known.get(name, np.arange(n)) for name, n in zip(layout.dims, layout.shape, strict=True)}
        more = {SEQ_NUM: layout.placed(layout.frames)}
    elif (seen := state.regrid()) is not None:
        kind, maps = "regridded", {group: seen.placed(columns) for group, columns in values.items()}
        motors = [name for name, (_, positions) in layout.coords.items() if positions.dtype.kind == "f"]
        axes, more = dict(zip(motors, (seen.y, seen.x), strict=True)), {}
    else:
        return {}
    about = {f"{name}_attrs": _units(layout, name) for name in axes if name in layout.units}
    return {kind: _groups(state, maps, [*axes], {**axes, **about, **more})}


def _groups(state: Points, maps: Mapping[str, np.ndarray], axes: list[str], arrays: Mapping[str, Any]) -> dict:
    """An NXdata for each map, by group; the first one is plotted unless another is chosen."""
    groups = {}
    for group, some in maps.items():
        named = zip(state.names[group], some, strict=True)
        groups[group] = _collection({name: nxdata(VALUES, axes, {**arrays, VALUES: one}) for name, one in named})
    return _collection(groups)


def _collection(groups: Mapping[str, Any]) -> dict[str, Any]:
    return {"_attrs": {"NX_class": "NXcollection", "default": next(iter(groups), "")}, **groups}


def _units(layout: Layout, motor: str) -> dict[str, str]:
    return {"units": layout.units[motor]} if motor in layout.units else {}
