"""Numbers that a simulation was given, checked when it is made."""

from __future__ import annotations

import math
from numbers import Real

__all__ = ["check_number"]


def check_number(name: str, value: object, *, above: bool = False, below: float = math.inf) -> None:
    """Raise a ValueError unless the value is a number from 0, or above it, to below a limit."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not 0 <= float(value) < below
        or (above and float(value) == 0)
    ):
        limit = "" if below == math.inf else f", below {below:g}"
        raise ValueError(f"{name} is {value!r}: give a finite number {'above' if above else 'of at least'} 0{limit}")
