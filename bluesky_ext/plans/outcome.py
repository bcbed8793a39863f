"""Waiting for what an analysis makes of a run."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_finite

__all__ = ["wait_for_outcome"]

# A thread that waits looks up so often whether it is still wanted, in s.
LOOK_EVERY = 0.2


@plan
def wait_for_outcome(
    analysis: Any, uid: str, event: int | None = None, *, stream: str = "primary", timeout: float = 60.0
) -> MsgGenerator[Any]:
    """Wait for the outcome of a run, or of one of its events, while the RunEngine stays awake.

    It can be paused and stopped meanwhile; after a pause the time begins anew. ``analysis.outcome`` itself would hold
    up the RunEngine, Ctrl-C and all.

    Parameters
    ----------
    analysis : LiveAnalysis
        The analysis, wherever it gets its documents from.
    uid : str
        The uid of the run.
    event : int, optional
        The number of an event: then the run need not be over.
    stream : str
        The stream that the event is of.
    timeout : float
        How long to wait, in s.

    Returns
    -------
    Outcome
        Its ``value`` and ``uncertainty``, whether it is ``complete``, and the ``start`` document of the run;
        None if nobody answers, as when the messages of a plan are only listed.

    Raises
    ------
    TimeoutError, LookupError, RuntimeError
        As `LiveAnalysis.outcome`, into the plan.

    Examples
    --------
    >>> def scan_what_is_interesting(analysis, detector, motor):
    ...     uid = yield from bp.scan([detector], motor, -1, 1, 11)
    ...     centre, width, complete, start = yield from wait_for_outcome(analysis, uid)
    ...     yield from bp.scan([detector], motor, centre - width, centre + width, 11)
    """
    check_finite("timeout", timeout, 0.0)
    said: list[Any] = []
    is_heard = is_over = False

    def begin() -> Awaitable[None]:  # perhaps once more, after a pause
        nonlocal is_heard
        is_heard = True
        return wait()

    async def wait() -> None:
        until = time.monotonic() + timeout
        while not said and not is_over:
            left = max(until - time.monotonic(), 0.0)
            try:
                ask = {"stream": stream, "timeout": min(left, LOOK_EVERY)}
                said.append(await asyncio.to_thread(analysis.outcome, uid, event, **ask))
            except TimeoutError as error:
                if left <= LOOK_EVERY:
                    said.append(error)
            except Exception as error:  # it is the plan's
                said.append(error)

    try:
        while not said:
            yield from bps.wait_for([begin])
            if not is_heard:  # the messages of the plan are only listed
                return None
    finally:
        is_over = True
    if isinstance(said[0], Exception):
        raise said[0]
    return said[0]
