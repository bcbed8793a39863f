"""The sample of the simulated STXM: particles of one material in a film of another, and a hole beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from bluesky_ext.sim.check import check_number
from bluesky_ext.stxm.sim.spectrum import Material, Resonance

__all__ = ["FILM", "PARTICLES", "Particle", "Specimen"]

FILM = Material("film", 0.35, 290.0, 1.1, 0.8, (Resonance(288.4, 2.0, 0.35),))
PARTICLES = Material("particles", 0.45, 290.0, 1.4, 0.8, (Resonance(285.2, 3.5, 0.3, dichroism=0.8, axis=30.0),))

# A flat sample cannot be seen through from its edge.
STEEPEST = 80.0


@dataclass(frozen=True)
class Particle:
    """A disc of the sample.

    Parameters
    ----------
    y, x : float
        Its centre in um.
    radius : float
        In um.
    thickness : float
        In um.
    """

    y: float
    x: float
    radius: float
    thickness: float


@dataclass(frozen=True)
class Specimen:
    """A flat sample: what it lets through, by position, energy, polarisation and angle, and the truth about it.

    Discs of one material lie in a film of another, which has a hole: there nothing absorbs. Outside the sample
    nothing absorbs either.

    Parameters
    ----------
    seed : int
        The same seed gives the same sample.
    n_particles : int
        Number of discs.
    extents : tuple
        The sample, ((y0, y1), (x0, x1)), in um.
    pixel : float
        Size of the pixels that the sample is made of, in um.
    film_thickness : float
        Thickness of the film in um.
    film, particle : Material
        What they are made of.
    """

    seed: int = 0
    n_particles: int = 6
    extents: tuple[tuple[float, float], tuple[float, float]] = ((-8.0, 8.0), (-8.0, 8.0))
    pixel: float = 0.0625
    film_thickness: float = 0.3
    film: Material = FILM
    particle: Material = PARTICLES
    _transmissions: dict[tuple[float, ...], NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_number("film_thickness", self.film_thickness)
        check_number("pixel", self.pixel, above=True)
        for name, (low, high) in zip("yx", self.extents, strict=True):
            if not -math.inf < low < high < math.inf or (high - low) / self.pixel < 16:
                raise ValueError(f"extents in {name} are {(low, high)}: give two numbers at least 16 pixels apart")
        _ = self.thickness

    @cached_property
    def _layout(self) -> tuple[tuple[Particle, ...], Particle]:
        """The particles, and the hole, none of which touches another."""
        rng = np.random.default_rng([self.seed, 7001])
        (y0, y1), (x0, x1) = self.extents
        size = min(y1 - y0, x1 - x0)
        found: list[Particle] = []
        for _ in range(20_000):
            if len(found) > self.n_particles:
                break
            # The hole is placed first, while there is room.
            radius = 0.1 * size if not found else float(rng.uniform(0.04, 0.09)) * size
            y, x = (float(rng.uniform(low + radius, high - radius)) for low, high in self.extents)
            if all(math.hypot(y - p.y, x - p.x) > radius + p.radius + 0.04 * size for p in found):
                found.append(Particle(y, x, radius, float(rng.uniform(0.3, 0.6)) if found else 0.0))
        else:
            raise ValueError(f"n_particles is {self.n_particles}: only {len(found) - 1} have room, give fewer")
        return tuple(found[1:]), found[0]

    @property
    def particles(self) -> tuple[Particle, ...]:
        """The discs."""
        return self._layout[0]

    @property
    def hole(self) -> Particle:
        """The hole in the film, for I0; its thickness is 0."""
        return self._layout[1]

    @property
    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the pixels, y and x, in um."""
        (y0, y1), (x0, x1) = self.extents
        ny, nx = round((y1 - y0) / self.pixel) + 1, round((x1 - x0) / self.pixel) + 1
        return y0 + self.pixel * np.arange(ny, dtype=np.float64), x0 + self.pixel * np.arange(nx, dtype=np.float64)

    @cached_property
    def thickness(self) -> NDArray[np.float64]:
        """Thickness of the film and of the particles in every pixel, in um, shape (2, ny, nx)."""
        y, x = np.meshgrid(*self.axes, indexing="ij")
        film = np.full(y.shape, self.film_thickness)
        discs = np.zeros(y.shape)
        for particle in self.particles:
            discs[np.hypot(y - particle.y, x - particle.x) <= particle.radius] = particle.thickness
        film[np.hypot(y - self.hole.y, x - self.hole.x) <= self.hole.radius] = 0.0
        both = np.stack([film, discs])
        both.flags.writeable = False
        return both

    @property
    def materials(self) -> Sequence[Material]:
        """The materials, in the order of `thickness`."""
        return (self.film, self.particle)

    def density_image(self, energy: float, angle: float | None = None) -> NDArray[np.float64]:
        """Optical density of every pixel, shape (ny, nx), seen straight on; see `Material.absorption`."""
        mus = [float(material.absorption(energy, angle)) for material in self.materials]
        return np.tensordot(mus, self.thickness, axes=1)

    def optical_density(
        self, y: ArrayLike, x: ArrayLike, energy: float, angle: float | None = None, rotation: float = 0.0
    ) -> NDArray[np.float64]:
        """Optical density at positions, interpolated between the pixels.

        Parameters
        ----------
        y, x : array_like
            Positions in um, broadcast against each other.
        energy : float
            Photon energy in eV.
        angle : float, optional
            Direction of a linear polarisation in degrees; None for a circular one.
        rotation : float
            Angle by which the sample is turned about its y axis, in degrees: it is longer to go through, and
            narrower in x.

        Returns
        -------
        ndarray
            Shape of ``y`` and ``x`` broadcast.
        """
        slant = self._slant(rotation)
        return self._at(self.density_image(energy, angle), y, np.divide(x, slant), 0.0) / slant

    def transmission(
        self,
        y: ArrayLike,
        x: ArrayLike,
        energy: float,
        angle: float | None = None,
        rotation: float = 0.0,
        blur: float = 0.0,
    ) -> NDArray[np.float64]:
        """Fraction of the beam that passes: exp(-optical density), averaged over the spot.

        Parameters
        ----------
        y, x : array_like
            Positions in um, broadcast against each other.
        energy : float
            Photon energy in eV.
        angle : float, optional
            Direction of a linear polarisation in degrees; None for a circular one.
        rotation : float
            Angle by which the sample is turned about its y axis, in degrees.
        blur : float
            Standard deviation of the gaussian spot in um.

        Returns
        -------
        ndarray
            Shape of ``y`` and ``x`` broadcast.
        """
        slant = self._slant(rotation)
        key = (energy, math.nan if angle is None else angle, rotation, blur)
        # nan is not equal to itself, but a tuple with the same nan object in it is found again.
        image = self._transmissions.get(key)
        if image is None:
            image = np.exp(-self.density_image(energy, angle) / slant)
            if blur > 0:
                sigma = (blur / self.pixel, blur / (self.pixel * slant))
                image = ndimage.gaussian_filter(image, sigma, mode="constant", cval=1.0, truncate=3.0)
            while len(self._transmissions) >= 8:
                self._transmissions.pop(next(iter(self._transmissions)))
            self._transmissions[key] = image
        return self._at(image, y, np.divide(x, slant), 1.0)

    def _at(self, image: NDArray[np.float64], y: ArrayLike, x: ArrayLike, outside: float) -> NDArray[np.float64]:
        (y0, _), (x0, _) = self.extents
        rows = (np.asarray(y, np.float64) - y0) / self.pixel
        columns = (np.asarray(x, np.float64) - x0) / self.pixel
        rows, columns = np.broadcast_arrays(rows, columns)
        places = [np.ravel(rows), np.ravel(columns)]
        values = ndimage.map_coordinates(image, places, order=1, mode="grid-constant", cval=outside)
        return values.reshape(rows.shape)

    @staticmethod
    def _slant(rotation: float) -> float:
        if not abs(rotation) <= STEEPEST:
            raise ValueError(f"the sample is turned by {rotation!r} degrees: at most {STEEPEST:g} let the beam through")
        return math.cos(math.radians(rotation))
