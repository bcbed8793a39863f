"""The physics of a simulated powder: rings of known d-spacings, and a strain that differs over the sample.

numpy only, and no geometry but its own: what an azimuthal integration finds can be compared with what is known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bluesky_ext.sim.geometry import Geometry

__all__ = ["Powder"]

#: Steps of the radial profile for each standard deviation of a ring.
FINE = 40


@dataclass(frozen=True)
class Powder:
    """A powder in a beam: frames by seed, and the truth they were made from.

    A frame has a ring for each d-spacing on a flat background, with Poisson noise. The d-spacings are
    ``d * (1 + strain)``, and the strain is a plane over the sample with a hill in its middle:
    ``strain(y, x) = gradient * x + hill * exp(-(y**2 + x**2) / 2 / width**2)``.

    Parameters
    ----------
    seed : int
        The same seed gives the same frames, bit for bit.
    shape : tuple of int
        Rows and columns of the detector, which stands upright in the beam, the beam in its middle.
    d_spacings : tuple of float
        Without strain, in m; those of silicon 111, 220 and 311 unless given.
    heights : tuple of float
        The height of each ring above the background, in counts per second.
    background : float
        In counts per second.
    sigma : float
        The standard deviation of the rings, in 1/nm.
    gradient, hill, width : float
        The strain, with x, y and width in mm: per mm, and at the top of the hill.
    wavelength, distance : float
        In m.
    pixel : float
        The side of a pixel, in m; the detector has a side of 0.1 m unless given.

    Examples
    --------
    >>> powder = Powder(shape=(64, 64))
    >>> powder.frame(0, 0).shape
    (64, 64)
    >>> float(powder.strain(0, 0))
    0.001
    """

    seed: int = 0
    shape: tuple[int, int] = (512, 512)
    d_spacings: tuple[float, ...] = (3.1356e-10, 1.9201e-10, 1.6375e-10)
    heights: tuple[float, ...] = (5_000.0, 3_000.0, 2_000.0)
    background: float = 200.0
    sigma: float = 0.4
    gradient: float = 5e-4
    hill: float = 1e-3
    width: float = 0.5
    wavelength: float = 0.8e-10
    distance: float = 0.08
    pixel: float | None = None

    def __post_init__(self) -> None:
        if len(self.heights) != len(self.d_spacings):
            raise ValueError(f"heights={self.heights!r}: give one for each of {len(self.d_spacings)} d_spacings")
        for name in ("sigma", "width"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}: give a finite number above 0")
        _ = self._geometry  # refuses a distance that is none

    @property
    def poni(self) -> bytes:
        """The geometry of the detector, as the content of a .poni file."""
        return self._geometry.poni

    def strain(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """The strain at sample positions in mm, as a fraction; they are broadcast against each other."""
        y, x = np.asarray(y, float), np.asarray(x, float)
        return self.gradient * x + self.hill * np.exp(-(y**2 + x**2) / 2 / self.width**2)

    def rings(self, y: float, x: float) -> NDArray[np.float64]:
        """Where the rings are on the detector, as scattering vectors in 1/nm, in the order of the d-spacings."""
        d = np.array(self.d_spacings) * (1 + self.strain(y, x))
        return 2e-9 * np.pi / d

    def frame(
        self, y: float, x: float, exposure: int = 0, *, acquire_time: float = 0.1, shutter_open: bool = True
    ) -> NDArray[np.uint16]:
        """One frame at a sample position, with its noise, (*shape,) uint16; it depends on the arguments alone."""
        if not shutter_open:
            return np.zeros(self.shape, np.uint16)
        grid = np.arange(0.0, self._q.max() + self.sigma, self.sigma / FINE)
        profile = np.full_like(grid, self.background)
        for q, height in zip(self.rings(y, x), self.heights, strict=True):
            profile += height * np.exp(-((grid - q) ** 2) / 2 / self.sigma**2)
        seeds = np.random.SeedSequence([self.seed, exposure])
        counts = np.random.Generator(np.random.SFC64(seeds)).poisson(
            np.interp(self._q, grid, profile) * self._solid_angle * acquire_time
        )
        return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)

    @cached_property
    def _geometry(self) -> Geometry:
        return Geometry(self.shape, self.pixel, self.distance, self.wavelength)

    @cached_property
    def _q(self) -> NDArray[np.float64]:
        """The scattering vector of each pixel, in 1/nm."""
        return self._geometry.q(*np.ogrid[: self.shape[0], : self.shape[1]])

    @cached_property
    def _solid_angle(self) -> NDArray[np.float64]:
        """The solid angle of each pixel, as a fraction of that in the beam."""
        return np.cos(self._geometry.angle(*np.ogrid[: self.shape[0], : self.shape[1]])) ** 3
