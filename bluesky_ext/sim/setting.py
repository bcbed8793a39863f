"""A signal that holds a setting of a simulated device and refuses values the device cannot take."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from ophyd import Signal
from ophyd.utils import LimitError

__all__ = ["Setting"]


class Setting(Signal):
    """A number within limits, checked when it is put or set.

    Parameters
    ----------
    limits : tuple of float
        Least and greatest value, both allowed.
    whole : bool
        Only whole numbers.
    **kwargs
        As for `ophyd.Signal`: name, value, kind, parent.
    """

    def __init__(self, *, limits: tuple[float, float], whole: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._limits = limits
        self._whole = whole
        self.check_value(self.get())

    def get(self, **kwargs: Any) -> Any:
        """The value."""
        return super().get(**kwargs)

    @property
    def limits(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Least and greatest value, both allowed."""
        return self._limits

    def check_value(self, value: Any, **kwargs: Any) -> None:
        """Raise a LimitError (a ValueError) unless the setting can take this value."""
        low, high = self.limits
        kind, noun = (Integral, "a whole number") if self._whole else (Real, "a number")
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= float(value) <= high:
            raise LimitError(f"{self.name}: {value!r} cannot be set, give {noun} from {low:g} to {high:g}")
