"""What the scans have in common: one run, the dark first, the shutter closed at the end whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.beam import Beam
from bluesky_ext.plans.dark import take_dark
from bluesky_ext.plans.exposure import Exposure, is_area_det, is_async_det
from bluesky_ext.plans.grid import Grid
from bluesky_ext.plans.temporary import TemporarySetting

__all__ = ["check_scan", "scan_run", "start_metadata"]


def check_scan(detectors: Sequence[Readable], grid: Grid, beam: Beam, dark: bool) -> None:
    """Raise a ValueError if the parts of a scan do not fit each other.

    Parameters
    ----------
    detectors : sequence
        The detectors.
    grid : Grid
        The points.
    beam : Beam
        The shutter.
    dark : bool
        Whether a dark is asked for.
    """
    for det in detectors:
        if det in grid.motors:
            raise ValueError(f"{det.name} is a detector and a motor: motors are read anyway, give it as a motor only")
    if not any(is_area_det(det) or is_async_det(det) for det in detectors):
        names = ", ".join(det.name for det in detectors)
        raise ValueError(
            f"none of the detectors ({names}) has cam.acquire_time, or is a StandardDetector of ophyd-async: "
            "give an area detector"
        )
    if dark and not beam.has_shutter:
        raise ValueError("take_dark is True and there is no shutter: give shutter, or take_dark=False")


def start_metadata(
    plan_name: str,
    detectors: Sequence[Readable],
    grid: Grid,
    exposure: Exposure,
    time_per_point: float,
    plan_args: Mapping[str, Any],
    md: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What goes into the start document: a new dict, in which the caller's metadata win.

    The exposure is under the names that crystalmapping, and the analysis that knows it, have for it: ``sp_...``.

    Parameters
    ----------
    plan_name : str
        Name of the plan.
    detectors : sequence
        The detectors.
    grid : Grid
        The points.
    exposure : Exposure
        The exposure as it was set.
    time_per_point : float
        The exposure as it was asked for, in s.
    plan_args : mapping
        The other arguments of the plan.
    md : mapping, optional
        The caller's metadata.

    Returns
    -------
    dict
        The metadata.
    """
    ours = grid.metadata()
    given = dict(md or {})
    hints = {**ours.pop("hints"), **given.pop("hints", {})}
    args = [arg for axis in grid.axes for arg in (axis.motor, axis.start, axis.stop, axis.num)]
    return {
        "plan_name": plan_name,
        "plan_args": _plain({"detectors": detectors, "args": args, **plan_args}),
        "detectors": [det.name for det in detectors],
        **ours,
        "sp_num_frames": exposure.frames,
        "sp_time_per_frame": exposure.time_per_frame,
        "sp_requested_exposure": time_per_point,
        "sp_computed_exposure": exposure.frames * exposure.time_per_frame,
        **given,
        "hints": hints,
    }


@plan
def scan_run(
    points: MsgGenerator[None],
    detectors: Sequence[Readable],
    grid: Grid,
    beam: Beam,
    dark: bool,
    prepare: Callable[[], MsgGenerator[None]],
    md: dict[str, Any],
    kept: Sequence[TemporarySetting] = (),
) -> MsgGenerator[str]:
    """One run: the dark, then the points; at every end the shutter closed and the settings as they were.

    Parameters
    ----------
    points : generator
        The messages of the points; they open the shutter.
    detectors : sequence
        The detectors.
    grid : Grid
        Whose motors are staged.
    beam : Beam
        The shutter.
    dark : bool
        Whether to take a dark.
    prepare : callable
        A plan for when the detectors have just been staged.
    md : dict
        The metadata.
    kept : sequence of TemporarySetting
        Settings that the points change.

    Returns
    -------
    str
        The uid of the run.
    """

    def inner() -> MsgGenerator[None]:
        yield from beam.close(wait=dark)
        yield from prepare()
        if dark:
            yield from take_dark(detectors)
            yield from prepare()
        yield from points

    run: Any = inner()
    # The beam last, so that it is the innermost: the shutter is closed first.
    for setting in (beam, *kept):
        run = bpp.finalize_wrapper(run, setting.restore)
    # Staged first and unstaged last, as the settings are to be right even if a detector fails to unstage.
    devices = [*kept, beam, *detectors, *grid.motors]
    return (yield from bpp.stage_wrapper(bpp.run_wrapper(run, md=md), devices))


def _plain(value: Any) -> Any:
    """The value as JSON has it: a device as its repr, as in the start documents of Bluesky's own plans."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return repr(value)
