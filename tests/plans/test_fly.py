"""What is particular to fly_scan_nd: the motor that moves during the exposures."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd import Component, Device, Signal
from ophyd.sim import SynAxis, motor1
from ophyd.status import MoveStatus

from bluesky_ext import CrystalMapper
from bluesky_ext.plans import flight, fly_scan_nd
from bluesky_ext.sim import Beamline, CrystalDetector, SimMotor, beamline


class Conveyor(SimMotor):
    """A motor that, at less than its usual velocity, goes on by a tenth of a unit each time someone asks where it is.

    So a fly scan has the same course every time, whatever else the computer has to do.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.flight: MoveStatus | None = None
        self.velocities: list[float] = []
        super().__init__(**kwargs)

    def move(self, position: float, wait: bool = True, moved_cb: Any = None, timeout: float | None = None) -> Any:
        velocity = self.velocity.get()
        self.velocities.append(velocity)
        if velocity >= 1:
            return super().move(position, wait, moved_cb, timeout)
        self.user_setpoint.put(position, internal=True)
        self.flight = MoveStatus(self, position, call_stop_on_failure=False)
        return self.flight

    @property
    def position(self) -> float:
        if self.flight is not None:
            self._go(0.1)
        return self.user_readback.get()

    def read(self) -> Any:
        reading = super().read()
        # Nobody asks any more after the last point of a row.
        if self.flight is not None and abs(self.flight.target - self.user_readback.get()) < 1.25:
            self._go(2.0)
        return reading

    def stop(self, *, success: bool = False) -> None:
        self._arrive()
        super().stop(success=success)

    def _go(self, way: float) -> None:
        assert self.flight is not None
        at = self.user_readback.get()
        left = self.flight.target - at
        self._be_at(round(at + np.copysign(min(way, abs(left)), left), 9))
        if self.user_readback.get() == self.flight.target:
            self._arrive()

    def _arrive(self) -> None:
        # Forgotten first: a status that is finished asks where the motor is.
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.set_finished()


class Readback:
    """Where a motor is, asked without its noticing."""

    def __init__(self, motor: SimMotor) -> None:
        self._motor = motor

    @property
    def position(self) -> float:
        return self._motor.user_readback.get()


class Logbook(CrystalDetector):
    """A detector that notes where it was triggered."""

    def __init__(self, **kwargs: Any) -> None:
        self.triggered: list[float] = []
        super().__init__(**kwargs)

    def trigger(self) -> Any:
        self.triggered.append(self._x.position)
        return super().trigger()


@pytest.fixture
def conveyor(bench: Beamline) -> Conveyor:
    return Conveyor(name="conveyor", limits=(-10, 10))


@pytest.fixture
def detector(bench: Beamline, conveyor: Conveyor) -> Logbook:
    return Logbook(name="dexela", crystal=bench.crystal, y=bench.y, x=Readback(conveyor))


@pytest.mark.parametrize("backoff", [0.0, 0.5])
def test_each_exposure_is_around_its_point(
    run_engine: RunEngine, bench: Beamline, conveyor: Conveyor, detector: Logbook, documents, backoff
):
    """Steps of 1 at 0.5 a second, two seconds a point."""
    plan = fly_scan_nd(
        [detector],
        *(bench.y, 0, 2, 3, conveyor, -1, 2, 4),
        time_per_point=2,
        time_per_frame=2,
        take_dark=False,
        snake=True,
        backoff=backoff,
    )
    run_engine(plan, documents)
    documents.validate()
    there, back = [-1, 0, 1, 2], [2, 1, 0, -1]
    # Read in the middle, triggered half a step earlier. The motor is seen at every tenth.
    np.testing.assert_allclose(documents.data("conveyor"), there + back + there, atol=0.11)
    begin = [-1.5, -0.5, 0.5, 1.5], [2.5, 1.5, 0.5, -0.5]
    np.testing.assert_allclose(detector.triggered, begin[0] + begin[1] + begin[0], atol=0.11)
    assert documents.data("sample_y") == [0] * 4 + [1] * 4 + [2] * 4
    # To the start of each row at the velocity that the motor has, along the row at a step in the time of a point.
    assert conveyor.velocities == [1, 0.5] * 3
    assert conveyor.velocity.get() == 1


