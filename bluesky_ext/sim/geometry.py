"""Where an upright detector sees what is scattered: arithmetic by hand, beside what pyFAI makes of the same .poni."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Geometry"]


@dataclass(frozen=True)
class Geometry:
    """A detector that stands upright in the beam, the beam in its middle.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    pixel : float, optional
        The side of a pixel, in m; the longer side of the detector is 0.1 m unless given.
    distance, wavelength : float
        In m.

    Examples
    --------
    >>> geometry = Geometry((100, 100), distance=0.05)
    >>> round(float(geometry.two_theta(49.5, 99.5)), 9)
    45.0
    """

    shape: tuple[int, int]
    pixel: float | None = None
    distance: float = 0.08
    wavelength: float = 0.8e-10

    def __post_init__(self) -> None:
        for name, value in (("pixel", self._side), ("distance", self.distance), ("wavelength", self.wavelength)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}: give a finite number above 0")

    @property
    def poni(self) -> bytes:
        """The content of its .poni file."""
        (rows, columns), side = self.shape, self._side
        config = {"pixel1": side, "pixel2": side, "max_shape": [rows, columns], "orientation": 3}
        return (
            "# a simulated detector\nponi_version: 2.1\nDetector: Detector\n"
            f"Detector_config: {json.dumps(config)}\n"
            f"Distance: {self.distance}\nPoni1: {rows * side / 2}\nPoni2: {columns * side / 2}\n"
            f"Rot1: 0.0\nRot2: 0.0\nRot3: 0.0\nWavelength: {self.wavelength}\n"
        ).encode()

    def angle(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """The angle from the beam at positions in px, in rad; they are broadcast against each other."""
        down, across = (
            (np.asarray(at, float) + 0.5 - n / 2) * self._side for at, n in zip((y, x), self.shape, strict=True)
        )
        return np.arctan2(np.hypot(down, across), self.distance)

    def two_theta(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """The angle from the beam in degrees."""
        return np.degrees(self.angle(y, x))

    def q(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """The scattering vector, in 1/nm."""
        return 4e-9 * np.pi / self.wavelength * np.sin(self.angle(y, x) / 2)

    def radius(self, d_spacing: float) -> float:
        """How far from the beam a d-spacing (in m) is seen, in px; infinite if it is not seen in front."""
        sine = self.wavelength / 2 / d_spacing
        return self.distance * math.tan(2 * math.asin(sine)) / self._side if sine < math.sqrt(0.5) else math.inf

    @property
    def _side(self) -> float:
        return 0.1 / max(self.shape) if self.pixel is None else self.pixel
