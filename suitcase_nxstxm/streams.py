"""What the data keys of a run's primary stream are: detectors, the monitor, positions, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from suitcase_nxstxm.errors import UnknownDetectorError
from suitcase_nxstxm.layout import Layout
from suitcase_nxstxm.readings import owners
from suitcase_nxstxm.request import Request

__all__ = ["Position", "Stream", "matches", "region_of"]

_TIME = r"(?:dwell|dwell_time|count_time|exposure|exposure_time|acquire_time|acquisition_time)"
_DWELL = re.compile(rf"(?:.*[^A-Za-z0-9])?{_TIME}", re.IGNORECASE)
_PARTS_OF_A_SECOND = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1000, "msec": 1000, "us": 1e6, "µs": 1e6}


@dataclass(frozen=True)
class Position:
    """The data keys of a positioner: where it was, and where it was to go."""

    readback: str | None = None
    set_point: str | None = None
    units: str | None = None


@dataclass
class Stream:
    """The data keys of a stream by what they are.

    Parameters
    ----------
    info
        The data keys as the descriptor has them.
    detectors
        The name of the detector for each of its data keys.
    monitor
        The data key of the ring current, or of what else the intensity is to be divided by.
    positions
        The positioners of the scan by the fields that their set points are in.
    rest
        The other data keys.
    unit
        How many points an event covers, as far as the events so far tell.
    owner
        The device of each data key.
    dwells
        The data keys that say how long a detector counts.
    aside
        The data keys of detectors that are read once for the many points of an event.
    channels
        The data key in whose reading each channel of a scaler is.
    """

    name: str
    info: Mapping[str, Any]
    detectors: dict[str, str] = field(default_factory=dict)
    monitor: str | None = None
    positions: dict[str, Position] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    unit: int = 1
    owner: dict[str, str] = field(default_factory=dict)
    dwells: list[str] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)
    channels: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, descriptor: Mapping[str, Any], request: Request, layout: Layout, monitor: str | None) -> Stream:
        """Sort the data keys of a descriptor."""
        info = descriptor["data_keys"]
        owner = owners(descriptor)
        devices = request.devices
        stream = cls(descriptor.get("name", "primary"), info, owner=owner)
        moved = _positions(owner, info, request, layout)
        stream.positions = moved
        taken = {key for position in moved.values() for key in (position.readback, position.set_point) if key}
        for key, device in owner.items():
            role = devices.role_of(device)
            is_monitor = role == "ring_current" if monitor is None else matches(monitor, key, device)
            numeric = info[key].get("dtype") != "string"
            wanted = any(_fits(name, key, (device,), request) for name in request.primary)
            named = request.detectors is None or device in request.detectors or wanted
            asked_for = key in request.primary or key in (request.detectors or ())
            is_motor = device in request.motors or role not in (None, "ring_current") or key.endswith("_setpoint")
            if numeric and _DWELL.fullmatch(key) and not asked_for:
                stream.dwells.append(key)
                stream.rest.append(key)
            elif is_monitor and numeric and stream.monitor is None:
                stream.monitor = key
            elif key not in taken and numeric and named and not is_motor and not is_monitor:
                stream.detectors[key] = device
            elif key not in taken or key != _readback(moved, key):
                stream.rest.append(key)
        _name_detectors(stream.detectors)
        return stream

    def unpacked(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The readings of an event one by one, those of a scaler that puts all of its channels into one included."""
        numbers: dict[str, Any] = {}
        for key, value in data.items():
            if isinstance(value, Mapping):
                for channel, values in value.items():
                    name = str(channel)
                    if name in self.info or self.channels.setdefault(name, key) != key:
                        name = f"{key}_{channel}"  # another scaler has a channel like it
                    numbers[name] = values
                    self.owner.setdefault(name, self.owner.get(key, key))
                    if key in self.detectors:
                        self.detectors.setdefault(name, region_of(name)[0])
            else:
                numbers[key] = value
        return numbers

    def default(self, request: Request, keys: Iterable[str]) -> str:
        """The data key of the detector of the default plot, of those that there are."""
        known = {key: self.detectors.get(key, key) for key in keys}
        if not known:
            raise UnknownDetectorError(
                f"no detector is in stream {self.name!r} of run {request.run}: {list(self.info)}"
            )
        chosen = None
        for wanted in request.primary:
            found = self._called(wanted, [*dict.fromkeys((*self.info, *self.detectors))], request)
            if not found:
                raise UnknownDetectorError(
                    f"detector {wanted!r} is in no stream of run {request.run}: there are "
                    f"{', '.join(sorted(set(known.values())))}"
                )
            chosen = chosen or next((key for key in found if key in known), None)
        return chosen or next(iter(known))

    def _called(self, wanted: str, keys: Iterable[str], request: Request) -> list[str]:
        """The data keys that a name stands for, those first that have it as a whole."""
        names = {key: (self.detectors.get(key, key), self.owner.get(key, key)) for key in keys}
        whole = [key for key in names if _is(wanted, key, names[key], request)]
        return whole + [key for key in names if key not in whole and _fits(wanted, key, names[key], request)]

    def wants(self, key: str, request: Request) -> bool:
        """Whether a data key is that of the detector which is wanted first."""
        return bool(request.primary) and key in self._called(request.primary[0], [key], request)

    def dwell_of(self, key: str, default: bool) -> str | None:
        """The data key that says how long the detector with this one counts: its own, or one that is nobody's."""
        nobodys = None
        devices = {*self.detectors.values(), *(self.owner.get(other, other) for other in self.detectors)}
        for dwell in self.dwells:
            whose = {self.owner.get(dwell, dwell), re.split(r"[^A-Za-z0-9]*" + _TIME + "$", dwell, flags=re.I)[0]}
            if whose & {self.detectors.get(key, key), self.owner.get(key, key), key}:
                return dwell
            if not whose & devices and nobodys is None:
                nobodys = dwell
        return nobodys if default else None

    def seconds(self, dwell: str, value: float, in_ms: bool) -> float | None:
        """A time that an event has in s; None if its unit isn't known."""
        units = self.info.get(dwell, {}).get("units") or ("ms" if in_ms and "dwell" in dwell.lower() else None)
        parts = _PARTS_OF_A_SECOND.get(str(units))
        return None if parts is None else value / parts


