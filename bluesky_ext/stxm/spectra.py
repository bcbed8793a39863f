"""Spectra: of points, of a line, and whatever else is scanned: the generic scan."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Movable, Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.grid import Axis, Grid
from bluesky_ext.stxm.detectors import check_detectors, set_dwell
from bluesky_ext.stxm.endstation import as_endstation
from bluesky_ext.stxm.grid import Dimension, as_list, check_flag, check_setpoints, dimension
from bluesky_ext.stxm.metadata import make_standard_metadata, sequence_map
from bluesky_ext.stxm.region import Region, Span
from bluesky_ext.stxm.runs import Run, check_energy, given_md, known_energy, polarized, run_scan, start_document
from bluesky_ext.stxm.scan_type import ScanType

__all__ = ["generic_scan", "sample_line_spectra", "sample_point_spectra"]


@plan
def sample_point_spectra(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    positions: Sequence[Sequence[float]],
    energies: Sequence[float],
    *,
    dwell: float = 1.0,
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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell)
    energy, y, x = (station_[name] for name in ("ENERGY", "SampleFineY", "SampleFineX"))
    values = check_setpoints("energies", energies, energy)
    places = _places(positions)
    check_setpoints("y of positions", [place[0] for place in places], y)
    check_setpoints("x of positions", [place[1] for place in places], x)
    regions = [
        Region(number, {"Y": Span("SampleFineY", place[:1], y.name), "X": Span("SampleFineX", place[1:], x.name)})
        for number, place in enumerate(places)
    ]
    metadata = make_standard_metadata(
        ScanType.SAMPLE_POINT_SPECTRA,
        regions,
        primary_det=[det.name for det in dets],
        energies=values,
        polarizations=(yield from polarized(station_)),
        dwell=dwell,
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    plan_args = {"positions": [list(place) for place in places], "energies": list(values), "dwell": dwell}
    start = start_document("sample_point_spectra", metadata, dets, [], plan_args, md)
    start |= _shape(md, [energy, y, x], len(values) * len(places))
    points = [{energy: value, y: place[0], x: place[1]} for value in values for place in places]
    yield from set_dwell(dets, dwell)
    return (yield from run_scan([Run(start, points)], dets, [energy, y, x], station_))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell)
    energy = station_["ENERGY"]
    values = check_setpoints("energies", energies, energy)
    line = dimension(station_, ["SampleFineY", "SampleFineX"], [y_start, x_start], [y_stop, x_stop], num)
    metadata = make_standard_metadata(
        ScanType.SAMPLE_LINE_SPECTRA,
        [Region(0, {"Y": line.span(0), "X": line.span(1)})],
        primary_det=[det.name for det in dets],
        energies=values,
        polarizations=(yield from polarized(station_)),
        dwell=dwell,
        sequence_map=sequence_map(1, len(values), line.num),
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    plan_args = {
        **{"y_start": y_start, "y_stop": y_stop, "x_start": x_start, "x_stop": x_stop, "num": num},
        **{"energies": list(values), "dwell": dwell},
    }
    spectrum = Axis(energy, values[0], values[-1], len(values), False)
    start = start_document("sample_line_spectra", metadata, dets, [[spectrum], line.axes], plan_args, md)
    points = [{energy: value, **point} for value in values for point in line.points()]
    yield from set_dwell(dets, dwell)
    return (yield from run_scan([Run(start, points)], dets, [energy, *line.motors], station_))


@plan
def generic_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    *args: Movable | float,
    energy: float | None = None,
    dwell: float = 1.0,
    snake: bool = False,
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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell)
    check_flag("snake", snake)
    grid = Grid.parse(args, snake)
    if len(grid.axes) > 3:
        raise ValueError(f"{len(grid.axes)} devices are too many for a generic scan: give 1, 2 or 3")
    for axis in grid.axes:
        axis.check_limits()
    dimensions = [Dimension((axis,), (station_.name_of(axis.motor),)) for axis in grid.axes]
    settings = check_energy(station_, energy)
    if any(device in grid.motors for device in settings):
        raise ValueError(f"energy is {energy!r} and the energy is scanned: leave it out")
    # The fastest is x: as in the metadata of such scans.
    spans = {name: dim.span() for name, dim in zip("XYZ", reversed(dimensions), strict=False)}
    *slow, fast = [dim.num for dim in dimensions]
    rows = 1
    for num in slow:
        rows *= num
    scanned = next((dim.setpoints() for dim in dimensions if dim.names == ("ENERGY",)), None)
    metadata = make_standard_metadata(
        ScanType.GENERIC_SCAN,
        [Region(0, spans)],
        primary_det=[det.name for det in dets],
        energies=scanned if scanned is not None else (yield from known_energy(station_, energy)),
        polarizations=(yield from polarized(station_)),
        dwell=dwell,
        # Only two axes are an image in which every other row is backwards.
        sequence_map=sequence_map(1, rows, fast, snake=snake) if len(dimensions) < 3 else None,
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    told = [repr(arg) if isinstance(arg, Movable) else arg for arg in args]
    plan_args = {"args": told, "energy": energy, "dwell": dwell, "snake": snake}
    start = start_document("generic_scan", metadata, dets, [[axis] for axis in grid.axes], plan_args, md)
    yield from set_dwell(dets, dwell)
    return (yield from run_scan([Run(start, list(grid.points()))], dets, list(grid.motors), station_, settings))


def _places(positions: Any) -> list[tuple[float, float]]:
    """The positions as pairs of numbers."""
    places = [
        tuple(as_list("a position", place, "(y, x)"))
        for place in as_list("positions", positions, "(y, x) of each point")
    ]
    if not places:
        raise ValueError("positions is empty: give (y, x) for one point or more")
    for place in places:
        if len(place) != 2:
            raise ValueError(f"positions has {place!r} in it: give (y, x) for each point")
        for value in place:
            check_finite("a position", value)
    return [(float(y), float(x)) for y, x in places]


def _shape(md: Any, motors: Sequence[Any], points: int) -> dict[str, Any]:
    """What the start document says of points that make no grid."""
    told = {"motors": [motor.name for motor in motors], "num_points": points, "num_intervals": points - 1}
    dimensions = [([name], "primary") for name in getattr(motors[0], "hints", {}).get("fields", [])]
    hints = {"dimensions": dimensions} if dimensions else {}
    given = given_md(md)
    return {**told, **given, "hints": {**hints, **given["hints"]}}
