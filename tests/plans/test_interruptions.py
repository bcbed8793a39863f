"""Scans that are paused, aborted, halted, or fail, in the middle of a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd import Signal
from ophyd.status import DeviceStatus

from bluesky_ext.plans import fly_scan_nd, grid_scan_nd
from bluesky_ext.sim import Beamline, CrystalDetector, Shutter

TIMES = {"time_per_point": 0.1, "time_per_frame": 0.1}


def opening(**options: Any) -> Callable:
    def fly_scan_nd_opening(*args: Any, **kwargs: Any) -> Any:
        return fly_scan_nd(*args, **kwargs, **options)

    return fly_scan_nd_opening


ALL = pytest.mark.parametrize("scan", [grid_scan_nd, fly_scan_nd, opening(open_and_close=True)])

# The second point of the second row of three; the dark is an event too.
MIDDLE = 1 + 3 + 2


@pytest.fixture
def make_plan(bench: Beamline, shutter_args: dict[str, Any]) -> Callable[..., Any]:
    """Give a scan of two rows of three points, at half of the motor's own velocity or more."""
    bench.x.velocity.put(7.0)

    def plan(scan: Callable, detector: Any = None, **options: Any) -> Any:
        args = (bench.y, 0, 1, 2, bench.x, 0, 1, 3)
        return scan([detector or bench.detector], *args, **TIMES, **shutter_args, **options)

    return plan


def interrupted(run_engine: RunEngine, plan: Any, documents: Any) -> None:
    with pytest.raises(RunEngineInterrupted):
        run_engine(plan, documents)


class Becomes:
    """Waits for a signal to have a value: after a halt nobody else does."""

    def __init__(self, signal: Signal, value: Any) -> None:
        self._value = value
        self._event = threading.Event()
        signal.subscribe(self, run=False)

    def __call__(self, *, value: Any, **kwargs: Any) -> None:
        if value == self._value:
            self._event.set()

    def wait(self) -> bool:
        return self._event.wait(10)


@ALL
def test_pause_and_resume(run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable):
    interrupted(run_engine, paused(make_plan(scan), MIDDLE), documents)
    assert run_engine.state == "paused"
    # The sample is not left in the beam while somebody thinks.
    assert not bench.shutter.is_open
    run_engine.resume()
    documents.validate()
    seq_nums = [doc["seq_num"] for doc in documents.events()]
    # A step scan goes back to the point, which had no event yet; a fly scan to the row, which had one.
    assert seq_nums == ([1, 2, 3, 4, 5, 6] if scan is grid_scan_nd else [1, 2, 3, 4, 4, 5, 6])
    assert documents.data("sample_y") == [0, 0, 0, 1, 1, 1]
    if scan is grid_scan_nd:
        assert documents.data("sample_x") == [0, 0.5, 1, 0, 0.5, 1]
    # Every image is bright, those after the pause too.
    for event in documents.events():
        y, x = (event["data"][key] for key in ("sample_y", "sample_x"))
        assert event["data"]["dexela_image"].mean() == pytest.approx(bench.crystal.expected(y, x).mean(), rel=0.01)
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"] == {"dark": 1, "primary": 6}
    assert not bench.shutter.is_open
    assert bench.x.velocity.get() == 7


@ALL
def test_shutter_of_a_resumed_scan(
    run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable
):
    """Open when the RunEngine goes on, with its wait; but if it opens for each row, closed on the way to the row."""
    states = []

    def note(msg: Any) -> None:
        if msg.command == "set" and msg.obj is bench.x:
            states.append(bench.shutter.get())

    interrupted(run_engine, paused(make_plan(scan, shutter_wait_open=0.001), MIDDLE), documents)
    bench.shutter.put("closed")
    run_engine.msg_hook = note
    run_engine.resume()
    # Of the repeated row: to its start, and along it.
    expected = {grid_scan_nd: ["open"], fly_scan_nd: ["open", "open"]}.get(scan, ["closed", "open"])
    assert states[: len(expected)] == expected


