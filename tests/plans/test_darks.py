"""Darks in plans that have none, and in runs of their own."""

from __future__ import annotations

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd import Component, Device, Signal

from bluesky_ext import ImageProcessor
from bluesky_ext.plans import dark_run, dark_wrapper
from bluesky_ext.sim import Beamline


def is_dark(image) -> bool:
    return np.mean(image) < 110  # the offset of the dark images is 100, the air scatter ten times as much


def test_any_plan_with_a_dark_in_each_of_its_runs(run_engine: RunEngine, bench: Beamline, documents):
    ip, derived = ImageProcessor("dexela_image", subtrahend="dark"), []
    ip.subscribe(lambda name, doc: derived.append(doc) if name == "event" else None)

    def plan():
        yield from bp.scan([bench.detector], bench.x, -0.5, 0.5, 3)
        return (yield from bp.count([bench.detector], 2))

    bench.shutter.put("open")
    run_engine.subscribe(ip)
    run_engine(dark_wrapper(plan(), bench.detector, bench.shutter, "closed"), documents)
    documents.validate()
    assert [is_dark(image) for image in documents.data("dexela_image", "dark")] == [True]  # seq_num 1 of both runs
    assert len(documents.events("dark")) == 2
    assert not any(map(is_dark, documents.data("dexela_image")))
    assert [doc["num_events"] for doc in documents.of("stop")] == [{"dark": 1, "primary": 3}, {"dark": 1, "primary": 2}]
    assert bench.shutter.is_open
    assert len([doc for doc in derived if "dexela_image_dark" in doc["data"]]) == 5


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [("open", {}, "open"), ("closed", {"shutter_open": 1}, "closed"), ("open", {"shutter_end": 0}, "closed")],
)
@pytest.mark.parametrize("fails", [False, True])
def test_the_shutter_ends_as_it_was_or_as_one_says(run_engine, bench, documents, before, given, after, fails):
    def plan():
        yield from bps.open_run()
        yield from bps.stage(bench.detector)
        yield from bps.trigger_and_read([bench.detector])
        if fails:
            raise RuntimeError("no beam")
        yield from bps.unstage(bench.detector)
        yield from bps.close_run()

    bench.shutter.put(before)
    wrapped = dark_wrapper(bpp.contingency_wrapper(plan()), [bench.detector], bench.shutter, 0, **given)
    if fails:
        with pytest.raises(RuntimeError, match="no beam"):
            run_engine(wrapped, documents)
    else:
        run_engine(wrapped, documents)
    assert bench.shutter.get() == after
    assert [is_dark(*documents.data("dexela_image", stream)) for stream in ("dark", "primary")] == [True, False]


def test_a_dark_in_a_run_of_its_own(run_engine: RunEngine, bench: Beamline, documents):
    bench.shutter.put("open")
    run_engine(dark_run(bench.detector, bench.shutter, "closed", md={"sample": "none"}), documents)
    assert documents.stop["num_events"] == {"dark": 1}
    assert is_dark(*documents.data("dexela_image", "dark"))
    assert {**documents.start, "purpose": "dark", "plan_name": "dark_run", "sample": "none"} == documents.start
    assert bench.shutter.is_open


def test_a_shutter_that_does_not_say_what_it_is(run_engine: RunEngine, bench: Beamline):
    class Blind(Device):
        state = Component(Signal, value=0)

        def set(self, value):
            return self.state.set(value)

    blind = Blind(name="blind")
    with pytest.raises(ValueError, match="blind doesn't say whether it is open: give shutter_open and shutter_end"):
        run_engine(dark_wrapper(bp.count([bench.detector]), bench.detector, blind, 0))
    run_engine(dark_wrapper(bp.count([bench.detector]), bench.detector, blind, 0, shutter_open=1, shutter_end=0))
    assert blind.state.get() == 0


def test_what_cannot_be_meant_is_refused(bench: Beamline):
    with pytest.raises(TypeError, match="give both, or see to the dark yourself"):
        next(iter(dark_wrapper(bp.count([bench.detector]), bench.detector, bench.shutter)))
