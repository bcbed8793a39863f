"""Patterns that are written into the sample."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import is_finite
from bluesky_ext.stxm.detectors import check_detectors, check_dwell, set_dwell
from bluesky_ext.stxm.endstation import as_endstation
from bluesky_ext.stxm.grid import as_list, dimension, raster
from bluesky_ext.stxm.metadata import make_standard_metadata, sequence_map
from bluesky_ext.stxm.region import Region
from bluesky_ext.stxm.runs import Run, Setting, check_energy, known_energy, polarized, run_scan, start_document
from bluesky_ext.stxm.scan_type import ScanType

__all__ = ["pattern_gen_scan"]


@plan
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
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Expose a pattern on the sample, each point for a time of its own, and count meanwhile.

    The counting time is read at each event, as it is not the same for all.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors that have ``dwell``, or a single one.
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    y_start, y_stop : float
        First and last position of SampleFineY in um, those of the first and the last row.
    x_start, x_stop : float
        First and last position of SampleFineX in um, those of the first and the last column.
    pattern : list of lists
        Rows of exposure times in ms, each above 0.
    energy : float, optional
        Photon energy in eV, which stays set. By default it is left as it is.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    exposures = _exposures(pattern)
    station_ = as_endstation(station)
    dets = check_detectors(detectors, exposures[0][0])
    dwells = [det.dwell for det in dets if hasattr(det, "dwell")]
    if len(dwells) < len(dets):
        raise ValueError(
            "pattern_gen_scan needs detectors with dwell, which it sets at each point: give such detectors"
        )
    for time in {time for row in exposures for time in row}:
        check_dwell(dets, time)
    rows = dimension(station_, ["SampleFineY"], [y_start], [y_stop], len(exposures))
    columns = dimension(station_, ["SampleFineX"], [x_start], [x_stop], len(exposures[0]))
    settings = check_energy(station_, energy)
    metadata = make_standard_metadata(
        ScanType.PATTERN_GEN_SCAN,
        [Region(0, {"Y": rows.span(), "X": columns.span()})],
        primary_det=[det.name for det in dets],
        energies=(yield from known_energy(station_, energy)),
        polarizations=(yield from polarized(station_)),
        dwell=exposures[0][0] if len({time for row in exposures for time in row}) == 1 else None,
        sequence_map=sequence_map(1, rows.num, columns.num),
        rev_lu_dct=station_.sources,
        zp_def=station_.zp_def,
    )
    plan_args = {
        **{"y_start": y_start, "y_stop": y_stop, "x_start": x_start, "x_stop": x_stop},
        **{"pattern": [list(row) for row in exposures], "energy": energy},
    }
    axes = [rows.axes, columns.axes]
    start = start_document("pattern_gen_scan", metadata, dets, axes, plan_args, md)
    times = [time for row in exposures for time in row]
    points = [
        {**point, **dict.fromkeys(dwells, time)} for point, time in zip(raster(rows, columns), times, strict=True)
    ]
    runs = [Run(start, points)]
    yield from set_dwell(dets, exposures[0][0])
    return (
        yield from run_scan(
            runs, dets, [*rows.motors, *columns.motors], station_, settings, also=list(map(Setting, dwells))
        )
    )


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
