"""Spectra and diffractograms: the analyses of beamlines such as NanoMAX."""

from __future__ import annotations

from benchmarks import azimuthal, fluorescence


def main() -> bool:
    return fluorescence.main() & azimuthal.main()
