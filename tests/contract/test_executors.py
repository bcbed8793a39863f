"""Every executor gives the inline result, in order, and never has too much to do."""

from __future__ import annotations

import os
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from cases import (
    KEY,
    MAPS,
    collect,
    content,
    feed,
    frames,
    map_of,
    marked,
    named,
    raw_run,
    run_through,
    same,
    snapshot,
)
from kernels import Counting, Loaded, die_at_three, die_once, minus

from bluesky_ext.engine import Lanes, Map

EXECUTORS = ["threads", "processes", "dask", "lanes_threads", "lanes_processes", "lanes_dask"]
# Every map goes to processes, and one of each kind (an array, a sparse one, rows of two in one task) everywhere.
KINDS = [named("ImageProcessor-dark"), named("Sparsifier"), named("compose")]
every_map_somewhere = pytest.mark.parametrize(
    ("executor", "case"),
    [
        pytest.param(kind, case, id=f"{kind}-{case.name}")
        for kind in EXECUTORS
        for case in (MAPS if kind == "processes" else KINDS)
    ],
    indirect=["executor"],
)


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def dask(dask_client):
    return dask_client.get_executor(pure=False)


@pytest.fixture(scope="module")
def lanes_threads():
    with Lanes.threads(2) as lanes:
        yield lanes


@pytest.fixture(scope="module")
def lanes_processes():
    with Lanes.processes(2) as lanes:
        yield lanes


@pytest.fixture(scope="module")
def lanes_dask(dask_client):
    with Lanes.dask(dask_client) as lanes:
        yield lanes


@pytest.fixture(params=EXECUTORS)
def executor(request):
    return request.getfixturevalue(request.param)


def big_frames(number):
    """Images that are worth sharing: 256 KB each."""
    return np.kron(frames(number), np.ones((1, 4, 4), np.uint16))


@every_map_somewhere
def test_the_result_is_the_inline_result(case, executor):
    docs = case.given(raw_run(n=20))
    inline = run_through(case.make(), docs)
    before = snapshot(docs)
    there = run_through(case.make(executor=executor, max_in_flight=4), docs)
    assert same(docs, before)
    assert same(content(there), content(inline))
    assert [name for name, _ in there] == [name for name, _ in inline]
    assert [doc["data_keys"] for doc in there.named("descriptor")] == [
        doc["data_keys"] for doc in inline.named("descriptor")
    ]


@pytest.mark.parametrize("case", [named("ImageProcessor"), named("PeakTracker")], ids=lambda case: case.name)
def test_large_images_arrive_whole(case, executor):
    docs = case.given(raw_run(dark=False, image=big_frames))
    inline, there = (content(run_through(case.make(executor=e), docs)) for e in (None, executor))
    assert same(there, inline)


@every_map_somewhere
def test_a_bad_event_is_named_wherever_it_fails(case, executor, caplog):
    docs = case.given(raw_run(image=lambda number: np.zeros(3, np.uint16) if number == 3 else frames(number)))
    stop = run_through(case.make(executor=executor), docs).stop
    assert stop["failed"] == {"primary": [3]}
    assert "event 3: ValueError" in caplog.text


def gate(data, seq_num):
    Gate.entered[seq_num].set()
    assert Gate.open.wait(20)
    return {}


class Gate:
    open: threading.Event
    entered: list[threading.Event]


@pytest.fixture
def closed_gate():
    Gate.open = threading.Event()
    Gate.entered = [threading.Event() for _ in range(100)]
    yield Gate
    Gate.open.set()


def source(stage, docs):
    """A thread that feeds a stage, and the names of the documents that it has got rid of."""
    fed = []

    def work():
        for name, doc in docs:
            stage(name, doc)
            fed.append(name)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, fed


def test_back_pressure_holds_the_source_and_the_stop_waits_for_all(closed_gate):
    with ThreadPoolExecutor(8) as pool:
        stage = map_of(gate, executor=pool, max_in_flight=3)
        sink = collect(stage)
        thread, fed = source(stage, raw_run(n=6, dark=False))
        assert closed_gate.entered[3].wait(20)
        # Start, descriptor and three events are in; the fourth event waits for the first.
        thread.join(0.05)
        assert fed == ["start", "descriptor", "event", "event", "event"]
        assert not closed_gate.entered[4].is_set()
        assert sink.named("event") == []
        closed_gate.open.set()
        thread.join(20)
        assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2, 3, 4, 5, 6]
        assert [name for name, _ in sink][-1] == "stop"


