"""A grid of points, one after the other."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, merge_cycler, plan

from bluesky_ext.plans.beam import Beam
from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.exposure import check_times, configure_detectors, prepare_detectors
from bluesky_ext.plans.grid import Grid, as_detectors
from bluesky_ext.plans.run import check_scan, scan_run, start_metadata

__all__ = ["grid_scan_axes", "grid_scan_nd"]


@plan
def grid_scan_nd(
    detectors: Sequence[Readable] | Readable,
    *args: Movable | float,
    time_per_point: float = 1.0,
    time_per_frame: float = 0.1,
    shutter: Movable | None = None,
    shutter_open: Any = None,
    shutter_close: Any = None,
    shutter_wait_open: float = 0.0,
    shutter_wait_close: float = 0.0,
    take_dark: bool = True,
    snake: Sequence[Movable] | bool = False,
    backoff: float = 0.0,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image at every point of a grid, and before them a dark, in one run.

    The shutter is closed, the dark taken as an event of the stream ``dark``, the motors go to the first point, the
    shutter is opened, and every point is an event of the stream ``primary``. At the end the shutter is
    closed, also when the plan fails or is aborted; it is closed while the plan is paused. A resumed plan
    repeats the point that it was at.

    Parameters
    ----------
    detectors : list or tuple
        The detectors, or a single one. The exposure is set of those that are area detectors, of ophyd
        or ophyd-async.
    *args : Movable or float
        Four for each axis of the grid, the slowest axis first: ``motor, start, stop, num``. Start and stop are the
        positions of the first and the last point.
    time_per_point : float
        Time for the image of one point in s.
    time_per_frame : float
        Time of each of its frames in s.
    shutter : Movable, optional
        The shutter. Without it there can be no dark.
    shutter_open : Any
        The value that opens the shutter.
    shutter_close : Any
        The value that closes the shutter.
    shutter_wait_open : float
        Seconds from the opening of the shutter to the first image.
    shutter_wait_close : float
        Seconds from the closing of the shutter to the dark.
    take_dark : bool
        Take a dark before the first point.
    snake : bool or list
        Run through all axes but the slowest in both directions in turn, or through those of the motors given.
    backoff : float
        If not 0, begin each row from so far before its first point, to take up the backlash of the fastest motor.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.

    See Also
    --------
    bluesky.plans.grid_scan : The same grid without exposure, shutter and dark.
    """
    dets = as_detectors(detectors)
    grid = Grid.parse(args, snake)
    beam = Beam(shutter, shutter_open, shutter_close, shutter_wait_open, shutter_wait_close)
    check_times(time_per_point, time_per_frame)
    check_finite("backoff", backoff, 0)
    check_scan(dets, grid, beam, take_dark)
    for axis in grid.axes:
        axis.check_limits(backoff if axis is grid.axes[-1] and axis.step else 0.0)
    exposure = yield from configure_detectors(dets, time_per_point, time_per_frame)
    plan_args = {
        "time_per_point": time_per_point,
        "time_per_frame": time_per_frame,
        "shutter": shutter,
        "shutter_open": shutter_open,
        "shutter_close": shutter_close,
        "shutter_wait_open": shutter_wait_open,
        "shutter_wait_close": shutter_wait_close,
        "take_dark": take_dark,
        "snake": list(snake) if isinstance(snake, Iterable) else snake,
        "backoff": backoff,
    }
    start = start_metadata("grid_scan_nd", dets, grid, exposure, time_per_point, plan_args, md)
    prepare = functools.partial(prepare_detectors, dets, time_per_point, time_per_frame)
    return (yield from scan_run(_points(dets, grid, beam, backoff), dets, grid, beam, take_dark, prepare, start))


@plan
def grid_scan_axes(
    detectors: Sequence[Readable],
    axes: Sequence[tuple[Movable, float, float, int]],
    time_per_point: float = 1.0,
    time_per_frame: float = 0.1,
    shutter: Movable | None = None,
    shutter_open: Any = None,
    shutter_close: Any = None,
    shutter_wait_open: float = 0.0,
    shutter_wait_close: float = 0.0,
    take_dark: bool = True,
    snake: Sequence[Movable] | bool = False,
    backoff: float = 0.0,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """The scan of `grid_scan_nd` with its axes in a list, for blueapi, which can't give a plan its ``*args``.

    ``{"detectors": ["dexela"], "axes": [["y", -1, 1, 21], ["x", -1, 1, 21]], "take_dark": false}``

    Parameters
    ----------
    detectors : list or tuple
        The detectors.
    axes : list of tuple
        Motor, start, stop and number of points of each axis, the slowest axis first.
    time_per_point, time_per_frame : float
        As for `grid_scan_nd`, as are all that follow.
    shutter : Movable, optional
        The shutter.
    shutter_open, shutter_close : Any
        The values that open and close it.
    shutter_wait_open, shutter_wait_close : float
        Seconds to wait after it was set.
    take_dark : bool
        Take a dark before the first point.
    snake : bool or list
        The axes that are run through in both directions in turn.
    backoff : float
        How far before its first point each row begins.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    for axis in axes:
        if isinstance(axis, str) or not isinstance(axis, Sequence) or len(axis) != 4:
            raise ValueError(f"axes has {axis!r} in it: give motor, start, stop, num for each, the slowest motor first")
    return (
        yield from grid_scan_nd(
            detectors,
            *itertools.chain.from_iterable(axes),
            time_per_point=time_per_point,
            time_per_frame=time_per_frame,
            shutter=shutter,
            shutter_open=shutter_open,
            shutter_close=shutter_close,
            shutter_wait_open=shutter_wait_open,
            shutter_wait_close=shutter_wait_close,
            take_dark=take_dark,
            snake=snake,
            backoff=backoff,
            md=md,
        )
    )


def _points(detectors: Sequence[Readable], grid: Grid, beam: Beam, backoff: float) -> MsgGenerator[None]:
    """The shutter opened at the first point, and an event at each."""
    *_, fast = grid.axes
    at: dict[Any, Any] = defaultdict(lambda: None)
    # Motors that are parts of one device, as pseudo positioners are, move together.
    steps: list[Mapping[Any, Any]] = list(merge_cycler(grid.points()))
    # The direction of a row is seen in the plain points: in the merged ones the fastest motor may not be there.
    rows = [row[fast.motor] for row in grid.points()]
    for number, step in enumerate(steps):
        if backoff and fast.step and number % fast.num == 0:
            forwards = rows[number + 1] > rows[number]
            yield from bps.checkpoint()
            yield from bps.mv(fast.motor, rows[number] - (backoff if forwards else -backoff))
            at.clear()
        if number == 0:
            yield from bps.move_per_step(step, at)
            yield from beam.open(stay=True)
        yield from bps.one_nd_step(detectors, step, at)
