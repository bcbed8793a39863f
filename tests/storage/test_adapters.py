from __future__ import annotations

import copy
import json
from collections.abc import Mapping

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal, hw
from runs import Docs, assert_same, feed, images, run_of, uid_of

from bluesky_ext import Recorder, Recording
from bluesky_ext.storage import Saver, as_sink, as_source, documents


@pytest.fixture
def docs() -> Docs:
    return run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(3)])


def test_a_catalogue_is_a_sink_and_its_run_a_source_that_can_be_read_again(catalog, docs) -> None:
    sink = as_sink(catalog)
    assert isinstance(sink, Saver)
    feed(sink, docs)
    source = as_source(catalog[uid_of(docs)])
    for _ in range(2):
        assert_same(docs, list(source))
    with pytest.raises(TypeError, match="holds many runs: give one of them"):
        as_source(catalog)
    with pytest.raises(TypeError, match="is no sink of documents"):
        as_sink(catalog[uid_of(docs)])


def test_recordings_lists_and_functions_are_what_they_were(docs, tmp_path) -> None:
    received: Docs = []
    sinks = [as_sink(tmp_path), as_sink(received), as_sink(lambda name, document: received.append((name, document)))]
    assert isinstance(sinks[0], Recorder)
    for sink in sinks:
        feed(sink, docs)
    assert_same(docs + docs, received)
    for source in (tmp_path, Recording(tmp_path / f"{uid_of(docs)}.bsrec"), docs, lambda: iter(docs)):
        assert_same(docs, list(as_source(source)))


def nested(document: dict) -> list:
    return [value for value in document.values() if isinstance(value, Mapping)]


class Broker:
    def __init__(self) -> None:
        self.inserted: Docs = []

    def __call__(self) -> list:
        raise AssertionError("searched")

    def insert(self, name: str, document: dict) -> None:
        self.inserted.append((name, document))


def test_a_broker_is_a_sink_by_its_insert(docs) -> None:
    broker = Broker()
    feed(as_sink(broker), docs)
    assert broker.inserted == docs


def test_a_run_that_tiled_writer_saved(catalog) -> None:
    from bluesky_tiled_plugins import TiledWriter

    numbers = iter(range(100))
    camera = SynSignal(func=lambda: images("u2", next(numbers), (64, 64)), name="camera")
    camera.describe = lambda: {"camera": {"source": "sim", "dtype": "array", "shape": [64, 64], "dtype_numpy": "<u2"}}
    given: Docs = []
    run_engine = RunEngine(call_returns_result=False)
    run_engine.subscribe(lambda name, document: given.append((name, copy.deepcopy(document))))
    run_engine.subscribe(TiledWriter(catalog, max_array_size=0))
    (uid,) = run_engine(count([camera, hw().det], 4))
    back = list(documents(catalog[uid]))
    assert [name for name, _ in back] == [name for name, _ in given]
    for (name, one), (_, other) in zip(given, back, strict=True):
        if name != "event":
            assert one["uid"] == other["uid"]
            continue
        assert (one["seq_num"], one["time"]) == (other["seq_num"], other["time"])
        assert one["timestamps"] == other["timestamps"]
        assert one["data"]["det"] == other["data"]["det"]
        image = other["data"]["camera"]
        assert image.dtype == np.uint16
        assert image.tobytes() == one["data"]["camera"].tobytes()
    assert back[0][1] == json.loads(json.dumps(given[0][1]))
    assert all(type(part) is dict for _, document in back for part in (document, *nested(document)))
    assert back[-1][1] == given[-1][1]


def test_a_fly_scan_and_several_streams_of_tiled_writer_come_in_order_of_time(embedded, tmp_path) -> None:
    import event_model
    import h5py
    from bluesky_tiled_plugins import TiledWriter

    frames = np.stack([images("u2", n, (8, 9)) for n in range(5)])
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("frames", data=frames, chunks=(1, 8, 9))
    bundle = event_model.compose_run(time=0.0, validate=False)
    number = {"source": "sim", "dtype": "number", "shape": []}
    external = {"source": "sim", "dtype": "array", "shape": [8, 9], "dtype_numpy": "<u2", "external": "STREAM:"}
    dark = bundle.compose_descriptor(name="dark", data_keys={"d": number}, time=1.0, validate=False)
    primary = bundle.compose_descriptor(name="primary", data_keys={"p": number}, time=2.0, validate=False)
    fly = bundle.compose_descriptor(name="fly", data_keys={"frames": external}, time=9.0, validate=False)
    resource = bundle.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{tmp_path}/frames.h5",
        data_key="frames",
        parameters={"dataset": "frames", "chunk_shape": (1, 8, 9)},
    )
    writer = TiledWriter(embedded)
    for name, document in (
        ("start", bundle.start_doc),
        ("descriptor", dark.descriptor_doc),
        ("descriptor", primary.descriptor_doc),
        *(
            ("event", stream.compose_event(data={key: t}, timestamps={key: t}, time=t, validate=False))
            for t, key, stream in ((3.0, "d", dark), (4.0, "p", primary), (5.0, "d", dark), (6.0, "p", primary))
        ),
        ("descriptor", fly.descriptor_doc),
        ("stream_resource", resource.stream_resource_doc),
        (
            "stream_datum",
            resource.compose_stream_datum(
                indices={"start": 0, "stop": 5}, seq_nums={"start": 1, "stop": 6}, descriptor=fly.descriptor_doc
            ),
        ),
        ("stop", bundle.compose_stop(validate=False)),
    ):
        writer(name, copy.deepcopy(document))
    back = list(documents(embedded[bundle.start_doc["uid"]]))
    events = [document for name, document in back if name == "event"]
    assert [event["data"] for event in events[:4]] == [{"d": 3.0}, {"p": 4.0}, {"d": 5.0}, {"p": 6.0}]
    assert np.array_equal(np.stack([event["data"]["frames"] for event in events[4:]]), frames)
    assert [event["seq_num"] for event in events[4:]] == [1, 2, 3, 4, 5]
    assert all(event["filled"] == {"frames": True} for event in events[4:])
