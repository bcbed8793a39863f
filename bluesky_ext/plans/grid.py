"""The points of a grid, from the arguments of a plan: motor, start, stop, num, for each axis, the slowest first."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import plan_patterns
from bluesky.protocols import Movable, Readable
from cycler import Cycler

from bluesky_ext.plans.check import check_finite, check_whole

__all__ = ["Axis", "Grid", "as_detectors"]


def as_detectors(detectors: Iterable[Any] | Any) -> tuple[Readable, ...]:
    """The detectors, whether they were given in a list, in a tuple, or as a single one.

    Parameters
    ----------
    detectors : iterable or Readable
        What was given.

    Returns
    -------
    tuple
        One detector or more.
    """
    if isinstance(detectors, Readable):
        return (detectors,)
    if isinstance(detectors, str) or not isinstance(detectors, Iterable):
        raise TypeError(f"detectors is {detectors!r}: give a list of devices that can be read")
    dets = tuple(detectors)
    if not dets:
        raise ValueError("detectors is empty: give one detector or more")
    for det in dets:
        if not isinstance(det, Readable):
            raise TypeError(f"detectors has {det!r} in it: give devices that can be read")
    return dets


@dataclass(frozen=True)
class Axis:
    """A motor, and where it goes.

    Parameters
    ----------
    motor : Movable
        The motor.
    start, stop : float
        Positions of the first and the last point.
    num : int
        Number of points.
    snake : bool
        Whether it is run through forwards and backwards in turn.
    """

    motor: Any
    start: float
    stop: float
    num: int
    snake: bool

    @property
    def step(self) -> float:
        """Distance from a point to the next, with its sign; 0 for a single point."""
        return (self.stop - self.start) / (self.num - 1) if self.num > 1 else 0.0

    def check_limits(self, margin: float = 0.0) -> None:
        """Raise a ValueError if the motor says that it cannot go to one end of the axis.

        Asked before the scan, not after half of it. A motor that can only be asked asynchronously says so itself
        when it gets there.

        Parameters
        ----------
        margin : float
            How far it goes beyond the ends.
        """
        check_value = getattr(self.motor, "check_value", None)
        if check_value is None or inspect.iscoroutinefunction(check_value):
            return
        low, high = sorted((self.start, self.stop if self.num > 1 else self.start))
        for position in (low - margin, high + margin):
            try:
                check_value(position)
            except ValueError as error:
                raise ValueError(f"{self.motor.name} has to go to {position:g} and cannot: {error}") from error


@dataclass(frozen=True)
class Grid:
    """Axes, the slowest first.

    Parameters
    ----------
    axes : tuple of Axis
        The axes.
    """

    axes: tuple[Axis, ...]

    @classmethod
    def parse(cls, args: Sequence[Any], snake: Iterable[Any] | bool | None) -> Grid:
        """The grid of ``motor, start, stop, num, ...``; raises a ValueError or TypeError that says what is wrong.

        Parameters
        ----------
        args : sequence
            Four for each axis, the slowest axis first.
        snake : bool or iterable of motors, optional
            Which axes are run through in both directions: all but the slowest, or those of the motors given.

        Returns
        -------
        Grid
            The grid.
        """
        if not args or len(args) % 4:
            raise ValueError(
                f"{len(args)} arguments for the motors: give motor, start, stop, num for each, the slowest motor first"
            )
        motors = args[::4]
        for motor in motors:
            if not isinstance(motor, Movable) or not isinstance(motor, Readable):
                raise TypeError(f"{motor!r} stands where a motor should: give motor, start, stop, num for each axis")
            if motors.count(motor) > 1:
                raise ValueError(f"{motor.name} is there {motors.count(motor)} times: give each motor one axis")
        snaked = _snaked(motors, snake)
        axes = []
        for motor, start, stop, num in zip(motors, args[1::4], args[2::4], args[3::4], strict=True):
            check_finite(f"start of {motor.name}", start)
            check_finite(f"stop of {motor.name}", stop)
            check_whole(f"num of {motor.name}", num, 1)
            axes.append(Axis(motor, float(start), float(stop), int(num), motor in snaked))
        return cls(tuple(axes))

    @property
    def motors(self) -> tuple[Any, ...]:
        """The motors."""
        return tuple(axis.motor for axis in self.axes)

    @property
    def args(self) -> list[Any]:
        """Motor, start, stop, num of all axes, and from the second on whether it snakes: as Bluesky has them."""
        first, *others = self.axes
        args = [first.motor, first.start, first.stop, first.num]
        for axis in others:
            args += [axis.motor, axis.start, axis.stop, axis.num, axis.snake]
        return args

    def points(self) -> Cycler:
        """The position of every motor at every point, in the order of the scan."""
        return plan_patterns.outer_product(self.args)

    def metadata(self) -> dict[str, Any]:
        """What the start document says of the grid, under the names that `bluesky.plans.grid_scan` gives them."""
        args = [repr(arg) if isinstance(arg, Movable) else arg for arg in self.args]
        num_points = math.prod(axis.num for axis in self.axes)
        hints: dict[str, Any] = {"gridding": "rectilinear"}
        fields = [getattr(motor, "hints", {}).get("fields") for motor in self.motors]
        if all(fields):
            hints["dimensions"] = [(field, "primary") for field in fields]
        return {
            "motors": tuple(motor.name for motor in self.motors),
            "shape": tuple(axis.num for axis in self.axes),
            "extents": tuple([axis.start, axis.stop] for axis in self.axes),
            "snaking": tuple(axis.snake for axis in self.axes),
            "num_points": num_points,
            "num_intervals": num_points - 1,
            "plan_pattern": "outer_product",
            "plan_pattern_args": {"args": args},
            "plan_pattern_module": plan_patterns.__name__,
            "hints": hints,
        }


def _snaked(motors: Sequence[Any], snake: Iterable[Any] | bool | None) -> tuple[Any, ...]:
    """The motors that run through their axis in both directions."""
    if snake is None or isinstance(snake, bool):
        return tuple(motors[1:]) if snake else ()
    if isinstance(snake, str) or not isinstance(snake, Iterable):
        raise TypeError(f"snake is {snake!r}: give True, False, or a list of motors")
    snaked = tuple(snake)
    for motor in snaked:
        if motor not in motors:
            raise ValueError(f"snake has {getattr(motor, 'name', motor)!r} in it, which is no motor of this scan")
        if motor is motors[0]:
            raise ValueError(f"snake has {motor.name} in it, the slowest motor, which runs through its axis only once")
    return snaked
