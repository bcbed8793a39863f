"""Focus scans: a line, at several positions of the zone plate."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Callable, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.stxm.axes import even
from bluesky_ext.stxm.metadata import Region
from bluesky_ext.stxm.scan import Image, Scan

__all__ = ["osa_focus", "sample_focus"]


@plan
def osa_focus(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    z_start: float,
    z_stop: float,
    z_num: int,
    y_start: float,
    y_stop: float,
    x_start: float,
    x_stop: float,
    num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Scan a line over the border of the order-sorting aperture at several positions of the zone plate.

    The border is sharpest where the beam is focused on the aperture: the distance from there to the sample follows.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    z_start, z_stop : float
        First and last position of ZonePlate.Z in um.
    z_num : int
        Number of positions of the zone plate.
    y_start, y_stop : float
        OSA.Y at the two ends of the line in um.
    x_start, x_stop : float
        OSA.X at the two ends of the line in um.
    num : int
        Number of points of the line.
    energy : float, optional
        Photon energy in eV, which stays set. By default it is left as it is.
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
    ends = (z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num)
    scan = Scan("osa_focus", detectors, station, dwell, per_step, md)
    return (yield from _focus(scan, ends, energy, dwell))


@plan
def sample_focus(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    z_start: float,
    z_stop: float,
    z_num: int,
    y_start: float,
    y_stop: float,
    x_start: float,
    x_stop: float,
    num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Scan a line on the sample at several positions of the zone plate.

    The line is sharpest where the beam is focused on the sample.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    z_start, z_stop : float
        First and last position of ZonePlate.Z in um.
    z_num : int
        Number of positions of the zone plate.
    y_start, y_stop : float
        SampleFineY at the two ends of the line in um.
    x_start, x_stop : float
        SampleFineX at the two ends of the line in um.
    num : int
        Number of points of the line.
    energy : float, optional
        Photon energy in eV, which stays set. By default it is left as it is.
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
    ends = (z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num)
    scan = Scan("sample_focus", detectors, station, dwell, per_step, md)
    return (yield from _focus(scan, ends, energy, dwell))


@plan
def _focus(scan: Scan, ends: tuple[Any, ...], energy: float | None, dwell: float) -> MsgGenerator[str]:
    """A focus scan of one kind."""
    z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num = ends
    depth = even(scan.station, ["ZonePlate.Z"], [z_start], [z_stop], z_num)
    line = even(scan.station, [scan.kind.y, scan.kind.x], [y_start, x_start], [y_stop, x_stop], num)
    region = Region(0, {"Y": line.axes[0], "X": line.axes[1], "ZP.Z": depth.axes[0]})
    names = ("z_start", "z_stop", "z_num", "y_start", "y_stop", "x_start", "x_stop", "num")
    plan_args = {**dict(zip(names, ends, strict=True)), "energy": energy, "dwell": dwell}
    return (yield from scan.measure([Image((depth, line))], [region], plan_args, energy=energy))