def matches(wanted: str, key: str, device: str) -> bool:
    """Whether a name stands for a data key: its own, its device's, or the beginning of one of them."""
    return any(name == wanted or re.match(re.escape(wanted) + r"[^A-Za-z0-9]", name) for name in (key, device))


def region_of(key: str) -> tuple[str, str | None]:
    """The detector of a data key, and the number of the region if the key is for one: ``counter0-spid-3``."""
    found = re.fullmatch(r"(.+?)[-_]spid[-_](\d+)", key)
    return (found[1], found[2]) if found else (key, None)


def _is(wanted: str, key: str, devices: Sequence[str], request: Request) -> bool:
    """Whether a name is that of a data key or of its device: the one in the control system or the one of people."""
    names = (wanted, request.devices.source.get(wanted), wanted.removeprefix("DNM_"))
    # People write DNM_COUNTER0 for counter0.
    plain = wanted.removeprefix("DNM_").lower() if wanted.startswith("DNM_") else None
    return any(name in names or name.lower() == plain for name in (key, *devices))


def _fits(wanted: str, key: str, devices: Sequence[str], request: Request) -> bool:
    """Whether a name stands for a data key: as a whole, or, where names are beginnings, as its beginning."""
    if _is(wanted, key, devices, request):
        return True
    # A descriptor that doesn't say which device a key is of leaves only the beginning to compare with.
    if request.exact and any(device != key for device in devices):
        return False
    return any(matches(name, key, device) for name in (wanted, wanted.removeprefix("DNM_")) for device in devices)


def _name_detectors(detectors: dict[str, str]) -> None:
    """Detectors with several data keys are several, under the names of their keys."""
    devices = list(detectors.values())
    taken: set[tuple[str, str | None]] = set()
    for key, device in detectors.items():
        several = devices.count(device) > 1
        names = (region_of(key if several else device)[0], region_of(key)[0], key)
        name = next((name for name in names if (name, region_of(key)[1]) not in taken), key)
        taken.add((name, region_of(key)[1]))
        detectors[key] = name


def _positions(owner: dict[str, str], info: Mapping[str, Any], request: Request, layout: Layout) -> dict[str, Position]:
    """The positioners whose set points the layout has fields for, and the energy."""
    devices = request.devices
    found = {}
    wanted = {name: axis.device for name, (axis, _) in layout.fields.items() if name != "line_position"}
    for name, device in ({"energy": "ENERGY"} | wanted).items():
        names = (device, devices.source.get(device, device))
        mine = [other for other in dict.fromkeys(owner.values()) if other in names]
        if not mine:
            same = {other for other in owner.values() if devices.role_of(other) == name}
            mine = sorted(same, key=lambda other: (devices.rank(name, other), other))
        if mine:
            found[name] = _position([key for key, other in owner.items() if other == mine[0]], info, mine[0])
    return {name: position for name, position in found.items() if position.readback or position.set_point}


def _position(keys: list[str], info: Mapping[str, Any], device: str) -> Position:
    numeric = [key for key in keys if info[key].get("dtype") in ("number", "integer")]
    aims = [key for key in numeric if key.endswith("setpoint")]
    reads = sorted((key for key in numeric if key not in aims), key=lambda key: (key != device, "readback" not in key))
    first = (reads or aims or [None])[0]
    return Position(
        reads[0] if reads else None,
        aims[0] if aims else None,
        info[first].get("units") if first is not None else None,
    )


def _readback(positions: Mapping[str, Position], key: str) -> str | None:
    return next((p.readback for p in positions.values() if key == p.readback), None)
