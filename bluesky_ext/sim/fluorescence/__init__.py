"""A simulated beamline for X-ray fluorescence; it needs PyMca, the extra ``xrf``."""

from bluesky_ext.sim.fluorescence.beamline import FluorescenceBeamline, FluorescenceDetector, fluorescence_beamline
from bluesky_ext.sim.fluorescence.sample import FluorescenceSample

__all__ = ["FluorescenceBeamline", "FluorescenceDetector", "FluorescenceSample", "fluorescence_beamline"]
