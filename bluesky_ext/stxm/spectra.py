"""Spectra: of points, of a line, and whatever else is scanned: the generic scan."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from bluesky_ext.plans.grid import Grid
from bluesky_ext.stxm.axes import Axis, Dimension, as_list
from bluesky_ext.stxm.parameters import scan_plan
from bluesky_ext.stxm.scan import Image, Scan

__all__ = ["generic_scan", "sample_line_spectra", "sample_point_spectra"]


@scan_plan
def sample_point_spectra(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    positions: Sequence[Sequence[float]],
    energies: Sequence[float],
    *,
    dwell: float = 1.0,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a spectrum of each of some points on the sample, in one run.

    At each energy the points are measured one after the other, so that event ``k`` is of point ``k % n``.

    Parameters
    ----------
    positions : list of pairs
        Positions of SampleFineY and SampleFineX in um, ``(y, x)`` for each point.
    """
    scan = Scan("sample_point_spectra", locals())
    energy = scan.listed("ENERGY", energies, "energies")
    given = as_list("positions", positions, "(y, x) of each point")
    places = [as_list("a position", place, "(y, x)") for place in given]
    if not places:
        raise ValueError("positions is empty: give (y, x) for one point or more")
    for place in places:
        if len(place) != 2:
            raise ValueError(f"positions has {tuple(place)!r} in it: give (y, x) for each point")
    ys, xs = zip(*places, strict=True)
    y = scan.listed(scan.kind.y, ys, "y of positions")
    x = scan.listed(scan.kind.x, xs, "x of positions")
    regions = [
        {"Y": replace(y, setpoints=(at_y,)), "X": replace(x, setpoints=(at_x,))}
        for at_y, at_x in zip(y.setpoints, x.setpoints, strict=True)
    ]
    image = Image((Dimension((energy,)), Dimension((y, x))))
    return (yield from scan.measure([image], regions, energies=energy.setpoints))


@scan_plan
def sample_line_spectra(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    x_start: float,
    x_stop: float,
    num: int,
    energies: Sequence[float],
    *,
    dwell: float = 1.0,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a spectrum of each point of a line on the sample, in one run.

    The whole line is measured at each energy.

    Parameters
    ----------
    y_start, y_stop, x_start, x_stop : float
        SampleFineY and SampleFineX at the two ends of the line in um.
    num : int
        Number of points of the line.
    """
    scan = Scan("sample_line_spectra", locals())
    energy, line = scan.listed("ENERGY", energies, "energies"), scan.even("yx", num)
    region = {"Y": line.axes[0], "X": line.axes[1]}
    image = Image((Dimension((energy,)), line))
    return (yield from scan.measure([image], [region], energies=energy.setpoints))


@scan_plan
def generic_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    *args: Movable | float,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Scan any one, two or three devices over a grid, in one run.

    Parameters
    ----------
    *args : Movable or float
        Four for each device, the slowest first: ``motor, start, stop, num``.
    """
    scan = Scan("generic_scan", locals())
    grid = Grid.parse(args, snake)
    if len(grid.axes) > 3:
        raise ValueError(f"{len(grid.axes)} devices are too many for a generic scan: give 1, 2 or 3")
    axes = []
    for axis in grid.axes:
        axis.check_limits()
        setpoints = np.linspace(axis.start, axis.stop, axis.num).tolist()
        axes.append(Axis(scan.station.name_of(axis.motor), tuple(setpoints), axis.motor))
    scanned = next((axis.setpoints for axis in axes if axis.name == "ENERGY"), ())
    if scanned and energy is not None:
        raise ValueError(f"energy is {energy!r} and the energy is scanned: leave it out")
    # The fastest is x: as in the metadata of such scans.
    region = dict(zip("XYZ", reversed(axes), strict=False))
    image = Image(tuple(Dimension((axis,), snake and axis is not axes[0]) for axis in axes))
    return (yield from scan.measure([image], [region], energies=scanned))
