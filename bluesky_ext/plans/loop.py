"""A plan over and over."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import time
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_positive

__all__ = ["loop_forever"]


@plan
def loop_forever(
    plan_func: Callable[..., MsgGenerator[Any]], *args: Any, timeout: float | None = None, **kwargs: Any
) -> MsgGenerator[int]:
    """Run a plan again and again until someone stops it: a stage that shakes, a detector that is watched.

    Each round begins with a checkpoint, so that it can be paused and stopped. `bluesky.plan_stubs.repeat` counts
    the rounds; this one looks at the clock.

    Parameters
    ----------
    plan_func : callable
        Called for each round, it returns the plan; such as `bluesky.plan_stubs.mv`.
    *args : Any
        Its arguments.
    timeout : float, optional
        Begin no more rounds after so many seconds. By default there is no end.
    **kwargs : Any
        Its keyword arguments.

    Returns
    -------
    int
        Number of rounds.
    """
    if not callable(plan_func):
        raise TypeError(f"plan_func is {plan_func!r}: give the function that makes the plan, a plan runs only once")
    if timeout is not None:
        check_positive("timeout", timeout)
    began, rounds = time.monotonic(), 0
    while timeout is None or time.monotonic() - began < timeout:
        yield from bps.checkpoint()
        yield from plan_func(*args, **kwargs)
        rounds += 1
    return rounds
