"""What a material does to soft X-rays near an absorption edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bluesky_ext.sim.check import check_number

__all__ = ["Material", "Resonance"]


@dataclass(frozen=True)
class Resonance:
    """A peak of a spectrum, gaussian, and how much it depends on the direction of the polarisation.

    Parameters
    ----------
    energy : float
        Where it is, in eV.
    height : float
        Its height for circular polarisation, which is the mean of all linear ones, in 1/um.
    width : float
        Its standard deviation, in eV.
    dichroism : float
        From 0, the same in all directions, to 1, nothing at right angles to `axis`.
    axis : float
        Direction in which it absorbs most, in degrees from the horizontal.
    """

    energy: float
    height: float
    width: float
    dichroism: float = 0.0
    axis: float = 0.0

    def __post_init__(self) -> None:
        check_number("energy of the resonance", self.energy, above=True)
        check_number("height of the resonance", self.height)
        check_number("width of the resonance", self.width, above=True)
        if not 0 <= self.dichroism <= 1:
            raise ValueError(f"dichroism is {self.dichroism!r}: give a number from 0 to 1")

    def absorption(self, energy: ArrayLike, angle: float | None = None) -> NDArray[np.float64]:
        """Linear absorption of the peak alone, in 1/um; see `Material.absorption`."""
        shape = np.exp(-((np.asarray(energy, np.float64) - self.energy) ** 2) / (2 * self.width**2))
        # cos² of the angle to the axis, halved and doubled: its mean over all angles is the height.
        turn = 1.0 if angle is None else 1 + self.dichroism * math.cos(2 * math.radians(angle - self.axis))
        return self.height * turn * shape


@dataclass(frozen=True)
class Material:
    """A material by its spectrum: a background, a step at the edge, and resonances.

    Parameters
    ----------
    name : str
        Its name.
    background : float
        Absorption at the edge from below, in 1/um; it falls with the third power of the energy.
    edge : float
        Energy of the edge, in eV.
    jump : float
        Absorption that the edge adds, in 1/um.
    edge_width : float
        Half width of the edge, in eV.
    resonances : sequence of Resonance
        The peaks.
    """

    name: str
    background: float
    edge: float
    jump: float = 0.0
    edge_width: float = 0.5
    resonances: tuple[Resonance, ...] = ()

    def __post_init__(self) -> None:
        check_number(f"background of {self.name}", self.background)
        check_number(f"edge of {self.name}", self.edge, above=True)
        check_number(f"jump of {self.name}", self.jump)
        check_number(f"edge_width of {self.name}", self.edge_width, above=True)
        if not isinstance(self.resonances, Sequence) or not all(isinstance(r, Resonance) for r in self.resonances):
            raise TypeError(f"resonances of {self.name} are {self.resonances!r}: give a tuple of Resonance")
        object.__setattr__(self, "resonances", tuple(self.resonances))

    def absorption(self, energy: ArrayLike, angle: float | None = None) -> NDArray[np.float64]:
        """Linear absorption: the optical density of 1 um.

        Parameters
        ----------
        energy : array_like
            Photon energy in eV.
        angle : float, optional
            Direction of a linear polarisation in degrees from the horizontal; None for a circular one.

        Returns
        -------
        ndarray
            Shape of ``energy``, float64, in 1/um.

        Examples
        --------
        >>> carbon = Material("carbon", background=0.4, edge=290, jump=1.2)
        >>> [round(float(carbon.absorption(energy)), 2) for energy in (280, 320)]
        [0.47, 1.19]
        """
        energies = np.asarray(energy, np.float64)
        step = 0.5 + np.arctan((energies - self.edge) / self.edge_width) / math.pi
        total = (self.background + self.jump * step) * (self.edge / energies) ** 3
        for resonance in self.resonances:
            total = total + resonance.absorption(energies, angle)
        return total
