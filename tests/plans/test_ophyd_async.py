"""The scans with detectors and motors of ophyd-async, which write their frames to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd_async.core import init_devices
from ophyd_async.sim import SimMotor

from bluesky_ext import ImageProcessor
from bluesky_ext.plans import dark_wrapper, fly_scan_nd, grid_scan_nd
from bluesky_ext.sim import Beamline


@pytest.fixture
def axes(run_engine: RunEngine) -> tuple[Any, ...]:
    with init_devices():
        y, x = SimMotor("y", instant=True), SimMotor("x", instant=True)
    return y, 0, 1, 2, x, 0, 0.1, 3


@pytest.mark.parametrize(("scan", "frames"), [(grid_scan_nd, 3), (fly_scan_nd, 3), (grid_scan_nd, 1)])
def test_a_scan(
    run_engine: RunEngine, blob: Any, axes, shutter_args, documents, tmp_path: Path, scan: Callable, frames: int
):
    stage, images = ImageProcessor("blob", subtrahend="dark"), []
    stage.subscribe(lambda name, doc: images.append(doc["data"]["blob"]), "event")
    run_engine.subscribe(stage)
    times = {"time_per_point": 0.01 * frames, "time_per_frame": 0.01}
    (uid,) = run_engine(scan([blob], *axes, **times, **shutter_args), documents)
    documents.validate()
    assert documents.start["uid"] == uid
    assert documents.start["sp_num_frames"] == frames
    assert documents.start["sp_time_per_frame"] == 0.01
    assert documents.stop["num_events"] == {"dark": 1, "primary": 6}
    assert documents.data("y") == [0, 0, 0, 1, 1, 1]
    shapes = [doc["data_keys"]["blob"]["shape"] for doc in documents.of("descriptor")]
    assert shapes == [[frames, 240, 320]] * 2
    dark, light = (read_frames(path) for path in sorted(tmp_path.glob("*.h5"), key=lambda path: path.stat().st_ctime))
    assert (len(dark), len(light)) == (frames, 6 * frames)
    means = light.reshape(6, frames, 240, 320).mean(axis=1) - dark.mean(axis=0)
    np.testing.assert_array_equal(images[-6:], np.clip(means, 0, None))
    assert stage.stats.failed == 0


def test_a_dark_before_another_plan(run_engine: RunEngine, bench: Beamline, blob: Any, axes, documents):
    stage = ImageProcessor("blob", subtrahend="dark")
    run_engine.subscribe(stage)
    plan = bp.grid_scan([blob], *axes)
    run_engine(dark_wrapper(plan, [blob], bench.shutter, "closed", shutter_open="open"), documents)
    assert documents.stop["num_events"] == {"dark": 1, "primary": 6}
    assert stage.stats.failed == 0


def read_frames(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["entry/data/data"][()]


def test_beside_an_area_detector(run_engine: RunEngine, bench: Beamline, blob: Any, axes, documents):
    times = {"time_per_point": 0.03, "time_per_frame": 0.01}
    run_engine(grid_scan_nd([bench.detector, blob], *axes[4:], **times, take_dark=False), documents)
    assert documents.start["sp_num_frames"] == 3
    assert {np.shape(image)[0] for image in documents.data("dexela_image")} == {3}
    assert documents.stop["num_events"] == {"primary": 3}
