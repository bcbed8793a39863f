"""How a motor goes along a row: its velocity, and where it is when."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Locatable, Movable, Readable
from bluesky.utils import MsgGenerator, maybe_await, plan

from bluesky_ext.plans.grid import Axis

__all__ = ["Flight", "check_flyer", "check_velocity"]

logger = logging.getLogger(__name__)

# Seconds between two looks at where the motor is. Motor records say it ten times a second.
LOOK = 0.005

# How much later than it should a motor may pass a position, in s, before it is said to stand still.
PATIENCE = 10.0


class Flight:
    """A motor that goes along its axis at one step in the time of a point.

    Nothing here goes by the clock: the plan waits until the readback of the motor has passed a position. Then it does
    not matter when the motor began to move, nor how it took up speed, and the same messages do again after a pause.

    Parameters
    ----------
    axis : Axis
        The motor and its points. If they are all in one place it stands.
    time_per_point : float
        Time of a point in s.
    backoff : float
        Run-up and run-out.
    """

    def __init__(self, axis: Axis, time_per_point: float, backoff: float) -> None:
        self.motor = axis.motor
        self.moves = axis.step != 0
        self.velocity = abs(axis.step) / time_per_point
        self._step = abs(axis.step)
        self._time_per_point = time_per_point
        self._backoff = backoff
        self._lagged = False

    def ends(self, row: Sequence[Mapping[Any, float]]) -> tuple[float, float]:
        """Where the motor is before and after a row, so that it moves evenly during all exposures.

        Parameters
        ----------
        row : sequence of mapping
            The points of a row: the position of every motor.

        Returns
        -------
        begin, end : float
            Half a step and the backoff outside of the first and the last point.
        """
        first, last = row[0][self.motor], row[-1][self.motor]
        margin = math.copysign(self._step / 2 + self._backoff, last - first) if self.moves else 0.0
        return first - margin, last + margin

    @plan
    def pass_start(self, position: float, direction: float) -> MsgGenerator[None]:
        """Wait until the motor is half a step before a point, where its exposure is to begin.

        Parameters
        ----------
        position : float
            The point.
        direction : float
            Positive if the motor goes to higher positions, else negative.
        """
        yield from self._pass(position - math.copysign(self._step / 2, direction), direction)

    @plan
    def pass_middle(self, position: float, direction: float) -> MsgGenerator[None]:
        """Wait until the motor is at a point.

        Parameters
        ----------
        position : float
            The point.
        direction : float
            Positive if the motor goes to higher positions, else negative.
        """
        yield from self._pass(position, direction)

    @plan
    def _pass(self, position: float, direction: float) -> MsgGenerator[None]:
        if not self.moves:
            return
        look = functools.partial(self._has_passed, position, math.copysign(1.0, direction))
        try:
            tasks = yield from bps.wait_for([look], timeout=self._patience)
        except TimeoutError as error:
            raise RuntimeError(
                f"{self.motor.name} should have passed {position:g} by now and has not: see why it does not move there"
            ) from error
        for task in tasks or ():
            task.result()

    @property
    def _patience(self) -> float:
        """Seconds in which the motor comes from the start to the first exposure, or from one to the next."""
        return PATIENCE + 2 * (self._step + self._backoff) / self.velocity

    async def _has_passed(self, position: float, direction: float) -> None:
        """Look until the motor is at a position or beyond it."""
        # An end of its own, as nobody waits for it any more after a pause or an abort.
        deadline = asyncio.get_running_loop().time() + 2 * self._patience
        while (beyond := (await _position(self.motor) - position) * direction) < 0:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(LOOK)
        if beyond > self._step and not self._lagged:
            self._lagged = True
            logger.warning(
                "%s is more than a step beyond %g, where it was waited for: a point takes longer than %g s, "
                "give a longer time_per_point; the events say where the motor was",
                self.motor.name,
                position,
                self._time_per_point,
            )


async def _position(motor: Any) -> float:
    """Where a motor of ophyd, or of ophyd-async, is."""
    if isinstance(motor, Locatable):
        return (await maybe_await(motor.locate()))["readback"]
    return motor.position


def check_flyer(motor: Any) -> None:
    """Raise a ValueError if the motor lacks what is needed to fly it."""
    velocity = getattr(motor, "velocity", None)
    if not isinstance(velocity, Movable) or not isinstance(velocity, Readable):
        raise ValueError(
            f"{motor.name} has no velocity that can be set: give a motor that has one last, or take grid_scan_nd"
        )
    if not isinstance(motor, Locatable) and not hasattr(motor, "position"):
        raise ValueError(
            f"{motor.name} has neither position nor locate(): give a motor that has one last, or take grid_scan_nd"
        )


def check_velocity(motor: Any, velocity: float, remedy: str) -> None:
    """Raise a ValueError if the motor cannot go at a velocity.

    Parameters
    ----------
    motor : Movable
        The motor; if its velocity has no limits, or both are 0 as in a motor record without, it takes any.
    velocity : float
        The velocity.
    remedy : str
        What to do about it.
    """
    low, high = sorted(getattr(motor.velocity, "limits", None) or (0, 0))
    if low < high and not low <= velocity <= high:
        raise ValueError(f"{motor.name} would move at {velocity:g} per s and takes {low:g} to {high:g}: {remedy}")
