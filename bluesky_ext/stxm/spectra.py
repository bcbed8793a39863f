"""Spectra: of points, of a line, and whatever else is scanned: the generic scan."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bluesky.protocols import Movable, Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.grid import Grid
from bluesky_ext.stxm.axes import Axis, Dimension, as_list, even, listed
from bluesky_ext.stxm.metadata import Region
from bluesky_ext.stxm.scan import Image, Scan, check_flag

__all__ = ["generic_scan", "sample_line_spectra", "sample_point_spectra"]


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    positions : list of pairs
        Positions of SampleFineY and SampleFineX in um, ``(y, x)`` for each point.
    energies : list of float
        Photon energies in eV, in the order in which they are measured.
    dwell : float
        Counting time of a point in ms.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    scan = Scan("sample_point_spectra", detectors, station, dwell, per_step, md)
    energy = listed(scan.station, "ENERGY", energies, "energies")
    given = as_list("positions", positions, "(y, x) of each point")
    places = [as_list("a position", place, "(y, x)") for place in given]
    if not places:
        raise ValueError("positions is empty: give (y, x) for one point or more")
    for place in places:
        if len(place) != 2:
            raise ValueError(f"positions has {tuple(place)!r} in it: give (y, x) for each point")
    y, x = (
        listed(scan.station, name, values, f"{axis} of positions")
        for axis, name, values in zip("yx", (scan.kind.y, scan.kind.x), zip(*places, strict=True), strict=True)
    )
    regions = [
        Region(number, {"Y": Axis(y.name, (at_y,), y.device), "X": Axis(x.name, (at_x,), x.device)})
        for number, (at_y, at_x) in enumerate(zip(y.setpoints, x.setpoints, strict=True))
    ]
    image = Image((Dimension((energy,)), Dimension((y, x))))
    plan_args = {"positions": places, "energies": energy.setpoints, "dwell": dwell}
    return (yield from scan.measure([image], regions, plan_args, energies=energy.setpoints))


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        SampleFineY at the two ends of the line in um.
    x_start, x_stop : float
        SampleFineX at the two ends of the line in um.
    num : int
        Number of points of the line.
    energies : list of float
        Photon energies in eV, in the order in which they are measured.
    dwell : float
        Counting time of a point in ms.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    scan = Scan("sample_line_spectra", detectors, station, dwell, per_step, md)
    energy = listed(scan.station, "ENERGY", energies, "energies")
    line = even(scan.station, [scan.kind.y, scan.kind.x], [y_start, x_start], [y_stop, x_stop], num)
    region = Region(0, {"Y": line.axes[0], "X": line.axes[1]})
    plan_args = {
        **{"y_start": y_start, "y_stop": y_stop, "x_start": x_start, "x_stop": x_stop, "num": num},
        **{"energies": energy.setpoints, "dwell": dwell},
    }
    image = Image((Dimension((energy,)), line))
    return (yield from scan.measure([image], [region], plan_args, energies=energy.setpoints))


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    *args : Movable or float
        Four for each device, the slowest first: ``motor, start, stop, num``.
    energy : float, optional
        Photon energy in eV, which stays set. By default it is left as it is.
    dwell : float
        Counting time of a point in ms.
    snake : bool
        Run through every other row backwards.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    scan = Scan("generic_scan", detectors, station, dwell, per_step, md)
    check_flag("snake", snake)
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
    region = Region(0, dict(zip("XYZ", reversed(axes), strict=False)))
    image = Image(tuple(Dimension((axis,), snake and axis is not axes[0]) for axis in axes))
    told = [repr(arg) if isinstance(arg, Movable) else arg for arg in args]
    plan_args = {"args": told, "energy": energy, "dwell": dwell, "snake": snake}
    return (yield from scan.measure([image], [region], plan_args, energy=energy, energies=scanned))
