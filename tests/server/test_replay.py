from __future__ import annotations

import copy
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky.plans import count, grid_scan
from event_model import Filler, compose_run, pack_event_page
from kernels import WhereRead
from ophyd.sim import NumpySeqHandler, SynSignal, det, hw
from runs import streamed_run

from bluesky_ext import ImageProcessor, PeakTracker, Recorder, Recording, replay
from bluesky_ext.engine import FrameNotAvailable, compose
from bluesky_ext.engine.documents.open_runs import MAX_OPEN_RUNS
from bluesky_ext.server import Filling, filled
from bluesky_ext.server.playback import expected_events, paced
from bluesky_ext.sim import beamline
from bluesky_ext.storage import as_sink
from bluesky_ext.transport import Proxy, Publisher, RemoteDispatcher, background


def streamed(path: Path, n: int = 4) -> tuple[list, np.ndarray]:
    """A run whose frames are in an HDF5 file, in one stream_datum that comes after the events."""
    frames = np.arange(n * 6, dtype=np.uint16).reshape(n, 2, 3)
    return streamed_run(path, frames, [{"x": float(number)} for number in range(n)]), frames


def test_documents_come_in_order_and_as_they_are(documents_of):
    docs = documents_of(count([det], 3))
    before, got = copy.deepcopy(docs), []
    assert replay(docs, got, lambda name, doc: None) == [docs[0][1]["uid"]]
    assert got == before == docs


def test_images_behind_datum_documents_are_put_into_their_events(documents_of, tmp_path):
    camera = hw(str(tmp_path)).img
    docs = documents_of(count([camera], 2))
    assert "resource" in dict(docs)  # ophyd's simulated camera writes files
    got: list = []
    replay(docs, got)
    assert [name for name, _ in got] == ["start", "descriptor", "event", "event", "stop"]
    assert "external" not in dict(got)["descriptor"]["data_keys"]["img"]
    for name, doc in got:
        if name == "event":
            np.testing.assert_array_equal(doc["data"]["img"], np.ones((10, 10)))  # what this camera sees
            assert doc["filled"] == {"img": True}
    assert [name for name, _ in docs].count("datum") == 2
    assert all(isinstance(doc["data"]["img"], str) for name, doc in docs if name == "event")


def test_images_behind_streams_are_put_into_their_events(tmp_path):
    docs, frames = streamed(tmp_path / "frames.h5")
    got: list = []
    replay(docs, got)
    assert [name for name, _ in got] == ["start", "descriptor", *["event"] * 4, "stop"]
    for number, doc in enumerate(doc for name, doc in got if name == "event"):
        assert doc["seq_num"] == number + 1
        assert doc["data"]["x"] == number
        assert doc["data"]["image"].dtype == np.uint16
        np.testing.assert_array_equal(doc["data"]["image"], frames[number])


