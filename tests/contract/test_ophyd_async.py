"""Stages behind a detector of ophyd-async, which writes its frames to a file while the scan runs."""

from __future__ import annotations

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from cases import Collector, content
from ophyd.sim import SynAxis
from runs import fly

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker


def images(directory):
    """The frames in the one file that was written."""
    (path,) = directory.glob("*.h5")
    with h5py.File(path) as file:
        return file["entry/data/data"][()]


def test_a_step_scan_is_worked_on_while_its_file_is_written(run_engine, blob, tmp_path):
    stage, tracker, sink, rows = ImageProcessor("blob"), PeakTracker("blob", diameter=11), Collector(), Collector()
    stage.subscribe(sink)
    stage.subscribe(tracker)
    tracker.subscribe(rows)
    run_engine.subscribe(stage)
    run_engine(bp.scan([blob], SynAxis(name="mx", delay=0), 0, 2, 3))
    derived = content(sink)["events"]["primary"]
    expected = images(tmp_path)
    assert [derived[number]["mx"] for number in (1, 2, 3)] == [0, 1, 2]
    for number, frame in enumerate(expected, start=1):
        assert np.array_equal(derived[number]["blob"], frame.astype(float))
    assert [content(rows)["events"]["frames"][number]["mx"] for number in (1, 2, 3)] == [0, 1, 2]
    assert stage.stats.failed == tracker.stats.failed == 0
    assert sink.stop["num_events"] == {"primary": 3}


@pytest.mark.parametrize("replayed", [False, True])
def test_a_step_scan_of_a_detector_alone_keeps_the_uid_and_time_of_its_events(run_engine, blob, replayed):
    raw, sink, rows = Collector(), Collector(), Collector()
    stage, tracker = ImageProcessor("blob"), PeakTracker("blob", diameter=11)
    run_engine(bp.count([blob], 3), raw)
    stage.subscribe(sink)
    tracker.subscribe(rows)
    order = {"stream_resource": 1, "stream_datum": 2, "stop": 3} if replayed else {}
    for name, doc in sorted(raw, key=lambda item: order.get(item[0], 0)):
        stage(name, doc)
        tracker(name, doc)
    events = raw.named("event")
    assert [(doc["seq_num"], doc["time"]) for doc in sink.named("event")] == [
        (doc["seq_num"], doc["time"]) for doc in events
    ]
    assert [doc["data"]["frame_uid"] for doc in rows.named("event")] == [doc["uid"] for doc in events]


@pytest.mark.parametrize("frames", [1, 3])
def test_a_fly_scan_has_an_event_for_each_of_its_points(run_engine, blob, tmp_path, frames):
    stage, sink = ImageProcessor("blob"), Collector()
    stage.subscribe(sink)
    run_engine.subscribe(stage)
    run_engine(fly(blob, 4, frames))
    derived = content(sink)["events"]["primary"]
    expected = images(tmp_path)
    expected = expected.reshape(4, frames, *expected.shape[-2:]).mean(axis=1)
    assert list(derived) == [1, 2, 3, 4]
    for number, image in enumerate(expected, start=1):
        assert np.array_equal(derived[number]["blob"], image)
    assert sink.stop["num_events"] == {"primary": 4}
    assert not {"lost", "failed"} & sink.stop.keys()


def test_numbers_in_the_file_of_a_fly_scan_are_readings(run_engine, blob, tmp_path):
    """As where a motor was, for a map; here it is the sum of each image, which this detector writes."""
    tracker, rows, raw = PeakTracker("blob", diameter=11), Collector(), Collector()
    cm = CrystalMap(search_range=5, motors=("blob-sum",))
    tracker.subscribe(rows)
    tracker.subscribe(cm)
    run_engine.subscribe(tracker)
    run_engine(fly(blob, 4, 1), raw)
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        sums = file["entry/sum"][()].ravel().tolist()
    assert [doc["data"]["blob-sum"] for doc in rows.named("event")] == sums
    (about,) = [doc["data_keys"]["blob-sum"] for doc in rows.named("descriptor") if doc["name"] == "frames"]
    assert (about["shape"], "external" in about) == ([], False)
    assert cm.dataset["maps"].dims[1] in ("blob-sum", "point")
    assert sorted(cm.dataset["blob-sum"].values.tolist()) == sorted(sums)
    assert tracker.stats.failed == 0
