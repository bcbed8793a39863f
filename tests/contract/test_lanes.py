"""Lanes keep a kernel with state, and survive the death of their workers."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from cases import KEY, Collector, feed, frames, raw_run, run_through
from kernels import Counting, Keeping, die_at_three

from bluesky_ext.engine import Lanes, Map


class Dying(Map):
    def __init__(self, **options):
        super().__init__(die_at_three, parameters={}, data_keys=(KEY,), **options)


class Stateful(Map):
    def __init__(self, kernel, **options):
        super().__init__(kernel, parameters={}, data_keys=("marker",), **options)


def marked(docs, marker):
    """The run with a text reading."""
    for name, doc in docs:
        if name == "descriptor":
            doc["data_keys"]["marker"] = {"source": "t", "dtype": "string", "shape": []}
        elif name == "event":
            doc["data"]["marker"] = str(marker)
            doc["timestamps"]["marker"] = 1.0
    return docs


def test_a_lane_that_dies_is_rebuilt_and_its_events_are_done_again(tmp_path, caplog):
    docs = marked(raw_run(n=12, dark=False), tmp_path / "died")
    with Lanes.processes(2) as lanes:
        sink = run_through(Stateful(Counting(), executor=lanes, max_in_flight=8), docs)
    events = [doc["data"] for doc in sink.named("event")]
    assert [data["result"] for data in events] == list(range(1, 13))
    assert {data["heard"] for data in events} == {"start,primary"}
    assert len({data["where"] for data in events}) == 3  # two lanes, of which one had a successor
    assert "failed" not in sink.stop
    assert "are sent again" in caplog.text


def test_an_event_that_kills_its_lane_twice_has_failed(caplog):
    with Lanes.processes(1) as lanes:
        stop = run_through(Dying(executor=lanes, max_in_flight=1), raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3]}
    assert stop["num_events"] == {"primary": 4}
    assert "lane 0 died twice with it" in caplog.text


def test_lanes_keep_the_runs_apart_and_forget_them(tmp_path):
    with Lanes.threads(2) as lanes:
        (tmp_path / "there").touch()
        for _ in range(2):
            docs = marked(raw_run(n=4, dark=False), tmp_path / "there")
            sink = run_through(Stateful(Counting(), executor=lanes), docs)
            assert {doc["data"]["heard"] for doc in sink.named("event")} == {"start,primary"}


def test_a_lane_whose_kernel_fails_at_the_start_fails_its_events(tmp_path, caplog):
    class Refusing(Counting):
        def start(self, doc):
            raise RuntimeError("no calibration for this run")

    docs = marked(raw_run(n=3, dark=False), tmp_path)
    with Lanes.threads(1) as lanes:
        stop = run_through(Stateful(Refusing(), executor=lanes), docs).stop
    assert stop["failed"] == {"primary": [1, 2, 3]}
    assert "no calibration for this run" in caplog.text


def spawned():
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def test_a_lane_that_cannot_be_rebuilt_fails_its_events_and_the_next_tries_again(tmp_path, caplog):
    made = []

    def make():
        made.append(1)
        if len(made) == 2:
            raise BrokenExecutor("no workers")
        return spawned()

    docs = marked(raw_run(n=5, dark=False), tmp_path / "died")
    with Lanes([make]) as lanes:
        sink = run_through(Stateful(Counting(), executor=lanes, max_in_flight=1), docs)
    assert sink.stop["failed"] == {"primary": [3]}
    assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2, 4, 5]
    assert {doc["data"]["heard"] for doc in sink.named("event")} == {"start,primary"}
    assert "can't be made: BrokenExecutor: no workers" in caplog.text


def test_lanes_that_stay_dead_end_the_run(caplog):
    made = []

    def make():
        made.append(1)
        if len(made) > 1:
            raise BrokenExecutor("no workers")
        return spawned()

    with Lanes([make]) as lanes:
        stop = run_through(Dying(executor=lanes, max_in_flight=2), raw_run(n=5, dark=False)).stop
    assert set(stop["failed"]["primary"]) >= {3, 4, 5}


def test_lanes_that_were_closed_fail_their_events_and_the_run_ends(caplog):
    lanes = Lanes.processes(1)
    stage = Dying(executor=lanes)
    sink = Collector()
    stage.subscribe(sink)
    docs = raw_run(n=2, dark=False)
    feed(stage, docs[:3])
    lanes.close()
    feed(stage, docs[3:])
    assert [doc["seq_num"] for doc in sink.named("event")] == [1]
    assert sink.stop["failed"] == {"primary": [2]}
    assert "the lanes were closed" in caplog.text


def test_a_kernel_may_keep_an_image(caplog):
    docs = raw_run(n=5, dark=False, image=lambda number: np.full((256, 256), float(number)))
    with Lanes.processes(1) as lanes:
        stage = Map(Keeping(), parameters={}, data_keys=(KEY,), executor=lanes, max_in_flight=1)
        sink = run_through(stage, docs)
    assert [doc["data"]["first"] for doc in sink.named("event")] == [1.0] * 5


class Refusing(Counting):
    def start(self, doc):
        raise RuntimeError("no calibration for this run")


def test_events_that_fail_for_one_reason_are_let_go(caplog):
    with Lanes.threads(1) as lanes:
        stage = Map(Refusing(), parameters={}, data_keys=(KEY,), executor=lanes, max_in_flight=2)
        images = []
        start, descriptor, *events, stop = raw_run(n=20, dark=False, image=lambda number: number)
        feed(stage, [start, descriptor])
        for name, doc in events:
            image = frames(1)
            images.append(weakref.ref(image))
            stage(name, {**doc, "data": {**doc["data"], KEY: image}})
            del image
        stage(*stop)
        caplog.clear()
        gc.collect()
        assert sum(image() is not None for image in images) <= 1
    assert stage.stats.failed == 20


def test_what_a_kernel_cannot_do_at_the_stop_is_told(tmp_path, caplog):
    class Writing(Counting):
        def stop(self, doc):
            raise OSError("the disk is full")

    (tmp_path / "there").touch()
    docs = marked(raw_run(n=2, dark=False), tmp_path / "there")
    with Lanes.threads(2) as lanes:
        run_through(Stateful(Writing(), executor=lanes), docs)
    for lane in (0, 1):
        assert (
            f"run {docs[0][1]['uid']}: the kernel's stop failed in lane {lane}: OSError: the disk is full"
            in caplog.text
        )


class Late:
    """A kernel that does not know a stream, and waits for the gate."""

    gate = threading.Event()

    def descriptor(self, doc):
        if doc["name"] == "dark":
            raise ValueError("no such stream is known")

    def __call__(self, data, seq_num):
        assert Late.gate.wait(20)
        return {}


def test_a_kernel_that_refuses_a_descriptor_has_done_what_came_before(caplog):
    Late.gate.clear()
    docs = raw_run(n=2, dark=False)
    late = ("descriptor", {**docs[1][1], "uid": "late", "name": "dark"})
    with Lanes.threads(1) as lanes:
        stage = Map(Late(), parameters={}, data_keys=(KEY,), executor=lanes)
        sink = Collector()
        stage.subscribe(sink)
        feed(stage, [*docs[:3], late])
        Late.gate.set()
        feed(stage, docs[3:])
    assert [doc["seq_num"] for doc in sink.named("event")] == [1]
    assert sink.stop["failed"] == {"primary": [2]}
    assert "no such stream is known" in caplog.text


def test_a_lane_that_waits_is_asked_whether_its_worker_is_there(monkeypatch, caplog):
    """A cluster's worker that vanishes with a task leaves its future undone for ever."""
    monkeypatch.setattr("bluesky_ext.engine.executors.pool.ASK_EVERY", 0.01)
    there = threading.Event()

    class Silent(ProcessPoolExecutor):
        def submit(self, function, /, *args, **kwargs):
            future = super().submit(function, *args, **kwargs)
            return future if there.is_set() else type(future)()

    made = []

    def make():
        made.append(1)
        if len(made) == 2:
            there.set()
        return Silent(1, mp_context=get_context("spawn"))

    with Lanes([make], is_there=lambda number: number == 0 and there.is_set()) as lanes:
        stop = run_through(Dying(executor=lanes), raw_run(n=2, dark=False)).stop
    assert stop["num_events"] == {"primary": 2}
    assert "failed" not in stop
    assert len(made) == 2


def test_no_lanes_are_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        Lanes.threads(0)
