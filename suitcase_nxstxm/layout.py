"""The images that a run fills: what their arrays look like, by scan type, and what they are of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.request import Axis, Request
from suitcase_nxstxm.scan_types import SPECTRA, STACKS, focus_scans, scan_types


@dataclass(frozen=True, eq=False)
class Layout:
    """What the arrays of one entry look like."""

    entry: str  # its name
    axes: tuple[Axis, ...]  # one for each dimension of the data
    along: Mapping[str, tuple[Axis, int]] = field(default_factory=dict)  # other fields along one: those of a line
    # Where the sample is parked in um, where neither an axis nor a line says so; None if only the baseline knows it.
    sample_x: float | None = None
    sample_y: float | None = None
    planes: bool = False  # whether the first axis is one of planes that are measured one after the other
    grows: bool = False  # whether the number of points of its only axis isn't known before the end

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """The number of points of the scan."""
        return math.prod(self.shape)

    @property
    def plane_size(self) -> int:
        """The number of points that are measured, and written, as one."""
        return math.prod(self.shape[1:]) if self.planes else self.size

    @property
    def fields(self) -> dict[str, tuple[Axis, int]]:
        """All fields that run along a dimension of the data: the axes and those beside them."""
        return {axis.name: (axis, i) for i, axis in enumerate(self.axes)} | dict(self.along)


@dataclass(frozen=True, eq=False)
class Image:
    """An array of the file that a run fills, or one plane of it."""

    request: Request  # what the run asks for here
    layout: Layout
    identity: str  # what its entry is for, as JSON: the same for all images that go there, of whatever runs

    @property
    def plane(self) -> int:
        """The plane of the array that the image is; 0 for an array without planes."""
        return self.request.plane if self.layout.planes else 0


def images(request: Request) -> list[Image]:
    """The images that a run fills, in the order in which it takes them; those of its regions stand together."""
    found = []
    for own in request.images or (request,):
        keys = [region.key for region in own.regions] if len(own.regions) > 1 else [own.region_key]
        found += [
            Image(own, layout, _identity(own, layout.entry, key))
            for layout, key in zip(_layouts(own), keys, strict=True)
        ]
    return found


def planes_of(request: Request) -> list[tuple[str, int]]:
    """The planes of entries that a run is for; none if it doesn't say which."""
    if not request.placed:
        return []
    found = images(request)
    if request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
        found = found[: len(request.regions)]  # it may go on to the others, or they are runs of their own
    return list(dict.fromkeys((image.identity, image.plane) for image in found))


def _identity(request: Request, entry: str, region: str) -> str:
    # Runs of these types go to one entry together; images of other types are each an entry of their own.
    several = request.several_runs and request.scan_type in STACKS | SPECTRA
    return json.dumps(
        {
            "entry": entry,
            "polarization": request.polarization_index,
            "region": region,
            "angle": request.angle,
            "time": 0.0 if several else request.time,
            "run": "" if several else request.run,
            "scan": request.scan if request.several_runs else request.run,
        }
    )


_MOVED = {scan_types.DETECTOR_IMAGE: "detector", scan_types.OSA_IMAGE: "osa", scan_types.OSA_FOCUS: "osa"}
"""What moves in a scan, if it isn't the sample."""


def _layouts(request: Request) -> list[Layout]:
    """What the arrays look like that a run fills: one, or of point spectra one a region."""
    kind, entry = request.scan_type, request.entry
    if kind is scan_types.GENERIC_SCAN:
        return [_generic(request)]
    energy = Axis("energy", request.energies, "ENERGY", "eV")
    if kind is scan_types.SAMPLE_POINT_SPECTRA:
        # Their numbers go on where those of the run's own entry begin.
        stem, number = entry.rstrip("0123456789"), len(request.regions)
        first = int(entry[len(stem) :] or 0) * number
        parked = [(_parked(region.x), _parked(region.y)) for region in request.regions]
        return [Layout(f"{stem}{first + k}", (energy,), sample_x=x, sample_y=y) for k, (x, y) in enumerate(parked)]
    (region,) = request.regions
    what = _MOVED.get(kind, "sample")
    x, y = _named(region.x, f"{what}_x", request), _named(region.y, f"{what}_y", request)
    if kind not in focus_scans and kind is not scan_types.SAMPLE_LINE_SPECTRA:
        return [Layout(entry, (energy, y, x), planes=True) if kind in STACKS else Layout(entry, (y, x))]
    if len(x) != len(y):
        number = max(len(x), len(y))
        x, y = (replace(axis, points=np.linspace(axis.points[0], axis.points[-1], number)) for axis in (x, y))
    position = Axis("line_position", way(x.points, y.points), "", x.units or y.units)
    along = {axis.name: (axis, 1) for axis in (x, y)}
    if kind in focus_scans:
        return [Layout(entry, (_named(region.z, "zoneplate_z", request), position), along)]
    # Each energy may be a run of its own.
    return [Layout(entry, (energy, position), along, planes=request.several_runs)]


def _named(axis: Axis | None, name: str, request: Request) -> Axis:
    if axis is None:
        raise MetadataError(f"run {request.run} has no set points for {name}")
    return Axis(name, axis.points, axis.device, axis.units)


def _parked(axis: Axis | None) -> float | None:
    return float(axis.points[0]) if axis is not None else None


def way(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The way along a line from its first point; shape (n,), as both coordinates, one of which may be unknown: NaN."""
    known = [points - points[0] for points in (x, y) if not np.isnan(points).all()]
    return np.hypot(known[0], known[-1] if len(known) > 1 else 0.0) if known else np.full(len(x), np.nan)


def _generic(request: Request) -> Layout:
    if not request.axes:
        raise MetadataError(f"run {request.run} is a generic scan without an axis")
    taken = {"data", "count_time", "stxm_scan_type"}
    axes = tuple(_of_its_own(axis, taken, request) for axis in request.axes)
    along = {}
    for dimension, others in request.together.items():
        for other in others:
            axis = _of_its_own(other, taken, request)
            along[axis.name] = (axis, dimension)
    grows = len(axes) == 1 and not len(axes[0])
    return Layout(request.entry, axes, along, grows=grows)


def _of_its_own(axis: Axis, taken: set[str], request: Request) -> Axis:
    """The axis under a name that is legal and that nothing else has; the energy is ``energy``, as readers want it."""
    role = request.devices.role_of(axis.device) or request.devices.role_of(axis.name)
    name = "energy" if role == "energy" and "energy" not in taken else legal(axis.name)
    while name in taken:
        name += "_"
    taken.add(name)
    units = mended_units(role, axis.units)
    return Axis(name, axis.points, axis.device, units, axis.name if axis.name != name else None)
