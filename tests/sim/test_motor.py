from __future__ import annotations

import threading
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from ophyd.utils import LimitError, ReadOnlyError, StatusTimeoutError

from bluesky_ext.sim import SimMotor


def new(**parameters: Any) -> Any:  # ophyd's types do not fit bluesky's protocols
    return SimMotor(**{"name": "m", **parameters})


def test_readings_and_descriptions_have_the_same_keys():
    motor = new(value=1.5, limits=(-2, 3), egu="um", precision=1)
    assert {key: reading["value"] for key, reading in motor.read().items()} == {"m": 1.5, "m_user_setpoint": 1.5}
    assert list(motor.describe()) == ["m", "m_user_setpoint"]
    described = motor.describe()["m"]
    assert (described["dtype"], described["shape"]) == ("number", [])
    assert (described["units"], described["precision"]) == ("um", 1)
    assert (described["lower_ctrl_limit"], described["upper_ctrl_limit"]) == (-2, 3)
    assert motor.hints == {"fields": ["m"]}
    assert motor.read_configuration()["m_velocity"]["value"] == 1.0


def test_moves_end_at_once():
    motor = new()
    status = motor.set(2)
    status.wait(10)
    assert motor.position == 2.0
    assert motor.user_setpoint.get() == 2.0
    assert not motor.moving
    assert motor.move(-1).done
    assert motor.position == -1.0


@pytest.mark.parametrize("position", [3.1, -2.1, float("nan")])
def test_a_move_beyond_the_limits_is_refused(position: float):
    motor = new(limits=(-2, 3))
    with pytest.raises(LimitError, match=r"^m: the position .* is beyond the soft limits -2 and 3$"):
        motor.set(position)
    assert motor.position == 0


@pytest.mark.parametrize("limits", [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_wrong_limits(limits: tuple[float, float]):
    with pytest.raises(ValueError, match="m: limits are"):
        new(limits=limits)


def test_a_start_beyond_the_limits():
    with pytest.raises(LimitError, match="the position 4"):
        new(value=4, limits=(-2, 3))


def test_positions_are_not_put_but_moved_to():
    motor = new()
    with pytest.raises(ReadOnlyError):
        motor.user_readback.put(1.0)


@pytest.mark.parametrize("velocity", [0, -1, 1e4, float("nan"), "fast", True])
def test_wrong_velocities(velocity: object):
    motor = new()
    with pytest.raises(LimitError, match=r"^m_velocity: .* cannot be set, give a number from 0.001 to 1000$"):
        motor.velocity.put(velocity)
    assert motor.velocity.get() == 1.0
    assert motor.velocity.limits == (1e-3, 1e3)


def test_in_real_time_a_move_passes_through_the_positions_between():
    motor = new(real_time=True)
    motor.velocity.put(10.0)
    seen: list[float] = []
    motor.subscribe(lambda value, **_: seen.append(value), run=False)
    motor.set(2.0).wait(10)
    assert motor.position == 2.0
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert 0.0 <= seen[0] < 2.0
    assert not motor.moving


def moving(velocity: float) -> tuple[Any, threading.Event]:
    """A motor on its way, and an event set when it has left its place."""
    motor = new(real_time=True, limits=(-1000, 1000))
    motor.velocity.put(velocity)
    left = threading.Event()

    def watch(value: float, **_: object) -> None:
        if value > 0:
            left.set()

    motor.subscribe(watch, run=False)
    return motor, left


def test_stop_ends_a_move_where_the_motor_is():
    motor, left = moving(1.0)
    status = motor.set(1000.0)
    assert left.wait(10)
    assert motor.moving
    motor.stop()
    with pytest.raises(RuntimeError, match=r"^m: stopped at .* on the way to 1000$"):
        status.wait(10)
    assert not motor.moving
    where = motor.position
    assert 0 < where < 1000
    assert motor.user_readback.get() == where
    motor.move(where + 0.01)
    assert motor.position == where + 0.01


def test_a_second_move_ends_the_first():
    motor, left = moving(100.0)
    first = motor.set(1000.0)
    assert left.wait(10)
    second = motor.set(0.0)
    with pytest.raises(RuntimeError, match="on the way to 1000"):
        first.wait(10)
    second.wait(10)
    assert motor.position == 0.0


def test_a_stop_may_count_as_a_success():
    motor, left = moving(1.0)
    status = motor.set(1000.0)
    assert left.wait(10)
    motor.stop(success=True)
    status.wait(10)
    assert motor.position < 1000


def test_a_move_that_times_out_ends():
    motor, _ = moving(1.0)
    ended = threading.Event()
    motor.subscribe(lambda **_: ended.set(), event_type=motor.SUB_DONE, run=False)
    with pytest.raises(StatusTimeoutError):
        motor.move(1000.0, timeout=0.1)
    assert ended.wait(10)
    assert motor.position < 1000
    motor.move(motor.position + 0.01)


def test_a_move_may_begin_the_next_one():
    motor, _ = moving(100.0)
    arrived = threading.Event()

    def back(status: object, obj: SimMotor) -> None:
        obj.set(0.0).add_callback(lambda _: arrived.set())

    motor.move(2.0, wait=False, moved_cb=back)
    assert arrived.wait(10)
    assert motor.position == 0.0
    assert not motor.moving


def test_an_aborted_plan_stops_the_motor(run_engine: RunEngine):
    motor, left = moving(1.0)

    def plan():
        yield from bps.abs_set(motor, 1000.0, group="move")
        yield from bps.null()
        assert left.wait(10)
        raise OSError("the plan fails")

    with pytest.raises(OSError, match="the plan fails"):
        run_engine(plan())
    assert not motor.moving
    assert motor.position < 1000