def test_velocity_of_the_way_back(run_engine: RunEngine, conveyor: Conveyor, detector: Logbook):
    plan = fly_scan_nd(
        *(detector, conveyor, 0, 2, 3), time_per_point=4, time_per_frame=1, take_dark=False, move_velocity=5
    )
    run_engine(plan)
    assert conveyor.velocities == [5, 0.25]
    assert conveyor.velocity.get() == 1


def test_the_time_that_the_detector_takes_sets_the_velocity(run_engine: RunEngine, conveyor: Conveyor, detector):
    """1 s a point in frames of 0.4 s is two of them, 0.8 s."""
    args = (detector, conveyor, 0, 1.2, 3)
    run_engine(fly_scan_nd(*args, time_per_point=1, time_per_frame=0.4, take_dark=False))
    assert conveyor.velocities == [1, pytest.approx(0.6 / 0.8)]


def test_in_real_time(run_engine: RunEngine, documents):
    """The motor really moves, and how far it is depends on the computer: but always on, and never outside."""
    b = beamline(seed=3, shape=(48, 64), n_grains=2, real_time=True)
    b.x.velocity.put(100)
    shutter: Any = {"shutter": b.shutter, "shutter_open": "open", "shutter_close": "closed"}
    plan = fly_scan_nd(
        *([b.detector], b.y, 0, 0, 2, b.x, 0, 0.4, 5),
        time_per_point=0.05,
        time_per_frame=0.05,
        **shutter,
        snake=True,
        backoff=0.05,
    )
    run_engine(plan, documents)
    documents.validate()
    there, back = np.reshape(documents.data("sample_x"), (2, 5))
    assert np.all(np.diff(there) >= 0)
    assert np.all(np.diff(back) <= 0)
    assert np.all(there >= np.linspace(0, 0.4, 5))
    assert np.all(back <= np.linspace(0.4, 0, 5))
    assert max(there) <= 0.4 + 0.05 + 0.05
    assert min(back) >= -0.05 - 0.05
    assert b.x.velocity.get() == 100


def test_a_motor_of_ophyd_async(run_engine: RunEngine, bench: Beamline, documents):
    sim = pytest.importorskip("ophyd_async.sim")

    async def connected():
        motor = sim.SimMotor("async_x", instant=True)
        await motor.connect()
        await motor.acceleration_time.set(0.01)
        return motor

    motor = asyncio.run_coroutine_threadsafe(connected(), run_engine.loop).result(10)
    args = ([bench.detector], motor, 0, 0.2, 3)
    run_engine(fly_scan_nd(*args, time_per_point=0.1, time_per_frame=0.1, take_dark=False), documents)
    documents.validate()
    positions = documents.data("async_x")
    assert np.all(np.diff(positions) >= 0)
    assert np.all(np.asarray(positions) >= [0, 0.1, 0.2])
    # Its velocity was 0, which is at once to this motor, and is so again.
    assert call_in_bluesky_event_loop(motor.velocity.get_value()) == 0


def test_a_motor_that_stands_still(
    run_engine: RunEngine, conveyor: Conveyor, detector: Logbook, bench, shutter_args, monkeypatch, documents
):
    monkeypatch.setattr(Conveyor, "_go", lambda *_: None)
    monkeypatch.setattr(flight, "PATIENCE", 0.05)
    args = (detector, conveyor, 0, 0.002, 3)
    # The velocity is a thousandth in 0.002 s, 0.5: patience is 0.05 s + 2 * 0.004 s.
    plan = fly_scan_nd(*args, time_per_point=0.002, time_per_frame=0.002, backoff=0.001, **shutter_args)
    with pytest.raises(RuntimeError, match=r"^conveyor should have passed -0.0005 by now and has not"):
        run_engine(plan, documents)
    assert documents.stop["exit_status"] == "fail"
    assert "conveyor should have passed" in documents.stop["reason"]
    assert not bench.shutter.is_open
    assert conveyor.velocity.get() == 1


def test_a_motor_that_cannot_be_asked(run_engine: RunEngine, conveyor: Conveyor, detector: Logbook, monkeypatch):
    def lost(self: Any, way: float) -> None:
        raise ConnectionError("the motor is not connected")

    monkeypatch.setattr(Conveyor, "_go", lost)
    with pytest.raises(ConnectionError, match="the motor is not connected"):
        run_engine(fly_scan_nd(detector, conveyor, 0, 1, 3, time_per_point=1, take_dark=False))


