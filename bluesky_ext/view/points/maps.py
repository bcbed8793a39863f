"""The maps in what is shown: signals along the motors of a scan, each slice of a stack of them for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bluesky_ext.positions.layout import POINT, SEQ_NUM
from bluesky_ext.view.arrays import narrow
from bluesky_ext.view.points.cells import seq_nums_on
from bluesky_ext.view.points.scan_record import ScanRecord
from bluesky_ext.view.snapshot import Dataset, Group, Node, Snapshot, link_of
from bluesky_ext.view.values import text_of

#: So many maps are listed.
MOST_MAPS = 10_000
#: Names of signals that say nothing beside the name of their group.
_PLAIN = {"values", "data", "maps", "map", "signal"}
#: What the groups of built-in maps hold.
_WORDS = {"massfractions": "mass fraction", "parameters": "area", "uncertainties": "uncertainty of the area"}


@dataclass(frozen=True)
class ShownMap:
    """One map: where its values are, and what they lie along."""

    id: str
    label: str
    #: Where it is, and which slice of the stack there it is.
    path: str
    index: tuple[int, ...]
    #: (ny, nx) or (n,), and their unit.
    values: np.ndarray
    unit: str
    kind: Literal["grid", "line", "points"]
    #: Name, unit and positions of each axis, the slowest first; of points x is the last.
    axes: tuple[tuple[str, str, np.ndarray], ...]
    #: The numbers of its points, as they are published, if they are.
    seq_nums: np.ndarray | None = None

    @property
    def kept(self) -> ShownMap:
        """The same with values of its own, which take no more memory than they need."""
        numbers = None if self.seq_nums is None else np.nan_to_num(self.seq_nums, nan=-1).astype("<i4")
        return replace(self, values=narrow(self.values).copy(), seq_nums=numbers)

    def told(self, default: str | None, stage: str) -> dict[str, Any]:
        """What a list of maps says of it."""
        return {
            "id": self.id,
            "label": self.label,
            "path": self.path,
            "index": list(self.index) or None,
            "kind": self.kind,
            "shape": list(self.values.shape),
            "axes": [{"name": name, "unit": unit} for name, unit, _ in self.axes],
            "unit": self.unit,
            "stage": stage,
            "default": default == self.id,
        }

    def arrays(self, scan: ScanRecord | None) -> dict[str, np.ndarray]:
        """Its values, the positions along its axes, and the numbers of its points."""
        found = {"values": narrow(self.values)}
        for name, (_, _, along) in zip(("y", "x")[2 - len(self.axes) :], self.axes, strict=True):
            found[name] = along.astype("<f8")
        if self.seq_nums is not None:
            found["seq_num"] = np.nan_to_num(self.seq_nums, nan=-1).astype("<i4")
        elif scan is not None and len(self.axes) == self.values.ndim:
            seq_nums, positions = scan.positions()
            named = {**positions, **{key: positions[motor] for motor, key in scan.motors.items() if motor in positions}}
            named |= {f"motor_{name}": column for name, column in named.items()}
            axes = [(name, along) for name, _, along in self.axes]
            found["seq_num"] = seq_nums_on(axes, seq_nums, named, scan.planned)
        else:
            found["seq_num"] = np.full(self.values.shape, -1, "<i4")
        return found


def maps_of(snapshot: Snapshot, scan: ScanRecord | None) -> Iterator[ShownMap]:
    """All maps of a snapshot, in the order in which they are shown."""
    motors = () if scan is None else {*scan.motors, *scan.motors.values()}
    names = {*motors, *(f"motor_{name}" for name in motors)}
    shape = None if scan is None or scan.planned is None else tuple(scan.planned.shape)
    names |= {f"dim_{axis}" for axis in range(len(shape or ()))}
    for group in list(snapshot.paths.values()):
        if isinstance(group, Group) and _text(group, "NX_class") == "NXdata":
            signal = group.children.get(link_of(_text(group, "signal")))
            if isinstance(signal, Dataset) and signal.is_known and _is_numeric(signal.array):
                yield from _in_group(snapshot, group, signal, names, shape)


def _in_group(
    snapshot: Snapshot, group: Group, signal: Dataset, motors: set[str], planned: tuple[int, ...] | None
) -> Iterator[ShownMap]:
    array: Any = signal.array
    axes = _texts(group, "axes")
    if array.ndim == 1 and axes == ["x", "y"]:  # of points, with a position each
        is_twice = "/map/" in group.path and group.path.replace("/map/", "/grid/", 1) in snapshot.paths
        if not is_twice:
            yield from _scattered(snapshot, group, signal, ("y", "x"), ())
        return
    if len(axes) != array.ndim:
        axes = ["."] * array.ndim
    n_motors = 0
    while n_motors < min(2, array.ndim) and axes[-1 - n_motors] in motors:
        n_motors += 1
    if axes[-1] == POINT:
        along = [name for name in group.children if name in motors and _length_of(group, name) == array.shape[-1]]
        yield from _scattered(snapshot, group, signal, along[-2:], tuple(axes[:-1]))
        return
    if not n_motors and planned is not None and array.shape[-len(planned) :] == planned and len(planned) < 3:
        n_motors = len(planned)
    if not n_motors or array.ndim - n_motors > 1:
        return
    scan_axes = tuple(_axis(group, axes[at], array.shape[at]) for at in range(array.ndim - n_motors, array.ndim))
    kind = "grid" if n_motors == 2 else "line"
    seq_nums = group.children.get(SEQ_NUM)
    numbers = seq_nums.array if isinstance(seq_nums, Dataset) else None
    if numbers is not None and numbers.shape != array.shape[-n_motors:]:
        numbers = None
    for index, id_, label in _slices(snapshot, group, signal, tuple(axes[: array.ndim - n_motors])):
        yield ShownMap(id_, label, signal.path, index, array[index], _text(signal, "units"), kind, scan_axes, numbers)


def _scattered(
    snapshot: Snapshot, group: Group, signal: Dataset, axes: Sequence[str], stack: Sequence[str]
) -> Iterator[ShownMap]:
    n = 0 if signal.array is None else signal.array.shape[-1]
    along = tuple(_axis(group, name, n) for name in axes if _length_of(group, name) == n)
    seq_nums = group.children.get(SEQ_NUM)
    numbers = seq_nums.array if isinstance(seq_nums, Dataset) and _length_of(group, SEQ_NUM) == n else None
    if not along:  # nobody knows where they were
        along = ((SEQ_NUM, "", np.arange(1.0, n + 1) if numbers is None else numbers.astype(float)),)
    kind = "points" if len(along) == 2 else "line"
    for index, id_, label in _slices(snapshot, group, signal, stack):
        values: Any = signal.array
        unit = _text(signal, "units")
        yield ShownMap(id_, label, signal.path, index, values[index], unit, kind, along, numbers)


def _slices(
    snapshot: Snapshot, group: Group, signal: Dataset, stack: Sequence[str]
) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """The index, the id and the label of each map of a stack; of a single one the index is empty."""
    name = group.path.rpartition("/")[2]
    signal_name = signal.path.rpartition("/")[2]
    label = _text(signal, "long_name") or (name if signal_name in _PLAIN else signal_name)
    if not stack:
        above = group.path.rpartition("/")[0]
        is_one_of_several = above in snapshot.paths and _text(snapshot.paths[above], "NX_class") == "NXcollection"
        group_name = above.rpartition("/")[2]
        yield (), signal.path, f"{label}, {_WORDS.get(group_name, group_name)}" if is_one_of_several else label
        return
    n = 0 if signal.array is None or len(stack) > 1 else len(signal.array)
    beside: dict[str, np.ndarray] = {}
    for key, one in group.children.items():
        array = one.array if isinstance(one, Dataset) and one.is_known else None
        if array is not None and array.shape == (n,):
            beside[key] = array
    particles, coordinates = beside.get("particle"), beside.get(stack[0], np.arange(n))
    for at in range(n):
        if particles is not None:  # its number stays, when another one becomes brighter
            yield (at,), f"{signal.path}[particle={particles[at]}]", f"peak {particles[at]}{_where(beside, at)}"
        else:
            named = f"{stack[0]} {text_of(coordinates[at])}" if stack[0] != "." else f"{label} {at}"
            yield (at,), f"{signal.path}[{at}]", f"{named}{_where(beside, at)}"


def _where(beside: Mapping[str, np.ndarray], at: int) -> str:
    """What tells a peak from others: its spacing, or else where it is on the image."""
    if "d" in beside and np.isfinite(beside["d"][at]):
        return f", d {beside['d'][at]:.4g} Å"
    if {"y", "x"} <= beside.keys():
        return f", at ({beside['y'][at]:.0f}, {beside['x'][at]:.0f})"
    return ""


def _axis(group: Group, name: str, n: int) -> tuple[str, str, np.ndarray]:
    """Name, unit and positions of an axis; the numbers of its pixels where nothing is said."""
    node = group.children.get(link_of(name))
    array = node.array if isinstance(node, Dataset) else None
    if node is None or array is None or array.shape != (n,) or array.dtype.kind not in "iuf":
        return ("" if name == "." else name), "", np.arange(n, dtype=float)
    return _text(node, "long_name") or name, _text(node, "units"), array.astype(float)


def _length_of(group: Group, name: str) -> int | None:
    node = group.children.get(link_of(name))
    array = node.array if isinstance(node, Dataset) else None
    return None if array is None or array.ndim != 1 or array.dtype.kind not in "iuf" else len(array)


def _is_numeric(array: np.ndarray | None) -> bool:
    return array is not None and array.ndim > 0 and array.dtype.kind in "biuf"


def _text(node: Node, attribute: str) -> str:
    array = node.attributes.get(attribute)
    return text_of(array.item()) if array is not None and array.ndim == 0 else ""


def _texts(node: Node, attribute: str) -> list[str]:
    array = node.attributes.get(attribute)
    return [] if array is None else [text_of(one) for one in np.atleast_1d(array).tolist()]
