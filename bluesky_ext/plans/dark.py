"""Dark images: in the run that they are for, in a run of their own, or put into any plan."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator, plan, root_ancestor, separate_devices

from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.grid import as_detectors
from bluesky_ext.plans.temporary import TemporarySetting, read_setting

__all__ = ["dark_plan", "dark_run", "dark_wrapper", "take_dark"]


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
    _check_shutter(shutter, shutter_close, shutter_wait_close)
    yield from _stage_anew(dets)
    yield from _close(shutter, shutter_close, shutter_wait_close)
    yield from take_dark(dets, stream)


@plan
def dark_run(
    detectors: Sequence[Readable] | Readable,
    shutter: Movable | None = None,
    shutter_close: Any = None,
    shutter_wait_close: float = 0.0,
    shutter_end: Any = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a dark image in a run of its own, for the runs that come after it.

    A stage such as ``ImageProcessor(key, "dark", dark_age=3600)`` takes it for runs that have none.

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
    shutter_end : Any
        The value that the shutter is set to in the end, also when the plan fails; the one that it had unless given.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the run.
    """
    about = {"plan_name": "dark_run", "purpose": "dark", **(md or {})}
    one: Any = bpp.run_wrapper(bps.null(), md=about)
    return (
        yield from dark_wrapper(one, detectors, shutter, shutter_close, shutter_wait_close, shutter_end=shutter_end)
    )


@plan
def dark_wrapper(
    plan: MsgGenerator[Any],
    detectors: Sequence[Readable] | Readable,
    shutter: Movable | None = None,
    shutter_close: Any = None,
    shutter_wait_close: float = 0.0,
    shutter_wait_open: float = 0.0,
    *,
    shutter_open: Any = None,
    shutter_end: Any = None,
    stream: str = "dark",
) -> MsgGenerator[Any]:
    """Do any plan with a dark image in each of its runs, taken before anything else.

    ``RE(dark_wrapper(bp.grid_scan([det], y, 0, 1, 5, x, 0, 1, 5), [det], shutter, "closed"))``. The shutter is closed
    when a run begins, the dark taken as an event of a stream of its own, and the shutter opened again.

    Parameters
    ----------
    plan : generator
        The messages of the plan.
    detectors : list or tuple
        The detectors that the dark is taken with, or a single one.
    shutter : Movable, optional
        The shutter. Without one it is the caller who has seen to the dark.
    shutter_close : Any
        The value that closes the shutter.
    shutter_wait_close : float
        Seconds from the closing of the shutter to the exposure.
    shutter_wait_open : float
        Seconds from its opening to what the plan does next.
    shutter_open : Any
        The value that the shutter is set to after the dark; the one that it had before the plan unless given.
    shutter_end : Any
        The value that it is set to in the end, also when the plan fails; the one that it had unless given.
    stream : str
        Name of the stream.

    Returns
    -------
    object
        What the plan returns.
    """
    dets = as_detectors(detectors)
    _check_shutter(shutter, shutter_close, shutter_wait_close)
    check_finite("shutter_wait_open", shutter_wait_open, 0)
    found = None
    if shutter is not None and (shutter_open is None or shutter_end is None):
        found = yield from _state_of(shutter)
    staged: set[Any] = set()

    def dark() -> MsgGenerator[None]:
        were_staged = [device for device in _roots(dets) if device in staged]
        yield from _close(shutter, shutter_close, shutter_wait_close)
        yield from bps.unstage_all(*reversed(were_staged))
        yield from bpp.stage_wrapper(bps.trigger_and_read(list(dets), name=stream), _roots(dets))
        yield from bps.stage_all(*were_staged)
        if shutter is not None:
            yield from bps.mv(shutter, found if shutter_open is None else shutter_open)
        if shutter_wait_open > 0:
            yield from bps.sleep(shutter_wait_open)

    def insert(msg: Msg) -> tuple[None, MsgGenerator[None] | None]:
        if msg.command == "stage":
            staged.add(msg.obj)
        elif msg.command == "unstage":
            staged.discard(msg.obj)
        return None, dark() if msg.command == "open_run" else None

    whole: Any = bpp.plan_mutator(plan, insert)
    if shutter is None:
        return (yield from whole)
    end = TemporarySetting(shutter, found if shutter_end is None else shutter_end)
    return (yield from bpp.stage_wrapper(bpp.finalize_wrapper(whole, end.restore), [end]))


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
    devices = _roots(detectors)
    yield from bps.unstage_all(*reversed(devices))
    yield from bps.stage_all(*devices)


def _roots(detectors: Sequence[Readable]) -> list[Any]:
    """The devices that are staged for these detectors."""
    return separate_devices(root_ancestor(det) for det in detectors)


def _check_shutter(shutter: Any, shutter_close: Any, shutter_wait_close: float) -> None:
    if (shutter is None) != (shutter_close is None):
        raise TypeError(
            f"shutter is {shutter!r}, shutter_close {shutter_close!r}: give both, or see to the dark yourself"
        )
    if shutter is not None and not isinstance(shutter, Movable):
        raise TypeError(f"shutter is {shutter!r}: give a device that can be set")
    check_finite("shutter_wait_close", shutter_wait_close, 0)


@plan
def _close(shutter: Movable | None, shutter_close: Any, shutter_wait_close: float) -> MsgGenerator[None]:
    if shutter is not None:
        yield from bps.mv(shutter, shutter_close)
    if shutter_wait_close > 0:
        yield from bps.sleep(shutter_wait_close)


@plan
def _state_of(shutter: Any) -> MsgGenerator[Any]:
    """The value that a shutter has; None if nobody answers, as when the messages of a plan are only listed."""
    try:
        return (yield from read_setting(shutter))
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{shutter.name} doesn't say whether it is open: give shutter_open and shutter_end, the values it is set to"
        ) from error
