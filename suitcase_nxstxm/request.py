"""The scan as it was asked for, in one form for every way of saying it, and the images that a run of it fills."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.keys import Devices, mended_units
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.scan_types import SPECTRA, STACKS, focus_scans, scan_types

MAX_POINTS = 10_000_000
"""The most points of an axis, of an image, or of a stream, unless the caller says otherwise: 80 MB of numbers each."""


def number_of_points(number: float, most: int, what: str) -> int:
    """A number of points that a document asks for."""
    if not 0 <= number <= most:
        raise MetadataError(f"{what} has {number:.15g} points, and the most are {most}: give a larger max_points=")
    return int(number)


@dataclass(frozen=True, eq=False)
class Axis:
    """The set points of one positioner."""

    name: str  # of its field in the file
    points: np.ndarray  # in the order in which the array has them; float64, shape (n,)
    device: str = ""  # the positioner, by the name that its readings have or that people call it
    units: str | None = None
    original: str | None = None  # what people call it, where its field can't have that name

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the sample, or of what is scanned in its place: its axes, as far as it has them."""

    key: str
    x: Axis | None = None
    y: Axis | None = None
    z: Axis | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """One run of a scan as it was asked for."""

    run: str  # its uid
    scan_type: scan_types
    entry: str = "entry0"  # of the file, that the run belongs to
    plane: int = 0  # of the entry's stack, where its first number goes: the index of the energy
    regions: tuple[Region, ...] = ()  # in the order in which they are measured at each energy
    axes: tuple[Axis, ...] = ()  # of a generic scan, the slowest first
    together: Mapping[int, Sequence[Axis]] = field(default_factory=dict)  # that move along with one of these axes
    # For each level of the scan's loops, outermost first, the dimension of the array that it runs along; and which of
    # them go back and forth. None if the dimensions are in the same order.
    order: tuple[int, ...] | None = None
    snaking: tuple[bool, ...] = ()
    ordered: bool = False  # whether the points are known to come in this order, whatever their set points are
    # Whether set points that events have are truer than those of the start document, which is so for Bluesky's own
    # plans: what wraps a plan changes its messages, not what the plan says of itself.
    follows: bool = False
    energies: np.ndarray = field(
        default_factory=lambda: np.array([np.nan])
    )  # in eV, NaN where it isn't known; shape (n,)
    count_times: np.ndarray = field(default_factory=lambda: np.array([np.nan]))  # at each energy, in s; shape (n,)
    energy_is_set: bool = False  # by the scan itself; otherwise the energy read at its start is the better one
    detectors: tuple[str, ...] | None = None  # the devices that the run names so; None if it doesn't
    primary: tuple[str, ...] = ()  # the detectors that there must be, the one of the default plot first
    exact: bool = False  # whether these are whole names, of devices or of data keys, or beginnings of names
    monitor: str | None = None  # the reading that `control` has; by default the ring current
    motors: tuple[str, ...] = ()
    num_points: int | None = None  # the number of events that the run was to have
    rotation: float | None = None  # of the sample, in degrees
    polarization: Mapping[str, float | None] = field(default_factory=dict)  # its number, angle and offset
    zone_plate: Mapping[str, Any] = field(default_factory=dict)
    devices: Devices = field(default_factory=Devices)
    scan: str = ""  # the same for all runs of one scan, and for no other at the same time
    planned: int | None = 1  # how many planes the scan has, each of which may be a run; None if nobody says it
    text: str = "{}"  # the request in the words of the start document: JSON
    time: float = 0.0  # when the run began, in s since the epoch
    polarization_index: int = 0
    placed: bool = True  # whether the start document says which plane the run is for
    images: tuple[Request, ...] = ()  # of a run of several images, that of each, in the order in which they are taken
    # For each event the number of its image, its row and its column; shape (n, 3), -1 for events that aren't listed.
    sequence: np.ndarray | None = None

    @property
    def several_runs(self) -> bool:
        """Whether the scan may consist of more runs than this one."""
        return self.planned is None or self.planned > 1


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


class Identity(NamedTuple):
    """What an entry is for: the same for all images that go there, of whatever runs."""

    entry: str  # the name that is asked for
    polarization: int
    region: str
    angle: float  # of the sample; -inf where nobody asked for one
    time: float  # of the run, where the entry is for that alone
    run: str  # the run, where the entry is for that alone
    scan: str


