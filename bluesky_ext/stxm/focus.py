"""Focus scans: a line, at several positions of the zone plate."""

from collections.abc import Callable, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.stxm.parameters import scan_plan
from bluesky_ext.stxm.scan import Image, Scan

__all__ = ["osa_focus", "sample_focus"]


@scan_plan
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
    z_start, z_stop : float
        First and last position of ZonePlate.Z in um.
    z_num : int
        Number of positions of the zone plate.
    y_start, y_stop, x_start, x_stop : float
        OSA.Y and OSA.X at the two ends of the line in um.
    num : int
        Number of points of the line.
    """
    return (yield from _focus(Scan("osa_focus", locals())))


@scan_plan
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
    z_start, z_stop : float
        First and last position of ZonePlate.Z in um.
    z_num : int
        Number of positions of the zone plate.
    y_start, y_stop, x_start, x_stop : float
        SampleFineY and SampleFineX at the two ends of the line in um.
    num : int
        Number of points of the line.
    """
    return (yield from _focus(Scan("sample_focus", locals())))


@plan
def _focus(scan: Scan) -> MsgGenerator[str]:
    """A focus scan of one kind."""
    depth = scan.even("z", scan.given["z_num"])
    line = scan.even("yx", scan.given["num"])
    region = {"Y": line.axes[0], "X": line.axes[1], "ZP.Z": depth.axes[0]}
    return (yield from scan.measure([Image((depth, line))], [region]))
