"""Stages as encoders see them, and a monochromator that keeps the zone plate in focus."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ophyd.utils import LimitError

from bluesky_ext.sim.motor import SimMotor
from bluesky_ext.stxm.sim.zoneplate import ZonePlate

__all__ = ["Monochromator", "Stage"]


class Stage(SimMotor):
    """A motor that does not stop quite where it was sent: the readback is where it is, the setpoint is not.

    How far it is off depends on its name, the seed and the position: a move to the same place ends at the same place.
    Only where it stood at the start does it stand exactly.

    Parameters
    ----------
    name : str
        Name of the stage.
    jitter : float
        Greatest distance between setpoint and readback, in its unit.
    seed : int
        Another seed, other distances.
    places : collection of int, optional
        The only positions that there are: a switch.
    **kwargs
        As for `SimMotor`.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        jitter: float = 0.0,
        seed: int = 0,
        places: Collection[int] = (),
        **kwargs: Any,
    ) -> None:
        self._jitter, self._seed, self._places = jitter, seed, tuple(map(int, places))
        self._home: float | None = None
        super().__init__(prefix, name=name, **kwargs)

    @property
    def where(self) -> float:
        """Where it is: the readback."""
        readback: Any = self.user_readback.get()
        return float(readback)

    def check_value(self, value: float, **kwargs: Any) -> None:
        """Raise a LimitError (a ValueError) for a position that the stage cannot go to."""
        super().check_value(value, **kwargs)
        if self._places and value not in self._places:
            raise LimitError(
                f"{self.name}: {value!r} is no place of it, give one of {', '.join(map(str, self._places))}"
            )

    def carry(self, position: float) -> None:
        """Put the stage somewhere at once: when something else moves it, as the hardware of a line scan does."""
        self.check_value(position)
        self.user_setpoint.put(float(position), internal=True)
        self._be_at(float(position))

    def _be_at(self, position: float) -> None:
        super()._be_at(position)
        self._home = position if self._home is None else self._home
        if self._jitter and position != self._home:
            bits = int(np.float64(position + 0.0).view(np.uint64))
            rng = np.random.default_rng([self._seed, bits, *self.name.encode()])
            self.user_readback.put(position + self._jitter * float(rng.uniform(-1, 1)), internal=True)


class Monochromator(Stage):
    """A monochromator, in eV, that takes the zone plate along, so that what was in focus stays in focus.

    Parameters
    ----------
    name : str
        Name of the monochromator.
    zoneplate : ZonePlate
        The lens.
    zoneplate_z : Stage
        The stage that carries it.
    **kwargs
        As for `Stage`.
    """

    def __init__(self, prefix: str = "", *, name: str, zoneplate: ZonePlate, zoneplate_z: Stage, **kwargs: Any) -> None:
        self._zoneplate, self._z = zoneplate, zoneplate_z
        self._before: float | None = None
        super().__init__(prefix, name=name, egu="eV", **kwargs)

    def check_value(self, value: float, **kwargs: Any) -> None:
        """Raise a LimitError (a ValueError) for an energy beyond the limits, or where the zone plate cannot focus."""
        super().check_value(value, **kwargs)
        if self._before is not None:
            self._z.check_value(self._follow(value))

    def _follow(self, energy: float) -> float:
        before = energy if self._before is None else self._before
        longer = self._zoneplate.focal_length(energy) - self._zoneplate.focal_length(before)
        target: Any = self._z.user_setpoint.get()
        return float(target) - longer

    def _be_at(self, position: float) -> None:
        super()._be_at(position)
        if self._before is not None:
            self._z.carry(self._follow(position))
        self._before = position
