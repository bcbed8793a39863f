"""A Fresnel zone plate: where it focuses, and how large the spot is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bluesky_ext.sim.check import check_number

__all__ = ["ZonePlate", "wavelength"]

# h c in eV nm (CODATA 2018).
HC = 1239.841984


def wavelength(energy: float) -> float:
    """Wavelength of photons of an energy in eV, in nm."""
    return HC / energy


@dataclass(frozen=True)
class ZonePlate:
    """A zone plate in its first order.

    Parameters
    ----------
    diameter : float
        In um.
    outer_zone : float
        Width of the outermost zone, in nm: it sets the resolution.
    central_stop : float
        Diameter of the central stop, in um.
    """

    diameter: float = 250.0
    outer_zone: float = 25.0
    central_stop: float = 100.0

    def __post_init__(self) -> None:
        check_number("diameter", self.diameter, above=True)
        check_number("outer_zone", self.outer_zone, above=True)
        check_number("central_stop", self.central_stop, below=self.diameter)

    @property
    def slope(self) -> float:
        """Focal length by energy, in um/eV."""
        return self.diameter * self.outer_zone / HC

    @property
    def spot(self) -> float:
        """Standard deviation of the spot in the focus, in um: its full width at half maximum is the outer zone."""
        return self.outer_zone * 1e-3 / math.sqrt(8 * math.log(2))

    def focal_length(self, energy: float) -> float:
        """Focal length at an energy in eV, in um: proportional to it.

        Examples
        --------
        >>> round(ZonePlate(diameter=250, outer_zone=25).focal_length(700), 1)
        3528.7
        """
        return self.slope * energy

    def blur(self, energy: float, defocus: float) -> float:
        """Standard deviation of the spot at a distance from the focus, in um.

        The cone of the beam is a disc there, whose standard deviation along one axis is half of its radius.

        Parameters
        ----------
        energy : float
            Photon energy in eV.
        defocus : float
            Distance from the focus in um, upstream or downstream.
        """
        disc = self.diameter / 4 * abs(defocus) / self.focal_length(energy)
        return math.hypot(self.spot, disc)
