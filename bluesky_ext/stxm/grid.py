"""The axes of a scan of an STXM: devices of the endstation with their setpoints, and the points they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.plans.check import check_finite, check_whole
from bluesky_ext.plans.grid import Axis
from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.region import Span

__all__ = ["Dimension", "as_list", "check_flag", "check_setpoints", "dimension", "raster"]


@dataclass(frozen=True)
class Dimension:
    """Devices that move together along one dimension of a scan.

    Parameters
    ----------
    axes : tuple of Axis
        The devices, with their first and last setpoint.
    names : tuple of str
        Their conventional names.
    """

    axes: tuple[Axis, ...]
    names: tuple[str, ...]

    @property
    def num(self) -> int:
        """Number of points."""
        return self.axes[0].num

    @property
    def motors(self) -> list[Any]:
        """The devices."""
        return [axis.motor for axis in self.axes]

    def setpoints(self, index: int = 0) -> tuple[float, ...]:
        """Setpoints of one of the devices."""
        axis = self.axes[index]
        return tuple(np.linspace(axis.start, axis.stop, axis.num).tolist())

    def span(self, index: int = 0) -> Span:
        """Setpoints of one of the devices, for the metadata."""
        return Span(self.names[index], self.setpoints(index), self.axes[index].motor.name)

    def points(self) -> list[dict[Any, float]]:
        """Where the devices are at each point."""
        columns = [self.setpoints(index) for index in range(len(self.axes))]
        return [dict(zip(self.motors, row, strict=True)) for row in zip(*columns, strict=True)]


def dimension(
    station: Endstation,
    names: Sequence[str],
    starts: Sequence[Any],
    stops: Sequence[Any],
    num: Any,
    *,
    snake: bool = False,
) -> Dimension:
    """A dimension of a scan; raises a ValueError if the devices cannot go there.

    Parameters
    ----------
    station : Endstation
        The devices.
    names : sequence of str
        Conventional names of those that move.
    starts, stops : sequence of float
        First and last setpoint of each.
    num : int
        Number of points.
    snake : bool
        Whether it is run through in both directions in turn.
    """
    axes = []
    for name, start, stop in zip(names, starts, stops, strict=True):
        check_finite(f"start of {name}", start)
        check_finite(f"stop of {name}", stop)
        check_whole(f"num of {name}", num, 1)
        axis = Axis(station[name], float(start), float(stop), int(num), snake)
        axis.check_limits()
        axes.append(axis)
    return Dimension(tuple(axes), tuple(names))


def raster(
    rows: Dimension,
    columns: Dimension | None = None,
    *,
    snake: bool = False,
    fixed: Mapping[Any, float] | None = None,
) -> Iterator[dict[Any, float]]:
    """Where the devices are at each point of an image, row by row.

    Parameters
    ----------
    rows : Dimension
        The slow dimension.
    columns : Dimension, optional
        The fast one; without it there is one point for each row.
    snake : bool
        Run through every other row backwards.
    fixed : mapping, optional
        Devices that are set to the same at all points.
    """
    still = dict(fixed or {})
    fast: list[dict[Any, float]] = [{}] if columns is None else columns.points()
    for number, slow in enumerate(rows.points()):
        for point in reversed(fast) if snake and number % 2 else fast:
            yield {**still, **slow, **point}


def check_setpoints(name: str, setpoints: Any, device: Any) -> tuple[float, ...]:
    """The setpoints of a device as a tuple; raises a ValueError or TypeError if they cannot be.

    Parameters
    ----------
    name : str
        What they are called in the plan.
    setpoints : sequence of float
        What the plan was given.
    device : Movable
        Where they are to be set.
    """
    if isinstance(setpoints, str) or not hasattr(setpoints, "__iter__"):
        raise TypeError(f"{name} is {setpoints!r}: give a list of numbers")
    values = tuple(setpoints)
    if not values:
        raise ValueError(f"{name} is empty: give one number or more")
    for value in values:
        check_finite(f"a value in {name}", value)
        Axis(device, float(value), float(value), 1, False).check_limits()
    return tuple(float(value) for value in values)


def as_list(name: str, value: Any, wanted: str) -> list[Any]:
    """What a plan was given as a list; raises a TypeError that says what is wanted in it, if it is none."""
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} is {value!r}: give a list of {wanted}")
    return list(value)


def check_flag(name: str, value: Any) -> None:
    """Raise a TypeError unless the value is True or False: of a text such as "no" nobody knows what it means."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: give True or False")
