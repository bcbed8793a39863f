"""The images that a run fills: what their arrays look like, by scan type, and what they are of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.request import Axis, Region, Request
from suitcase_nxstxm.scan_types import scan_types

_SEVERAL_RUNS = frozenset(
    {
        scan_types.SAMPLE_POINT_SPECTRA,
        scan_types.SAMPLE_LINE_SPECTRA,
        scan_types.SAMPLE_IMAGE_STACK,
        scan_types.TOMOGRAPHY_SCAN,
        scan_types.PTYCHOGRAPHY_SCAN,
    }
)
"""Scan types whose runs go to one entry together; images of other types are each an entry of their own."""


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
            for layout, key in zip(_LAYOUTS[own.scan_type](own), keys, strict=True)
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
    several = request.several_runs and request.scan_type in _SEVERAL_RUNS
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


def _energy(request: Request) -> Axis:
    return Axis("energy", request.energies, "ENERGY", "eV")


def _named(axis: Axis | None, name: str, request: Request) -> Axis:
    if axis is None:
        raise MetadataError(f"run {request.run} has no set points for {name}")
    return Axis(name, axis.points, axis.device, axis.units)


def _image(what: str) -> Callable[[Request], tuple[Layout, ...]]:
    def of(request: Request) -> tuple[Layout, ...]:
        (region,) = request.regions
        axes = (_named(region.y, f"{what}_y", request), _named(region.x, f"{what}_x", request))
        return (Layout(request.entry, axes),)

    return of


def _stack(request: Request) -> tuple[Layout, ...]:
    (image,) = _image("sample")(request)
    return (Layout(request.entry, (_energy(request), *image.axes), planes=True),)


def _focus(what: str) -> Callable[[Request], tuple[Layout, ...]]:
    def of(request: Request) -> tuple[Layout, ...]:
        (region,) = request.regions
        position, x, y = _line(region, what, request)
        along = {axis.name: (axis, 1) for axis in (x, y)}
        return (Layout(request.entry, (_named(region.z, "zoneplate_z", request), position), along),)

    return of


def _line_spectra(request: Request) -> tuple[Layout, ...]:
    (region,) = request.regions
    position, x, y = _line(region, "sample", request)
    along = {axis.name: (axis, 1) for axis in (x, y)}
    # Each energy may be a run of its own.
    return (Layout(request.entry, (_energy(request), position), along, planes=request.several_runs),)


def _line(region: Region, what: str, request: Request) -> tuple[Axis, Axis, Axis]:
    """The way along a line from its first point in um, and the coordinates of its points."""
    x, y = _named(region.x, f"{what}_x", request), _named(region.y, f"{what}_y", request)
    if len(x) != len(y):
        number = max(len(x), len(y))
        x, y = (Axis(a.name, np.linspace(a.points[0], a.points[-1], number), a.device, a.units) for a in (x, y))
    return Axis("line_position", way(x.points, y.points), "", x.units or y.units), x, y


def way(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The way along a line from its first point; shape (n,), as both coordinates, one of which may be unknown: NaN."""
    known = [points - points[0] for points in (x, y) if not np.isnan(points).all()]
    return np.hypot(known[0], known[-1] if len(known) > 1 else 0.0) if known else np.full(len(x), np.nan)


def _point_spectra(request: Request) -> tuple[Layout, ...]:
    """One entry a region; their numbers go on where those of the run's own entry begin."""
    stem, first = request.entry.rstrip("0123456789"), request.entry[len(request.entry.rstrip("0123456789")) :]
    names = [f"{stem}{int(first or 0) * len(request.regions) + k}" for k in range(len(request.regions))]
    return tuple(
        Layout(name, (_energy(request),), sample_x=_parked(region.x), sample_y=_parked(region.y))
        for name, region in zip(names, request.regions, strict=True)
    )


def _parked(axis: Axis | None) -> float | None:
    return float(axis.points[0]) if axis is not None else None


def _generic(request: Request) -> tuple[Layout, ...]:
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
    return (Layout(request.entry, axes, along, grows=grows),)


def _of_its_own(axis: Axis, taken: set[str], request: Request) -> Axis:
    """The axis under a name that is legal and that nothing else has; the energy is ``energy``, as readers want it."""
    role = request.devices.role_of(axis.device) or request.devices.role_of(axis.name)
    name = "energy" if role == "energy" and "energy" not in taken else legal(axis.name)
    while name in taken:
        name += "_"
    taken.add(name)
    units = mended_units(role, axis.units)
    return Axis(name, axis.points, axis.device, units, axis.name if axis.name != name else None)


_LAYOUTS: dict[scan_types, Callable[[Request], tuple[Layout, ...]]] = {
    scan_types.DETECTOR_IMAGE: _image("detector"),
    scan_types.OSA_IMAGE: _image("osa"),
    scan_types.OSA_FOCUS: _focus("osa"),
    scan_types.SAMPLE_FOCUS: _focus("sample"),
    scan_types.SAMPLE_POINT_SPECTRA: _point_spectra,
    scan_types.SAMPLE_LINE_SPECTRA: _line_spectra,
    scan_types.SAMPLE_IMAGE: _image("sample"),
    scan_types.SAMPLE_IMAGE_STACK: _stack,
    scan_types.GENERIC_SCAN: _generic,
    scan_types.COARSE_IMAGE_SCAN: _image("sample"),
    scan_types.COARSE_GONI_SCAN: _image("sample"),
    scan_types.TOMOGRAPHY_SCAN: _stack,
    scan_types.PATTERN_GEN_SCAN: _image("sample"),
    scan_types.PTYCHOGRAPHY_SCAN: _stack,
}
