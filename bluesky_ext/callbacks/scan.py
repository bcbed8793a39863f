"""The points of a scan as its events come: where the motors were."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from bluesky_ext.engine import DerivedRun
from bluesky_ext.engine.documents.open_runs import OpenRun
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.positions import Layout, Planned, lay_out, motors_of, planned_by, setpoint_of

#: A plan counts while it has so many points at most, or so many for each that was measured.
FEW_POINTS, SPARSE = 250_000, 100


@dataclass(frozen=True)
class Scan:
    """What the user says of scans, slowest axis first; it goes before what their documents say.

    Parameters
    ----------
    motors : sequence of str, optional
        The motors whose positions are the axes of maps, or readings of theirs.
    positions : {"readback", "setpoint"}
        Whether a point is where a motor was, or where it was sent, if there is a reading of that.
    shape, extents, snaking : sequences, optional
        The grid that was planned: numbers of points, first and last positions, and whether an axis is run through in
        both directions. It is where points lie whose events have no positions, and helps to recognise noisy ones.
    """

    motors: Sequence[str] | None = None
    positions: Literal["readback", "setpoint"] = "readback"
    shape: Sequence[int] | None = None
    extents: Sequence[Sequence[float]] | None = None
    snaking: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        if self.motors is not None and (isinstance(self.motors, str) or not _are_names(self.motors)):
            example = getattr(self.motors, "name", self.motors if isinstance(self.motors, str) else "sample_y")
            raise TypeError(f"motors={self.motors!r}: give a sequence of different names, as in ({example!r},)")
        if self.positions not in ("readback", "setpoint"):
            raise ValueError(f"positions={self.positions!r} must be 'readback' or 'setpoint'")
        given = {"shape": self.shape, "extents": self.extents, "snaking": self.snaking}
        given = {name: said for name, said in given.items() if said is not None}
        for name, said in given.items():
            if not np.ndim(said):
                raise ValueError(f"{name}={said!r}: give a sequence, one item for each axis of the scan")
        if given:  # a grid that does not fit together is refused now, not at the stop
            shape = [1] * len(next(iter(given.values()))) if self.shape is None else self.shape
            Planned(shape, self.extents, self.snaking)

    def as_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        return asdict(self)


def _are_names(motors: Any) -> bool:
    try:
        names = list(motors)
    except TypeError:
        return False
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


class ScanPoints:
    """The points of one run: the readings of its motors by seq_num, and the layout of maps that follows from them.

    Parameters
    ----------
    scan : Scan
        What the user says.
    start : dict
        The start document of the run, or of one derived from it.
    """

    def __init__(self, scan: Scan, start: Mapping[str, Any]) -> None:
        self._scan, self._start = scan, start
        told = motors_of(start)
        self._motors = told if scan.motors is None else list(scan.motors)
        self._wrong = ""
        try:
            self._planned = planned_by(start, scan.shape, scan.extents, scan.snaking)
            if scan.shape is None and self._motors != told:
                self._planned = None  # what is told is of other axes, or of another order
        except (ValueError, TypeError) as error:
            self._planned = None
            self._wrong = f"what is said of its grid makes no sense ({error}): give shape=, extents= and snaking="
        self._keys: dict[str, str] = {}  # of the readings, by motor
        self._setpoints: dict[str, str] = {}
        self._units: dict[str, str] = {}
        self._read: Any = None
        self._rows: dict[int, int] = {}
        self._table = np.empty((0, 0))
        self._layout: Layout | None = None

    def describe(self, descriptor: Mapping[str, Any]) -> None:
        """Find the readings of the motors in the descriptor of the stream that has them."""
        if self._read is not None:
            return
        data_keys = descriptor["data_keys"]
        numbers = {
            key
            for key, about in data_keys.items()
            if about["dtype"] in ("number", "integer") and math.prod(about["shape"]) == 1
        }
        objects, missing = descriptor.get("object_keys", {}), []
        for motor in self._motors:  # a device, or a reading of one
            device = motor if motor in objects else next((name for name in objects if motor in objects[name]), motor)
            fields = descriptor.get("hints", {}).get(device, {}).get("fields", ())
            keys = [key for key in (*fields, *objects.get(device, ())) if key in numbers]
            sent = setpoint_of(device, keys) or next((key for key in keys if key.endswith("setpoint")), None)
            if motor in numbers and motor != device and self._scan.motors is not None:
                read = motor  # the user names a reading, whatever it is
            elif self._scan.positions == "setpoint" and sent is not None:
                read = sent
            else:
                read = next(iter(key for key in (motor, *keys) if key in numbers and key != sent), sent)
            if read is None:
                missing.append(motor)
                continue
            self._keys[motor] = read
            if sent is not None and sent != read:
                self._setpoints[motor] = sent
            if unit := data_keys[read].get("units"):
                self._units[motor] = str(unit)
        if missing and (self._keys or self._scan.motors is not None):
            self._wrong = f"its events have no reading of {missing}, only {sorted(numbers)}: give motors= of these"
        wanted = [*self._keys.values(), *self._setpoints.values()]
        self._table = np.full((len(self._rows), len(wanted)), np.nan)
        self._read = itemgetter(*wanted) if wanted else None

    @property
    def readings(self) -> Mapping[str, str]:
        """The reading of each motor that has one, the slowest first; known once the stream was described."""
        return self._keys

    @property
    def units(self) -> Mapping[str, str]:
        """The unit of each motor that has one."""
        return self._units

    @property
    def planned(self) -> Planned | None:
        """The grid that was planned, if that is said and makes sense."""
        return self._planned

    def note(self, seq_num: int, data: Mapping[str, Any]) -> None:
        """Take the positions of an event, for the first time or again."""
        row = self._rows.setdefault(seq_num, len(self._rows))
        if self._read is not None:
            if row >= len(self._table):
                larger = np.full((max(256, 2 * len(self._table)), self._table.shape[1]), np.nan)
                larger[: len(self._table)] = self._table
                self._table = larger
            try:
                self._table[row] = self._read(data)
            except (KeyError, TypeError, ValueError):  # an event without one of them, or with a word in its place
                self._table[row] = np.nan
        self._layout = None

    def layout(self, frames: np.ndarray | None = None) -> Layout:
        """Layout of the maps of the points so far; of these frames if no event told which there are."""
        if self._layout is None or (frames is not None and not self._rows):
            self._layout = self._lay_out(frames)
        return self._layout

    def positions(self) -> dict[str, np.ndarray]:
        """Where each motor was at the frames of the layout, (n,) float64 by motor, the slowest first.

        Without readings that is where the points were planned, and of scattered ones nothing.
        """
        layout = self.layout()
        if self._keys and self._rows:
            numbers = np.fromiter(self._rows, np.int64, len(self._rows))
            order = np.argsort(numbers, kind="stable")
            kept = order if len(order) == len(layout.frames) else order[np.isin(numbers[order], layout.frames)]
            return dict(zip(self._keys, self._table[kept].T[: len(self._keys)], strict=True))
        if not layout.is_grid:
            return {}
        cells = dict(zip(layout.dims, np.unravel_index(layout.cells, layout.shape), strict=True))
        return {name: positions[cells[dim]] for name, (dim, positions) in layout.coords.items()}

    def _lay_out(self, frames: np.ndarray | None) -> Layout:
        planned = self._planned
        n = max(len(self._rows), 0 if frames is None else len(frames))
        if planned is not None and planned.n_points > max(FEW_POINTS, SPARSE * n):
            planned = None  # maps of all that is planned would be empty, and fill the memory
        if not self._rows:
            frames = np.empty(0, np.int64) if frames is None else frames
            layout = lay_out(frames, {}, planned, names=self._motors)
        else:
            numbers = np.fromiter(self._rows, np.int64, len(self._rows))
            order = np.argsort(numbers, kind="stable")
            table = self._table[order].T if self._keys else ()
            readings = dict(zip(self._keys, table, strict=False))
            setpoints = dict(zip(self._setpoints, table[len(self._keys) :], strict=False))
            layout = lay_out(numbers[order], readings, planned, setpoints, names=self._motors)
        return replace(layout, units=self._units, warning=self._wrong or layout.warning)

    def emit(self, derived: DerivedRun) -> None:
        """Emit where the motors were along the axes of the maps, as one event of the stream ``positions``."""
        positions = {name: values for name, (_, values) in self.layout().coords.items()}
        if positions and len(self._rows):
            derived.event("positions", None, positions)

    def report(self, log: logging.Logger, name: str) -> None:
        """Say what is odd about the points, once they are all known."""
        layout = self.layout()
        run = OpenRun({**self._start, "uid": self._start.get("original_run_uid", self._start["uid"])})
        for sentence in filter(None, (layout.warning, layout.remark)):
            log.warning("%s: run %s: %s", name, run, printable(sentence))