def wait_for_the_next(data, seq_num):
    """Finish in the order 3, 2, 1, 6, 5, 4 ..."""
    if seq_num % 3:
        assert Gate.entered[seq_num + 1].wait(20)
    Gate.entered[seq_num].set()
    return {"number": seq_num}


def test_results_keep_the_order_of_events_whatever_finishes_first(closed_gate):
    with ThreadPoolExecutor(3) as pool:
        sink = run_through(map_of(wait_for_the_next, executor=pool, max_in_flight=3), raw_run(n=9, dark=False))
    assert [doc["data"]["number"] for doc in sink.named("event")] == list(range(1, 10))


def test_drain_hands_out_what_is_ready(closed_gate):
    with ThreadPoolExecutor(1) as pool:
        stage = map_of(gate, executor=pool)
        sink = collect(stage)
        docs = raw_run(n=2, dark=False)
        feed(stage, docs[:-1])
        stage.drain()
        assert sink.named("event") == []
        closed_gate.open.set()
        pool.submit(int).result(20)
        stage.drain()
        assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2]
        stage(*docs[-1])


def test_a_broken_pool_fails_its_events_and_the_run_ends(caplog):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        stage = map_of(die_at_three, executor=pool, max_in_flight=1)
        stop = run_through(stage, raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3, 4, 5]}
    assert stop["num_events"] == {"primary": 2}
    assert "BrokenProcessPool" in caplog.text


class Pools:
    """Makes pools of processes, and knows them."""

    def __init__(self):
        self.made = []

    def __call__(self):
        self.made.append(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
        return self.made[-1]


def test_a_pool_that_a_stage_makes_is_made_again_when_a_worker_was_killed(tmp_path, caplog):
    pools = Pools()
    with Map(die_once, parameters={}, data_keys=("marker",), executor=pools) as stage:
        assert pools.made == []  # until a run starts

        def emitted(marker):
            sink = run_through(stage, marked(raw_run(n=20, dark=False), marker))
            assert "failed" not in sink.stop
            return [doc["seq_num"] for doc in sink.named("event")]

        assert emitted(tmp_path / "first") == list(range(1, 21))
        assert "the executor died (BrokenProcessPool" in caplog.text
        assert emitted(tmp_path / "first") == list(range(1, 21))
        assert len(pools.made) == 2
        assert isinstance(pools.made[-1].submit(os._exit, 1).exception(20), BrokenExecutor)
        assert emitted(tmp_path / "first") == list(range(1, 21))  # on a pool that broke between two runs
        assert len(pools.made) == 3
    with pytest.raises(RuntimeError, match="shutdown"):
        pools.made[-1].submit(int)


def test_an_event_that_kills_two_workers_has_failed(caplog):
    with map_of(die_at_three, executor=Pools(), max_in_flight=1) as stage:
        stop = run_through(stage, raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3]}
    assert stop["num_events"] == {"primary": 4}
    assert "the executor died twice with it: BrokenProcessPool" in caplog.text


def test_an_executor_that_cannot_be_made_fails_the_run_and_not_the_scan(caplog):
    for make, reason in ((lambda: 3, "executor= made a int"), (lambda: 1 / 0, "can't be made: ZeroDivisionError")):
        stop = run_through(map_of(die_at_three, executor=make), raw_run(n=2, dark=False)).stop
        assert stop["failed"] == {"primary": [1, 2]}
        assert reason in caplog.text


def test_a_kernel_with_a_state_is_refused_by_an_executor_that_keeps_none(caplog):
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match=r"Counting.* has a state: give Lanes or None"):
            Map(Counting(), parameters={}, executor=pool)
        stop = run_through(Map(Counting(), parameters={}, executor=lambda: pool), raw_run(n=1, dark=False)).stop
    assert "has a state" in stop["incomplete"]


def test_a_closed_executor_fails_every_event_and_the_scan_goes_on(caplog):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    stop = run_through(map_of(die_at_three, executor=pool), raw_run(n=2, dark=False)).stop
    assert stop["failed"] == {"primary": [1, 2]}
    assert "shutdown" in caplog.text


