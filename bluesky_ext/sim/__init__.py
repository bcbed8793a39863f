"""Simulated beamlines of ophyd devices: a polycrystalline sample or a powder in an X-ray beam, and an STXM.

For tests, demonstrations and documentation, and for trying an analysis before the beamtime: everything comes
from a seed, and the truth is known.

    b = beamline(seed=1)
    RE(bp.grid_scan([b.detector], b.y, -1, 1, 11, b.x, -1, 1, 11))

    s = stxm(seed=1)
    RE(bp.scan([s.counter], s.energy, 280, 295, 31))
"""

from __future__ import annotations

from bluesky_ext.sim.beamline import Beamline, PowderBeamline, beamline, powder_beamline
from bluesky_ext.sim.ccd import CCD
from bluesky_ext.sim.counter import LineCounter, PointCounter, RingCurrent
from bluesky_ext.sim.crystal import Crystal
from bluesky_ext.sim.detector import Cam, CrystalDetector, Stats
from bluesky_ext.sim.grain import Grain
from bluesky_ext.sim.microscope import Conditions, Microscope, Polarization
from bluesky_ext.sim.motor import SimMotor
from bluesky_ext.sim.powder import Powder
from bluesky_ext.sim.ring import Ring
from bluesky_ext.sim.setting import Setting
from bluesky_ext.sim.shutter import Shutter
from bluesky_ext.sim.specimen import Particle, Specimen
from bluesky_ext.sim.spectrum import Material, Resonance
from bluesky_ext.sim.stage import Monochromator, Stage
from bluesky_ext.sim.stxm import STXM, stxm
from bluesky_ext.sim.zoneplate import ZonePlate

__all__ = [  # noqa: RUF022
    # the physics, without devices
    "Crystal",
    "Grain",
    "Powder",
    "Microscope",
    "Conditions",
    "Polarization",
    "Specimen",
    "Particle",
    "Material",
    "Resonance",
    "ZonePlate",
    "Ring",
    # the devices
    "CrystalDetector",
    "Cam",
    "Stats",
    "PointCounter",
    "LineCounter",
    "CCD",
    "RingCurrent",
    "SimMotor",
    "Stage",
    "Monochromator",
    "Shutter",
    "Setting",
    # all of them together
    "Beamline",
    "beamline",
    "PowderBeamline",
    "powder_beamline",
    "STXM",
    "stxm",
]
