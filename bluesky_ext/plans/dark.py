"""The dark image of a run."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator, plan, root_ancestor, separate_devices

from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.grid import as_detectors

__all__ = ["dark_plan", "take_dark"]


@plan
def dark_plan(
    detectors: Sequence[Readable] | Readable,
    shutter: Movable | None = None,
    shutter_close: Any = None,
    shutter_wait_close: float = 0.0,
    *,
    stream: str = "dark",
) -> MsgGenerator[None]:
    """Close the shutter, if one is given, and take one event with the dark image, in a stream of its own.

    A part of a plan, for inside a run. The detectors are staged anew before and after, so that one which writes
    files has the dark in a file of its own. The shutter stays closed: the plan that goes on has to open it.

    Parameters
    ----------
    detectors : list or tuple
        The detectors, or a single one.
    shutter : Movable, optional
        The shutter. Without one it is the caller who has seen to the dark.
    shutter_close : Any
        The value that closes the shutter.
    shutter_wait_close : float
        Seconds from the closing of the shutter to the exposure.
    stream : str
        Name of the stream.
    """
    dets = as_detectors(detectors)
    if (shutter is None) != (shutter_close is None):
        raise TypeError(
            f"shutter is {shutter!r}, shutter_close {shutter_close!r}: give both, or see to the dark yourself"
        )
    if shutter is not None and not isinstance(shutter, Movable):
        raise TypeError(f"shutter is {shutter!r}: give a device that can be set")
    check_finite("shutter_wait_close", shutter_wait_close, 0)
    yield from _stage_anew(dets)
    if shutter is not None:
        yield from bps.mv(shutter, shutter_close)
    if shutter_wait_close > 0:
        yield from bps.sleep(shutter_wait_close)
    yield from take_dark(dets, stream)


@plan
def take_dark(detectors: Sequence[Readable], stream: str = "dark") -> MsgGenerator[None]:
    """Take the dark with a closed shutter and detectors just staged, and stage them anew.

    Parameters
    ----------
    detectors : sequence
        The detectors.
    stream : str
        Name of the stream.
    """
    yield from bps.trigger_and_read(list(detectors), name=stream)
    yield from _stage_anew(detectors)


@plan
def _stage_anew(detectors: Sequence[Readable]) -> MsgGenerator[None]:
    devices = separate_devices(root_ancestor(det) for det in detectors)
    yield from bps.unstage_all(*reversed(devices))
    yield from bps.stage_all(*devices)
