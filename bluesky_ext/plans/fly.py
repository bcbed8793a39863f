"""A grid of rows, each flown through at constant velocity."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Readable, Triggerable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan, short_uid

from bluesky_ext.plans.beam import Beam
from bluesky_ext.plans.check import check_finite, check_positive
from bluesky_ext.plans.exposure import check_times, configure_detectors, prepare_detectors
from bluesky_ext.plans.flight import Flight, check_flyer, check_velocity
from bluesky_ext.plans.grid import Grid, as_detectors
from bluesky_ext.plans.run import check_scan, scan_run, start_metadata
from bluesky_ext.plans.temporary import TemporarySetting, read_setting

__all__ = ["fly_scan_nd"]


@plan
def fly_scan_nd(
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
    move_velocity: float | None = None,
    open_and_close: bool = False,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image at every point of a grid, the last motor moving all the while along its rows; a dark before them.

    The points are those that `grid_scan_nd` has for the same arguments: each exposure begins half a step before its
    point and ends half a step after it, and its event of the stream ``primary`` has the readings of the
    motors in between. So the last motor moves at one step per ``time_per_point``, from half a step
    and the backoff before the first point to as much after the last one. Everything is timed by software: an
    exposure begins when the readback of the motor has passed the place where it should. If the detectors need
    longer than ``time_per_point`` the later points of a row lag behind, which the readings and a warning in the log
    tell. With ``start == stop``, or ``num=1``, the last motor stands.

    The dark is an event of the stream ``dark``, taken before the first row with the shutter closed. At the end the
    shutter is closed and the velocity of the last motor as it was, also when the plan fails or is aborted; the
    shutter is closed while the plan is paused. A resumed plan repeats the row that it was in.

    Parameters
    ----------
    detectors : list or tuple
        The detectors, or a single one. The exposure is set of those that are area detectors, of ophyd
        or ophyd-async.
    *args : Movable or float
        Four for each axis of the grid, the slowest axis first: ``motor, start, stop, num``. Start and stop are the
        positions of the first and the last point. The last motor is the one that flies; it needs a ``velocity``.
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
        Seconds from the opening of the shutter to the start of a row.
    shutter_wait_close : float
        Seconds from the closing of the shutter to the dark.
    take_dark : bool
        Take a dark before the first row.
    snake : bool or list
        Run through all axes but the slowest in both directions in turn, or through those of the motors given.
    backoff : float
        How far before its first exposure a row begins, for the motor to reach its velocity, and how far after
        the last one it ends.
    move_velocity : float, optional
        Velocity of the last motor on its way to the next row. By default the one that it has.
    open_and_close : bool
        Open the shutter for each row and close it after, instead of once.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    dets = as_detectors(detectors)
    grid = Grid.parse(args, snake)
    *_, fast = grid.axes
    beam = Beam(shutter, shutter_open, shutter_close, shutter_wait_open, shutter_wait_close)
    check_times(time_per_point, time_per_frame)
    check_finite("backoff", backoff, 0)
    check_scan(dets, grid, beam, take_dark)
    if open_and_close and not beam.has_shutter:
        raise ValueError("open_and_close is True and there is no shutter: give shutter, or open_and_close=False")
    check_flyer(fast.motor)
    if move_velocity is not None:
        check_positive("move_velocity", move_velocity)
        check_velocity(fast.motor, move_velocity, "change move_velocity")
    for axis in grid.axes:
        axis.check_limits(abs(axis.step) / 2 + backoff if axis is fast and axis.step else 0.0)
    exposure = yield from configure_detectors(dets, time_per_point, time_per_frame)
    flight = Flight(fast, exposure.time_per_point, backoff)
    if flight.moves:
        check_velocity(fast.motor, flight.velocity, "change time_per_point, num, or the way from start to stop")
    velocity = yield from read_setting(fast.motor.velocity)
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
        "move_velocity": move_velocity,
        "open_and_close": open_and_close,
    }
    start = start_metadata("fly_scan_nd", dets, grid, exposure, time_per_point, plan_args, md)
    rows = _rows(dets, grid, flight, beam, open_and_close, velocity if move_velocity is None else move_velocity)
    # Nobody answered: the messages are only listed, and there is no velocity to go back to.
    kept = [] if velocity is None else [TemporarySetting(fast.motor.velocity, velocity)]
    prepare = functools.partial(prepare_detectors, dets, time_per_point, time_per_frame)
    return (yield from scan_run(rows, dets, grid, beam, take_dark, prepare, start, kept))


def _rows(
    detectors: Sequence[Readable],
    grid: Grid,
    flight: Flight,
    beam: Beam,
    open_and_close: bool,
    move_velocity: float | None,
) -> MsgGenerator[None]:
    """All rows; each begins with a checkpoint, to which a resumed plan goes back."""
    motor, num = flight.motor, grid.axes[-1].num
    points = list(grid.points())
    for number in range(0, len(points), num):
        row = points[number : number + num]
        begin, end = flight.ends(row)
        yield from bps.checkpoint()
        if move_velocity is not None:
            yield from bps.mv(motor.velocity, move_velocity)
        yield from bps.mv(*itertools.chain.from_iterable({**row[0], motor: begin}.items()))
        if flight.moves:
            yield from bps.mv(motor.velocity, flight.velocity)
        if open_and_close or number == 0:
            yield from beam.open(stay=not open_and_close)
        group = short_uid("fly")
        yield from bps.abs_set(motor, end, group=group)
        for point in row:
            yield from flight.pass_start(point[motor], end - begin)
            yield from _expose(detectors, grid.motors, flight, point[motor], end - begin)
        if open_and_close:
            yield from beam.close()
        yield from bps.wait(group=group)
    yield from bps.checkpoint()


@plan
def _expose(
    detectors: Sequence[Readable], motors: Sequence[Readable], flight: Flight, position: float, direction: float
) -> MsgGenerator[None]:
    """One event: the detectors are triggered, half of the exposure goes by, the motors are read, then the images."""
    group = short_uid("expose")
    for det in detectors:
        if isinstance(det, Triggerable):
            yield from bps.trigger(det, group=group)
    yield from flight.pass_middle(position, direction)
    yield from bps.create("primary")
    for motor in motors:
        yield from bps.read(motor)
    # An area detector among them is always triggered.
    yield from bps.wait(group=group)
    for det in detectors:
        yield from bps.read(det)
    yield from bps.save()
