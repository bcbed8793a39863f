"""An image is an image, in whatever form the documents bring it and in whatever order they come."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from cases import (
    KEY,
    MAPS,
    N_EVENTS,
    Case,
    Collector,
    content,
    frames,
    named,
    raw_run,
    run_through,
    same,
    snapshot,
    valid_rows,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bluesky_ext import ImageProcessor
from bluesky_ext.engine import Map, compose
from bluesky_ext.engine.frames import references
from bluesky_ext.engine.frames.references import FrameReference

every_map = pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)


def streamed(docs, directory, *, spans=1):
    """A raw run whose images are in one HDF5 file a stream, behind stream documents; and these documents apart.

    Returns the run without them, and ``{stream name: [stream_resource, stream_datum, ...]}``.
    """
    names, images, run, apart = {}, defaultdict(list), [], {}
    for name, doc in snapshot(docs):
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
            doc["data_keys"][KEY]["external"] = "STREAM:"
        elif name == "event":
            images[doc["descriptor"]].append((doc["seq_num"], doc["data"].pop(KEY)))
            doc["timestamps"].pop(KEY)
        run.append((name, doc))
    for descriptor, numbered in images.items():
        path = directory / f"{names[descriptor]}.h5"
        with h5py.File(path, "w") as file:
            file["entry/data"] = np.concatenate([image for _, image in numbered])
        resource = {
            "uid": f"res-{descriptor}",
            "data_key": KEY,
            "mimetype": "application/x-hdf5",
            "uri": f"file://localhost{path}",
            "parameters": {"dataset": "entry/data", "chunk_shape": (1, *numbered[0][1].shape[-2:])},
            "run_start": docs[0][1]["uid"],
        }
        documents = [("stream_resource", resource)]
        for at in range(0, len(numbered), spans):
            stop = min(at + spans, len(numbered))
            datum = {
                "uid": f"{resource['uid']}/{at}",
                "stream_resource": resource["uid"],
                "descriptor": descriptor,
                "indices": {"start": at, "stop": stop},
                "seq_nums": {"start": numbered[at][0], "stop": numbered[stop - 1][0] + 1},
            }
            documents.append(("stream_datum", datum))
        apart[names[descriptor]] = documents
    return run, apart


def woven(run, apart, *, before):
    """The stream documents among the others: as a step scan emits them, or as a replay does."""
    names = {doc["uid"]: doc["name"] for name, doc in run if name == "descriptor"}
    out, waiting = [], {stream: list(documents) for stream, documents in apart.items()}
    for name, doc in run:
        if before and name == "event":
            queue = waiting[names[doc["descriptor"]]]
            while queue and (queue[0][0] == "stream_resource" or queue[0][1]["seq_nums"]["start"] <= doc["seq_num"]):
                out.append(queue.pop(0))
        if name == "stop" or (not before and name == "descriptor" and doc["name"] == "primary"):
            # A replay gives a stream's events first, then its stream documents; the darks of this run are needed first.
            for stream in ["dark"] if name == "descriptor" else list(waiting):
                out.extend(waiting.pop(stream, ()))
        out.append((name, doc))
    return out


@pytest.mark.parametrize(
    ("case", "before", "spans"),
    [
        *((named("ImageProcessor-dark"), before, spans) for before in (True, False) for spans in (1, 4, 100)),
        *((case, number % 2 == 0, 4) for number, case in enumerate(MAPS)),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else str(value),
)
def test_stream_documents(case, before, spans, tmp_path):
    raw = raw_run()
    run, apart = streamed(raw, tmp_path, spans=spans)
    docs = woven(run, apart, before=before)
    unchanged = snapshot(docs)
    sink = run_through(case.make(), docs)
    assert same(content(sink), content(run_through(case.make(), raw)))
    assert same(docs, unchanged)
    assert not any("external" in key for doc in sink.named("descriptor") for key in doc["data_keys"].values())


@pytest.mark.parametrize(
    "case", [named("ImageProcessor"), named("ImageProcessor-array"), named("PeakTracker")], ids=lambda case: case.name
)
def test_a_fly_scan_has_frames_and_no_events(case, tmp_path):
    run, apart = streamed(raw_run(dark=False), tmp_path, spans=4)
    for name, doc in run:
        if name == "descriptor":
            doc["data_keys"] = {KEY: doc["data_keys"][KEY]}
            doc["object_keys"], doc["hints"] = {"det": [KEY]}, {}
    run = [(name, doc) for name, doc in run if name != "event"]
    got = content(run_through(case.make(), [*run[:-1], *apart["primary"], run[-1]]))
    expected = content(run_through(case.make(), raw_run(dark=False)))
    name = "primary" if case.keeps_seq_num else "frames"
    assert got["events"][name].keys() == expected["events"][name].keys() == set(range(1, N_EVENTS + 1))
    assert got["stop"]["num_events"] == expected["stop"]["num_events"]
    for number, data in got["events"]["primary"].items():
        for key in data:
            assert same(data[key], expected["events"]["primary"][number][key])


@every_map
def test_a_missing_file_costs_its_events_and_is_named(case, tmp_path, caplog):
    run, apart = streamed(raw_run(), tmp_path)
    (tmp_path / "primary.h5").rename(tmp_path / "elsewhere.h5")
    stage = case.make()
    stop = run_through(stage, woven(run, apart, before=True)).stop
    assert stop["failed"] == {"primary": list(range(1, N_EVENTS + 1))}
    assert stop["num_events"].get("dark", stop["num_events"].get("dark_frames")) == 1
    (line,) = [r.getMessage() for r in caplog.records if "failed on run" in r.getMessage() and r.levelname == "WARNING"]
    assert "primary.h5" in line
    assert "event 1" in line


def test_the_patience_is_a_parameter_and_a_file_that_never_comes_costs_it_once(tmp_path, monkeypatch):
    slept = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(references, "time", clock)
    run, apart = streamed(raw_run(dark=False), tmp_path)
    (tmp_path / "primary.h5").unlink()
    stage = compose(ImageProcessor(KEY), patience=3)
    assert run_through(stage, woven(run, apart, before=True)).stop["failed"] == {"primary": [1, 2, 3, 4, 5, 6]}
    assert sum(slept) == pytest.approx(3)
    for patience in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="patience"):
            ImageProcessor(KEY, patience=patience)


@pytest.mark.parametrize("keys", [("mx",), ("mx", "my"), ("mx", KEY)])
def test_frames_that_a_stage_does_not_look_at_are_neither_waited_for_nor_read(keys, tmp_path, monkeypatch):
    read, streams = FrameReference.read, set()
    monkeypatch.setattr(FrameReference, "read", lambda self: streams.add(self.stream) or read(self))
    run, apart = streamed(raw_run(), tmp_path)
    for name in {"dark"} if KEY in keys else {"dark", "primary"}:
        apart[name].pop()  # never comes
    stage = Map(lambda data, seq_num: {KEY: None} if KEY in data else {}, parameters={}, data_keys=keys)
    sink, seen = Collector(), []
    stage.subscribe(sink)
    for name, doc in woven(run, apart, before=True):
        stage(name, doc)
        if name == "event":
            seen.append(doc["seq_num"])
            assert len(seen) == 1 or [doc["seq_num"] for doc in sink.named("event")] == seen  # at once
    assert len(seen) == N_EVENTS + 1
    assert not any(KEY in doc["data"] for doc in sink.named("event"))
    assert "failed" not in sink.stop
    assert streams == ({"primary"} if KEY in keys else set())


@every_map
def test_frames_that_never_came_are_failures(case, tmp_path, caplog):
    run, apart = streamed(raw_run(), tmp_path)
    apart["primary"] = apart["primary"][:-1]
    stop = run_through(case.make(), woven(run, apart, before=True)).stop
    assert stop["failed"] == {"primary": [N_EVENTS]}
    assert "lost" not in stop  # the event came
    assert f"event {N_EVENTS}" in caplog.text


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    raw = raw_run()
    # The frames of a false start lie in the file too; their seq_nums come again with later indices.
    run, apart = streamed(raw, tmp_path_factory.mktemp("streams"))
    return raw, run, apart


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("case", [named("ImageProcessor"), named("PeakTracker")], ids=lambda case: case.name)
def test_any_order_of_frames_and_events_gives_one_result(case, files, data):
    raw, run, apart = files
    events = [item for item in run if item[0] == "event"]
    resources = [documents[0] for documents in apart.values()]
    mixed = data.draw(st.permutations(events + [item for documents in apart.values() for item in documents[1:]]))
    others = [item for item in run if item[0] in ("start", "descriptor")]
    got = run_through(case.make(), [*others, *resources, *mixed, run[-1]])
    expected = run_through(case.make(), raw)
    assert "failed" not in got.stop
    assert got.stop["sha256"] == expected.stop["sha256"]
    if case.keeps_seq_num:
        assert same(content(got)["events"], content(expected)["events"])
    else:
        assert same(valid_rows(got), valid_rows(expected))


def test_resource_and_datum(tmp_path):
    start, descriptor, *events, stop = snapshot(raw_run(dark=False))
    descriptor[1]["data_keys"][KEY]["external"] = "FILESTORE"
    rest = []
    for name, doc in events:
        number = doc["seq_num"]
        np.save(tmp_path / f"f_{number}.npy", doc["data"][KEY])
        doc["data"][KEY], doc["filled"] = f"r/{number}", {KEY: False}
        datum = {"datum_id": f"r/{number}", "resource": "r", "datum_kwargs": {"index": number}}
        rest += [("datum", datum), (name, doc)]
    resource = {"uid": "r", "spec": "NPY_SEQ", "root": str(tmp_path), "resource_path": "f", "resource_kwargs": {}}
    for case in named("ImageProcessor"), named("PeakTracker"):
        expected = content(run_through(case.make(), raw_run(dark=False)))
        for label in ({}, {"run_start": start[1]["uid"]}):
            docs = [start, descriptor, ("resource", resource | label), *rest, stop]
            assert same(content(run_through(case.make(), docs)), expected)


def test_an_image_that_is_here_is_not_called_external():
    stage = Map(lambda data, seq_num: {"total": float(data[KEY].sum())}, parameters={}, data_keys=(KEY,))
    inline = [
        (name, doc | {"data_keys": {key: said | {"external": "FILESTORE:"} for key, said in doc["data_keys"].items()}})
        if name == "descriptor"
        else (name, doc)
        for name, doc in raw_run(dark=False)
    ]
    sink = run_through(stage, inline)
    (descriptor,) = sink.named("descriptor")
    assert not any("external" in said for said in descriptor["data_keys"].values())
    assert [doc["data"]["total"] for doc in sink.named("event")] == [
        float(frames(number).sum()) for number in range(1, N_EVENTS + 1)
    ]
