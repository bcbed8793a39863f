"""Both scans with a RunEngine and the simulated beamline."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from event_model import sanitize_doc
from ophyd.sim import det, motor1, motor2

from bluesky_ext import ImageProcessor
from bluesky_ext.plans import fly_scan_nd, grid_scan_nd
from bluesky_ext.sim import Beamline, beamline

BOTH = pytest.mark.parametrize("scan", [grid_scan_nd, fly_scan_nd])
TIMES = {"time_per_point": 0.3, "time_per_frame": 0.1}


@BOTH
def test_a_run(run_engine: RunEngine, bench: Beamline, shutter_args, documents, scan: Callable):
    args = (bench.y, -1, 1, 2, bench.x, -0.5, 0.5, 3)
    (uid,) = run_engine(scan([bench.detector], *args, **TIMES, **shutter_args, snake=True), documents)
    documents.validate()
    start = documents.start
    assert start["uid"] == uid
    assert start["plan_name"] == scan.__name__
    assert start["detectors"] == ["dexela"]
    assert start["motors"] == ("sample_y", "sample_x")
    assert start["shape"] == (2, 3)
    assert start["extents"] == ([-1, 1], [-0.5, 0.5])
    assert start["snaking"] == (False, True)
    assert (start["num_points"], start["num_intervals"]) == (6, 5)
    assert start["hints"]["gridding"] == "rectilinear"
    assert start["hints"]["dimensions"] == [(["sample_y"], "primary"), (["sample_x"], "primary")]
    assert start["sp_num_frames"] == 3
    assert start["sp_time_per_frame"] == 0.1
    assert start["sp_requested_exposure"] == 0.3
    assert start["sp_computed_exposure"] == pytest.approx(0.3)
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"] == {"dark": 1, "primary": 6}
    assert [doc["seq_num"] for doc in documents.events()] == [1, 2, 3, 4, 5, 6]
    assert {np.shape(image) for image in documents.data("dexela_image")} == {(3, 48, 64)}
    assert documents.data("sample_y") == [-1, -1, -1, 1, 1, 1]
    assert not bench.shutter.is_open


@BOTH
def test_the_uid_is_returned_to_an_outer_plan(run_engine: RunEngine, bench: Beamline, scan: Callable):
    returned = []

    def outer():
        returned.append((yield from scan(bench.detector, bench.x, 0, 1, 2, take_dark=False)))

    (uid,) = run_engine(outer())
    assert returned == [uid]


@BOTH
def test_the_arguments_are_recorded(run_engine: RunEngine, bench: Beamline, shutter_args, documents, scan: Callable):
    args = (bench.y, -1, 1, 2, bench.x, -0.5, 0.5, 3)
    run_engine(scan([bench.detector], *args, **TIMES, **shutter_args, snake=[bench.x], backoff=0.125), documents)
    plan_args = documents.start["plan_args"]
    # Devices as their repr, as in the start documents of Bluesky; everything else as it was.
    assert plan_args["detectors"] == [repr(bench.detector)]
    assert plan_args["args"] == [repr(bench.y), -1, 1, 2, repr(bench.x), -0.5, 0.5, 3]
    assert plan_args["snake"] == [repr(bench.x)]
    assert plan_args["shutter"].startswith("Shutter(name='shutter'")
    rest = {key: value for key, value in plan_args.items() if key not in ("detectors", "args", "snake", "shutter")}
    theirs = {"move_velocity": None, "open_and_close": False} if scan is fly_scan_nd else {}
    assert rest == {
        **TIMES,
        "shutter_open": "open",
        "shutter_close": "closed",
        "shutter_wait_open": 0.0,
        "shutter_wait_close": 0.0,
        "take_dark": True,
        "backoff": 0.125,
        **theirs,
    }
    assert json.loads(json.dumps(sanitize_doc(documents.start)))["plan_args"] == plan_args


@BOTH
@pytest.mark.parametrize("spec", [None, "AD_TIFF"])
def test_a_live_image_processor_has_its_dark(run_engine: RunEngine, tmp_path: Path, documents, scan: Callable, spec):
    files: Any = {} if spec is None else {"directory": tmp_path, "spec": spec}
    b = beamline(seed=3, shape=(48, 64), n_grains=2, **files)
    processor = ImageProcessor("dexela_image", subtrahend="dark", on_error="raise")
    processor.subscribe(documents)
    run_engine.subscribe(processor)
    shutter = {"shutter": b.shutter, "shutter_open": 1, "shutter_close": 0}
    run_engine(scan([b.detector], b.y, -1, 1, 2, b.x, 0, 1, 2, **TIMES, **shutter))
    documents.validate()
    images = documents.data("dexela_image")
    assert len(images) == 4
    assert documents.data("dexela_image_dark") == [1, 1, 1, 1]
    for image, y, x in zip(images, documents.data("sample_y"), documents.data("sample_x"), strict=True):
        light = b.crystal.expected(y, x) - b.crystal.dark_mean
        assert image.mean() == pytest.approx(light.mean(), rel=0.01)


@BOTH
def test_metadata_of_the_caller(run_engine: RunEngine, bench: Beamline, documents, scan: Callable):
    md = {"sample": "LaB6", "plan_name": "mine", "hints": {"dimensions": [(["time"], "primary")], "mine": [1]}}
    kept = copy.deepcopy(md)
    detectors, snake = [bench.detector], [bench.x]
    args = (bench.y, 0, 1, 2, bench.x, 0, 1, 2)
    for _ in range(2):
        run_engine(scan(detectors, *args, **TIMES, take_dark=False, snake=snake, md=md), documents)
        assert md == kept
        assert detectors == [bench.detector]
        assert snake == [bench.x]
    for start in documents.of("start"):
        assert start["sample"] == "LaB6"
        assert start["plan_name"] == "mine"
        assert start["hints"] == {"gridding": "rectilinear", **kept["hints"]}


@BOTH
def test_more_detectors(run_engine: RunEngine, bench: Beamline, documents, scan: Callable):
    run_engine(scan([bench.detector, det], bench.x, 0, 1, 2, take_dark=False), documents)
    assert documents.start["detectors"] == ["dexela", "det"]
    assert set(documents.events()[0]["data"]) == {
        *("dexela_image", "dexela_stats_total", "det", "sample_x", "sample_x_user_setpoint")
    }


@BOTH
@pytest.mark.parametrize(("y", "x", "shape"), [((0, 0, 2), (1, 1, 3), (2, 3)), ((0, 1, 1), (0.5, 1, 1), (1, 1))])
def test_axes_that_stand_still(run_engine: RunEngine, bench: Beamline, documents, scan: Callable, y, x, shape):
    run_engine(scan(bench.detector, bench.y, *y, bench.x, *x, **TIMES, backoff=0.5, take_dark=False), documents)
    documents.validate()
    assert documents.start["shape"] == shape
    assert documents.data("sample_y") == [y[0]] * (shape[0] * shape[1])
    assert documents.data("sample_x") == [x[0]] * (shape[0] * shape[1])
    assert bench.x.velocity.get() == 1


@BOTH
def test_three_axes(run_engine: RunEngine, bench: Beamline, documents, scan: Callable):
    args = (motor1, 0, 1, 2, bench.y, 0, 1, 2, bench.x, 0, 1, 2)
    run_engine(scan(bench.detector, *args, **TIMES, snake=True, take_dark=False), documents)
    assert documents.start["shape"] == (2, 2, 2)
    assert documents.start["snaking"] == (False, True, True)
    assert documents.data("motor1") == [0, 0, 0, 0, 1, 1, 1, 1]
    assert documents.data("sample_y") == [0, 0, 1, 1, 1, 1, 0, 0]


@BOTH
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shutter": None}, "^take_dark is True and there is no shutter: give shutter, or take_dark=False"),
        ({"shutter_open": None}, "^shutter_open is missing"),
        ({"shutter_close": None}, "^shutter_close is missing"),
        ({"shutter_close": "open"}, "^shutter_open and shutter_close are both 'open'"),
        ({"shutter_wait_open": -1}, "^shutter_wait_open is -1: give a finite number of at least 0"),
        ({"shutter_wait_close": float("nan")}, "^shutter_wait_close is nan"),
        ({"time_per_frame": 2}, "^time_per_frame is 2 and time_per_point 1"),
        ({"backoff": -1}, "^backoff is -1"),
        ({"backoff": 100}, "^sample_x has to go to -100"),
        ({"snake": [motor2]}, "^snake has 'motor2' in it"),
    ],
)
def test_wrong_arguments(bench: Beamline, shutter_args, scan: Callable, changed, message):
    """Said before the first message."""
    options = {**shutter_args, **changed}
    with pytest.raises(ValueError, match=message) as raised:
        next(iter(scan(bench.detector, bench.y, 0, 1, 2, bench.x, 0, 1, 2, **options)))
    assert "\n" not in str(raised.value)


@BOTH
def test_wrong_devices(bench: Beamline, scan: Callable):
    with pytest.raises(TypeError, match=r"^shutter is 'open': give a device that can be set"):
        next(iter(scan(bench.detector, bench.x, 0, 1, 2, shutter="open")))
    with pytest.raises(ValueError, match=r"^none of the detectors \(det\) has cam.acquire_time"):
        next(iter(scan([det], bench.x, 0, 1, 2, take_dark=False)))
    with pytest.raises(ValueError, match=r"^sample_x is a detector and a motor"):
        next(iter(scan([bench.detector, bench.x], bench.x, 0, 1, 2, take_dark=False)))
    with pytest.raises(ValueError, match=r"^3 arguments"):
        next(iter(scan([bench.detector], bench.x, 0, 1, take_dark=False)))