def test_lag_is_said_once(run_engine: RunEngine, bench: Beamline, caplog: pytest.LogCaptureFixture):
    """A motor that is there at once is far ahead of the detector."""
    args = (bench.detector, bench.y, 0, 1, 2, bench.x, 0, 5, 6)
    with caplog.at_level(logging.WARNING, "bluesky_ext.plans"):
        run_engine(fly_scan_nd(*args, take_dark=False))
    (record,) = caplog.records
    assert record.getMessage().startswith("sample_x is more than a step beyond -0.5, where it was waited for")


def test_no_lag_is_not_said(run_engine: RunEngine, conveyor, detector, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "bluesky_ext.plans"):
        run_engine(fly_scan_nd(detector, conveyor, 0, 3, 4, time_per_point=4, take_dark=False))
    assert not caplog.records


class NoVelocity(Device):
    readback = Component(Signal, value=0.0, kind="hinted")

    def set(self, value: float) -> Any:
        return self.readback.set(value)


class NoPosition(NoVelocity):
    velocity = Component(Signal, value=1.0, kind="config")


@pytest.mark.parametrize(
    ("motor", "message"),
    [
        (
            NoVelocity(name="plain"),
            "^plain has no velocity that can be set: give a motor that has one last, or take grid",
        ),
        (NoPosition(name="plain"), r"^plain has neither position nor locate\(\)"),
    ],
)
def test_motors_that_cannot_fly(bench: Beamline, motor, message):
    with pytest.raises(ValueError, match=message):
        next(iter(fly_scan_nd(bench.detector, bench.y, 0, 1, 2, motor, 0, 1, 2, take_dark=False)))
    # It may well be the one that is stepped.
    assert next(iter(fly_scan_nd(bench.detector, motor, 0, 1, 2, bench.y, 0, 1, 2, take_dark=False))).command == "set"


def test_a_motor_of_ophyd_sim(run_engine: RunEngine, bench: Beamline, documents):
    """Its velocity has no limits, and it is always there at once."""
    axis = SynAxis(name="axis")
    run_engine(fly_scan_nd(bench.detector, motor1, 0, 1, 2, axis, 0, 1, 3, take_dark=False), documents)
    assert documents.stop["num_events"] == {"primary": 6}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"move_velocity": 0}, "^move_velocity is 0"),
        ({"move_velocity": 5000}, "^sample_x would move at 5000 per s and takes 0.001 to 1000: change move_velocity"),
        ({"open_and_close": True}, "^open_and_close is True and there is no shutter"),
        (
            {"time_per_point": 10_000},
            "^sample_x would move at 0.0001 per s and takes 0.001 to 1000: change time_per_po",
        ),
    ],
)
def test_wrong_arguments(run_engine: RunEngine, bench: Beamline, documents, changed, message):
    options: Any = {"take_dark": False, "time_per_frame": 1, **changed}
    with pytest.raises(ValueError, match=message):
        run_engine(fly_scan_nd(bench.detector, bench.x, 0, 1, 2, **options), documents)
    assert not documents


def test_limits_include_half_a_step_and_the_backoff(bench: Beamline):
    """The limit is 11: with a step of 1 the last point is at 10.25 at most if the backoff is 0.25."""
    args = (bench.detector, bench.x, 8.25, 10.25, 3)
    assert next(iter(fly_scan_nd(*args, take_dark=False, backoff=0.25))).command == "set"
    with pytest.raises(ValueError, match=r"^sample_x has to go to 11.05 and cannot"):
        next(iter(fly_scan_nd(*args, take_dark=False, backoff=0.3)))


def test_a_fly_scan_is_mapped_on_its_grid(run_engine: RunEngine, bench: Beamline, conveyor: Conveyor, documents):
    """The readings are a tenth of a step beside the points at most, and each map has its mean position of them."""
    detector = CrystalDetector(name="dexela", crystal=bench.crystal, y=bench.y, x=Readback(conveyor))
    mapper = CrystalMapper("dexela_image", 11, windows={"y": [20], "x": [20]}, half_width=5)
    axes = (bench.y, 0, 2, 3, conveyor, -1, 2, 4)
    plan = fly_scan_nd([detector], *axes, time_per_point=2, time_per_frame=2, take_dark=False, snake=True)
    run_engine.subscribe(mapper)
    run_engine(plan, documents)
    maps = mapper.dataset
    assert maps["maps"].dims == ("reflection", "sample_y", "conveyor")
    assert maps["maps"].shape == (1, 3, 4)
    np.testing.assert_allclose(maps["conveyor"], [-1, 0, 1, 2], atol=0.11)
    assert np.isfinite(maps["maps"]).all()
