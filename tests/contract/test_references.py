"""Frames in files that a map looks at and leaves alone: its derived run refers to them, as the raw run does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from cases import KEY, Collector, feed, frames, raw_run, run_through
from event_model import DocumentNames, schema_validators
from ophyd.sim import SynAxis, hw
from test_forms import streamed, woven

from bluesky_ext import replay
from bluesky_ext.engine import Map, Recorder
from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.storage import close_catalog, open_catalog, save
from bluesky_ext.storage import read as datasets


@pytest.fixture
def reads(monkeypatch):
    """The seq_nums of the images that are read, one after the other."""
    numbers, read = [], FrameReference.read

    def counted(self, patience=None):
        if not self.data_key.endswith("-sum"):  # the other reading of the detector
            numbers.append(self.seq_num)
        return read(self, patience)

    monkeypatch.setattr(FrameReference, "read", counted)
    return numbers


def mean(key, **options):
    """A map that adds a number and leaves the image alone."""
    return Map(
        lambda data, seq_num: {f"{key}_mean": float(data[key].mean())},
        **{"parameters": {}, "data_keys": (key,), "name": "mean", **options},
    )


def images(docs, key):
    """The images of a run as a stage sees them, by seq_num."""
    seen = {}
    stage = Map(lambda data, seq_num: seen.update({seq_num: data[key]}) or {}, parameters={}, data_keys=(key,))
    feed(stage, docs)
    assert not stage.stats.failed
    return seen


def checked(docs):
    """The documents, which are valid, and refer only to what came before them; their names."""
    known, run = set(), docs[0][1]["uid"]
    for name, doc in docs:
        schema_validators[DocumentNames[name]].validate(doc)
        assert doc.get("run_start", run) == run
        for parent in ("descriptor", "resource", "stream_resource"):
            assert doc.get(parent, run) in {run, *known}
        known |= {doc.get("uid"), doc.get("datum_id")}
    return [name for name, _ in docs]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_streamed_frame_that_is_left_alone_is_read_once_and_stays_in_its_file(
    run_engine, blob, tmp_path, reads, threads
):
    raw, sink = Collector(), Collector()
    pool = ThreadPoolExecutor(threads) if threads else None
    stage, behind = mean("blob", executor=pool), mean("blob")
    stage.subscribe(sink)
    run_engine(bp.scan([blob], SynAxis(name="mx", delay=0), 0, 2, 3), raw)
    feed(stage, raw)
    assert sorted(reads) == [1, 2, 3]
    start, descriptor, resource, *rest, stop = checked(sink)
    assert (start, descriptor, resource, stop) == ("start", "descriptor", "stream_resource", "stop")
    assert rest == ["stream_datum", "event"] * 3
    (described,) = sink.named("descriptor")
    assert described["data_keys"]["blob"] == raw.named("descriptor")[0]["data_keys"]["blob"]
    (there,) = [doc for doc in raw.named("stream_resource") if doc["data_key"] == "blob"]
    (here,) = sink.named("stream_resource")
    chunks = {"chunk_shape": list(there["parameters"]["chunk_shape"])}  # as JSON has it
    assert here == {
        **there,
        "uid": here["uid"],
        "run_start": sink[0][1]["uid"],
        "parameters": there["parameters"] | chunks,
    }
    assert here["uid"] != there["uid"]
    for number, doc in enumerate(sink.named("stream_datum")):
        assert doc["descriptor"] == described["uid"]
        assert doc["seq_nums"] == {"start": number + 1, "stop": number + 2}
        assert doc["indices"] == {"start": number, "stop": number + 1}
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        expected = file["entry/data/data"][()]
    for number, doc in enumerate(sink.named("event")):
        assert doc["data"].keys() == doc["timestamps"].keys() == {"mx", "mx_setpoint", "blob-sum", "blob_mean"}
        assert doc["data"]["blob_mean"] == expected[number].mean()
        assert doc["filled"] == {}
    assert np.array_equal(np.concatenate([images(sink, "blob")[n] for n in (1, 2, 3)]), expected)
    assert sorted(doc["data"]["blob_mean"] for doc in run_through(behind, sink).named("event")) == sorted(
        doc["data"]["blob_mean"] for doc in sink.named("event")
    )


def test_a_datum_that_is_left_alone_stays_one(run_engine, reads):
    raw = Collector()
    run_engine(bp.scan([hw().img], hw().motor, 0, 2, 3), raw)
    sink = run_through(mean("img"), raw)
    assert reads == [1, 2, 3]
    assert checked(sink) == ["start", "descriptor", "resource", *["datum", "event"] * 3, "stop"]
    (there,), (here,) = raw.named("resource"), sink.named("resource")
    assert here == {**there, "uid": here["uid"], "run_start": sink[0][1]["uid"]}
    assert sink.named("descriptor")[0]["data_keys"]["img"]["external"] == "FILESTORE"
    for event, datum, before in zip(sink.named("event"), sink.named("datum"), raw.named("datum"), strict=True):
        assert event["data"]["img"] == datum["datum_id"]
        assert event["filled"] == {"img": False}
        assert (datum["resource"], datum["datum_kwargs"]) == (here["uid"], before["datum_kwargs"])
    assert all(np.array_equal(image, np.ones((10, 10))) for image in images(sink, "img").values())
    assert here["uid"] != there["uid"]


def test_a_resumed_scan_tells_of_each_frame_once(run_engine, blob):
    raw, paused = Collector(), []
    run_engine.subscribe(raw)

    @bpp.stage_decorator([blob])
    @bpp.run_decorator()
    def plan():
        yield from bps.checkpoint()
        for position in range(3):
            yield from bps.trigger_and_read([blob])
            if position == 1 and not paused:
                paused.append(True)
                yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        run_engine(plan())
    run_engine.resume()
    sink = run_through(mean("blob"), raw)
    told = [(doc["seq_nums"]["start"], doc["indices"]["start"]) for doc in sink.named("stream_datum")]
    assert told == [(1, 0), (2, 1), (1, 2), (2, 3), (3, 4)]
    assert {doc["seq_num"]: doc["time"] for doc in sink.named("event")} == {
        doc["seq_num"]: doc["time"] for doc in raw.named("event")
    }
    assert [images(sink, "blob")[n].sum() for n in (1, 2, 3)] == [images(raw, "blob")[n].sum() for n in (1, 2, 3)]


@pytest.mark.parametrize("alone", [False, True], ids=["with a motor", "alone"])
def test_sinks_take_the_derived_run_as_they_take_a_raw_one(run_engine, blob, tmp_path, alone):
    plugins = pytest.importorskip("bluesky_tiled_plugins")
    raw, sink = Collector(), Collector()
    stage, saved = mean("blob"), open_catalog(tmp_path / "saved")
    recorder, written = Recorder(tmp_path / "recordings"), open_catalog(tmp_path / "written")
    for callback in (sink, recorder, save(saved), plugins.TiledWriter(written, max_array_size=0)):
        stage.subscribe(callback)
    run_engine.subscribe(stage)
    try:
        plan = bp.count([blob], 3) if alone else bp.scan([blob], SynAxis(name="mx", delay=0), 0, 2, 3)
        run_engine(plan, raw)
        stage.close()
        assert (stage.stats.emitted, stage.stats.failed, stage.stats.subscriber_failures) == (3, 0, 0)
        uid, expected = sink[0][1]["uid"], np.concatenate([images(raw, "blob")[n] for n in (1, 2, 3)])
        (recording,) = (tmp_path / "recordings").iterdir()
        for source in (sink, recording, saved[uid], written[uid]):
            for fill in (True, False):
                docs = Collector()
                replay(source, docs, fill=fill, progress=False)
                seen = images(docs, "blob")
                assert np.array_equal(np.concatenate([seen[n] for n in (1, 2, 3)]), expected)
                again = run_through(mean("blob", name="again"), docs)
                assert again.stop["num_events"] == {"primary": 3}
        assert np.array_equal(np.concatenate(np.asarray(written[uid]["primary"]["blob"].read())), expected)
        assert np.array_equal(np.concatenate(datasets(saved[uid])["primary"]["blob"].values), expected)
    finally:
        recorder.close()
        close_catalog(saved)
        close_catalog(written)


def spectrum(number):
    return np.arange(number, number + 4.0)


@pytest.mark.parametrize("image", [frames, spectrum])
@pytest.mark.parametrize("hash_images", [False, True])
@pytest.mark.parametrize("kernel", [lambda data, n: {"x": 1}, lambda data, n: {KEY: data[KEY][:1]}], ids=["add", "cut"])
def test_the_sha256_is_one_for_inline_and_referenced_frames(tmp_path, image, hash_images, kernel):
    raw = raw_run(dark=False, image=image)
    for doc in (doc for name, doc in raw if name == "descriptor"):
        doc["data_keys"][KEY]["shape"] = list(image(1).shape)

    def sha256(docs):
        stage = Map(kernel, parameters={}, data_keys=(KEY, "mx"), name="it", hash_images=hash_images)
        stop = run_through(stage, docs).stop
        assert "failed" not in stop
        return stop["sha256"]

    run, apart = streamed(raw, tmp_path)
    for before in (True, False):
        docs, filled = woven(run, apart, before=before), Collector()
        assert sha256(docs) == sha256(raw)
        replay(docs, filled, progress=False)
        assert sha256(filled) == sha256(raw)
    for name, doc in raw:
        if name == "event" and doc["seq_num"] == 3:
            doc["data"]["mx"] += 1
    assert sha256(raw) != sha256(docs)
