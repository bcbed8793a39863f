"""The physics of the simulated STXM: how many photons arrive, and the diffraction pattern they make.

numpy and scipy only: a `Microscope` can be used in a notebook, or as the truth of a test, without any device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from bluesky_ext.sim.check import check_number
from bluesky_ext.stxm.sim.ring import Ring
from bluesky_ext.stxm.sim.specimen import Specimen
from bluesky_ext.stxm.sim.zoneplate import ZonePlate, wavelength

__all__ = ["Conditions", "Microscope", "Polarization"]

# Pixels of the object under the probe, by their size in um: the probe is well inside of the patch.
PATCH = 0.015

# Phase shift of the particles by their optical density, in rad: so that ptychography has a phase to find.
PHASE = 0.5


class Polarization(IntEnum):
    """The settings of the undulator, by the numbers that the control system has for them."""

    CIRCULAR_LEFT = 0
    CIRCULAR_RIGHT = 1
    LINEAR_HORIZONTAL = 2
    LINEAR_VERTICAL = 3
    LINEAR_INCLINED = 5


@dataclass(frozen=True)
class Conditions:
    """Where everything is while a detector counts: lengths in um, angles in degrees, the energy in eV.

    Parameters
    ----------
    energy : float
        Photon energy.
    zoneplate_z : float
        Zone plate, along the beam: negative, it is upstream.
    y, x : float
        Point of the sample in the beam.
    rotation : float
        Angle of the sample about its y axis.
    polarization : int
        A `Polarization`.
    angle : float
        Direction of the polarisation, for ``LINEAR_INCLINED``.
    osa_y, osa_x : float
        Position of the order-sorting aperture.
    detector_y, detector_x : float
        Position of the detector.
    seconds : float
        Beam time since the injection, in s.
    """

    energy: float
    zoneplate_z: float
    y: float = 0.0
    x: float = 0.0
    rotation: float = 0.0
    polarization: int = Polarization.LINEAR_HORIZONTAL
    angle: float = 0.0
    osa_y: float = 0.0
    osa_x: float = 0.0
    detector_y: float = 0.0
    detector_x: float = 0.0
    seconds: float = 0.0

    @property
    def direction(self) -> float | None:
        """Direction of a linear polarisation in degrees from the horizontal; None for a circular one."""
        match Polarization(round(self.polarization)):
            case Polarization.LINEAR_HORIZONTAL:
                return 0.0
            case Polarization.LINEAR_VERTICAL:
                return 90.0
            case Polarization.LINEAR_INCLINED:
                return self.angle
        return None


@dataclass(frozen=True)
class Microscope:
    """A scanning transmission X-ray microscope: zone plate, order-sorting aperture, sample, detector.

    The beam comes along z. The sample is at 0, a little off by `focus_offset`; the aperture is `osa_distance`
    upstream of it, the zone plate a focal length.

    Parameters
    ----------
    seed : int
        Seed of the sample, the misalignments and all noise.
    specimen : Specimen, optional
        The sample; by default that of the seed.
    zoneplate : ZonePlate
        The lens.
    ring : Ring
        The source.
    flux : float
        Photons per second in the focus when the ring is full and nothing is in the way.
    osa_distance : float
        Distance from the aperture to the sample, in um.
    osa_radius : float
        Radius of the aperture, in um.
    detector_radius : float
        Radius of the detector's face, in um.
    detector_edge : float
        Standard deviation of its border, in um.
    """

    seed: int = 0
    specimen: Specimen | None = None
    zoneplate: ZonePlate = field(default_factory=ZonePlate)
    ring: Ring = field(default_factory=Ring)
    flux: float = 2e6
    osa_distance: float = 250.0
    osa_radius: float = 40.0
    detector_radius: float = 300.0
    detector_edge: float = 20.0

    def __post_init__(self) -> None:
        for name in ("flux", "osa_distance", "osa_radius", "detector_radius", "detector_edge"):
            check_number(name, getattr(self, name), above=True)
        if self.specimen is None:
            object.__setattr__(self, "specimen", Specimen(self.seed))

    @property
    def sample(self) -> Specimen:
        """The sample."""
        if self.specimen is None:
            raise RuntimeError("the microscope has no specimen")
        return self.specimen

    @cached_property
    def _misalignments(self) -> tuple[float, ...]:
        rng = np.random.default_rng([self.seed, 7002])
        return tuple(float(value) for value in (rng.uniform(-8, 8), *rng.uniform(-6, 6, 2), *rng.uniform(-60, 60, 2)))

    @property
    def focus_offset(self) -> float:
        """Where the sample really is along the beam, in um."""
        return self._misalignments[0]

    @property
    def osa_centre(self) -> tuple[float, float]:
        """Position (y, x) at which the aperture is on the axis, in um."""
        return self._misalignments[1], self._misalignments[2]

    @property
    def detector_centre(self) -> tuple[float, float]:
        """Position (y, x) at which the detector is on the axis, in um."""
        return self._misalignments[3], self._misalignments[4]

    def focus(self, energy: float) -> float:
        """Position of the zone plate at which the spot is on the sample, in um.

        Parameters
        ----------
        energy : float
            Photon energy in eV.
        """
        return self.focus_offset - self.zoneplate.focal_length(energy)

    def osa_focus(self, energy: float) -> float:
        """Position of the zone plate at which the spot is on the aperture, in um.

        Parameters
        ----------
        energy : float
            Photon energy in eV.
        """
        return -self.osa_distance - self.zoneplate.focal_length(energy)

    def blur(self, at: Conditions) -> float:
        """Standard deviation of the spot on the sample, in um."""
        return self.zoneplate.blur(at.energy, at.zoneplate_z - self.focus(at.energy))

    def osa_transmission(self, at: Conditions) -> float:
        """Fraction of the beam that the aperture lets through."""
        blur = self.zoneplate.blur(at.energy, at.zoneplate_z - self.osa_focus(at.energy))
        y, x = self.osa_centre
        return _disc(math.hypot(at.osa_y - y, at.osa_x - x), self.osa_radius, blur)

    def detection(self, at: Conditions) -> float:
        """Fraction of the beam that falls on the detector."""
        y, x = self.detector_centre
        return _disc(math.hypot(at.detector_y - y, at.detector_x - x), self.detector_radius, self.detector_edge)

    def transmission(self, at: Conditions) -> float:
        """Fraction of the beam that the sample lets through."""
        return float(self.transmissions(at, at.x))

    def transmissions(self, at: Conditions, x: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Fraction of the beam that the sample lets through at other positions x.

        Parameters
        ----------
        at : Conditions
            The conditions.
        x : array_like
            Positions in um, instead of that in ``at``.

        Returns
        -------
        ndarray
            Shape of ``x``.
        """
        return self.sample.transmission(at.y, x, at.energy, at.direction, at.rotation, self.blur(at))

    def incident(self, at: Conditions) -> float:
        """Photons per second that would be counted without a sample."""
        current = self.ring.current(at.seconds) / self.ring.full
        return self.flux * current * self.osa_transmission(at) * self.detection(at)

    def rate(self, at: Conditions) -> float:
        """Photons per second on the detector."""
        return self.incident(at) * self.transmission(at)

    def probe(self, at: Conditions, size: int) -> NDArray[np.complex128]:
        """Field of the spot on the sample, shape (size, size), in pixels of 15 nm; its intensity adds up to 1.

        Parameters
        ----------
        at : Conditions
            The conditions.
        size : int
            Pixels of a side.
        """
        offsets = PATCH * (np.arange(size) - size // 2)
        squares = offsets[:, None] ** 2 + offsets[None, :] ** 2
        blur = max(self.blur(at), 2 * PATCH)
        defocus = at.zoneplate_z - self.focus(at.energy)
        # A spherical wave that has gone past its focus by the defocus; none is curved more than the pixels can show.
        steepest = math.pi / (PATCH * PATCH * size)
        curvature = math.pi * defocus / (wavelength(at.energy) * 1e-3 * (defocus**2 + 25.0))
        field_ = np.exp(-squares / (4 * blur**2) + 1j * float(np.clip(curvature, -steepest, steepest)) * squares)
        return field_ / np.sqrt((np.abs(field_) ** 2).sum())

    def exit_wave(self, at: Conditions, size: int) -> NDArray[np.complex128]:
        """Field behind the sample, shape (size, size): the probe times what the sample does to it."""
        offsets = PATCH * (np.arange(size) - size // 2)
        density = self.sample.optical_density(
            at.y + offsets[:, None], at.x + offsets[None, :], at.energy, at.direction, at.rotation
        )
        return self.probe(at, size) * np.exp((-0.5 + 1j * PHASE) * density)

    def diffraction(self, at: Conditions, size: int) -> NDArray[np.float64]:
        """Mean diffraction pattern on a camera far behind the sample, in photons per second.

        Its sum is what a counter sees: the power in the exit wave.

        Parameters
        ----------
        at : Conditions
            The conditions.
        size : int
            Pixels of a side; the direct beam is at ``size // 2``.

        Returns
        -------
        ndarray
            Shape (size, size), float64.
        """
        pattern = np.abs(np.fft.fftshift(np.fft.fft2(self.exit_wave(at, size), norm="ortho"))) ** 2
        return self.incident(at) * pattern

    def rng(self, detector: str, exposure: int) -> np.random.Generator:
        """Random numbers of an exposure of a detector: the same whatever else was asked for before.

        Parameters
        ----------
        detector : str
            Name of the detector.
        exposure : int
            Number of the exposure, from 0.
        """
        return np.random.Generator(np.random.SFC64([self.seed, exposure, *detector.encode()]))


def _disc(distance: float, radius: float, blur: float) -> float:
    """Fraction of a gaussian spot within a disc, its border taken as straight."""
    return float(erfc((distance - radius) / (math.sqrt(2) * blur)) / 2)
