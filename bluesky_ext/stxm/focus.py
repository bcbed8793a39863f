"""Focus scans: a line, at several positions of the zone plate."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.stxm.detectors import check_detectors, set_dwell
from bluesky_ext.stxm.endstation import as_endstation
from bluesky_ext.stxm.grid import dimension, raster
from bluesky_ext.stxm.metadata import make_standard_metadata, sequence_map
from bluesky_ext.stxm.region import Region
from bluesky_ext.stxm.runs import Run, check_energy, known_energy, polarized, run_scan, start_document
from bluesky_ext.stxm.scan_type import ScanType

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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num)
    kind = ("osa_focus", ScanType.OSA_FOCUS, "OSA.Y", "OSA.X")
    return (yield from _focus(kind, detectors, station, ends, energy, dwell, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    ends = (z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num)
    kind = ("sample_focus", ScanType.SAMPLE_FOCUS, "SampleFineY", "SampleFineX")
    return (yield from _focus(kind, detectors, station, ends, energy, dwell, md))


@plan
def _focus(
    kind: tuple[str, ScanType, str, str],
    detectors: Any,
    station: Any,
    ends: tuple[Any, ...],
    energy: float | None,
    dwell: float,
    md: CustomPlanMetadata | None,
) -> MsgGenerator[str]:
    """A focus scan of one kind."""
    plan_name, scan_type, y, x = kind
    z_start, z_stop, z_num, y_start, y_stop, x_start, x_stop, num = ends
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell)
    depth = dimension(station_, ["ZonePlate.Z"], [z_start], [z_stop], z_num)
    line = dimension(station_, [y, x], [y_start, x_start], [y_stop, x_stop], num)
    settings = check_energy(station_, energy)
    metadata = make_standard_metadata(
        scan_type,
        [Region(0, {"Y": line.span(0), "X": line.span(1), "ZP.Z": depth.span()})],
        primary_det=[det.name for det in dets],
        energies=(yield from known_energy(station_, energy)),
        polarizations=(yield from polarized(station_)),
        dwell=dwell,
        sequence_map=sequence_map(1, depth.num, line.num),
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    names = ("z_start", "z_stop", "z_num", "y_start", "y_stop", "x_start", "x_stop", "num")
    plan_args = {**dict(zip(names, ends, strict=True)), "energy": energy, "dwell": dwell}
    start = start_document(plan_name, metadata, dets, [depth.axes, line.axes], plan_args, md)
    runs = [Run(start, raster(depth, line))]
    yield from set_dwell(dets, dwell)
    return (yield from run_scan(runs, dets, [*depth.motors, *line.motors], station_, settings))
