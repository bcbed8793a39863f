"""Detectors that measure until someone stops them, for alignment."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import time
from collections.abc import Sequence

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable, Triggerable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.plans.check import check_positive
from bluesky_ext.plans.grid import as_detectors

__all__ = ["live_view"]


@plan
def live_view(
    detectors: Sequence[Readable] | Readable, *, period: float = 0.1, md: CustomPlanMetadata | None = None
) -> MsgGenerator[str]:
    """Have detectors measure again and again, until the RunEngine is stopped: for alignment.

    All of it is one live run (``purpose="live"``): stages look at the latest frames and skip those that have been
    overtaken, and no saver, recorder or other writer of this package keeps any. A detector that writes files of its
    own does so here too: take its file plugin off first. Press Ctrl-C twice and type ``RE.stop()`` to end it.

    Each detector has a stream of its name. It can be switched off and on meanwhile, on the page of a `LiveServer` in
    this process, or by its REST API: while it is off, it is not triggered.

    Parameters
    ----------
    detectors : list or tuple
        The detectors, or a single one. They are triggered together, and read when the slowest is done.
    period : float
        Begin no sooner than after so many seconds once more.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    devices = as_detectors(detectors)
    check_positive("period", period)
    names = [device.name for device in devices]
    for name in names:
        live_streams.add(name)

    def rounds() -> MsgGenerator[None]:
        while True:
            began = time.monotonic()
            yield from bps.checkpoint()
            yield from _measure([device for device in devices if live_streams.is_on(device.name)])
            yield from bps.sleep(max(began + period - time.monotonic(), 0.0))

    about = {"plan_name": "live_view", "detectors": names, **(md or {}), "purpose": "live"}
    return (yield from bpp.stage_wrapper(bpp.run_wrapper(rounds(), md=about), devices))


def _measure(devices: Sequence[Readable]) -> MsgGenerator[None]:
    """An event of each detector, in a stream of its own."""
    triggered = [device for device in devices if isinstance(device, Triggerable)]
    for device in triggered:
        yield from bps.trigger(device, group="live_view")
    if triggered:
        yield from bps.wait(group="live_view")
    for device in devices:
        yield from bps.create(name=device.name)
        yield from bpp.contingency_wrapper(bps.read(device), except_plan=_drop, else_plan=bps.save)


def _drop(error: Exception) -> MsgGenerator[None]:
    yield from bps.drop()
