"""Images: of the sample with its three kinds of stages, of the detector, of the aperture, and of a written pattern."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import is_finite
from bluesky_ext.stxm.axes import as_list
from bluesky_ext.stxm.detectors import check_settings, exposure
from bluesky_ext.stxm.parameters import scan_plan
from bluesky_ext.stxm.scan import Image, Scan

__all__ = [
    "coarse_goni_scan",
    "coarse_image_scan",
    "detector_image",
    "osa_image",
    "pattern_gen_scan",
    "sample_image",
]


@scan_plan
def detector_image(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    y_num: int,
    x_start: float,
    x_stop: float,
    x_num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Move the detector through the beam and take an image of its face.

    The sample and everything else stay where they are.

    Parameters
    ----------
    y_start, y_stop, x_start, x_stop : float
        First and last position of Detector.Y and Detector.X in um.
    y_num, x_num : int
        Number of rows and of columns.
    """
    return (yield from _image(Scan("detector_image", locals())))


@scan_plan
def osa_image(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    y_num: int,
    x_start: float,
    x_stop: float,
    x_num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Move the order-sorting aperture through the beam and take an image of its hole.

    The sample and everything else stay where they are.

    Parameters
    ----------
    y_start, y_stop, x_start, x_stop : float
        First and last position of OSA.Y and OSA.X in um.
    y_num, x_num : int
        Number of rows and of columns.
    """
    return (yield from _image(Scan("osa_image", locals())))


@scan_plan
def sample_image(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    y_num: int,
    x_start: float,
    x_stop: float,
    x_num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image of the sample with its fine stages, in one run.

    With point detectors there is an event for each point, with line detectors for each row.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors, or line detectors, which count a row for each trigger, or a single one.
    y_start, y_stop, x_start, x_stop : float
        First and last position of SampleFineY and SampleFineX in um.
    y_num, x_num : int
        Number of rows and of columns.
    """
    return (yield from _image(Scan("sample_image", locals())))


@scan_plan
def coarse_image_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    y_num: int,
    x_start: float,
    x_stop: float,
    x_num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image of the sample with its coarse stages, in one run.

    For an overview that the fine stages are too short for.

    Parameters
    ----------
    y_start, y_stop, x_start, x_stop : float
        First and last position of Coarse.Y and Coarse.X in um.
    y_num, x_num : int
        Number of rows and of columns.
    """
    return (yield from _image(Scan("coarse_image_scan", locals())))


@scan_plan
def coarse_goni_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    y_num: int,
    x_start: float,
    x_stop: float,
    x_num: int,
    *,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image of the sample with the stages of the goniometer, in one run.

    For an overview that the fine stages are too short for.

    Parameters
    ----------
    y_start, y_stop, x_start, x_stop : float
        First and last position of GoniY and GoniX in um.
    y_num, x_num : int
        Number of rows and of columns.
    """
    return (yield from _image(Scan("coarse_goni_scan", locals())))


@scan_plan
def pattern_gen_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    y_start: float,
    y_stop: float,
    x_start: float,
    x_stop: float,
    pattern: Sequence[Sequence[float]],
    *,
    energy: float | None = None,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Expose a pattern on the sample, each point for a time of its own, and count meanwhile.

    The counting time is read at each event, as it is not the same for all.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors that have ``dwell``, or a single one.
    y_start, y_stop : float
        First and last position of SampleFineY in um, those of the first and the last row.
    x_start, x_stop : float
        First and last position of SampleFineX in um, those of the first and the last column.
    pattern : list of lists
        Rows of exposure times in ms, each above 0.
    """
    given = dict(locals())
    exposures = _exposures(pattern)
    times = list(chain.from_iterable(exposures))
    scan = Scan("pattern_gen_scan", given, times[0])
    if not all(hasattr(det, "dwell") for det in scan.detectors):
        raise ValueError(
            "pattern_gen_scan needs detectors with dwell, which it sets at each point: give such detectors"
        )
    for time in set(times):
        check_settings(exposure(scan.detectors, time))
    rows, columns = scan.even("y", len(exposures)), scan.even("x", len(exposures[0]))
    region = {"Y": rows.axes[0], "X": columns.axes[0]}
    return (yield from scan.measure([Image((rows, columns))], [region], times=times))


@plan
def _image(scan: Scan) -> MsgGenerator[str]:
    """An image of one kind: point by point, or line by line if the detectors count lines."""
    snake = scan.given["snake"]
    if scan.by_line and snake:
        name = scan.detectors[0].name
        raise ValueError(f"snake is {snake!r} and {name} counts whole lines, all in one direction: leave it out")
    rows = scan.even("y", scan.given["y_num"])
    columns = scan.even("x", scan.given["x_num"], snake=snake)
    region = {"Y": rows.axes[0], "X": columns.axes[0]}
    return (yield from scan.measure([Image((rows, columns))], [region]))


def _exposures(pattern: Any) -> list[tuple[float, ...]]:
    """The rows of a pattern; raises a ValueError if they are not of one length, or not all above 0."""
    rows = [tuple(as_list("a row of pattern", row, "times")) for row in as_list("pattern", pattern, "rows of times")]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"pattern has rows of {[len(row) for row in rows]} points: give rows of one length, of 1 at least"
        )
    for time in (time for row in rows for time in row):
        if not is_finite(time) or time <= 0:
            raise ValueError(f"pattern has {time!r} in it: give exposure times in ms above 0")
    return [tuple(float(time) for time in row) for row in rows]
