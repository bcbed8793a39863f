"""The parts of a plan: dark_plan and loop_forever."""

from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.simulators import RunEngineSimulator
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import motor1

from bluesky_ext.plans import dark_plan, loop_forever
from bluesky_ext.sim import Beamline, beamline


def test_dark_plan(run_engine: RunEngine, bench: Beamline, documents):
    def plan():
        yield from bps.trigger_and_read([bench.detector])
        yield from dark_plan(bench.detector, bench.shutter, "closed", stream="dark_of_row")
        assert not bench.shutter.is_open
        yield from bps.trigger_and_read([bench.detector])

    run_engine(bpp.stage_wrapper(bpp.run_wrapper(plan()), [bench.detector]), documents)
    documents.validate()
    level = bench.crystal.dark_mean.mean()
    first, second = documents.data("dexela_image")
    (dark,) = documents.data("dexela_image", "dark_of_row")
    assert first.mean() > 1.5 * level
    assert dark.mean() == pytest.approx(level, abs=0.5)
    # The shutter stays closed.
    assert second.mean() == pytest.approx(level, abs=0.5)


@pytest.mark.parametrize("spec", ["AD_TIFF", "AD_HDF5"])
def test_the_dark_is_in_a_file_of_its_own(run_engine: RunEngine, tmp_path, documents, spec):
    b = beamline(shape=(48, 64), n_grains=0, directory=tmp_path, spec=spec)

    def plan():
        yield from bps.trigger_and_read([b.detector])
        yield from dark_plan([b.detector], b.shutter, "closed")
        yield from bps.trigger_and_read([b.detector])

    run_engine(bpp.stage_wrapper(bpp.run_wrapper(plan()), [b.detector]), documents)
    assert len({doc["resource"] for doc in documents.of("datum")}) == 3


def test_messages_of_a_dark(bench: Beamline):
    plan = dark_plan([bench.detector], bench.shutter, 0, 2.5)
    messages = [(msg.command, msg.obj and msg.obj.name) for msg in RunEngineSimulator().simulate_plan(plan)]
    assert messages == [
        *(("unstage", "dexela"), ("stage", "dexela")),
        *(("set", "shutter"), ("wait", None), ("sleep", None)),
        *(("trigger", "dexela"), ("wait", None), ("create", None), ("read", "dexela"), ("save", None)),
        *(("unstage", "dexela"), ("stage", "dexela")),
    ]


def test_wrong_arguments_of_a_dark(bench: Beamline):
    shutter: Any = "shutter"
    with pytest.raises(TypeError, match=r"^shutter is 'shutter': give a device that can be set"):
        next(iter(dark_plan([bench.detector], shutter, "closed")))
    with pytest.raises(TypeError, match=r"^shutter is None, shutter_close 'closed': give both"):
        next(iter(dark_plan([bench.detector], None, "closed")))
    with pytest.raises(ValueError, match=r"^shutter_wait_close is -1"):
        next(iter(dark_plan([bench.detector], bench.shutter, "closed", -1)))
    with pytest.raises(ValueError, match=r"^detectors is empty"):
        next(iter(dark_plan([], bench.shutter, "closed")))


def test_a_dark_of_those_who_closed_the_shutter_themselves(bench: Beamline):
    messages = [
        (msg.command, msg.obj and msg.obj.name) for msg in RunEngineSimulator().simulate_plan(dark_plan(bench.detector))
    ]
    assert ("set", "shutter") not in messages
    assert ("trigger", "dexela") in messages


def test_loop_forever_until_it_is_stopped(run_engine: RunEngine):
    places = []

    def stop_after_three_rounds(value, **_):
        places.append(value)
        if len(places) == 6:
            run_engine.request_pause()

    token = motor1.subscribe(stop_after_three_rounds, "readback", run=False)
    try:
        with pytest.raises(RunEngineInterrupted):
            run_engine(loop_forever(motor1, -1, 2))
        run_engine.stop()
    finally:
        motor1.unsubscribe(token)
    assert places[:6] == [-1, 2, -1, 2, -1, 2]


def test_loop_forever_for_a_time(monkeypatch: pytest.MonkeyPatch):
    """A clock that goes on by a second each time it is looked at: at the start, and before each round."""
    clock = iter(range(100))
    monkeypatch.setattr("bluesky_ext.plans.loop.time.monotonic", lambda: next(clock))
    simulator = RunEngineSimulator()
    messages = simulator.simulate_plan(loop_forever(motor1, -1, 2, timeout=3.5))
    assert simulator.return_value == 3
    one_round = ["checkpoint", "set", "wait", "set", "wait"]
    assert [msg.command for msg in messages] == one_round * 3
    assert [msg.args for msg in messages if msg.command == "set"] == [(-1,), (2,)] * 3


def test_wrong_arguments_of_a_loop():
    motor: Any = "motor"
    with pytest.raises(TypeError, match=r"^motor is 'motor': give a device that can be set"):
        next(iter(loop_forever(motor, 0, 1)))
    with pytest.raises(ValueError, match=r"^right is nan"):
        next(iter(loop_forever(motor1, 0, float("nan"))))
    with pytest.raises(ValueError, match=r"^timeout is 0"):
        next(iter(loop_forever(motor1, 0, 1, timeout=0)))
