"""The scan as it was asked for: what a start document says, in one form for every way of saying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.scan_types import scan_types

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


@dataclass(frozen=True)
class Polarization:
    """The polarisation that was asked for: the beamline's own number of it, an angle in degrees, an offset."""

    number: float
    angle: float | None = None
    offset: float | None = None


def _unknown() -> np.ndarray:
    return np.array([np.nan])


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
    energies: np.ndarray = field(default_factory=_unknown)  # in eV, NaN where it isn't known; shape (n,)
    count_times: np.ndarray = field(default_factory=_unknown)  # at each energy, in s; shape (n,)
    energy_is_set: bool = False  # by the scan itself; otherwise the energy read at its start is the better one
    detectors: tuple[str, ...] | None = None  # the devices that the run names so; None if it doesn't
    primary: tuple[str, ...] = ()  # the detectors that there must be, the one of the default plot first
    exact: bool = False  # whether these are whole names, of devices or of data keys, or beginnings of names
    motors: tuple[str, ...] = ()
    num_points: int | None = None  # the number of events that the run was to have
    rotation: float | None = None  # of the sample, in degrees
    polarization: Polarization | None = None
    zone_plate: Mapping[str, Any] = field(default_factory=dict)
    devices: Devices = field(default_factory=Devices)
    scan: str = ""  # the same for all runs of one scan, and for no other at the same time
    planned: int | None = 1  # how many planes the scan has, each of which may be a run; None if nobody says it
    text: str = "{}"  # the request in the words of the start document: JSON
    time: float = 0.0  # when the run began, in s since the epoch
    # With the region these tell entries of one name apart.
    polarization_index: int = 0
    angle: float | None = None
    placed: bool = True  # whether the start document says which plane the run is for
    images: tuple[Request, ...] = ()  # of a run of several images, that of each, in the order in which they are taken
    # For each event the number of its image, its row and its column; shape (n, 3), -1 for events that aren't listed.
    sequence: np.ndarray | None = None
    max_points: int = MAX_POINTS  # of an image, of an axis, or of a stream

    @property
    def region_key(self) -> str:
        """The region that the run is for; nothing if it is for all of them."""
        return self.regions[0].key if len(self.regions) == 1 else ""

    @property
    def several_runs(self) -> bool:
        """Whether the scan may consist of more runs than this one."""
        return self.planned is None or self.planned > 1
