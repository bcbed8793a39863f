"""The scan as it was asked for: what a start document says, in one form for every way of saying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.scan_types import scan_types

__all__ = ["MAX_POINTS", "Axis", "Polarization", "Region", "Request", "number_of_points"]

MAX_POINTS = 10_000_000
"""The most points of an axis, of an image, or of a stream, unless the caller says otherwise: 80 MB of numbers each."""


def number_of_points(number: float, most: int, what: str) -> int:
    """A number of points that a document asks for.

    Raises
    ------
    MetadataError
        If there are more than the most; it is said before there is an array of so many.
    """
    if not 0 <= number <= most:
        raise MetadataError(f"{what} has {number:.15g} points, and the most are {most}: give a larger max_points=")
    return int(number)


@dataclass(frozen=True, eq=False)
class Axis:
    """The set points of one positioner.

    Parameters
    ----------
    name
        Its field in the file.
    points
        The set points, in the order in which the array has them; float64, shape (n,).
    device
        The positioner that goes there, by the name that its readings have or that people call it.
    units
        Their unit; None if it isn't known.
    original
        What people call it, where its field can't have that name.
    """

    name: str
    points: np.ndarray
    device: str = ""
    units: str | None = None
    original: str | None = None

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


@dataclass(frozen=True, eq=False)
class Request:
    """One run of a scan as it was asked for.

    Parameters
    ----------
    run
        The uid of the run.
    scan_type
        The kind of the scan.
    entry
        The entry of the file that the run belongs to.
    plane
        Where in the entry's stack its first number goes: the index of the energy.
    regions
        The regions that the run measures, in the order in which it measures them at each energy.
    axes
        Those of a generic scan, the slowest first.
    together
        Positioners of a generic scan that move along with an axis, by the number of the axis.
    order
        For each level of the scan's loops, outermost first, the dimension of the array that it runs along. None if it
        is the same.
    snaking
        Which of these levels go back and forth.
    ordered
        Whether the points are known to come in this order, whatever their set points are.
    follows
        Whether set points that events have are truer than those of the start document, which is so for Bluesky's own
        plans: what wraps a plan changes its messages, not what the plan says of itself.
    energies, count_times
        The energies in eV and the time at each in s; shape (n,), both. NaN where it isn't known.
    energy_is_set
        Whether the scan itself goes to these energies. Otherwise the energy read at its start is the better one.
    detectors
        The devices that the run names as its detectors. None if it doesn't.
    primary
        The detectors, or the beginnings of their names, that there must be; the first makes the default plot.
    exact
        Whether these are whole names, of devices or of data keys.
    motors
        The devices that the run names as its motors.
    num_points
        The number of events that the run was to have.
    rotation
        The angle of the sample in degrees.
    scan
        The same for all runs of one scan, and for no other at the same time.
    planned
        How many planes the scan has, each of which may be a run. None if it says so nowhere.
    text
        The request in the words of the start document: JSON.
    time
        When the run began, in s since the epoch.
    polarization_index, angle
        Which of the scan's polarisations the run is for, and at which angle of a tomography; with the region they tell
        entries of one name apart.
    placed
        Whether the start document says which plane the run is for.
    images
        For a run of several images the request of each of them, in the order in which they are taken.
    sequence
        For each event of the run the number of its image, its row and its column; shape (n, 3), -1 for events that it
        says nothing of. None if it says nothing at all.
    max_points
        The most points of an image, of an axis, or of a stream.
    """

    run: str
    scan_type: scan_types
    entry: str = "entry0"
    plane: int = 0
    regions: tuple[Region, ...] = ()
    axes: tuple[Axis, ...] = ()
    together: Mapping[int, Sequence[Axis]] = field(default_factory=dict)
    order: tuple[int, ...] | None = None
    snaking: tuple[bool, ...] = ()
    ordered: bool = False
    follows: bool = False
    energies: np.ndarray = field(default_factory=lambda: np.array([np.nan]))
    count_times: np.ndarray = field(default_factory=lambda: np.array([np.nan]))
    energy_is_set: bool = False
    detectors: tuple[str, ...] | None = None
    primary: tuple[str, ...] = ()
    exact: bool = False
    motors: tuple[str, ...] = ()
    num_points: int | None = None
    rotation: float | None = None
    polarization: Polarization | None = None
    zone_plate: Mapping[str, Any] = field(default_factory=dict)
    devices: Devices = field(default_factory=Devices)
    scan: str = ""
    planned: int | None = 1
    text: str = "{}"
    time: float = 0.0
    polarization_index: int = 0
    angle: float | None = None
    placed: bool = True
    images: tuple[Request, ...] = ()
    sequence: np.ndarray | None = None
    max_points: int = MAX_POINTS

    @property
    def region_key(self) -> str:
        """The region that the run is for; nothing if it is for all of them."""
        return self.regions[0].key if len(self.regions) == 1 else ""

    @property
    def several_runs(self) -> bool:
        """Whether the scan may consist of more runs than this one."""
        return self.planned is None or self.planned > 1
