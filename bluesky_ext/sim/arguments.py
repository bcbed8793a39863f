"""Arguments of simulations that cannot be meant, refused in one line."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}")


def checked_shape(shape: ArrayLike) -> tuple[int, int]:
    """Rows and columns of a detector."""
    if np.shape(shape) != (2,):
        raise ValueError(f"shape is {shape!r}: give the rows and the columns, like (512, 512)")
    rows, columns = np.asarray(shape).tolist()
    check_whole("a side of shape", rows, 32)
    check_whole("a side of shape", columns, 32)
    return rows, columns


def checked_extents(extents: ArrayLike) -> tuple[tuple[float, float], tuple[float, float]]:
    """The borders of a sample in mm, along y and along x."""
    if np.shape(extents) == (2, 2):
        (y0, y1), (x0, x1) = np.asarray(extents).tolist()
        if -math.inf < y0 < y1 < math.inf and -math.inf < x0 < x1 < math.inf:
            return (y0, y1), (x0, x1)
    raise ValueError(f"extents are {extents!r}: give ((y0, y1), (x0, x1)) in mm, y0 < y1 and x0 < x1")


def check_position(y: float, x: float) -> None:
    """Refuse a position of the sample that is not finite."""
    if not (math.isfinite(y) and math.isfinite(x)):
        raise ValueError(f"the sample position ({y}, {x}) is not finite: give y and x in mm")


def check_number(name: str, value: object, above: bool = False) -> None:
    """Refuse what is no finite number, or below 0; or 0 as well."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not 0 <= float(value) < math.inf
        or (above and value == 0)
    ):
        raise ValueError(f"{name} is {value!r}: give a finite number {'above' if above else 'of at least'} 0")
