"""The beam on the sample, as far as a plan has a say in it: a shutter, its two values and its two waits."""

from __future__ import annotations

import asyncio
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Status
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.temporary import TemporarySetting

__all__ = ["Beam"]


class Beam(TemporarySetting):
    """A shutter that a plan opens and closes, that is closed while the plan is paused, and closed at its end.

    Without a shutter every one of the plans here is empty.

    Parameters
    ----------
    shutter : Movable, optional
        The shutter.
    shutter_open, shutter_close : object
        What it is set to.
    shutter_wait_open, shutter_wait_close : float
        Seconds to wait after it was set.
    """

    def __init__(
        self,
        shutter: Movable | None,
        shutter_open: Any,
        shutter_close: Any,
        shutter_wait_open: float = 0.0,
        shutter_wait_close: float = 0.0,
    ) -> None:
        check_finite("shutter_wait_open", shutter_wait_open, 0)
        check_finite("shutter_wait_close", shutter_wait_close, 0)
        if shutter is not None:
            if not isinstance(shutter, Movable):
                raise TypeError(f"shutter is {shutter!r}: give a device that can be set, or None")
            for name, value in (("shutter_open", shutter_open), ("shutter_close", shutter_close)):
                if value is None:
                    raise ValueError(f"{name} is missing: give the value that the shutter is to be set to")
            if shutter_open == shutter_close:
                raise ValueError(f"shutter_open and shutter_close are both {shutter_open!r}: give two values")
        super().__init__(shutter, shutter_close)
        self._open = shutter_open
        self._waits = (shutter_wait_open, shutter_wait_close)
        self._open_at_checkpoint = False

    @property
    def name(self) -> str:
        """What the messages of the plan show."""
        return "no shutter" if self._setting is None else super().name

    @property
    def has_shutter(self) -> bool:
        """Whether there is a shutter."""
        return self._setting is not None

    @plan
    def open(self, *, stay: bool) -> MsgGenerator[None]:
        """Open the shutter and wait for the beam.

        Parameters
        ----------
        stay : bool
            Whether the shutter is open at the checkpoints that follow: then it is opened again after a pause. If
            not, the messages since the checkpoint open it, and the RunEngine repeats them.
        """
        if self.has_shutter:
            yield from bps.mv(self._setting, self._open)
            yield from _sleep(self._waits[0])
            self._open_at_checkpoint = stay

    @plan
    def close(self, *, wait: bool = False) -> MsgGenerator[None]:
        """Close the shutter.

        Parameters
        ----------
        wait : bool
            Wait until it is dark.
        """
        if self.has_shutter:
            yield from bps.mv(self._setting, self._value)
            if wait:
                yield from _sleep(self._waits[1])

    def restore(self) -> MsgGenerator[None]:
        """Messages that close the shutter for good."""
        if self.has_shutter:
            yield from super().restore()

    def stage(self) -> list[Any]:
        """Called before the plan opens the shutter."""
        return super().stage() if self.has_shutter else []

    async def pause(self) -> None:
        """Close the shutter: called by the RunEngine when the plan pauses, or is suspended."""
        if self._due:
            await _done(self._setting.set(self._value))

    async def resume(self) -> None:
        """Open the shutter again if it was open at the checkpoint that the plan goes back to."""
        if self._due and self._open_at_checkpoint:
            await _done(self._setting.set(self._open))
            await asyncio.sleep(self._waits[0])


@plan
def _sleep(seconds: float) -> MsgGenerator[None]:
    if seconds > 0:
        yield from bps.sleep(seconds)


async def _done(status: Status) -> None:
    """Wait for a status of ophyd or ophyd-async; raises what it failed with."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def call_back(status: Status) -> None:
        # A status of ophyd calls back from a thread of its own.
        loop.call_soon_threadsafe(done.set)

    status.add_callback(call_back)
    await done.wait()
    if (error := status.exception(0)) is not None:
        raise error
