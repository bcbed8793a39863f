"""How long an area detector looks at a point, and in how many frames."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan, short_uid

from bluesky_ext.plans.check import check_positive
from bluesky_ext.plans.temporary import read_setting

__all__ = ["Exposure", "check_times", "configure_area_det", "configure_detectors", "prepare_detectors"]


class Exposure(NamedTuple):
    """The settings of an exposure as the detector took them.

    Parameters
    ----------
    frames : int
        Frames of each image, to be averaged.
    time_per_frame : float
        Exposure of each frame in s.
    time_per_point : float
        What the frames of an image take in s: as many times the exposure of a frame, or the period if that is longer.
    """

    frames: int
    time_per_frame: float
    time_per_point: float


def check_times(time_per_point: float, time_per_frame: float) -> None:
    """Raise a ValueError unless both are above zero and a frame is no longer than a point."""
    check_positive("time_per_point", time_per_point)
    check_positive("time_per_frame", time_per_frame)
    if time_per_frame > time_per_point:
        raise ValueError(
            f"time_per_frame is {time_per_frame:g} and time_per_point {time_per_point:g}: "
            "a frame cannot last longer than its point"
        )


@plan
def configure_area_det(det: Readable, time_per_point: float, time_per_frame: float) -> MsgGenerator[Exposure]:
    """Set the exposure of an area detector: ``time_per_point / time_per_frame`` frames a point, rounded.

    ``cam.acquire_time`` and ``cam.acquire_period`` (where there is one) are set, and the number of frames:
    ``images_per_set``, or else ``cam.num_images``. The detector may round the time of a frame; the number of
    frames goes by what it took. To be called before the detector is staged.

    Parameters
    ----------
    det : Readable
        The area detector, with ``cam.acquire_time``.
    time_per_point : float
        Time for the image of one point in s.
    time_per_frame : float
        Time of each of its frames in s.

    Returns
    -------
    Exposure
        What was set: frames, time_per_frame, time_per_point.
    """
    check_times(time_per_point, time_per_frame)
    device: Any = det
    if not is_area_det(device):
        raise TypeError(f"{_name(device)} has no cam.acquire_time: give an area detector")
    cam = device.cam
    number = getattr(device, "images_per_set", getattr(cam, "num_images", None))
    if number is None and round(time_per_point / time_per_frame) > 1:
        raise ValueError(
            f"{device.name} takes one frame a point, it has neither images_per_set nor cam.num_images: "
            f"give time_per_frame={time_per_point:g} as time_per_point"
        )
    per_frame = period = yield from _set(cam.acquire_time, time_per_frame)
    if hasattr(cam, "acquire_period"):
        # Set second: a detector takes no period that is shorter than its frames.
        period = max(per_frame, (yield from _set(cam.acquire_period, per_frame)))
    frames = 1
    if number is not None:
        frames = yield from _set(number, _frames(time_per_point, period))
    return Exposure(int(frames), per_frame, frames * period)


@plan
def configure_detectors(
    detectors: Sequence[Readable], time_per_point: float, time_per_frame: float
) -> MsgGenerator[Exposure]:
    """Set the exposure of those detectors that have the settings of it; returns the longest of all area detectors.

    Those of ophyd-async are told theirs by `prepare_detectors`.

    Parameters
    ----------
    detectors : sequence
        The detectors, one or more of them area detectors.
    time_per_point, time_per_frame : float
        As for `configure_area_det`.

    Returns
    -------
    Exposure
        That of the detector which needs longest for a point.
    """
    exposures = []
    for det in detectors:
        if is_area_det(det):
            exposures.append((yield from configure_area_det(det, time_per_point, time_per_frame)))
        elif is_async_det(det):
            frames = _frames(time_per_point, time_per_frame)
            exposures.append(Exposure(frames, time_per_frame, frames * time_per_frame))
    return max(exposures, key=lambda exposure: exposure.time_per_point)


@plan
def prepare_detectors(
    detectors: Sequence[Readable], time_per_point: float, time_per_frame: float
) -> MsgGenerator[None]:
    """Prepare those detectors that are of ophyd-async for one point at a trigger; they forget it when they are staged.

    Parameters
    ----------
    detectors : sequence
        The detectors.
    time_per_point, time_per_frame : float
        As for `configure_area_det`.
    """
    async_dets: list[Any] = [det for det in detectors if is_async_det(det)]
    if not async_dets:
        return
    from ophyd_async.core import TriggerInfo  # pyright: ignore[reportMissingImports]

    point = TriggerInfo(livetime=time_per_frame, collections_per_event=_frames(time_per_point, time_per_frame))
    group = short_uid("prepare")
    for det in async_dets:
        yield from bps.prepare(det, point, group=group)
    yield from bps.wait(group=group)


def is_area_det(det: Any) -> bool:
    """Whether a detector has the settings of an area detector."""
    return hasattr(getattr(det, "cam", None), "acquire_time")


def is_async_det(det: Any) -> bool:
    """Whether a detector is one of ophyd-async, which is told its exposure when it is prepared."""
    core = sys.modules.get("ophyd_async.core")  # where it was not imported there is no device of it
    return core is not None and isinstance(det, core.StandardDetector)


def _frames(time_per_point: float, time_per_frame: float) -> int:
    return max(1, round(time_per_point / time_per_frame))


def _name(det: Any) -> str:
    return getattr(det, "name", repr(det))


@plan
def _set(signal: Any, value: float) -> MsgGenerator[Any]:
    """Set a signal; returns what it says that it was set to."""
    yield from bps.mv(signal, value)
    actual = yield from read_setting(signal)
    return value if actual is None else actual