@ALL
def test_pause_during_the_dark(run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable):
    interrupted(run_engine, paused(make_plan(scan), 1), documents)
    # Somebody looks through the open shutter, and forgets it.
    bench.shutter.put("open")
    run_engine.resume()
    (dark,) = documents.data("dexela_image", "dark")
    assert dark.mean() == pytest.approx(bench.crystal.dark_mean.mean(), abs=0.3)
    assert documents.data("dexela_image")[0].mean() > 1.5 * dark.mean()


@ALL
def test_pause_twice(run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable):
    """The second time in the last row, when its messages are repeated already."""
    interrupted(run_engine, paused(paused(make_plan(scan), MIDDLE), MIDDLE + 1), documents)
    with pytest.raises(RunEngineInterrupted):
        run_engine.resume()
    assert not bench.shutter.is_open
    run_engine.resume()
    dark = bench.crystal.dark_mean.mean()
    assert [doc["seq_num"] for doc in documents.last_events()] == [1, 2, 3, 4, 5, 6]
    assert all(image.mean() > 1.5 * dark for image in documents.data("dexela_image"))
    assert not bench.shutter.is_open


@ALL
@pytest.mark.parametrize("end", ["abort", "stop", "halt"])
def test_the_end_of_a_paused_scan(
    run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable, end
):
    interrupted(run_engine, paused(make_plan(scan), MIDDLE), documents)
    assert bench.x.velocity.get() == (7 if scan is grid_scan_nd else 5)
    restored = Becomes(bench.x.velocity, 7)
    getattr(run_engine, end)()
    assert run_engine.state == "idle"
    documents.validate()
    assert documents.stop["exit_status"] == ("success" if end == "stop" else "abort")
    assert not bench.shutter.is_open
    assert scan is grid_scan_nd or restored.wait()
    assert bench.x.velocity.get() == 7


@ALL
def test_a_halt(run_engine: RunEngine, bench: Beamline, make_plan, halted, documents, scan: Callable):
    """No message of the plan is sent any more; the shutter is closed, and the velocity as it was, nevertheless."""
    sent, before, after = [], [], []

    def look() -> None:
        before.extend([bench.shutter.get(), bench.x.velocity.get()])
        after.extend([Becomes(bench.shutter, "closed"), Becomes(bench.x.velocity, 7)])

    run_engine.msg_hook = sent.append
    interrupted(run_engine, halted(make_plan(scan), MIDDLE, look), documents)
    # The last message is the one in which it was halted.
    assert sent[-1].command == "wait_for"
    assert before == ["open", 7 if scan is grid_scan_nd else 5]
    closed, restored = after
    assert closed.wait()
    assert scan is grid_scan_nd or restored.wait()
    assert documents.stop["exit_status"] == "abort"
    assert not bench.shutter.is_open
    assert bench.x.velocity.get() == 7


class Failing(CrystalDetector):
    """A detector that fails at its fifth trigger: the dark was the first."""

    def __init__(self, **kwargs: Any) -> None:
        self._triggers = 0
        super().__init__(**kwargs)

    def trigger(self) -> DeviceStatus:
        self._triggers += 1
        if self._triggers < 6:
            return super().trigger()
        status = DeviceStatus(self)
        status.set_exception(RuntimeError("the detector does not answer"))
        return status


@ALL
def test_a_failure(run_engine: RunEngine, bench: Beamline, make_plan, documents, scan: Callable):
    detector = Failing(name="dexela", crystal=bench.crystal, y=bench.y, x=bench.x, shutter=bench.shutter)
    with pytest.raises(FailedStatus):
        run_engine(make_plan(scan, detector), documents)
    documents.validate()
    assert documents.stop["exit_status"] == "fail"
    assert documents.stop["num_events"] == {"dark": 1, "primary": 4}
    assert not bench.shutter.is_open
    assert bench.x.velocity.get() == 7


