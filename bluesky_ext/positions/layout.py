"""The layout of the maps of a scan: which cell of an array each point has, and where the cells are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bluesky_ext.positions.grid import Grid, found_grid, planned_grid
from bluesky_ext.positions.planned import Planned

POINT = "point"
#: The coordinate that numbers scattered points.
SEQ_NUM = "seq_num"


@dataclass(frozen=True)
class Layout:
    """The arrays that maps of a scan have: on its grid, or along its points where these make no grid.

    Attributes
    ----------
    dims : tuple of str
        Of a grid, the motors, the slowest first; ``point`` otherwise.
    shape : tuple of int
        The lengths of the dims.
    coords : dict
        Positions by motor, each with the dim that it lies along: its own of a grid, and ``point`` otherwise.
    frames : (n,) int64
        The numbers of the frames, rising.
    cells : (n,) int64
        The cell of each frame in the flattened array.
    warning : str
        In what the readings differ from what was planned, as a sentence; empty if they agree.
    remark : str
        What else is worth knowing about the points; empty if there is nothing.
    units : dict
        The unit of each motor that has one.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: Mapping[str, tuple[str, np.ndarray]]
    frames: np.ndarray
    cells: np.ndarray
    warning: str = ""
    remark: str = ""
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_grid(self) -> bool:
        """Whether the points lie on a grid or a line, with an axis for each motor."""
        return self.dims != (POINT,)

    @property
    def n_cells(self) -> int:
        """The number of cells, measured or not."""
        return math.prod(self.shape)

    def cells_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A table of cells, and where the cell of each of these frames is in it; -1 for one that is in no cell."""
        highest = int(self.frames.max(initial=0))
        if highest <= 4 * (len(self.frames) + len(frames)):
            cells = np.full(highest + 1, -1, np.int64)
            cells[self.frames] = self.cells
            return cells, frames
        # No table of all numbers up to the highest, which may be anything.
        at = np.minimum(np.searchsorted(self.frames, frames), len(self.frames) - 1)
        return self.cells, np.where(self.frames[at] == frames, at, -1)

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Values of the frames, (n, ...), in their cells: (*shape, ...) float64, NaN where nothing was measured."""
        placed = np.full((self.n_cells, *values.shape[1:]), np.nan)
        placed[self.cells] = values
        return placed.reshape(*self.shape, *values.shape[1:])

    def placed_columns(self, columns: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Columns of the frames, (n,) each, in their cells: (n_columns, *shape) float64, else as `placed`."""
        placed = np.empty((len(columns), self.n_cells))
        if not len(self.cells):
            placed[:] = np.nan
        else:
            frame_of = np.full(self.n_cells, -1)
            frame_of[self.cells] = np.arange(len(self.cells))
            for column, out in zip(columns, placed, strict=True):
                np.take(column, frame_of, out=out, mode="wrap")  # four times as fast as to assign to cells
            np.copyto(placed, np.nan, where=frame_of < 0)
        return placed.reshape(len(columns), *self.shape)

    def coordinates(self) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
        """The coordinates as xarray takes them: dim, positions and attributes by name."""
        units = {name: {"units": unit} for name, unit in self.units.items()}
        return {name: (dim, positions, units.get(name, {})) for name, (dim, positions) in self.coords.items()}

    def clear_of(self, names: Collection[str]) -> Layout:
        """The layout without these names: a motor that has one of them is called ``motor_<name>``."""
        clash = {name: f"motor_{name}" for name in {*self.dims, *self.coords} & set(names)}
        if not clash:
            return self
        coords = {clash.get(name, name): (clash.get(dim, dim), at) for name, (dim, at) in self.coords.items()}
        units = {clash.get(name, name): unit for name, unit in self.units.items()}
        return replace(self, dims=tuple(clash.get(dim, dim) for dim in self.dims), coords=coords, units=units)


def lay_out(
    frames: np.ndarray,
    readings: Mapping[str, np.ndarray],
    planned: Planned | None = None,
    setpoints: Mapping[str, np.ndarray] | None = None,
    names: Sequence[str] = (),
) -> Layout:
    """Layout of the points of a scan, as far as it is: on a grid where the motors were on one, else as they came.

    Parameters
    ----------
    frames : (n,) int64
        The numbers of the frames in the scan, from 1, rising: those of the events.
    readings : dict of (n,) float64
        Where each motor was, the slowest first; NaN where that is not known. Without any, the points lie where they
        were planned.
    planned : Planned, optional
        What the start document says of the scan. The readings count where they say something else.
    setpoints : dict of (n,) float64, optional
        Where each motor was sent: they help to recognise a grid whose readings are noisy.
    names : sequence of str
        The motors of the scan, whether or not there are readings of them.

    Examples
    --------
    >>> y, x = np.array([0, 0, 1, 1]), np.array([5, 6, 6, 5])
    >>> layout = lay_out(np.arange(1, 5), {"y": y, "x": x})
    >>> layout.dims, layout.placed(np.array([10, 20, 30, 40])).tolist()
    (('y', 'x'), [[10.0, 20.0], [40.0, 30.0]])
    """
    frames = np.asarray(frames, np.int64)
    if not readings:
        return _as_planned(frames, planned, tuple(names))
    names = tuple(readings)
    columns = np.stack([np.asarray(values, float) for values in readings.values()], axis=1)
    known = np.isfinite(columns).all(axis=1)
    remark = ""
    if not known.any():
        return _as_planned(frames, planned, names)
    if not known.all():
        remark = f"{(~known).sum()} of {len(frames)} events have no reading of {' and '.join(names)}: maps lack them"
    sent = None
    if setpoints:
        sent = np.stack([np.asarray(setpoints.get(name, readings[name]), float) for name in names], axis=1)[known]
        sent = sent if np.isfinite(sent).all() else None
    n_lost = int(frames[-1]) - len(frames)
    frames, columns = frames[known], columns[known]
    grid = None if planned is None else planned_grid(columns, frames, planned)
    if grid is None:
        grid = found_grid(columns, n_lost, planned, sent)
    warning = "" if planned is None else _disagreement(names, columns, frames, planned, grid)
    if sent is not None:
        warning = warning or _stuck(names, columns, sent)
    if grid is None:
        remark = remark or _remark(names, columns)
        return _scattered(frames, dict(zip(names, columns.T, strict=True)), warning, remark)
    coords = {name: (name, positions) for name, positions in zip(names, grid.axes, strict=True)}
    shape = tuple(map(len, grid.axes))
    cells = np.ravel_multi_index(tuple(grid.cells.T), shape)
    return Layout(names, shape, coords, frames, np.asarray(cells, np.int64), warning, remark)


def _scattered(frames: np.ndarray, positions: Mapping[str, np.ndarray], warning: str = "", remark: str = "") -> Layout:
    coords = {SEQ_NUM: (POINT, frames)} | {name: (POINT, column) for name, column in positions.items()}
    return Layout((POINT,), (len(frames),), coords, frames, np.arange(len(frames)), warning, remark)


def _as_planned(frames: np.ndarray, planned: Planned | None, names: tuple[str, ...]) -> Layout:
    """Where the points should be, for a scan whose events have no readings of its motors."""
    why = f"no event has a reading of {' and '.join(names)}" if names and len(frames) else ""
    if planned is None:
        warning = why and f"{why}: the points are numbered; give motors= for others"
        is_silent = not names and len(frames) > 1
        remark = "the scan has no motors: its points are numbered; give motors= for readings of where they were"
        return _scattered(frames, {}, warning, remark if is_silent else "")
    if frames.max(initial=0) > planned.n_points:
        why = f"event {frames.max()} is not one of the {planned.n_points} of a scan of shape {planned.shape}"
        return _scattered(frames, {}, f"{why}: the points are numbered; give shape= for another")
    if len(names) != len(planned.shape):
        names = tuple(f"dim_{axis}" for axis in range(len(planned.shape)))
    coords = {}
    for axis, name in enumerate(names):
        positions = planned.positions(axis)
        if positions is not None:
            coords[name] = (name, positions)
    cells = np.ravel_multi_index(tuple(planned.cells(frames).T), planned.shape)
    shape = tuple(planned.shape)
    remark = why and f"{why}: the points are where they were planned"
    return Layout(names, shape, coords, frames, np.asarray(cells, np.int64), "", remark)


def _disagreement(
    names: tuple[str, ...], readings: np.ndarray, frames: np.ndarray, planned: Planned, grid: Grid | None
) -> str:
    """In what the readings differ from the plan, in a sentence; empty if they don't."""
    if len(planned.shape) != len(names):
        return ""
    said = []
    is_whole = len(frames) >= planned.n_points or frames[-1] >= planned.n_points
    for axis, name in enumerate(names):
        expected = planned.positions(axis)
        if expected is None or planned.shape[axis] == 1:
            continue
        step = abs(expected[1] - expected[0])
        low, high = float(readings[:, axis].min()), float(readings[:, axis].max())
        offset = low - expected.min() if planned.is_relative else 0.0
        beyond = max(expected.min() + offset - low, high - expected.max() - offset)
        short = is_whole and high - low < np.ptp(expected) - 0.75 * step
        if step and (beyond > 0.75 * step or short):
            was = f"stayed at {low:g}" if high - low <= 0.5 * step else f"went from {low:g} to {high:g}"
            said.append(f"{name} {was} and not from {expected[0]:g} to {expected[-1]:g}")
    shape = None if grid is None else tuple(map(len, grid.axes))
    if is_whole and shape != tuple(planned.shape):
        made = "no grid" if shape is None else f"a grid of {' x '.join(map(str, shape))}"
        said.append(f"its points make {made} and not one of {' x '.join(map(str, planned.shape))}")
    if not said:
        return ""
    return f"the scan was not as its start document says: {', '.join(said)}; maps show where the motors were"


def _stuck(names: tuple[str, ...], readings: np.ndarray, sent: np.ndarray) -> str:
    """Which motors stayed behind where they were sent, in a sentence; empty if none did."""
    ways = zip(names, np.ptp(readings, axis=0), np.ptp(sent, axis=0), readings.min(0), sent.min(0), strict=True)
    said = [
        f"{name} went from {low:g} to {low + way:g} and was sent from {least:g} to {least + asked:g}"
        for name, way, asked, low, least in ways
        if way < 0.75 * asked
    ]
    return f"{', '.join(said)}; maps show where the motors were" if said else ""


def _remark(names: tuple[str, ...], readings: np.ndarray) -> str:
    """What is odd about points that make no grid."""
    spans = np.ptp(readings, axis=0)
    if len(readings) > 1 and not spans.any():
        where = ", ".join(f"{name} {value:g}" for name, value in zip(names, readings[0], strict=True))
        return f"all {len(readings)} points are at one position ({where}): plot their maps over seq_num"
    if len(readings) > 2 and len(names) == 2 and spans.all():
        away = np.abs(np.corrcoef(readings.T)[0, 1])
        if away > 1 - 1e-6:
            return f"{names[0]} and {names[1]} move together: for maps over one of them give motors=({names[0]!r},)"
    return ""