def where_read(directory: Path, n: int = 3) -> tuple[list, Callable[[str], list[int]]]:
    """A run with two images an event behind datum documents; and what tells which processes have read which."""
    run = compose_run()
    image = {"source": "s", "dtype": "array", "shape": [64, 64], "dtype_numpy": "<u2", "external": "FILESTORE:"}
    stream = run.compose_descriptor(name="primary", data_keys={"image": image, "other": image})
    docs: list = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    resources = {
        key: run.compose_resource(spec="WHERE", root=str(directory), resource_path=key, resource_kwargs={})
        for key in ("image", "other")
    }
    docs += [("resource", resource.resource_doc) for resource in resources.values()]
    for number in range(n):
        datums = {key: resource.compose_datum(datum_kwargs={"number": number}) for key, resource in resources.items()}
        docs += [("datum", datum) for datum in datums.values()]
        data = {key: datum["datum_id"] for key, datum in datums.items()}
        about = {"timestamps": dict.fromkeys(data, 1.0), "filled": dict.fromkeys(data, False)}
        docs.append(("event", stream.compose_event(data=data, **about)))

    def pids(key: str) -> list[int]:
        path = directory / f"{key}.pids"
        found = [int(line) for line in path.read_text().split()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    return [*docs, ("stop", run.compose_stop())], pids


@pytest.mark.parametrize("wrap", [lambda stage: stage, background, as_sink], ids=["stage", "background", "as_sink"])
def test_a_stage_reads_images_where_it_works_and_the_others_get_them_read_once(wrap, tmp_path):
    docs, pids = where_read(tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        stage = compose(ImageProcessor("image"), PeakTracker("image", 11), executor=pool)
        stops: list = []
        stage.subscribe(lambda name, doc: stops.append(doc), "stop")
        for others in ([], [[], []]):
            callback = wrap(stage)
            replay(docs, callback, *others, handlers={"WHERE": WhereRead})
            if wrap is background:
                callback.close()
            stop = stops.pop()
            assert stop["num_events"]["frames"] == 3
            assert "failed" not in stop
            read, read_others = pids("image"), pids("other")
            assert len(read) == 3 + (3 if others else 0)
            assert read.count(os.getpid()) == (3 if others else 0)
            assert read_others == ([os.getpid()] * 3 if others else [])
            for got in others:
                images = [doc["data"]["image"] for name, doc in got if name == "event"]
                np.testing.assert_array_equal(images, np.full((3, 64, 64), 100))


def test_references_are_handed_on_if_asked(tmp_path):
    docs, _ = streamed(tmp_path / "frames.h5")
    got: list = []
    replay(docs, got, fill=False)
    assert got == docs


def test_an_image_that_can_not_be_read_is_named_when_the_rest_is_through(tmp_path):
    docs, frames = streamed(tmp_path / "frames.h5")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = frames[:3]
    got: list = []
    with pytest.raises(FrameNotAvailable, match=r"^1 events were left out.*seq_num 4.*fill=False"):
        replay(docs, got)
    assert [name for name, _ in got] == ["start", "descriptor", *["event"] * 3, "stop"]


def test_an_event_whose_image_never_came_is_named(tmp_path):
    docs, _ = streamed(tmp_path / "frames.h5")
    docs = [(name, doc) for name, doc in docs if name != "stream_datum"]
    got: list = []
    with pytest.raises(FrameNotAvailable, match=r"^4 events were left out.*image of event 1"):
        replay(docs, got)
    assert got[-1][0] == "stop"


def test_interleaved_runs_keep_their_images(tmp_path):
    (a, ours), (b, _) = streamed(tmp_path / "a.h5"), streamed(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["frames"] = ours + 100
    mixed = [pair for both in zip(a, b, strict=True) for pair in both]
    got = list(filled(mixed))
    for docs, more in ((a, 0), (b, 100)):
        uid = dict(docs)["descriptor"]["uid"]
        images = [doc["data"]["image"] for name, doc in got if name == "event" and doc["descriptor"] == uid]
        np.testing.assert_array_equal(images, ours + more)


def test_tables_pass_as_the_pages_that_they_are(run_engine):
    b = beamline(seed=1, shape=(128, 128), n_grains=2)
    tracker, peaks = PeakTracker("dexela_image", 11), []
    tracker.subscribe(lambda name, doc: peaks.append((name, doc)))
    run_engine(count([b.detector]), tracker)
    got: list = []
    replay(peaks, got)
    assert "event_page" in dict(peaks)
    assert got == peaks


def test_a_replayed_run_gives_what_the_live_run_gave(run_engine, tmp_path):
    b = beamline(seed=1, shape=(128, 128), n_grains=2, directory=tmp_path / "images")
    results = []
    with Recorder(tmp_path / "recordings") as recorder:
        for run in ("live", "replayed"):
            processor, tracker = ImageProcessor("dexela_image"), PeakTracker("dexela_image", 11)
            processor.subscribe(tracker)
            stops: list = []
            tracker.subscribe(lambda name, doc, stops=stops: stops.append(doc), "stop")
            if run == "live":
                plan = grid_scan([b.detector], b.y, -1, 1, 2, b.x, -1, 1, 3)
                run_engine.subscribe(recorder)
                run_engine(plan, processor)
            else:
                replay(tmp_path / "recordings", processor)
            results.append([(stop["sha256"], stop["num_events"]) for stop in stops])
    assert results[0] == results[1]
    assert results[0][0][1]["primary"] > 6


def test_what_a_callback_raises_ends_the_replay(documents_of):
    docs = documents_of(count([det], 3))

    def refuse(name, doc):
        if name == "event":
            raise RuntimeError("enough")

    got: list = []
    with pytest.raises(RuntimeError, match="enough"):
        replay(docs, got, refuse)
    assert [name for name, _ in got] == ["start", "descriptor", "event"]


def test_the_rhythm_is_that_of_the_documents():
    asked: list[float] = []
    times = [("start", 1000.0), ("descriptor", 1010.0), ("event", 1020.0), ("event", 1015.0), ("stop", 1040.0)]
    times += [("start", 9000.0), ("event_page", [9002.0, 9004.0]), ("stop", 9000.0)]
    docs = [(name, {"time": when}) for name, when in times]
    assert list(paced(docs, 2.0, sleep=asked.append)) == docs
    # Nobody slept: each wait is the whole time since the start, at twice the speed. The hours between the runs, and a
    # clock set back, cost nothing.
    assert asked == pytest.approx([5, 10, 7.5, 20, 2], abs=2)


@pytest.mark.parametrize("speed", [0, -1.0, float("nan"), float("inf"), "fast"])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match=r"^speed=.*give a number above 0"):
        replay([], speed=speed)


def test_the_number_of_events_to_come_is_that_of_the_stop(documents_of, tmp_path):
    docs = documents_of(count([det], 3))
    with Recorder(tmp_path) as recorder:
        replay(docs, recorder)
    assert expected_events(Recording(recorder.artifacts[0])) == 3
    assert expected_events(docs) is None


@pytest.fixture
def broker(run_engine, tmp_path):
    """A v1 Broker with a run of two images in files."""
    databroker = pytest.importorskip("databroker")
    if databroker.__version__ >= "2":
        pytest.skip("databroker 2 has no registry of handlers")
    broker = databroker.Broker.named("temp")
    broker.reg.register_handler("NPY_SEQ", NumpySeqHandler, overwrite=True)
    run_engine(count([hw(str(tmp_path)).img], 2), broker.insert)
    return broker


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # databroker 1.2 has some
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_runs_of_a_v1_broker(broker):
    got: list = []
    assert replay(broker[-1], got) == [broker[-1].start["uid"]]
    images = [doc["data"]["img"] for name, doc in got if name == "event"]
    np.testing.assert_array_equal(images, np.ones((2, 10, 10)))


def test_a_camera_that_has_its_images_in_its_events_is_left_alone(documents_of):
    rng = np.random.default_rng(0)
    camera = SynSignal(func=lambda: rng.poisson(100, (4, 5)).astype(np.uint16), name="camera")
    docs = documents_of(count([camera], 2))
    got: list = []
    replay(docs, got)
    for (name, doc), (_, raw) in zip(got, docs, strict=True):
        if name == "event":
            assert doc["data"]["camera"] is raw["data"]["camera"]


def test_a_bar_shows_documents_events_and_the_time_left(run_engine, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with Recorder(tmp_path) as recorder:
        run_engine(count([det], 3), recorder)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    replay(Recording(recorder.artifacts[0]), lambda name, doc: None, progress="run 1")
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("run 1: 100%")
    assert "3.00/3.00" in last
    assert "<00:00" in last
    assert "event/s" in last
    assert "documents=6" in last


def test_a_sink_that_is_made_for_a_replay_is_closed_with_it(documents_of, tmp_path, caplog):
    docs = documents_of(count([det], 3))
    replay(docs[:-1], tmp_path)  # no stop: what ends it is that the recorder is closed
    assert "has no stop, and the recorder was closed" in caplog.text
    replay(docs[:-1], mine := Recorder(tmp_path / "mine"))
    assert caplog.text.count("the recorder was closed") == 1
    mine.close()


def test_a_run_of_a_catalogue(documents_of, tmp_path):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.storage import close_catalog, open_catalog

    rng = np.random.default_rng(0)
    camera = SynSignal(func=lambda: rng.poisson(100, (40, 50)).astype(np.uint16), name="camera")
    docs, got = documents_of(count([camera], 2)), []
    catalog = open_catalog(tmp_path / "catalog")
    try:
        replay(docs, catalog)
        run = catalog[docs[0][1]["uid"]]
        assert expected_events(run) == 2
        replay(run, got)
    finally:
        close_catalog(catalog)
    assert [name for name, _ in got] == [name for name, _ in docs]
    for (name, doc), (_, raw) in zip(got, docs, strict=True):
        if name == "event":
            assert doc["data"]["camera"].dtype == np.uint16
            np.testing.assert_array_equal(doc["data"]["camera"], raw["data"]["camera"])


def test_a_document_that_claims_a_long_fly_scan_fills_no_memory(tmp_path):
    docs, filling = dict(streamed_run(tmp_path / "frames.h5", np.zeros((2, 2, 3)))), Filling()
    for name in ("start", "descriptor", "stream_resource"):
        list(filling(name, docs[name]))
    span = {"seq_nums": {"start": 1, "stop": 10**12}, "indices": {"start": 0, "stop": 10**12 - 1}}
    events = filling("stream_datum", docs["stream_datum"] | span)
    assert [next(events)[1]["seq_num"] for _ in range(2)] == [1, 2]


def test_runs_that_never_stop_do_not_pile_up(tmp_path):
    docs, _ = streamed(tmp_path / "frames.h5")
    filling = Filling()
    came = [pair for name, doc in docs[:-2] for pair in filling(name, doc)]  # neither stream_datum nor stop
    assert [name for name, _ in came] == ["start", "descriptor"]
    assert filling.failures == []
    for number in range(MAX_OPEN_RUNS):
        list(filling("start", {"uid": f"another {number}", "time": 0.0}))
    assert len(filling.failures) == 4
    assert "image of event 1" in filling.failures[0]


def test_a_page_may_have_its_numbers_in_an_array(documents_of):
    docs = documents_of(count([det], 3))
    page = {**pack_event_page(*[doc for name, doc in docs if name == "event"])}
    page["seq_num"] = np.array(page["seq_num"])
    got: list = []
    replay([*docs[:2], ("event_page", page), docs[-1]], got)
    assert [name for name, _ in got] == ["start", "descriptor", "event_page", "stop"]


def test_a_source_that_lacks_events_is_warned_of(documents_of, tmp_path, caplog):
    docs = documents_of(count([det], 3))
    replay(docs, lambda name, doc: None)
    replay([*docs[:3], docs[2], *docs[3:]], lambda name, doc: None)  # after a pause, an event comes again
    replay(streamed(tmp_path / "frames.h5")[0], lambda name, doc: None)
    assert caplog.text == ""
    replay([*docs[:3], *docs[4:]], lambda name, doc: None)
    assert caplog.text.count("the source lacks 1 of its events") == 1
    replay([docs[0], docs[-1]], lambda name, doc: None)
    assert caplog.text.count("the source lacks 3 of its events") == 1
    assert docs[0][1]["uid"] in caplog.text


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_loop_with_a_filler(broker):
    got, over = [], threading.Event()

    def callback(name, doc):
        got.append((name, doc))
        if name == "stop":
            over.set()

    with Proxy(block=True) as proxy:
        dispatcher = RemoteDispatcher(proxy.out_address, prefix=b"raw")
        dispatcher.subscribe(callback)
        server = threading.Thread(target=dispatcher.start)
        server.start()
        with (
            Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher,
            Filler(dict(broker.reg.handler_reg), root_map=broker.reg.root_map, inplace=True) as filler,
        ):
            for name, doc in broker[-1].documents():
                publisher(*filler(name, doc))
            assert over.wait(60)
        dispatcher.stop()
        server.join()
    images = [doc["data"]["img"] for name, doc in got if name == "event"]
    np.testing.assert_array_equal(images, np.ones((2, 10, 10)))


def test_a_stage_reads_a_replay_by_its_own_handlers(tmp_path):
    docs, _ = where_read(tmp_path)
    stage, means = ImageProcessor("image", handlers={"WHERE": WhereRead}), []
    stage.subscribe(lambda name, doc: means.append(doc["data"]["image"].mean()), "event")
    replay(docs, stage)
    assert means == [100, 100, 100]
