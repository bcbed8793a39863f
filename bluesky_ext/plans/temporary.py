"""Temporary settings: what a plan changes, and puts right at its end, whatever ends it."""

from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Status
from bluesky.utils import MsgGenerator, plan

__all__ = ["TemporarySetting", "read_setting"]


@plan
def read_setting(signal: Any) -> MsgGenerator[Any]:
    """The value of a signal; None if nobody answers, as when the messages of a plan are only listed.

    `bluesky.plan_stubs.rd` refuses an EpicsSignal, whose reading is its value and its setpoint.

    Parameters
    ----------
    signal : Readable
        A signal: the reading that has its own name is taken.

    Returns
    -------
    object
        The value.
    """
    reading = yield from bps.read(signal)
    return None if reading is None else reading[signal.name]["value"]


class TemporarySetting:
    """A setting with the value that it is to have when the plan is over.

    `restore` is for a plan's own clean-up, in a `finalize_wrapper`. A halt skips that. So this is also staged, as
    a device is: what a plan has left staged, the RunEngine unstages, even after a halt, and after it has
    stopped whatever moves. Then the setting is told to change, but nobody waits for it.

    Parameters
    ----------
    setting : Movable
        What the plan changes: a shutter, the velocity of a motor.
    value : object
        What it is set to at the end.
    """

    parent = None  # Bluesky stages the root of a tree of devices, and asks for it.

    def __init__(self, setting: Any, value: Any) -> None:
        self._setting = setting
        self._value = value
        self._due = False

    @property
    def name(self) -> str:
        """What the messages of the plan show."""
        return f"{self._setting.name} at the end"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._setting!r}, {self._value!r})"

    def restore(self) -> MsgGenerator[None]:
        """Messages that set the value, and wait until it is set."""
        yield from bps.mv(self._setting, self._value)
        self._due = False

    def stage(self) -> list[Any]:
        """Called before the plan changes the setting."""
        self._due = True
        return [self]

    def unstage(self) -> Status | list[Any]:
        """Set the value, unless `restore` has."""
        if not self._due:
            return [self]
        self._due = False
        return self._setting.set(self._value)