class NeverStaged(CrystalDetector):
    def stage(self) -> Any:
        raise RuntimeError("the disk is full")


@ALL
def test_a_detector_that_cannot_be_staged(run_engine: RunEngine, bench: Beamline, make_plan, documents, scan: Callable):
    detector = NeverStaged(name="dexela", crystal=bench.crystal, y=bench.y, x=bench.x, shutter=bench.shutter)
    with pytest.raises(RuntimeError, match="the disk is full"):
        run_engine(make_plan(scan, detector), documents)
    assert not documents
    assert not bench.shutter.is_open


class Stuck(Shutter):
    """A shutter that cannot be closed any more once it is open."""

    def set(self, value: Any, **kwargs: Any) -> Any:
        if value == "closed" and self.is_open and self.armed:
            raise RuntimeError("the shutter is stuck")
        self.armed = True
        return super().set(value, **kwargs)

    armed = False


def test_a_shutter_that_is_stuck_is_said_and_the_velocity_is_still_restored(
    run_engine: RunEngine, bench: Beamline, documents
):
    bench.x.velocity.put(7.0)
    shutter = Stuck(name="shutter", value="closed")
    options: Any = {"shutter": shutter, "shutter_open": "open", "shutter_close": "closed", **TIMES}
    with pytest.raises(RuntimeError, match="the shutter is stuck"):
        run_engine(fly_scan_nd(bench.detector, bench.x, 0, 1, 3, **options), documents)
    assert documents.stop["exit_status"] == "fail"
    assert bench.x.velocity.get() == 7


@ALL
def test_the_wait_for_the_beam_after_a_pause(
    run_engine: RunEngine, bench: Beamline, make_plan, paused, documents, scan: Callable
):
    """A sleep is never shorter than it should: no trigger comes before the wait is over."""
    interrupted(run_engine, paused(make_plan(scan, shutter_wait_open=0.05), MIDDLE), documents)
    opened, triggered = [], []

    def look(*, value: str, **kwargs: Any) -> None:
        if value == "open":
            opened.append(time.monotonic())

    def note(msg: Any) -> None:
        if msg.command == "trigger" and msg.obj is bench.detector:
            triggered.append(time.monotonic())

    bench.shutter.subscribe(look, run=False)
    run_engine.msg_hook = note
    run_engine.resume()
    assert triggered[0] - opened[0] >= 0.05


def test_nothing_is_left_to_do_after_the_end(run_engine: RunEngine, bench: Beamline, make_plan, documents):
    """A pause later in the same call of the RunEngine leaves the shutter alone."""

    def both():
        yield from make_plan(grid_scan_nd)
        yield from bps.mv(bench.shutter, "open")
        yield from bps.checkpoint()
        yield from bps.pause()

    interrupted(run_engine, both(), documents)
    assert bench.shutter.is_open
    run_engine.resume()
    assert bench.shutter.is_open


@ALL
def test_suspension(run_engine: RunEngine, bench: Beamline, make_plan, documents, scan: Callable):
    """A suspender, such as for the beam of the ring: closed meanwhile, open again after."""

    dump = Signal(name="dump", value=0)
    seen = []

    def trip(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and doc["seq_num"] == 2 and not seen and "sample_x" in doc["data"]:
            seen.append(doc["uid"])
            dump.put(1)

    def during(*, value: str, **kwargs: Any) -> None:
        if value == "closed" and dump.get():
            seen.append("closed")
            dump.put(0)

    bench.shutter.subscribe(during, run=False)
    run_engine.subscribe(trip)
    run_engine.install_suspender(SuspendBoolHigh(dump))
    run_engine(make_plan(scan), documents)
    assert seen[1:] == ["closed"]
    assert [doc["seq_num"] for doc in documents.last_events()] == [1, 2, 3, 4, 5, 6]
    dark = bench.crystal.dark_mean.mean()
    assert all(image.mean() > 1.5 * dark for image in documents.data("dexela_image"))
    assert not bench.shutter.is_open
