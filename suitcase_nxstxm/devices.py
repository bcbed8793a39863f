"""What a device is to the microscope, found by its name; and the unit its numbers are in."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LENGTH = frozenset({"m", "mm", "um", "µm", "μm", "micron", "microns", "nm", "pm"})

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
    if role in _UNITS and (not units or units in LENGTH):
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
