"""Azimuthal integration: images of an area detector in, diffractograms out."""

from bluesky_ext.spectra.azimuthal.integrator import Diffractogram, Integrator, integrator
from bluesky_ext.spectra.azimuthal.matrix import integration_kernels
from bluesky_ext.spectra.azimuthal.poni import poni_bytes, read_poni
from bluesky_ext.spectra.azimuthal.regions import Regions
from bluesky_ext.spectra.azimuthal.scattering import scattering
from bluesky_ext.spectra.azimuthal.settings import UNITS, AzimuthalSettings
from bluesky_ext.spectra.azimuthal.stack import Stack

__all__ = [
    "UNITS",
    "AzimuthalSettings",
    "Diffractogram",
    "Integrator",
    "Regions",
    "Stack",
    "integration_kernels",
    "integrator",
    "poni_bytes",
    "read_poni",
    "scattering",
]
