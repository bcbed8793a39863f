"""Simulated beamlines of ophyd devices: a polycrystalline sample or a powder in an X-ray beam.

For tests, demonstrations and documentation, and for trying an analysis before the beamtime: everything comes
from a seed, and the truth is known.

    b = beamline(seed=1)
    RE(bp.grid_scan([b.detector], b.y, -1, 1, 11, b.x, -1, 1, 11))

The simulated STXM is `bluesky_ext.stxm.sim`.
"""

from __future__ import annotations

from bluesky_ext.sim.beamline import Beamline, PowderBeamline, beamline, powder_beamline
from bluesky_ext.sim.crystal import Crystal
from bluesky_ext.sim.detector import Cam, CrystalDetector, Stats
from bluesky_ext.sim.grain import Grain
from bluesky_ext.sim.motor import SimMotor
from bluesky_ext.sim.powder import Powder
from bluesky_ext.sim.setting import Setting
from bluesky_ext.sim.shutter import Shutter

__all__ = [  # noqa: RUF022
    # the physics, without devices
    "Crystal",
    "Grain",
    "Powder",
    # the devices
    "CrystalDetector",
    "Cam",
    "Stats",
    "SimMotor",
    "Shutter",
    "Setting",
    # all of them together
    "Beamline",
    "beamline",
    "PowderBeamline",
    "powder_beamline",
]
