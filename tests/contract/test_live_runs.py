"""Live runs, for alignment: the latest frame counts, nothing is lost, and nobody keeps them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from bluesky.utils import RunEngineInterrupted

from bluesky_ext import CrystalMap, LiveAnalysis, PeakTracker, Recorder, save
from bluesky_ext.engine import Map
from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.engine.documents.open_runs import OpenRun
from bluesky_ext.live import ProcessedFiles
from bluesky_ext.plans import grid_scan_nd, live_view
from bluesky_ext.sim import beamline
from bluesky_ext.transport import background
from suitcase.nxstxm import NXstxmWriter, export

MANY = 200


def documents(*seq_nums, uid="run", stream="camera", **start):
    """A run with these events, whose value is their number."""
    yield "start", {"uid": uid, "time": 1.0, "purpose": "live", **start}
    about = {"name": stream, "data_keys": {"a": {"source": "s", "dtype": "number", "shape": []}}}
    yield "descriptor", {"uid": f"d-{uid}", "run_start": uid, "time": 1.0, **about}
    for number in seq_nums:
        content = {"data": {"a": float(number)}, "timestamps": {"a": 1.0}, "filled": {}}
        yield "event", {"uid": f"e{number}", "descriptor": f"d-{uid}", "seq_num": number, "time": 1.0, **content}
    stop = {"uid": "stop", "run_start": uid, "time": 2.0, "exit_status": "success"}
    yield "stop", {**stop, "num_events": {stream: max(seq_nums)}}


def feed(callback, gate, *seq_nums, **start):
    """Feed a live run, whose kernel goes on at the stop."""
    for name, doc in documents(*seq_nums, **start):
        if name == "stop":
            gate.set()
        callback(name, doc)


@pytest.fixture
def gate():
    """What kernels wait for, so that events pile up before it."""
    return threading.Event()


@pytest.fixture(autouse=True)
def switches(monkeypatch):
    """The switches, as in a new process."""
    monkeypatch.setattr(live_streams, "_is_on", {})


def test_a_map_works_on_the_latest_event_and_skips_those_that_it_has_overtaken(gate, caplog):
    with ThreadPoolExecutor(1) as pool:
        parameters = {"parameters": {}, "data_keys": ("a",)}
        slow = Map(lambda data, number: {"b": gate.wait() and data["a"]}, executor=pool, **parameters)
        after = Map(lambda data, number: {}, **parameters)
        slow.subscribe(after)
        emitted = []
        after.subscribe(lambda name, doc: emitted.append((name, doc)))
        feed(slow, gate, *range(1, MANY + 1))
    numbers = [doc["seq_num"] for name, doc in emitted if name == "event"]
    assert numbers == [1, 2, MANY]
    name, stop = emitted[-1]
    assert (name, stop["skipped_counts"]) == ("stop", {"camera": MANY - 3})
    assert not {"lost", "lost_counts", "incomplete"} & stop.keys()
    assert (slow.stats.skipped, after.stats.skipped, after.stats.lost) == (MANY - 3, MANY - 3, 0)
    assert "never came" not in caplog.text


def test_what_was_received_takes_no_memory_for_each_gap():
    run = OpenRun({"uid": "run", "purpose": "live"})
    for number in range(1, 2 * MANY, 2):
        run.received["camera"].note(number)
    assert not list(run.received["camera"])  # no intervals
    assert run.skipped() == {"camera": MANY - 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_live_analysis_works_on_the_latest_event(gate, workers):
    seen = []

    class Worker:
        def process_event(self, event):
            gate.wait(20)
            return event.data["a"]

    class Reducer:
        def process_result(self, result):
            gate.wait(20)
            seen.append(result.payload)

    if workers == 1:  # it is where the events come from: only the reducer can be behind
        Worker.process_event = lambda self, event: event.data["a"]
    with LiveAnalysis(Worker, Reducer, workers=workers, join=True) as analysis:
        stops = []
        analysis.subscribe(lambda name, doc: stops.append(doc), "stop")
        feed(analysis, gate, *range(1, MANY + 1))
    assert MANY in seen
    assert len(seen) < 10
    assert stops[0]["skipped_counts"] == {"camera": MANY - len(seen)}


def test_of_what_waits_behind_a_slow_callback_it_gets_the_latest(gate):
    got = []

    def slow(name, doc):
        got.append((name, doc.get("seq_num")))
        gate.wait(20)

    with background(slow) as callback:
        feed(callback, gate, *range(1, MANY + 1))
        assert callback.wait(20)
    assert got == [("start", None), ("descriptor", None), ("event", MANY), ("stop", None)]
    assert callback.stats.overtaken == MANY - 1


def test_what_is_switched_off_is_not_looked_at():
    seen = []
    one = Map(lambda data, number: seen.append(number) or {}, parameters={}, data_keys=("a",))
    for name, doc in documents(1, 2, 3):
        one(name, doc)
        if doc.get("seq_num") in (1, 2):
            live_streams.switch("camera", doc["seq_num"] == 2)
    assert seen == [1, 3]
    assert one.ended.skipped == {"camera": 1}


def test_nobody_keeps_a_live_run_and_the_last_maps_stay(run_engine, tmp_path):
    b = beamline(0, (128, 128))
    pt, cm = PeakTracker("dexela_image", diameter=11, minmass=700), CrystalMap(search_range=3, directory=tmp_path / "m")
    pt.subscribe(cm)

    class Worker:
        def process_event(self, event):
            return float(event.data["dexela_image"].mean())

    class Reducer:
        def __init__(self):
            self.publish = {"mean": 0.0}

        def process_result(self, result):
            self.publish["mean"] = result.payload

    analysis = LiveAnalysis(Worker, Reducer, data_keys=("dexela_image",))
    files = ProcessedFiles(analysis, tmp_path / "p")
    (tmp_path / "n").mkdir()
    scan = grid_scan_nd([b.detector], b.y, -1, 1, 2, b.x, -1, 1, 2, take_dark=False)
    run_engine.subscribe(pt)
    run_engine(scan)
    before, maps = cm.publish(), list((tmp_path / "m").iterdir())

    counted = threading.Semaphore(0)
    documents_of_run = []

    def count(name, doc):
        documents_of_run.append((name, doc))
        if name == "event":
            counted.release()

    def stop_after_some():
        for _ in range(6):
            counted.acquire()
        live_streams.switch("dexela", False)
        counted.acquire(timeout=1)  # one may be under way
        run_engine.request_pause()

    saver, recorder = save(tmp_path / "c"), Recorder(tmp_path / "r")
    nxstxm = NXstxmWriter(tmp_path / "n", on_error="raise")
    for callback in (analysis, saver, recorder, nxstxm, count):
        run_engine.subscribe(callback)
    pt.subscribe(saver)
    analysis.subscribe(recorder)
    stopper = threading.Thread(target=stop_after_some)
    stopper.start()
    with pytest.raises(RunEngineInterrupted):
        run_engine(live_view(b.detector, period=0.01))
    stopper.join()
    run_engine.stop()

    (name, start), *_, (last, _) = documents_of_run
    assert (name, last, start["purpose"], start["plan_name"]) == ("start", "stop", "live", "live_view")
    assert {doc["name"] for name, doc in documents_of_run if name == "descriptor"} == {"dexela"}
    assert pt.ended.done["dexela"] >= 6
    assert analysis.publish().tree["mean"] > 0
    assert cm.publish() is before
    assert list((tmp_path / "m").iterdir()) == maps
    export(documents_of_run, tmp_path / "n")
    assert (len(saver.catalog), recorder.artifacts, files.artifacts) == (0, [], [])
    assert [path for name in "rpn" for path in (tmp_path / name).iterdir()] == []
    saver.close()


def test_the_next_run_is_kept_again(tmp_path):
    with Recorder(tmp_path) as recorder:
        for name, doc in (*documents(1, 2), *documents(1, 2, uid="other", purpose="map")):
            recorder(name, doc)
    assert [path.name for path in tmp_path.iterdir()] == ["other.bsrec"]
