"""Patterns that are written into the sample."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import is_finite
from bluesky_ext.stxm.axes import as_list, even
from bluesky_ext.stxm.detectors import check_dwell
from bluesky_ext.stxm.metadata import Region
from bluesky_ext.stxm.scan import Image, Scan

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
    per_step: Callable[..., Any] | None = None,
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
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    exposures = _exposures(pattern)
    times = list(chain.from_iterable(exposures))
    scan = Scan("pattern_gen_scan", detectors, station, times[0], per_step, md)
    if not all(hasattr(det, "dwell") for det in scan.detectors):
        raise ValueError(
            "pattern_gen_scan needs detectors with dwell, which it sets at each point: give such detectors"
        )
    for time in set(times):
        check_dwell(scan.detectors, time)
    rows = even(scan.station, [scan.kind.y], [y_start], [y_stop], len(exposures))
    columns = even(scan.station, [scan.kind.x], [x_start], [x_stop], len(exposures[0]))
    region = Region(0, {"Y": rows.axes[0], "X": columns.axes[0]})
    plan_args = {
        **{"y_start": y_start, "y_stop": y_stop, "x_start": x_start, "x_stop": x_stop},
        **{"pattern": exposures, "energy": energy},
    }
    return (yield from scan.measure([Image((rows, columns))], [region], plan_args, energy=energy, times=times))


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
