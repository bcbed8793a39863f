"""Images: of the sample with its three kinds of stages, of the detector, and of the aperture."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.stxm.detectors import check_detectors, check_lines, is_line_det, set_dwell, set_lines
from bluesky_ext.stxm.endstation import as_endstation
from bluesky_ext.stxm.grid import check_flag, dimension, raster
from bluesky_ext.stxm.metadata import make_standard_metadata, sequence_map
from bluesky_ext.stxm.region import Region
from bluesky_ext.stxm.runs import Run, check_energy, known_energy, polarized, run_scan, start_document
from bluesky_ext.stxm.scan_type import ScanType

__all__ = [
    "coarse_goni_scan",
    "coarse_image_scan",
    "detector_image",
    "osa_image",
    "sample_image",
]


@dataclass(frozen=True)
class Image:
    """What one kind of image has of its own.

    Parameters
    ----------
    plan_name : str
        Name of the plan.
    scan_type : ScanType
        Number of the type.
    y, x : str
        Conventional names of what moves.
    lines : bool
        Whether it can be taken line by line.
    """

    plan_name: str
    scan_type: ScanType
    y: str
    x: str
    lines: bool = False


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    image = Image("detector_image", ScanType.DETECTOR_IMAGE, "Detector.Y", "Detector.X")
    return (yield from _image(image, detectors, station, ends, energy, dwell, snake, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    image = Image("osa_image", ScanType.OSA_IMAGE, "OSA.Y", "OSA.X")
    return (yield from _image(image, detectors, station, ends, energy, dwell, snake, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    image = Image("sample_image", ScanType.SAMPLE_IMAGE, "SampleFineY", "SampleFineX", lines=True)
    return (yield from _image(image, detectors, station, ends, energy, dwell, snake, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    image = Image("coarse_image_scan", ScanType.COARSE_IMAGE_SCAN, "Coarse.Y", "Coarse.X")
    return (yield from _image(image, detectors, station, ends, energy, dwell, snake, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (y_start, y_stop, y_num, x_start, x_stop, x_num)
    image = Image("coarse_goni_scan", ScanType.COARSE_GONI_SCAN, "GoniY", "GoniX")
    return (yield from _image(image, detectors, station, ends, energy, dwell, snake, md))


@plan
def _image(
    image: Image,
    detectors: Any,
    station: Any,
    ends: tuple[Any, ...],
    energy: float | None,
    dwell: float,
    snake: bool,
    md: CustomPlanMetadata | None,
) -> MsgGenerator[str]:
    """An image of one kind: point by point, or line by line if the detectors count lines."""
    y_start, y_stop, y_num, x_start, x_stop, x_num = ends
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell, lines=image.lines)
    by_line = is_line_det(dets[0])
    check_flag("snake", snake)
    if by_line and snake:
        raise ValueError(
            f"snake is {snake!r} and {dets[0].name} counts whole lines, all in one direction: leave it out"
        )
    rows = dimension(station_, [image.y], [y_start], [y_stop], y_num)
    columns = dimension(station_, [image.x], [x_start], [x_stop], x_num, snake=snake)
    if by_line:
        check_lines(dets, columns)
    settings = check_energy(station_, energy)
    metadata = make_standard_metadata(
        image.scan_type,
        [Region(0, {"Y": rows.span(), "X": columns.span()})],
        primary_det=[det.name for det in dets],
        energies=(yield from known_energy(station_, energy)),
        polarizations=(yield from polarized(station_)),
        dwell=dwell,
        sequence_map=sequence_map(1, rows.num, 1 if by_line else columns.num, snake=snake),
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    names = ("y_start", "y_stop", "y_num", "x_start", "x_stop", "x_num")
    plan_args = {**dict(zip(names, ends, strict=True)), "energy": energy, "dwell": dwell, "snake": snake}
    axes = [rows.axes] if by_line else [rows.axes, columns.axes]
    start = start_document(image.plan_name, metadata, dets, axes, plan_args, md)
    motors = rows.motors if by_line else [*rows.motors, *columns.motors]
    runs = [Run(start, raster(rows, None if by_line else columns, snake=snake))]
    carried = {columns.motors[0]: columns.setpoints()[0]} if by_line else {}
    yield from set_dwell(dets, dwell)
    if by_line:
        yield from set_lines(dets, columns)
    return (yield from run_scan(runs, dets, motors, station_, settings, carried=carried))
