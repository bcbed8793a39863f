"""Where the devices of a scan go: axes, the dimensions that they make, and what Bluesky's plans say of such points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import add
from typing import Any

import numpy as np
from bluesky import plan_patterns
from bluesky.utils import snake_cyclers
from cycler import Cycler, cycler

from bluesky_ext.plans import grid

__all__ = ["Axis", "Dimension", "as_list", "pattern", "points"]


@dataclass(frozen=True)
class Axis:
    """A device and its setpoints.

    Parameters
    ----------
    name : str
        Conventional name of the device.
    setpoints : tuple of float
        Where it goes, in this order.
    device : Movable, optional
        The device; not needed for metadata.
    """

    name: str
    setpoints: tuple[float, ...]
    device: Any = None

    @property
    def is_even(self) -> bool:
        """Whether all setpoints are at the same distance from the one before."""
        spaced = np.linspace(self.setpoints[0], self.setpoints[-1], len(self.setpoints))
        return bool(np.allclose(spaced, self.setpoints, rtol=1e-12, atol=1e-9 * np.ptp(spaced)))

    def check_limits(self) -> None:
        """Raise a ValueError if the device says that it cannot go to a setpoint."""
        for value in self.setpoints:
            grid.Axis(self.device, value, value, 1, False).check_limits()


@dataclass(frozen=True)
class Dimension:
    """Devices that move together.

    Parameters
    ----------
    axes : tuple of Axis
        The devices, with as many setpoints each.
    snake : bool
        Whether the dimension is run through in both directions in turn.
    """

    axes: tuple[Axis, ...]
    snake: bool = False

    def __len__(self) -> int:
        return len(self.axes[0].setpoints)

    @property
    def devices(self) -> list[Any]:
        """The devices."""
        return [axis.device for axis in self.axes]


def as_list(name: str, value: Any, wanted: str) -> list[Any]:
    """What a plan was given as a list; raises a TypeError that says what is wanted in it, if it is none."""
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} is {value!r}: give a list of {wanted}")
    return list(value)


def points(dimensions: Sequence[Dimension]) -> Cycler:
    """Where the devices are at each point, the first dimension the slowest."""
    cyclers = [reduce(add, [cycler(axis.device, axis.setpoints) for axis in dim.axes]) for dim in dimensions]
    return snake_cyclers(cyclers, [dim.snake for dim in dimensions])


def pattern(dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """What the start document says of the points, under the names that Bluesky's plans have for it.

    ``extents`` and the hint ``rectilinear`` stand for even steps, so that axes without have neither: their setpoints
    are in ``plan_pattern_args``. There is no pattern where devices move together.
    """
    axes = [axis for dim in dimensions for axis in dim.axes]
    ends = [[dim.axes[0].setpoints[0], dim.axes[0].setpoints[-1]] for dim in dimensions]
    fields = [[field for device in dim.devices for field in _fields(device)] for dim in dimensions]
    num_points = math.prod(map(len, dimensions))
    said: dict[str, Any] = {
        "motors": [axis.device.name for axis in axes],
        "shape": [len(dim) for dim in dimensions],
        "snaking": [dim.snake for dim in dimensions],
        "num_points": num_points,
        "num_intervals": num_points - 1,
        "hints": {"dimensions": [(names, "primary") for names in fields]} if all(fields) else {},
    }
    is_even, is_grid = all(axis.is_even for axis in axes), len(axes) == len(dimensions)
    if is_even:
        said["extents"] = ends
    if is_grid and is_even:
        said["hints"]["gridding"] = "rectilinear"
        args = [[repr(dim.devices[0]), *end, len(dim), dim.snake] for dim, end in zip(dimensions, ends, strict=True)]
        del args[0][-1]  # the slowest is run through once
        said |= {"plan_pattern": "outer_product", "plan_pattern_args": {"args": [*chain(*args)]}}
    elif is_grid:
        args = [[repr(axis.device), list(axis.setpoints)] for axis in axes]
        given = {"args": [*chain(*args)], "snake_axes": False}
        said |= {"plan_pattern": "outer_list_product", "plan_pattern_args": given}
    return said | ({"plan_pattern_module": plan_patterns.__name__} if is_grid else {})


def _fields(device: Any) -> list[str]:
    return list(getattr(device, "hints", {}).get("fields", [device.name]))