def test_no_lanes_and_no_executor_are_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        Lanes.threads(0)
    with pytest.raises(TypeError, match="executor=2"):
        map_of(die_at_three, executor=2)
    with pytest.raises(ValueError, match="max_in_flight=0"):
        map_of(die_at_three, max_in_flight=0)


def monitored(docs, number):
    """The run with a stream of monitor events before its stop, that a map of images does not work on."""
    start, descriptor, stop = docs[0][1], docs[1][1], docs[-1]
    keys = {"beam": {"source": "t", "dtype": "number", "shape": []}}
    other = {"uid": "monitor", "run_start": start["uid"], "name": "beam_monitor", "data_keys": keys}
    events = [
        ("event", {"uid": f"m{n}", "descriptor": "monitor", "seq_num": n, "time": float(n)})
        for n in range(1, number + 1)
    ]
    for _, event in events:
        event |= {"data": {"beam": 1.0}, "timestamps": {"beam": 1.0}, "filled": {}}
    return [*docs[:-1], ("descriptor", {**descriptor, **other}), *events, stop]


def test_events_that_pass_wait_as_the_others_do(closed_gate):
    with ThreadPoolExecutor(1) as pool:
        stage = map_of(gate, executor=pool, max_in_flight=3)
        sink = collect(stage)
        thread, fed = source(stage, monitored(raw_run(n=1, dark=False), 50))
        assert closed_gate.entered[1].wait(20)
        thread.join(0.05)
        # The image and two monitor events are in flight; the third one waits for the image.
        assert fed == ["start", "descriptor", "event", "descriptor", "event", "event"][: len(fed)]
        closed_gate.open.set()
        thread.join(20)
    stream = {doc["uid"]: doc["name"] for doc in sink.named("descriptor")}
    emitted = [(stream[doc["descriptor"]], doc["seq_num"]) for doc in sink.named("event")]
    assert emitted == [("primary", 1), *(("beam_monitor", number) for number in range(1, 51))]


def test_events_that_pass_let_out_what_is_ready(closed_gate):
    with ThreadPoolExecutor(1) as pool:
        stage = map_of(gate, executor=pool)
        sink = collect(stage)
        *docs, stop = monitored(raw_run(n=1, dark=False), 3)
        feed(stage, docs[:4])
        closed_gate.open.set()
        pool.submit(int).result(20)
        feed(stage, docs[4:])
        assert [doc["seq_num"] for doc in sink.named("event")] == [1, 1, 2, 3]
        stage(*stop)


def test_an_interrupted_end_names_what_it_left(closed_gate):
    with ThreadPoolExecutor(1) as pool:
        stage = map_of(gate, executor=pool)
        sink = collect(stage)

        def interrupt(name, doc):
            if doc["seq_num"] == 2:
                raise KeyboardInterrupt

        token = stage.subscribe(interrupt, "event")
        *docs, stop = raw_run(n=5, dark=False)
        feed(stage, docs)
        closed_gate.open.set()
        with pytest.raises(KeyboardInterrupt):
            stage(*stop)
        stage.unsubscribe(token)
        stage.close()
    assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2]
    assert sink.stop["failed"] == {"primary": [3, 4, 5]}


def test_a_repeated_event_that_succeeds_has_not_failed(closed_gate):
    tries = []

    def fail_once(data, seq_num):
        assert Gate.open.wait(20)
        tries.append(seq_num)
        if tries == [1]:
            raise ValueError("not yet")
        return {}

    with ThreadPoolExecutor(1) as pool:
        stage = map_of(fail_once, executor=pool)
        sink = collect(stage)
        *docs, stop = raw_run(seq_nums=[1, 1], dark=False)
        feed(stage, docs)  # the second try comes before the first one has failed
        closed_gate.open.set()
        stage(*stop)
    assert stage.stats.failed == 1
    assert "failed" not in sink.stop
    assert [doc["seq_num"] for doc in sink.named("event")] == [1]


def test_a_kernel_goes_to_each_process_once():
    Loaded.pickled = 0
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        stage = map_of(Loaded(np.zeros(100_000)), executor=pool)
        loads = [doc["data"]["loads"] for _ in range(2) for doc in run_through(stage, raw_run(n=16)).named("event")]
    assert Loaded.pickled == 2  # once a run
    assert set(loads) == {1}


