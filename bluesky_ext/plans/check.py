"""Numbers that a plan was given, checked before its first message."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["check_finite", "check_positive", "check_whole", "is_finite"]


def is_finite(value: Any) -> bool:
    """Whether a value is a real number, neither infinite nor nan."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_finite(name: str, value: Any, least: float = -math.inf) -> None:
    """Raise a ValueError unless the value is a finite number, and not below the least one allowed."""
    if not is_finite(value) or value < least:
        raise ValueError(
            f"{name} is {value!r}: give a finite number" + (f" of at least {least:g}" * (least > -math.inf))
        )


def check_positive(name: str, value: Any) -> None:
    """Raise a ValueError unless the value is a finite number above zero."""
    if not is_finite(value) or value <= 0:
        raise ValueError(f"{name} is {value!r}: give a finite number above 0")


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise a ValueError unless the value is a whole number, and not below the least one allowed."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}")
