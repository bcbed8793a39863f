"""Azimuthal integration: images of an area detector in, diffractograms out."""

from bluesky_ext.spectra.azimuthal.integrator import Diffractogram, Integrator, integrator
from bluesky_ext.spectra.azimuthal.matrix import warm_up
from bluesky_ext.spectra.azimuthal.poni import poni_bytes, read_poni
from bluesky_ext.spectra.azimuthal.settings import UNITS, AzimuthalSettings

__all__ = [
    "UNITS",
    "AzimuthalSettings",
    "Diffractogram",
    "Integrator",
    "integrator",
    "poni_bytes",
    "read_poni",
    "warm_up",
]
