"""Images: of the sample with its three kinds of stages, of the detector, and of the aperture."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Callable, Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.stxm.axes import even
from bluesky_ext.stxm.metadata import Region
from bluesky_ext.stxm.scan import Image, Scan, check_flag

__all__ = ["coarse_goni_scan", "coarse_image_scan", "detector_image", "osa_image", "sample_image"]


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of Detector.Y in um.
    y_num : int
        Number of rows.
    x_start, x_stop : float
        First and last position of Detector.X in um.
    x_num : int
        Number of columns.
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
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    scan = Scan("detector_image", detectors, station, dwell, per_step, md)
    return (yield from _image(scan, ends, energy, dwell, snake))


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of OSA.Y in um.
    y_num : int
        Number of rows.
    x_start, x_stop : float
        First and last position of OSA.X in um.
    x_num : int
        Number of columns.
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
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    scan = Scan("osa_image", detectors, station, dwell, per_step, md)
    return (yield from _image(scan, ends, energy, dwell, snake))


@plan
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
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of SampleFineY in um.
    y_num : int
        Number of rows.
    x_start, x_stop : float
        First and last position of SampleFineX in um.
    x_num : int
        Number of columns.
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
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    scan = Scan("sample_image", detectors, station, dwell, per_step, md)
    return (yield from _image(scan, ends, energy, dwell, snake))


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of Coarse.Y in um.
    y_num : int
        Number of rows.
    x_start, x_stop : float
        First and last position of Coarse.X in um.
    x_num : int
        Number of columns.
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
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    scan = Scan("coarse_image_scan", detectors, station, dwell, per_step, md)
    return (yield from _image(scan, ends, energy, dwell, snake))


@plan
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
    detectors : list or tuple
        Point detectors, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of GoniY in um.
    y_num : int
        Number of rows.
    x_start, x_stop : float
        First and last position of GoniX in um.
    x_num : int
        Number of columns.
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
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    scan = Scan("coarse_goni_scan", detectors, station, dwell, per_step, md)
    return (yield from _image(scan, ends, energy, dwell, snake))


@plan
def _image(scan: Scan, ends: tuple[Any, ...], energy: float | None, dwell: float, snake: bool) -> MsgGenerator[str]:
    """An image of one kind: point by point, or line by line if the detectors count lines."""
    y_start, y_stop, y_num, x_start, x_stop, x_num = ends
    check_flag("snake", snake)
    if scan.by_line and snake:
        name = scan.detectors[0].name
        raise ValueError(f"snake is {snake!r} and {name} counts whole lines, all in one direction: leave it out")
    rows = even(scan.station, [scan.kind.y], [y_start], [y_stop], y_num)
    columns = even(scan.station, [scan.kind.x], [x_start], [x_stop], x_num, snake=snake)
    region = Region(0, {"Y": rows.axes[0], "X": columns.axes[0]})
    names = ("y_start", "y_stop", "y_num", "x_start", "x_stop", "x_num")
    plan_args = {**dict(zip(names, ends, strict=True)), "energy": energy, "dwell": dwell, "snake": snake}
    return (yield from scan.measure([Image((rows, columns))], [region], plan_args, energy=energy))
