"""A simulated STXM of ophyd devices: its sample, its physics, its detectors and stages.

For tests, demonstrations and documentation, and for trying an analysis before the beamtime: everything comes
from a seed, and the truth is known.

    s = stxm(seed=1)
    RE(bp.scan([s.counter], s.energy, 280, 295, 31))
"""

from __future__ import annotations

from bluesky_ext.stxm.sim.ccd import CCD
from bluesky_ext.stxm.sim.counter import LineCounter, PointCounter, RingCurrent
from bluesky_ext.stxm.sim.microscope import Conditions, Microscope, Polarization
from bluesky_ext.stxm.sim.ring import Ring
from bluesky_ext.stxm.sim.specimen import Particle, Specimen
from bluesky_ext.stxm.sim.spectrum import Material, Resonance
from bluesky_ext.stxm.sim.stage import Monochromator, Stage
from bluesky_ext.stxm.sim.stxm import STXM, stxm
from bluesky_ext.stxm.sim.zoneplate import ZonePlate

__all__ = [  # noqa: RUF022
    # the physics, without devices
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
    "PointCounter",
    "LineCounter",
    "CCD",
    "RingCurrent",
    "Stage",
    "Monochromator",
    # all of them together
    "STXM",
    "stxm",
]
