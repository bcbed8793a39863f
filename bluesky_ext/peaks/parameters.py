"""The keywords of `locate`, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

Axes = float | Sequence[float]
"""One number for both axes, or one for y and one for x."""

ENGINES = ("auto", "python", "numba")


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """One value for y and one for x."""
    pair = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(pair) != 2 or not all(isinstance(one, Real) for one in pair):
        raise ValueError(f"{name}={value!r} needs one number, or one for y and one for x")
    return pair


def _odd_pair(name: str, value: Any) -> tuple[int, int]:
    """One odd positive integer for y and one for x."""
    sizes = _pair(name, value)
    if not all(float(size) > 0 and float(size) % 2 == 1 for size in sizes):
        raise ValueError(f"{name}={value!r} must be an odd number of pixels: round up")
    return int(sizes[0]), int(sizes[1])


@dataclass(frozen=True)
class LocateParameters:
    """The keywords of `trackpy.locate` for a two-dimensional image, refused here if trackpy would refuse them.

    Raises
    ------
    ValueError
        One line that names the keyword, its value and what it may be.
    """

    diameter: int | Sequence[int]
    minmass: float | None = None
    maxsize: float | None = None
    separation: Axes | None = None
    noise_size: Axes = 1
    smoothing_size: int | Sequence[int] | None = None
    threshold: float | None = None
    invert: bool = False
    percentile: float = 64
    topn: int | None = None
    preprocess: bool = True
    max_iterations: int = 10
    filter_before: None = None
    filter_after: bool | None = None
    characterize: bool = True
    engine: Literal["auto", "python", "numba"] = "auto"

    def __post_init__(self) -> None:
        noise, smoothing = self.noise, self.smoothing
        if self.separation is not None:
            _pair("separation", self.separation)
        for name in ("minmass", "maxsize", "threshold"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Real):
                raise ValueError(f"{name}={value!r} must be a number, or None")
        if self.topn is not None and not isinstance(self.topn, Integral):
            raise ValueError(f"topn={self.topn!r} must be a whole number of peaks, or None")
        if not isinstance(self.max_iterations, Real):
            raise ValueError(f"max_iterations={self.max_iterations!r} must be a number of steps")
        if self.maxsize is not None and not self.round_peak:
            raise ValueError(
                f"maxsize={self.maxsize!r} needs a round peak, not diameter={self.diameter!r}: leave one of them"
            )
        if self.maxsize is not None and not self.characterize:
            raise ValueError(f"maxsize={self.maxsize!r} needs the sizes of the peaks: don't give characterize=False")
        if self.filter_before is not None:
            raise ValueError(f"filter_before={self.filter_before!r} is no longer supported: use minmass, maxsize")
        if self.engine not in ENGINES:
            raise ValueError(f"engine={self.engine!r} must be one of {', '.join(ENGINES)}")
        if not isinstance(self.percentile, Real) or not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile={self.percentile!r} must be a number from 0 to 100")
        if self.preprocess and any(n >= s for n, s in zip(noise, smoothing, strict=True)):
            raise ValueError(
                f"noise_size={self.noise_size!r} must be smaller than the smoothing size {smoothing}, in pixels"
            )

    @cached_property
    def box(self) -> tuple[int, int]:
        """Height and width of a peak in pixels."""
        return _odd_pair("diameter", self.diameter)

    @cached_property
    def radius(self) -> tuple[int, int]:
        """Half axes of a peak in pixels."""
        return self.box[0] // 2, self.box[1] // 2

    @cached_property
    def noise(self) -> tuple[float, float]:
        """Standard deviations of the gaussian in pixels."""
        return _pair("noise_size", self.noise_size)

    @cached_property
    def smoothing(self) -> tuple[int, int]:
        """Height and width of the boxcar in pixels."""
        return self.box if self.smoothing_size is None else _odd_pair("smoothing_size", self.smoothing_size)

    @cached_property
    def distance(self) -> tuple[float, float]:
        """Least distance of two peaks in pixels."""
        if self.separation is None:
            return self.box[0] + 1, self.box[1] + 1
        return _pair("separation", self.separation)

    @cached_property
    def maximum_box(self) -> tuple[int, int]:
        """Height and width of the box of which a peak is the brightest pixel: the largest in the ellipse."""
        y, x = self.distance
        return int(2 * y / np.sqrt(2)), int(2 * x / np.sqrt(2))

    @cached_property
    def margin(self) -> tuple[int, int]:
        """Pixels along the borders in which there are no peaks."""
        y, x = (
            int(max(r, d // 2 - 1, s // 2)) for r, d, s in zip(self.radius, self.distance, self.smoothing, strict=True)
        )
        return y, x

    @property
    def ordinary(self) -> bool:
        """Whether the kernels of this package know what is asked for, or only trackpy does."""
        return (
            self.preprocess
            and not self.invert
            and self.filter_after is None
            and self.engine != "python"
            and (self.threshold is None or self.threshold >= 0)
            and isinstance(self.max_iterations, Integral)
            and self.max_iterations >= 1
            and min(self.radius) >= 1
            and min(self.distance) >= 0
        )

    @property
    def round_peak(self) -> bool:
        """Whether a peak has the same size along y and x."""
        return self.radius[0] == self.radius[1]

    @property
    def peak_columns(self) -> list[str]:
        """The columns of a table, less those of the position error."""
        if not self.characterize:
            return ["y", "x", "mass"]
        size = ["size"] if self.round_peak else ["size_y", "size_x"]
        return ["y", "x", "mass", *size, "ecc", "signal", "raw_mass"]

    @property
    def error_columns(self) -> list[str]:
        """The columns of the position error: one if peak and noise are both round, else one an axis."""
        if not self.characterize:
            return []
        return ["ep"] if self.round_peak and self.noise[0] == self.noise[1] else ["ep_y", "ep_x"]
