"""Lanes keep a kernel with state, and survive the death of their workers."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from cases import KEY, collect, feed, frames, map_of, marked, raw_run, run_through
from kernels import Counting, Keeping, die_at_three

from bluesky_ext.engine import Lanes

stateful = partial(map_of, data_keys=("marker",))


class Refusing(Counting):
    def start(self, doc):
        raise RuntimeError("no calibration for this run")


@pytest.fixture(params=["inline", "threads", "processes", "dask"])
def home(request):
    """Where a kernel with a state may run; None for inline."""
    if request.param == "dask":
        distributed = pytest.importorskip("distributed")
        # Two threads a worker: it may do a later task before an earlier one.
        with (
            distributed.LocalCluster(2, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as own,
            distributed.Client(own) as client,
        ):
            yield Lanes.dask(client)
    elif request.param == "inline":
        yield None
    else:
        with getattr(Lanes, request.param)(2) as lanes:
            yield lanes


@pytest.fixture
def safe_run(tmp_path):
    """Makes runs at which no worker dies, since the file says that one has."""
    (tmp_path / "there").touch()
    return lambda n: marked(raw_run(n=n, dark=False), tmp_path / "there")


def test_a_kernel_with_a_state_is_told_of_its_run_wherever_it_runs(home, safe_run, caplog):
    kernel = Counting()
    first, second = safe_run(4), safe_run(4)
    stage = stateful(kernel, executor=home)
    sink = collect(stage)
    for docs in zip(first, second, strict=True):
        feed(stage, docs)
    events = sink.named("event")
    assert len(events) == 8
    assert {doc["data"]["heard"] for doc in events} == {"start,primary"}
    assert kernel.heard == []  # each run has a copy
    assert "failed" not in caplog.text


def test_new_parameters_are_for_the_events_that_come_after_them(home, safe_run):
    first, second = safe_run(6), safe_run(6)
    stage = stateful(Counting(), executor=home)
    sink = collect(stage)
    feed(stage, first[:5])  # with three events
    stage.set_parameters({"scale": 10})
    feed(stage, [*first[5:7], *second[:3]])
    stage.set_parameters({"scale": 100})
    feed(stage, [*first[7:], *second[3:]])
    results = [doc["data"]["result"] for doc in sink.named("event")]
    ends = [doc["run_start"] for doc in sink.named("stop")]
    assert sorted(results) == sorted([1, 2, 3, 40, 50, 600, 10, 200, 300, 400, 500, 600])
    assert len(ends) == 2


def test_parameters_that_a_kernel_refuses_fail_its_events_until_it_is_told_better_ones(home, safe_run, caplog):
    docs = safe_run(6)
    stage = stateful(Counting(), executor=home)
    sink = collect(stage)
    feed(stage, docs[:4])
    stage.set_parameters({"size": 10})
    feed(stage, docs[4:6])
    stage.set_parameters({"scale": 10})
    feed(stage, docs[6:])
    assert [doc["data"]["result"] for doc in sink.named("event")] == [1, 2, 50, 60]
    assert sink.stop["failed"] == {"primary": [3, 4]}
    assert "the kernel's parameters failed" in caplog.text
    assert "KeyError: 'scale'" in caplog.text


def test_parameters_need_a_kernel_that_takes_them():
    with pytest.raises(TypeError, match="no method parameters"):
        map_of(die_at_three).set_parameters({"scale": 1})


def test_what_a_lane_does_again_sees_the_parameters_of_its_time(tmp_path, caplog):
    docs = marked(raw_run(n=6, dark=False), tmp_path / "died")
    with Lanes.processes(1) as lanes:
        stage = stateful(Counting(), executor=lanes)
        sink = collect(stage)
        feed(stage, docs[:6])  # the worker is not even started when these are in
        stage.set_parameters({"scale": 10})
        feed(stage, docs[6:])
    assert [doc["data"]["result"] for doc in sink.named("event")] == [1, 2, 3, 4, 50, 60]
    assert "are sent again" in caplog.text


def test_lanes_that_a_stage_makes_are_closed_with_it(safe_run):
    made = []

    def make():
        made.append(Lanes.threads(1))
        return made[-1]

    with stateful(Counting(), executor=make) as stage:
        for _ in range(2):
            sink = run_through(stage, safe_run(2))
            assert [doc["data"]["result"] for doc in sink.named("event")] == [1, 2]
    assert len(made) == 1
    stop = run_through(map_of(die_at_three, executor=made[0]), raw_run(n=1, dark=False)).stop
    assert stop["failed"] == {"primary": [1]}


def test_a_lane_that_died_between_two_runs_hears_the_whole_next_run(safe_run, caplog):
    made = []
    with Lanes([breaking(made, at=())]) as lanes:
        stage = stateful(Counting(), executor=lanes)
        for _ in range(2):
            sink = run_through(stage, safe_run(2))
            assert [doc["data"]["heard"] for doc in sink.named("event")] == ["start,primary"] * 2
            assert isinstance(made[-1].submit(os._exit, 1).exception(20), BrokenExecutor)
    assert len(made) == 2
    assert "failed" not in caplog.text


def test_a_lane_that_dies_is_rebuilt_and_its_events_are_done_again(tmp_path, caplog):
    docs = marked(raw_run(n=12, dark=False), tmp_path / "died")
    with Lanes.processes(2) as lanes:
        sink = run_through(stateful(Counting(), executor=lanes, max_in_flight=8), docs)
    events = [doc["data"] for doc in sink.named("event")]
    assert [data["result"] for data in events] == list(range(1, 13))
    assert {data["heard"] for data in events} == {"start,primary"}
    assert len({data["where"] for data in events}) == 3  # two lanes, of which one had a successor
    assert "failed" not in sink.stop
    assert "are sent again" in caplog.text


def test_an_event_that_kills_its_lane_twice_has_failed(caplog):
    with Lanes.processes(1) as lanes:
        stop = run_through(map_of(die_at_three, executor=lanes, max_in_flight=1), raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3]}
    assert stop["num_events"] == {"primary": 4}
    assert "lane 0 died twice with it" in caplog.text


def test_a_kernel_that_fails_at_the_start_fails_its_events(tmp_path, caplog):
    docs = marked(raw_run(n=3, dark=False), tmp_path)
    with Lanes.threads(1) as lanes:
        for home in (None, lanes):
            caplog.clear()
            stop = run_through(stateful(Refusing(), executor=home), docs).stop
            assert stop["failed"] == {"primary": [1, 2, 3]}
            assert "the kernel's start failed" in caplog.text
            assert "no calibration for this run" in caplog.text


def breaking(made, *, at):
    """What makes the executor of a lane, and notes that in a list; when it is asked for that one, there is none."""

    def make():
        made.append(None)
        if len(made) in at:
            raise BrokenExecutor("no workers")
        made[-1] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return made[-1]

    return make


def test_a_lane_that_cannot_be_rebuilt_fails_its_events_and_the_next_tries_again(tmp_path, caplog):
    docs = marked(raw_run(n=5, dark=False), tmp_path / "died")
    with Lanes([breaking([], at=(2,))]) as lanes:
        sink = run_through(stateful(Counting(), executor=lanes, max_in_flight=1), docs)
    assert sink.stop["failed"] == {"primary": [3]}
    assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2, 4, 5]
    assert {doc["data"]["heard"] for doc in sink.named("event")} == {"start,primary"}
    assert "can't be made: BrokenExecutor: no workers" in caplog.text


def test_lanes_that_stay_dead_end_the_run(caplog):
    with Lanes([breaking([], at=range(2, 100))]) as lanes:
        stop = run_through(map_of(die_at_three, executor=lanes, max_in_flight=2), raw_run(n=5, dark=False)).stop
    assert set(stop["failed"]["primary"]) >= {3, 4, 5}


def test_lanes_that_were_closed_fail_their_events_and_the_run_ends(caplog):
    lanes = Lanes.processes(1)
    stage = map_of(die_at_three, executor=lanes)
    sink = collect(stage)
    docs = raw_run(n=2, dark=False)
    feed(stage, docs[:3])
    lanes.close()
    feed(stage, docs[3:])
    assert [doc["seq_num"] for doc in sink.named("event")] == [1]
    assert sink.stop["failed"] == {"primary": [2]}
    assert "lane 0 was closed" in caplog.text


def test_a_kernel_may_keep_an_image(caplog):
    docs = raw_run(n=5, dark=False, image=lambda number: np.full((256, 256), float(number)))
    with Lanes.processes(1) as lanes:
        stage = map_of(Keeping(), executor=lanes, max_in_flight=1)
        sink = run_through(stage, docs)
    assert [doc["data"]["first"] for doc in sink.named("event")] == [1.0] * 5


def test_events_that_fail_for_one_reason_are_let_go(caplog):
    with Lanes.threads(1) as lanes:
        stage = map_of(Refusing(), executor=lanes, max_in_flight=2)
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


def test_what_a_kernel_cannot_do_at_the_stop_is_told(safe_run, caplog):
    class Writing(Counting):
        def stop(self, doc):
            raise OSError("the disk is full")

    docs = safe_run(2)
    run_through(stateful(Writing()), docs)
    assert f"run {docs[0][1]['uid']}: the kernel's stop failed: OSError: the disk is full" in caplog.text
    with Lanes.threads(2) as lanes:
        run_through(stateful(Writing(), executor=lanes), docs)
    for lane in (0, 1):
        told = f"run {docs[0][1]['uid']}: the kernel's stop failed: OSError: the disk is full (in lane {lane})"
        assert told in caplog.text


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
        stage = map_of(Late(), executor=lanes)
        sink = collect(stage)
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
        stop = run_through(map_of(die_at_three, executor=lanes), raw_run(n=2, dark=False)).stop
    assert stop["num_events"] == {"primary": 2}
    assert "failed" not in stop
    assert len(made) == 2
