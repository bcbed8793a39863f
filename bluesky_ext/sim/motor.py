"""A simulated motor."""

from __future__ import annotations

import functools
import math
import threading
import time
from typing import Any

from ophyd import Component, Device
from ophyd.positioner import PositionerBase
from ophyd.signal import InternalSignal
from ophyd.status import MoveStatus
from ophyd.utils import LimitError

from bluesky_ext.sim.setting import Setting

__all__ = ["SimMotor"]

# Seconds between two updates of the readback of a moving motor, as a motor record does.
UPDATE = 0.02


class _Position(InternalSignal):
    """A position of the motor, in its unit and with its precision."""

    def describe(self) -> dict[str, dict[str, Any]]:
        description = super().describe()
        motor = self.parent
        if isinstance(motor, SimMotor):
            low, high = motor.limits
            description[self.name].update(
                units=motor.egu, precision=motor.precision, lower_ctrl_limit=low, upper_ctrl_limit=high
            )
        return description


class SimMotor(Device, PositionerBase):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A motor with the face of `ophyd.EpicsMotor`: readback, setpoint, velocity, soft limits, and a stop.

    `ophyd.sim.SynAxis` has neither limits nor a stop, and a fly scan needs both.

    Readings are ``{name}`` (hinted) and ``{name}_user_setpoint``; the configuration is ``{name}_velocity``.

    Parameters
    ----------
    name : str
        Name of the motor.
    value : float
        Position at the start.
    limits : tuple of float
        Soft limits: a move beyond them raises a LimitError.
    real_time : bool
        Take as long as the velocity says. If false, as for a test, each move ends at once.
    egu : str
        Unit of the position.
    precision : int
        Digits worth showing.
    **kwargs
        As for `ophyd.Device`: prefix, kind, parent, labels.
    """

    user_readback = Component(_Position, value=0.0, kind="hinted")
    user_setpoint = Component(_Position, value=0.0, kind="normal")
    velocity = Component(Setting, value=1.0, limits=(1e-3, 1e3), kind="config")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        value: float = 0.0,
        limits: tuple[float, float] = (-10.0, 10.0),
        real_time: bool = False,
        egu: str = "mm",
        precision: int = 3,
        **kwargs: Any,
    ) -> None:
        low, high = limits
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"{name}: limits are {limits}, give two finite positions, the lower one first")
        self._limits = (float(low), float(high))
        self._egu = egu
        self.precision = precision
        self.real_time = real_time
        self._leg: threading.Thread | None = None
        self._halt = threading.Event()
        self._halted_well = False
        super().__init__(prefix, name=name, **kwargs)
        self.user_readback.name = name
        self.check_value(value)
        self.user_setpoint.put(float(value), internal=True)
        self._be_at(float(value))

    @property
    def limits(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Lowest and highest position, both allowed."""
        return self._limits

    @property
    def egu(self) -> str:
        """Unit of the position."""
        return self._egu

    def check_value(self, value: float, **kwargs: Any) -> None:
        """Raise a LimitError (a ValueError) for a position that the motor cannot go to."""
        low, high = self._limits
        if not low <= value <= high:
            raise LimitError(f"{self.name}: the position {value} is beyond the soft limits {low:g} and {high:g}")

    def move(  # pyright: ignore[reportIncompatibleMethodOverride]  # the order of ophyd's own motors
        self, position: float, wait: bool = True, moved_cb: Any = None, timeout: float | None = None
    ) -> MoveStatus:
        """Go to a position; a move under way ends where it is, and its status fails.

        Parameters
        ----------
        position : float
            Where to go.
        wait : bool
            Return when the motor is there. ``set`` does not wait.
        moved_cb : callable, optional
            Called at the end of the move.
        timeout : float, optional
            Seconds after which the status fails.

        Returns
        -------
        ophyd.status.MoveStatus
            Done when the motor is there.
        """
        self.check_value(position)
        self.stop()
        start, target = self._where, float(position)
        seconds = abs(target - start) / self.velocity.get() if self.real_time else 0.0
        # Left to itself, a status that fails stops its device, a little later and in another thread:
        # by then that may be the next move.
        status = MoveStatus(
            self,
            target,
            timeout=self.timeout if timeout is None else timeout,
            settle_time=self.settle_time,
            call_stop_on_failure=False,
        )
        if moved_cb is not None:
            status.add_callback(functools.partial(moved_cb, obj=self))
        self._moving = True
        self.user_setpoint.put(target, internal=True)
        self._run_subs(sub_type=self.SUB_START, timestamp=time.time())
        self._halt = threading.Event()
        travel = functools.partial(self._travel, start, target, seconds, status, self._halt)
        if seconds > 0:
            self._leg = threading.Thread(target=travel, name=f"{self.name} moves", daemon=True)
            self._leg.start()
        else:
            travel()
        if wait:
            status.wait()
        return status

    def stop(self, *, success: bool = False) -> None:
        """Stop where the motor is; nothing moves any more when this returns.

        Parameters
        ----------
        success : bool
            Whether the status of the move counts as successful.
        """
        self._halted_well = success
        self._halt.set()
        # What is called at the end of a move, and begins the next one, runs in the thread of the move.
        if self._leg is not None and self._leg is not threading.current_thread():
            self._leg.join()
        self._leg = None

    def _travel(self, start: float, target: float, seconds: float, status: MoveStatus, halt: threading.Event) -> None:
        """Move at constant velocity until the target, or until the status times out or someone says halt."""
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            self._be_at(start + (target - start) * elapsed / seconds)
            if status.done or halt.wait(min(UPDATE, seconds - elapsed)):
                break
        else:
            self._be_at(target)
        arrived = self._where == target
        self._moving = False
        self._run_subs(sub_type=self.SUB_DONE, timestamp=time.time(), value=self._where)
        if arrived or self._halted_well:
            status.set_finished()
        else:
            status.set_exception(RuntimeError(f"{self.name}: stopped at {self._where:g} on the way to {target:g}"))

    def _be_at(self, position: float) -> None:
        self._where = position
        self.user_readback.put(position, internal=True)
        self._set_position(position)
