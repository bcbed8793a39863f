"""The devices of an STXM, by the names that plans and files have for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bluesky.protocols import Movable, Readable
from bluesky.utils import maybe_await

from bluesky_ext.plans.beam import Beam
from bluesky_ext.plans.check import check_finite

__all__ = ["Endstation"]


@dataclass(frozen=True, eq=False)
class Endstation:
    """The devices of an STXM in one: what moves what, what to record with every scan, and the shutter.

    It can be read as a device can, which gives the readings of all of them; so a queueserver takes it for a device,
    and a plan in the queue can name it.

    Parameters
    ----------
    devices : mapping
        The devices by their conventional names. The plans use ``SampleFineY``, ``SampleFineX``, ``Coarse.Y``,
        ``Coarse.X``, ``GoniY``, ``GoniX``, ``GoniTheta``, ``ZonePlate.Z``, ``OSA.Y``, ``OSA.X``, ``Detector.Y``,
        ``Detector.X``, ``ENERGY``, ``EPUPolarization``, ``EPUOffset``, ``EPUAngle`` and ``StorageRingCurrent``, each
        one only if it needs it. All of them, under any other name too, are in the baseline of each scan.
    shutter : Movable, optional
        Opened for a scan and closed after it.
    shutter_open, shutter_close : object
        What it is set to.
    zp_def : mapping, optional
        The parameters of the zone plate, as ``zpD``, ``zpCStop``, ``zpOZone`` and ``zpA1``.
    name : str
        Name of the endstation.
    """

    devices: Mapping[str, Any]
    shutter: Movable | None = None
    shutter_open: Any = "open"
    shutter_close: Any = "closed"
    zp_def: Mapping[str, float] | None = None
    name: str = field(default="endstation")

    parent: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.devices, Mapping) or not self.devices:
            raise TypeError(f"devices is {self.devices!r}: give a dict of devices by their conventional names")
        for name, device in self.devices.items():
            if not isinstance(device, Readable):
                raise TypeError(f"{name!r} of the endstation {self.name} is {device!r}: give a device that can be read")
        zp_def = {} if self.zp_def is None else self.zp_def
        if not isinstance(zp_def, Mapping):
            raise TypeError(f"zp_def is {zp_def!r}: give a dict of the parameters of the zone plate, or leave it out")
        for name, value in zp_def.items():
            check_finite(f"{name} of zp_def", value)
        self.beam()

    def __repr__(self) -> str:
        return f"Endstation(name={self.name!r})"

    def __getitem__(self, name: str) -> Any:
        """The device of a conventional name; a ValueError if there is none."""
        if name not in self.devices:
            raise ValueError(f"the endstation {self.name} has no {name}: it has {', '.join(sorted(self.devices))}")
        return self.devices[name]

    def __contains__(self, name: str) -> bool:
        return name in self.devices

    def name_of(self, device: Any) -> str:
        """Conventional name of a device; its own if it has none."""
        return next((name for name, known in self.devices.items() if known is device), device.name)

    def beam(self) -> Beam:
        """The shutter, for one plan."""
        return Beam(self.shutter, self.shutter_open, self.shutter_close)

    async def read(self) -> dict[str, Any]:
        """Readings of all devices."""
        readings: dict[str, Any] = {}
        for device in self.devices.values():
            readings |= await maybe_await(device.read())
        return readings

    async def describe(self) -> dict[str, Any]:
        """Data keys of all devices."""
        keys: dict[str, Any] = {}
        for device in self.devices.values():
            keys |= await maybe_await(device.describe())
        return keys
