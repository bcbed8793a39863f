"""The detectors of a scan: whether they can make it, and how long they count; points, or lines."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_positive
from bluesky_ext.plans.grid import as_detectors
from bluesky_ext.stxm.axes import Dimension

__all__ = ["Dwell", "check_detectors", "check_dwell", "check_lines", "is_line_det", "set_dwell", "set_lines"]


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
    """Whether a detector counts a whole line for each trigger, as `bluesky_ext.sim.LineCounter` does."""
    return all(hasattr(detector, name) for name in ("line_start", "line_stop", "line_num"))


def check_detectors(detectors: Any, dwell: float, *, lines: bool = False) -> tuple[Any, ...]:
    """The detectors as a tuple; raises a ValueError or TypeError that says what is wrong with them.

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
    if not any(_exposure(det) for det in dets):
        names = ", ".join(det.name for det in dets)
        raise ValueError(f"none of the detectors ({names}) has dwell or cam.acquire_time: give one that counts so long")
    by_line = [det.name for det in dets if is_line_det(det)]
    if by_line and not lines:
        raise ValueError(f"{by_line[0]} counts whole lines, and this scan is made point by point: give point detectors")
    if by_line and len(by_line) < len(dets):
        raise ValueError(f"{by_line[0]} counts whole lines and other detectors points: give detectors of one kind")
    check_dwell(dets, dwell)
    return dets


def check_dwell(detectors: Sequence[Readable], dwell: float) -> None:
    """Raise a ValueError if a detector says that it cannot count so long, in ms."""
    for signal, factor in filter(None, map(_exposure, detectors)):
        _check(signal, dwell * factor)


def check_lines(detectors: Sequence[Any], columns: Dimension) -> None:
    """Raise a ValueError if a line detector says that it cannot count this line."""
    for det in detectors:
        for signal, value in _line(det, columns):
            _check(signal, value)


def _check(signal: Any, value: Any) -> None:
    """Ask before the scan; what can only be asked asynchronously says so itself when it is set."""
    check_value = getattr(signal, "check_value", None)
    if check_value is not None and not inspect.iscoroutinefunction(check_value):
        check_value(value)


@plan
def set_dwell(detectors: Sequence[Readable], dwell: float) -> MsgGenerator[None]:
    """Set how long the detectors count, in ms."""
    for signal, factor in filter(None, map(_exposure, detectors)):
        yield from bps.mv(signal, dwell * factor)


def _exposure(detector: Any) -> tuple[Any, float] | None:
    """The signal that says how long a detector counts, and how many of its units are 1 ms."""
    if hasattr(detector, "dwell"):
        return detector.dwell, 1.0
    signal = getattr(getattr(detector, "cam", None), "acquire_time", None)
    return None if signal is None else (signal, 1e-3)


@plan
def set_lines(detectors: Sequence[Any], columns: Dimension) -> MsgGenerator[None]:
    """Set which line the line detectors count."""
    for det in detectors:
        for signal, value in _line(det, columns):
            yield from bps.mv(signal, value)


def _line(detector: Any, columns: Dimension) -> list[tuple[Any, float]]:
    """The settings of a line detector, and what they are to be."""
    setpoints = columns.axes[0].setpoints
    ends = [(detector.line_start, setpoints[0]), (detector.line_stop, setpoints[-1])]
    return [*ends, (detector.line_num, len(setpoints))]
