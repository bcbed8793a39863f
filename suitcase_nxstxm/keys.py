"""What devices and their data keys are: motors of the microscope, detectors, the monitor, times, and the rest."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from suitcase_nxstxm.errors import UnknownDetectorError

if TYPE_CHECKING:
    from suitcase_nxstxm.request import Layout, Request
    from suitcase_nxstxm.stream import Stream

_LENGTHS = frozenset({"m", "mm", "um", "µm", "μm", "micron", "microns", "nm", "pm"})

# The names are compared without case, punctuation and the prefix DNM_. The first that a scan knows is taken, so the
# position that others are offsets of stands first.
_NAMES: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "photonenergy", "energydevice"),
    "ring_current": ("storageringcurrent", "ringcurrent", "ringcurr"),
    "rotation": ("gonitheta", "samplerotation", "rotationangle"),
    "sample_x": ("samplex", "samplefinex", "finex", "gonix", "coarsex"),
    "sample_y": ("sampley", "samplefiney", "finey", "goniy", "coarsey"),
    "sample_z": ("samplez", "goniz", "coarsez"),
    "osa_x": ("osax",),
    "osa_y": ("osay",),
    "zoneplate_z": ("zoneplatez", "zoneplatezbase", "zpz", "zpzbase"),
    "detector_x": ("detectorx", "detx"),
    "detector_y": ("detectory", "dety"),
}
_UNITS = {"energy": "eV", "rotation": "deg"}


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^dnm_", "", name.lower()))


@functools.lru_cache(maxsize=4096)
def role_of(name: str) -> str | None:
    """What a device of this name is to the microscope: ``"sample_x"``, ``"energy"``; None if the name doesn't say."""
    bare = _bare(name)
    for role, names in _NAMES.items():
        if bare in names:
            return role
    # `stxm_sample_x`: a beamline's own prefix. Words this long don't end in one another by chance.
    for role, names in _NAMES.items():
        if any(len(known) >= 5 and bare.endswith(known) for known in names):
            return role
    return None


def mended_units(role: str | None, units: str | None) -> str | None:
    """The unit of a device: its descriptor's, unless the device can't have that one.

    An energy in micrometres is in eV and an angle in micrometres is in degrees: the motor records of some beamlines say
    "um" for whatever they move.
    """
    if role in _UNITS and (not units or units in _LENGTHS):
        return _UNITS[role]
    return units or None


@dataclass(frozen=True)
class Devices:
    """The devices of a run."""

    source: Mapping[str, str] = field(default_factory=dict)  # the names in the control system by those that people use

    def called(self, name: str) -> str | None:
        """What people call the device of this name in the control system."""
        return next((people for people, control_system in self.source.items() if control_system == name), None)

    def role_of(self, name: str) -> str | None:
        """What a device is to the microscope, by either of its names."""
        return role_of(self.called(name) or name) or role_of(name)

    def rank(self, role: str, name: str) -> int:
        """The place of a device among those that can have a role: the smallest is the one that has it."""
        bare = _bare(self.called(name) or name)
        names = _NAMES.get(role, ())
        return names.index(bare) if bare in names else len(names)


_TIME = "dwell|dwell_time|count_time|exposure|exposure_time|acquire_time|acquisition_time"
_DWELL = re.compile(rf"(?:.*[^A-Za-z0-9])?(?:{_TIME})", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}


Known = Mapping[str, tuple[float, str | None]]
"""What a baseline says of the microscope: the value and the unit of each role."""


@dataclass(frozen=True)
class Position:
    """The data keys of a positioner: where it was, and where it was to go."""

    readback: str | None = None
    set_point: str | None = None
    units: str | None = None


@dataclass
class Keys:
    """The data keys of a stream by what they are."""

    info: Mapping[str, Any]  # the data keys as the descriptor has them
    owner: dict[str, str]  # the device of each
    detectors: dict[str, str] = field(default_factory=dict)  # the name of the detector for each of its data keys
    monitor: str | None = None  # the ring current, or what else the intensity is to be divided by
    positions: dict[str, Position] = field(default_factory=dict)  # by the fields that their set points are in
    dwells: list[str] = field(default_factory=list)  # that say how long a detector counts
    rest: list[str] = field(default_factory=list)  # all others, and those that say how long a detector counts

    def default(self, request: Request, keys: Iterable[str]) -> str:
        """The data key of the detector of the default plot, of those that there are; an error if there is none."""
        known = {key: self.detectors.get(key, key) for key in keys}
        if not known:
            raise UnknownDetectorError(f"no detector is in stream 'primary' of run {request.run}: {list(self.info)}")
        found = [
            (wanted, self.called(wanted, dict.fromkeys((*self.info, *self.detectors)), request))
            for wanted in request.primary
        ]
        for wanted in (wanted for wanted, keys in found if not keys):
            there = ", ".join(sorted(set(known.values())))
            raise UnknownDetectorError(f"detector {wanted!r} is in no stream of run {request.run}: there are {there}")
        return next((key for _, keys in found for key in keys if key in known), next(iter(known)))

    def called(self, wanted: str, keys: Iterable[str], request: Request) -> list[str]:
        """The data keys that a name stands for, those first that have it as a whole."""
        fits = {
            key: _fits(wanted, key, (self.detectors.get(key, key), self.owner.get(key, key)), request) for key in keys
        }
        return [key for how in ("whole", "beginning") for key in fits if fits[key] == how]

    def dwell_of(self, key: str) -> str | None:
        """The data key that says how long a detector counts: its own, or the only one there is."""
        own = self.owner.get(key, key), self.detectors.get(key, key)
        mine = [dwell for dwell in self.dwells if self.owner.get(dwell) in own or dwell.startswith(own)]
        return next(iter(mine or (self.dwells if len(self.dwells) == 1 else ())), None)


