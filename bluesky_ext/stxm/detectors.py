"""The detectors of a scan: whether they can make it, and what they are set to: a counting time, a line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from bluesky_ext.plans.check import check_positive
from bluesky_ext.plans.grid import as_detectors
from bluesky_ext.stxm.axes import Axis

__all__ = ["Dwell", "check_detectors", "check_settings", "exposure", "is_line_det", "line_settings"]


class Dwell:
    """The counting time of a detector as a device that a scan moves, and reads at each event beside the detector.

    Of a device and a part of it `bluesky.plan_stubs.trigger_and_read` reads the device only, and that has no settings
    among its readings. This has no parent.

    Parameters
    ----------
    detector : Readable
        The detector, with ``dwell`` in ms.
    """

    parent = None

    def __init__(self, detector: Any) -> None:
        signal = detector.dwell
        self.name = signal.name
        self.set, self.read, self.describe = signal.set, signal.read, signal.describe


def is_line_det(detector: Any) -> bool:
    """Whether a detector counts a whole line for each trigger, as `bluesky_ext.stxm.sim.LineCounter` does."""
    return all(hasattr(detector, name) for name in ("line_start", "line_stop", "line_num"))


def check_detectors(detectors: Any, dwell: float, *, lines: bool) -> tuple[Any, ...]:
    """The detectors of a plan as a tuple; raises a ValueError or TypeError that says what is wrong with them.

    Parameters
    ----------
    detectors : iterable or Readable
        What the plan was given.
    dwell : float
        Counting time in ms.
    lines : bool
        Whether the scan can be made with detectors that count a line for each trigger.
    """
    check_positive("dwell", dwell)
    dets = as_detectors(detectors)
    for det in dets:
        if dets.count(det) > 1:
            raise ValueError(f"{det.name} is among the detectors {dets.count(det)} times: give each once")
    if not exposure(dets, dwell):
        names = ", ".join(det.name for det in dets)
        raise ValueError(f"none of the detectors ({names}) has dwell or cam.acquire_time: give one that counts so long")
    by_line = [det.name for det in dets if is_line_det(det)]
    if by_line and not lines:
        raise ValueError(f"{by_line[0]} counts whole lines, and this scan is made point by point: give point detectors")
    if by_line and len(by_line) < len(dets):
        raise ValueError(f"{by_line[0]} counts whole lines and other detectors points: give detectors of one kind")
    check_settings(exposure(dets, dwell))
    return dets


def exposure(detectors: Sequence[Any], dwell: float) -> dict[Any, float]:
    """The signals that say how long the detectors count, and what they are to be for a time in ms."""
    settings = {}
    for det in detectors:
        if hasattr(det, "dwell"):
            settings[det.dwell] = dwell
        elif (signal := getattr(getattr(det, "cam", None), "acquire_time", None)) is not None:
            settings[signal] = dwell / 1000
    return settings


def line_settings(detectors: Sequence[Any], line: Axis) -> dict[Any, float]:
    """The signals that say which line the line detectors count, and what they are to be."""
    values = {"line_start": line.setpoints[0], "line_stop": line.setpoints[-1], "line_num": len(line.setpoints)}
    return {getattr(det, name): value for det in detectors for name, value in values.items()}


def check_settings(settings: Mapping[Any, float]) -> None:
    """Raise a ValueError if a signal says that it cannot be set so.

    Asked before the scan; what can only be asked asynchronously says so itself when it is set.
    """
    for signal, value in settings.items():
        check_value = getattr(signal, "check_value", None)
        if check_value is not None and not inspect.iscoroutinefunction(check_value):
            check_value(value)
