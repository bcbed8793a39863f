"""What the data keys of a run's primary stream are: detectors, the monitor, positions, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import UnknownDetectorError
from suitcase_nxstxm.layout import Layout
from suitcase_nxstxm.readings import owners
from suitcase_nxstxm.request import Request

__all__ = ["Position", "Stream", "matches", "matches_any", "region_of", "scalar"]


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
    """

    name: str
    info: Mapping[str, Any]
    detectors: dict[str, str] = field(default_factory=dict)
    monitor: str | None = None
    positions: dict[str, Position] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    unit: int = 1

    @classmethod
    def of(cls, descriptor: Mapping[str, Any], request: Request, layout: Layout, monitor: str | None) -> Stream:
        """Sort the data keys of a descriptor."""
        info = descriptor["data_keys"]
        owner = owners(descriptor)
        devices = request.devices
        stream = cls(descriptor.get("name", "primary"), info)
        moved = _positions(owner, info, request, layout)
        stream.positions = moved
        taken = {key for position in moved.values() for key in (position.readback, position.set_point) if key}
        for key, device in owner.items():
            role = devices.role_of(device)
            is_monitor = role == "ring_current" if monitor is None else matches(monitor, key, device)
            numeric = info[key].get("dtype") != "string"
            named = (
                request.detectors is None or device in request.detectors or matches_any(request.primary, key, device)
            )
            is_motor = device in request.motors or role not in (None, "ring_current") or key.endswith("_setpoint")
            if is_monitor and numeric and stream.monitor is None:
                stream.monitor = key
            elif key not in taken and numeric and named and not is_motor and not is_monitor:
                stream.detectors[key] = device
            elif key not in taken or key != _readback(moved, key):
                stream.rest.append(key)
        _name_detectors(stream.detectors)
        return stream

    def default(self, request: Request, keys: Iterable[str]) -> str:
        """The data key of the detector of the default plot, of those that there are."""
        known = {key: self.detectors.get(key, key) for key in keys}
        if not known:
            raise UnknownDetectorError(
                f"no detector is in stream {self.name!r} of run {request.run}: {list(self.info)}"
            )
        for wanted in request.primary:
            for how in (_is, _begins, _contains):
                found = [key for key, device in known.items() if how(wanted, key, device, request)]
                if found:
                    return found[0]
        if request.primary:
            raise UnknownDetectorError(
                f"detector {request.primary[0]!r} is in no stream of run {request.run}: there are "
                f"{', '.join(sorted(set(known.values())))}"
            )
        return next(iter(known))


def matches(wanted: str, key: str, device: str) -> bool:
    """Whether a name stands for a data key: its own, its device's, or the beginning of one of them."""
    return any(name == wanted or re.match(re.escape(wanted) + r"[^A-Za-z0-9]", name) for name in (key, device))


def matches_any(wanted: Iterable[str], key: str, device: str) -> bool:
    """Whether one of the names stands for a data key."""
    return any(matches(name, key, device) for name in wanted)


def region_of(key: str) -> tuple[str, str | None]:
    """The detector of a data key, and the number of the region if the key is for one: ``counter0-spid-3``."""
    found = re.fullmatch(r"(.+?)[-_]spid[-_](\d+)", key)
    return (found[1], found[2]) if found else (key, None)


def _is(wanted: str, key: str, device: str, request: Request) -> bool:
    names = (wanted, request.devices.source.get(wanted), wanted.removeprefix("DNM_"))
    return key in names or device in names


def _begins(wanted: str, key: str, device: str, request: Request) -> bool:
    return matches(wanted, key, device) or matches(wanted.removeprefix("DNM_"), key, device)


def _contains(wanted: str, key: str, device: str, request: Request) -> bool:
    return wanted.removeprefix("DNM_").lower() in key.lower()


def _name_detectors(detectors: dict[str, str]) -> None:
    """Detectors with several data keys are several, under the names of their keys."""
    devices = list(detectors.values())
    for key, device in detectors.items():
        if devices.count(device) > 1:
            detectors[key] = key
        detectors[key] = region_of(detectors[key])[0]


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


def scalar(value: object) -> float | None:
    """A number that an event has for a position; None if it is an array or none."""
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else None
