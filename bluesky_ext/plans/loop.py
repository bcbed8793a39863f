"""A motor that goes back and forth."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import math
import time

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_finite, check_positive

__all__ = ["loop_forever"]


@plan
def loop_forever(motor: Movable, left: float, right: float, timeout: float | None = None) -> MsgGenerator[int]:
    """Move a motor to the left and to the right, again and again, until someone stops it or the time is over.

    For a sample that shakes while something else is watched. Each round begins with a checkpoint, so that it can be
    paused and stopped; a round that has begun is not broken off for the time.

    Parameters
    ----------
    motor : Movable
        The motor.
    left : float
        Where each round goes first.
    right : float
        Where each round ends.
    timeout : float, optional
        Begin no more rounds after so many seconds. By default there is no end.

    Returns
    -------
    int
        Number of rounds.
    """
    if not isinstance(motor, Movable):
        raise TypeError(f"motor is {motor!r}: give a device that can be set")
    check_finite("left", left)
    check_finite("right", right)
    if timeout is not None and timeout != math.inf:
        check_positive("timeout", timeout)
    began, rounds = time.monotonic(), 0
    while timeout is None or time.monotonic() - began < timeout:
        yield from bps.checkpoint()
        yield from bps.mv(motor, left)
        yield from bps.mv(motor, right)
        rounds += 1
    return rounds
