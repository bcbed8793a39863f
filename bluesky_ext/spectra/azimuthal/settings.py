"""What an azimuthal integration is to make, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

UNITS = ("q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm")
SPLITTINGS = ("no", "bbox", "full")
ERROR_MODELS = ("poisson", "azimuthal")
#: What fits into memory beside an image: bins over all sectors.
MOST_BINS = 2**24

Unit: TypeAlias = Literal["q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm"]
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class AzimuthalSettings:
    """The bins of an azimuthal integration, the corrections, and the errors; named as pyFAI names them.

    Parameters
    ----------
    n_bins : int
        The number of radial bins.
    unit : {"q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm"}
        What the radial axis is.
    radial_range : (float, float), optional
        From where to where the bins go, in that unit; over all pixels that the detector has, unless given.
    sectors : int or sequence of (float, float), optional
        So many sectors of equal width, from -180 to 180 degrees; or each from one azimuth to another, in degrees.
        The whole ring is one diffractogram unless they are given.
    splitting : {"bbox", "no", "full"}
        How a pixel is split between bins: as the box around it, not at all, or as the quadrangle that it is.
    solid_angle : bool
        Whether to correct for the solid angle of each pixel.
    polarization : float, optional
        The polarization factor to correct for, from -1 (vertical) to 1 (horizontal).
    error_model : {"poisson", "azimuthal"}, optional
        Whether the error of a pixel is that of its counts, or how much it differs from the mean of its bin. There are
        no errors unless it is given.

    Examples
    --------
    >>> AzimuthalSettings(1000, "2th_deg").n_bins
    1000
    >>> AzimuthalSettings(1000, "q")
    Traceback (most recent call last):
    ValueError: unit='q': give one of q_nm^-1, q_A^-1, 2th_deg, 2th_rad, r_mm
    """

    n_bins: int
    unit: Unit = "q_nm^-1"
    radial_range: Range | None = None
    sectors: int | Sequence[Range] | None = None
    splitting: Literal["no", "bbox", "full"] = "bbox"
    solid_angle: bool = True
    polarization: float | None = None
    error_model: Literal["poisson", "azimuthal"] | None = None

    def __post_init__(self) -> None:
        _check_count("n_bins", self.n_bins)
        _check_one("unit", self.unit, UNITS)
        _check_one("splitting", self.splitting, SPLITTINGS)
        if self.error_model is not None:
            _check_one("error_model", self.error_model, ERROR_MODELS)
        if self.radial_range is not None:
            object.__setattr__(self, "radial_range", _range("radial_range", self.radial_range))
        if isinstance(self.sectors, Sequence | np.ndarray) and not isinstance(self.sectors, str):
            sectors = tuple(_range("a sector", one, most=360.0) for one in self.sectors)
            if not sectors:
                raise ValueError(
                    "sectors=[]: give ranges in degrees, as [(-15, 15), (75, 105)], or a number of sectors"
                )
            object.__setattr__(self, "sectors", sectors)
        elif self.sectors is not None:
            _check_count("sectors", self.sectors)
        if self.n_bins * (self.n_sectors or 1) > MOST_BINS:
            raise ValueError(f"n_bins={self.n_bins} in {self.n_sectors or 1} sectors: give {MOST_BINS} bins at most")
        if self.polarization is not None and not (_is_number(self.polarization) and -1 <= self.polarization <= 1):
            raise ValueError(f"polarization={self.polarization!r}: give a factor from -1 to 1, or None")
        if not isinstance(self.solid_angle, bool):
            raise ValueError(f"solid_angle={self.solid_angle!r}: give True or False")

    @property
    def n_sectors(self) -> int | None:
        """How many sectors there are; None for the whole ring."""
        return self.sectors if self.sectors is None or isinstance(self.sectors, int) else len(self.sectors)


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}: give a whole number above 0")


def _check_one(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: give one of {', '.join(allowed)}")


def _range(name: str, value: Any, most: float = math.inf) -> Range:
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else ()
    if len(pair) != 2 or not all(map(_is_number, pair)) or not 0 < pair[1] - pair[0] <= most:
        raise ValueError(f"{name} is {value!r}: give two numbers, the smaller one first, as (10, 30)")
    return float(pair[0]), float(pair[1])