@pytest.mark.parametrize("size", [10, 100_000])  # a small kernel is sent at once
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_what_an_executor_has_is_finished_after_its_shutdown(request, kind, size):
    if kind == "dask":
        executor = request.getfixturevalue("dask_client").get_executor(pure=False)
    else:
        executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    stage = map_of(Loaded(np.zeros(size)), executor=executor)
    sink = collect(stage)
    *docs, stop = raw_run(n=8, dark=False)
    feed(stage, docs)
    executor.shutdown(wait=True)
    stage(*stop)
    assert "failed" not in sink.stop
    assert [doc["seq_num"] for doc in sink.named("event")] == list(range(1, 9))


def test_a_kernel_that_cannot_travel_is_named(caplog):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        stop = run_through(Map(lambda data, seq_num: {}, parameters={}, executor=pool), raw_run(n=2, dark=False)).stop
    assert stop["failed"] == {"primary": [1, 2]}
    assert "can't be pickled" in caplog.text


def test_an_input_that_is_changed_afterwards_is_found_out(caplog):
    class Running(Map):
        has_inputs = True

        def begin(self, start):
            return np.zeros(20_000)

        def inputs(self, state, stream, event):
            state += 1
            return (state,)

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        sink = run_through(Running(minus, parameters={}, data_keys=(KEY,), executor=pool), raw_run(n=3, dark=False))
    assert [doc["data"]["first"] for doc in sink.named("event")] == [1.0]
    assert sink.stop["failed"] == {"primary": [2, 3]}


def test_a_cluster_without_workers_is_waited_for_and_a_closed_client_is_not(monkeypatch, caplog):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("bluesky_ext.engine.executors.in_flight.PATIENCE", 0.05)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        client = distributed.Client(cluster)
        stage = map_of(gate, executor=client.get_executor(pure=False))
        sink = collect(stage)
        *docs, stop = raw_run(n=3, dark=False)
        feed(stage, docs)
        thread = threading.Thread(target=stage, args=stop)
        waits = threading.Event()
        monkeypatch.setattr("bluesky_ext.engine.executors.in_flight.log.warning", lambda text, *what: waits.set())
        thread.start()
        assert waits.wait(20)
        client.close()
        thread.join(20)
    assert sink.stop["failed"] == {"primary": [1, 2, 3]}
    assert "shut down before it was done" in caplog.text


class Silent(Executor):
    """An executor that never answers, and takes nothing once it is closed."""

    def __init__(self):
        self.closed = False
        self.asked = threading.Event()

    def submit(self, fn, /, *args, **kwargs):
        if self.closed:
            raise OSError("not connected")
        if fn is int:
            self.asked.set()
        return Future()


def test_no_answer_is_waited_for_from_an_executor_that_is_closed(monkeypatch, caplog):
    monkeypatch.setattr("bluesky_ext.engine.executors.in_flight.PATIENCE", 0.01)
    executor = Silent()
    stage = map_of(gate, executor=executor)
    sink = collect(stage)
    *docs, stop = raw_run(n=2, dark=False)
    feed(stage, docs)
    thread = threading.Thread(target=stage, args=stop)
    thread.start()
    assert executor.asked.wait(20)
    executor.closed = True
    thread.join(20)
    assert sink.stop["failed"] == {"primary": [1, 2]}
    assert "closed before it was done: OSError: not connected" in caplog.text


def test_a_wait_for_an_executor_is_told_once(closed_gate, monkeypatch, caplog):
    monkeypatch.setattr("bluesky_ext.engine.executors.in_flight.PATIENCE", 0.01)
    with ThreadPoolExecutor(1) as pool:
        stage = map_of(gate, executor=pool)
        docs = raw_run(n=1, dark=False)
        feed(stage, docs[:-1])
        opener = threading.Timer(0.2, closed_gate.open.set)
        opener.start()
        stage(*docs[-1])
        opener.join()
    waits = [record.message for record in caplog.records if "waits for its executor" in record.message]
    assert waits == [
        f"event 1 of stream 'primary' of run {docs[0][1]['uid']} (scan 7) waits for its executor since 0.01 s"
    ]
