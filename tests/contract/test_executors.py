"""Every executor gives the inline result, in order, and never has too much to do."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from cases import CASES, KEY, MAPS, Collector, content, feed, frames, raw_run, run_through, same
from kernels import Counting, die_at_three

from bluesky_ext.documents import Lanes, Map

every_map = pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)


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


@pytest.fixture(
    scope="module", params=["threads", "processes", "dask", "lanes-threads", "lanes-processes", "lanes-dask"]
)
def executor(request):
    kind = request.param
    if kind == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    elif kind == "processes":
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool
    elif kind == "dask":
        yield request.getfixturevalue("dask_client").get_executor(pure=False)
    elif kind == "lanes-threads":
        with Lanes.threads(2) as lanes:
            yield lanes
    elif kind == "lanes-processes":
        with Lanes.processes(2) as lanes:
            yield lanes
    else:
        with Lanes.dask(request.getfixturevalue("dask_client")) as lanes:
            yield lanes


def big_frames(number):
    """Images that are worth sharing: 256 KB each."""
    return np.kron(frames(number), np.ones((1, 4, 4), np.uint16))


@every_map
def test_the_result_is_the_inline_result(case, executor):
    docs = case.given(raw_run(n=20))
    inline = run_through(case.make(), docs)
    there = run_through(case.make(executor=executor, max_in_flight=4), docs)
    assert same(content(there), content(inline))
    assert [name for name, _ in there] == [name for name, _ in inline]
    assert [doc["data_keys"] for doc in there.named("descriptor")] == [
        doc["data_keys"] for doc in inline.named("descriptor")
    ]


@pytest.mark.parametrize("case", [CASES[0], CASES[3]], ids=lambda case: case.name)
def test_large_images_arrive_whole(case, executor):
    docs = case.given(raw_run(dark=False, image=big_frames))
    inline, there = (content(run_through(case.make(executor=e), docs)) for e in (None, executor))
    assert same(there, inline)


@every_map
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


class Gated(Map):
    def __init__(self, **options):
        super().__init__(gate, parameters={}, data_keys=(KEY,), **options)


def test_back_pressure_holds_the_source_and_the_stop_waits_for_all(closed_gate):
    with ThreadPoolExecutor(8) as pool:
        stage = Gated(executor=pool, max_in_flight=3)
        sink = Collector()
        stage.subscribe(sink)
        fed = []
        docs = raw_run(n=6, dark=False)

        def source():
            for name, doc in docs:
                stage(name, doc)
                fed.append(name)

        thread = threading.Thread(target=source)
        thread.start()
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
    class Later(Map):
        def __init__(self, **options):
            super().__init__(wait_for_the_next, parameters={}, data_keys=(KEY,), **options)

    with ThreadPoolExecutor(3) as pool:
        sink = run_through(Later(executor=pool, max_in_flight=3), raw_run(n=9, dark=False))
    assert [doc["data"]["number"] for doc in sink.named("event")] == list(range(1, 10))


def test_drain_hands_out_what_is_ready(closed_gate):
    with ThreadPoolExecutor(1) as pool:
        stage = Gated(executor=pool)
        sink = Collector()
        stage.subscribe(sink)
        docs = raw_run(n=2, dark=False)
        feed(stage, docs[:-1])
        stage.drain()
        assert sink.named("event") == []
        closed_gate.open.set()
        pool.submit(int).result(20)
        stage.drain()
        assert [doc["seq_num"] for doc in sink.named("event")] == [1, 2]
        stage(*docs[-1])


class Dying(Map):
    def __init__(self, **options):
        super().__init__(die_at_three, parameters={}, data_keys=(KEY,), **options)


def test_a_broken_pool_fails_its_events_and_the_run_ends(caplog):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        stage = Dying(executor=pool, max_in_flight=1)
        stop = run_through(stage, raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3, 4, 5]}
    assert stop["num_events"] == {"primary": 2}
    assert "BrokenProcessPool" in caplog.text


def test_a_closed_executor_fails_every_event_and_the_scan_goes_on(caplog):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    stop = run_through(Dying(executor=pool), raw_run(n=2, dark=False)).stop
    assert stop["failed"] == {"primary": [1, 2]}
    assert "shutdown" in caplog.text


class Homed(Map):
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
        sink = run_through(Homed(Counting(), executor=lanes, max_in_flight=8), docs)
    events = [doc["data"] for doc in sink.named("event")]
    assert [data["result"] for data in events] == list(range(1, 13))
    assert {data["heard"] for data in events} == {"start,primary"}
    assert len({data["where"] for data in events}) == 3  # two lanes, of which one had a successor
    assert "failed" not in sink.stop
    assert "a lane died" in caplog.text


def test_an_event_that_kills_its_lane_every_time_is_given_up(caplog):
    with Lanes.processes(1) as lanes:
        stop = run_through(Dying(executor=lanes), raw_run(n=5, dark=False)).stop
    assert stop["failed"] == {"primary": [3]}
    assert stop["num_events"] == {"primary": 4}
    assert "died 3 times" in caplog.text


def test_lanes_keep_the_runs_apart_and_forget_them(tmp_path):
    with Lanes.threads(2) as lanes:
        (tmp_path / "there").touch()
        for _ in range(2):
            docs = marked(raw_run(n=4, dark=False), tmp_path / "there")
            sink = run_through(Homed(Counting(), executor=lanes), docs)
            assert {doc["data"]["heard"] for doc in sink.named("event")} == {"start,primary"}


def test_a_lane_whose_kernel_fails_at_the_start_fails_its_events(tmp_path, caplog):
    class Refusing(Counting):
        def start(self, doc):
            raise RuntimeError("no calibration for this run")

    docs = marked(raw_run(n=3, dark=False), tmp_path)
    with Lanes.threads(1) as lanes:
        stop = run_through(Homed(Refusing(), executor=lanes), docs).stop
    assert stop["failed"] == {"primary": [1, 2, 3]}
    assert "no calibration for this run" in caplog.text


def test_no_lanes_and_no_executor_are_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        Lanes.threads(0)
    with pytest.raises(TypeError, match="executor=2"):
        Dying(executor=2)
    with pytest.raises(ValueError, match="max_in_flight=0"):
        Dying(max_in_flight=0)
