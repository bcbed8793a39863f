"""Spectra and diffractograms: the analyses of beamlines such as NanoMAX."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import azimuthal, fluorescence
from benchmarks.runner import Figure


def main() -> Iterator[Figure]:
    yield from fluorescence.main()
    yield from azimuthal.main()