@dataclass(frozen=True, eq=False)
class Image:
    """An array of the file that a run fills, or one plane of it."""

    request: Request  # what the run asks for here
    layout: Layout
    identity: Identity

    @property
    def plane(self) -> int:
        """The plane of the array that the image is; 0 for an array without planes."""
        return self.request.plane if self.layout.planes else 0


def images(request: Request) -> list[Image]:
    """The images that a run fills, in the order in which it takes them; those of its regions stand together."""
    found = []
    for own in request.images or (request,):
        angle = -math.inf if own.rotation is None else own.rotation
        # Runs of these types go to one entry together; images of other types are each an entry of their own.
        together = own.several_runs and own.scan_type in STACKS | SPECTRA
        alone = (0.0, "") if together else (own.time, own.run)
        scan = own.scan if own.several_runs else own.run
        for layout, region in zip(_layouts(own), own.regions or (Region(""),), strict=True):
            what = Identity(layout.entry, own.polarization_index, region.key, angle, *alone, scan)
            found.append(Image(own, layout, what))
    return found


def planes_of(request: Request) -> list[tuple[Identity, int]]:
    """The planes of entries that a run is for; none if it doesn't say which."""
    found = images(request) if request.placed else []
    if request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
        found = found[: len(request.regions)]  # it may go on to the others, or they are runs of their own
    return list(dict.fromkeys((image.identity, image.plane) for image in found))


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
        parked = [[None if a is None else float(a.points[0]) for a in (r.x, r.y)] for r in request.regions]
        return [Layout(f"{stem}{first + k}", (energy,), sample_x=x, sample_y=y) for k, (x, y) in enumerate(parked)]
    (region,) = request.regions
    what = _MOVED.get(kind, "sample")
    wanted = {f"{what}_x": region.x, f"{what}_y": region.y}
    if kind in focus_scans:
        wanted["zoneplate_z"] = region.z
    for name, axis in wanted.items():
        if axis is None:
            raise MetadataError(f"run {request.run} has no set points for {name}")
    x, y, *z = (replace(axis, name=name, original=None) for name, axis in wanted.items() if axis is not None)
    if kind not in focus_scans and kind is not scan_types.SAMPLE_LINE_SPECTRA:
        return [Layout(entry, (energy, y, x), planes=True) if kind in STACKS else Layout(entry, (y, x))]
    if len(x) != len(y):
        number = max(len(x), len(y))
        x, y = (replace(axis, points=np.linspace(axis.points[0], axis.points[-1], number)) for axis in (x, y))
    position = Axis("line_position", way(x.points, y.points), "", x.units or y.units)
    along = {axis.name: (axis, 1) for axis in (x, y)}
    # Each energy may be a run of its own.
    planes = kind is scan_types.SAMPLE_LINE_SPECTRA and request.several_runs
    return [Layout(entry, (*(z or [energy]), position), along, planes=planes)]


def way(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The way along a line from its first point; shape (n,), as both coordinates, one of which may be unknown: NaN."""
    known = [points - points[0] for points in (x, y) if not np.isnan(points).all()]
    return np.hypot(known[0], known[-1] if len(known) > 1 else 0.0) if known else np.full(len(x), np.nan)


def _generic(request: Request) -> Layout:
    """The layout of a generic scan, each axis with a legal name of its own; ``energy`` is it, as readers want it."""
    if not request.axes:
        raise MetadataError(f"run {request.run} is a generic scan without an axis")
    found: dict[str, tuple[Axis, int]] = {}
    moved = [(axis, i) for i, axis in enumerate(request.axes)]
    for axis, dimension in [*moved, *((axis, i) for i, axes in request.together.items() for axis in axes)]:
        role = request.devices.role_of(axis.device) or request.devices.role_of(axis.name)
        name = "energy" if role == "energy" and "energy" not in found else legal(axis.name)
        while name in found or name in ("data", "count_time", "stxm_scan_type"):
            name += "_"
        original = axis.name if axis.name != name else None
        units = mended_units(role, axis.units)
        found[name] = replace(axis, name=name, units=units, original=original), dimension
    axes = tuple(axis for axis, _ in [*found.values()][: len(moved)])
    along = dict([*found.items()][len(moved) :])
    return Layout(request.entry, axes, along, grows=len(axes) == 1 and not len(axes[0]))