def sorted_keys(stream: Stream, request: Request, layout: Layout, declared: frozenset[str]) -> Keys:
    """What each data key of the primary stream is.

    Only a device that is `declared` a motor, by the run or by its baseline, can be what its name says.
    """
    info, owner = stream.info, dict(stream.owner)
    keys = Keys(info, owner)

    def role_of(device: str) -> str | None:
        known = device in declared or device in request.motors or request.devices.called(device) is not None
        return request.devices.role_of(device) if known else None

    keys.positions = _positions(owner, info, request, layout, role_of)
    moved = {key for position in keys.positions.values() for key in (position.readback, position.set_point) if key}
    readbacks = {position.readback for position in keys.positions.values()}
    for key, device in owner.items():
        role = role_of(device)
        ring = request.devices.role_of(device) == "ring_current"
        is_monitor = ring if request.monitor is None else matches(request.monitor, key, device)
        numeric = info[key].get("dtype") != "string"
        wanted = any(_fits(name, key, (device,), request) for name in request.primary)
        named = request.detectors is None or device in request.detectors or wanted
        asked_for = key in request.primary or key in (request.detectors or ())
        is_motor = device in request.motors or role not in (None, "ring_current") or key.endswith("_setpoint")
        if numeric and is_time(key) and not asked_for:
            keys.dwells.append(key)
            keys.rest.append(key)
        elif is_monitor and numeric and keys.monitor is None:
            keys.monitor = key
        elif key not in moved and numeric and named and not is_motor and not is_monitor:
            keys.detectors[key] = device
        elif key not in readbacks:
            keys.rest.append(key)
    # Detectors with several data keys are several, under the names of their keys.
    devices, taken = list(keys.detectors.values()), set()
    for key, device in keys.detectors.items():
        (own, region), several = region_of(key), devices.count(device) > 1
        names = (own if several else region_of(device)[0], own, key)
        keys.detectors[key] = next((name for name in names if (name, region) not in taken), key)
        taken.add((keys.detectors[key], region))
    return keys


def is_time(key: str) -> bool:
    """Whether a key is called like the time that a detector counts."""
    return _DWELL.fullmatch(key) is not None


def seconds(key: str, units: object, in_ms: bool) -> float | None:
    """The unit of a time in s; None if it isn't known. Of an STXM a dwell without a unit is in ms."""
    return _SECONDS.get(str(units or ("ms" if in_ms and "dwell" in key.lower() else None)))


def matches(wanted: str, key: str, device: str) -> bool:
    """Whether a name stands for a data key: its own, its device's, or the beginning of one of them."""
    return any(name == wanted or re.match(re.escape(wanted) + r"[^A-Za-z0-9]", name) for name in (key, device))


def region_of(key: str) -> tuple[str, str | None]:
    """The detector of a data key, and the number of the region if the key is for one: ``counter0-spid-3``."""
    found = re.fullmatch(r"(.+?)[-_]spid[-_](\d+)", key)
    return (found[1], found[2]) if found else (key, None)


def _fits(wanted: str, key: str, devices: Sequence[str], request: Request) -> str:
    """Whether a name stands for a data key: as a ``"whole"``, or, where names are beginnings, as its ``"beginning"``.

    As a whole it is that of the key or of its device: the one in the control system or the one of people, who write
    DNM_COUNTER0 for counter0. Empty if it doesn't stand for the key.
    """
    bare = wanted.removeprefix("DNM_")
    plain = bare.lower() if bare != wanted else None
    whole = (wanted, bare, request.devices.source.get(wanted))
    if any(name in whole or name.lower() == plain for name in (key, *devices)):
        return "whole"
    # A descriptor that doesn't say which device a key is of leaves only the beginning to compare with.
    if request.exact and any(device != key for device in devices):
        return ""
    return "beginning" if any(matches(name, key, device) for name in (wanted, bare) for device in devices) else ""


def _positions(
    owner: Mapping[str, str], info: Mapping[str, Any], request: Request, layout: Layout, role_of: Any
) -> dict[str, Position]:
    """The positioners whose set points the layout has fields for, and the energy."""
    devices, found = request.devices, {}
    wanted = {name: axis.device for name, (axis, _) in layout.fields.items() if name != "line_position"}
    for name, device in ({"energy": "ENERGY"} | wanted).items():
        same = sorted(dict.fromkeys(owner.values()), key=lambda other: (devices.rank(name, other), other))
        mine = [other for other in same if other in (device, devices.source.get(device, device))]
        mine = (mine or [other for other in same if role_of(other) == name])[:1]
        numeric = [k for k, of in owner.items() if of in mine and info[k].get("dtype") in ("number", "integer")]
        aims = [key for key in numeric if key.endswith("setpoint")]
        reads = sorted(
            set(numeric) - set(aims), key=lambda key: (key not in mine, "readback" not in key, numeric.index(key))
        )
        if numeric:
            units = info[(reads or aims)[0]].get("units")
            found[name] = Position(next(iter(reads), None), next(iter(aims), None), units)
    return found
