from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from event_model import DocumentNames
from ophyd.sim import SynSignal, hw
from runs import Docs, assert_same, feed, images, run_of, uid_of

from bluesky_ext import Recorder, Recording
from bluesky_ext.storage import Saver, as_sink, as_source, documents

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def documents_of(uid: str = "run", time: float = 1.0) -> Docs:
    return run_of([{"x": float(n), "image": IMAGE + n} for n in range(2)], uid=uid, time=time)


NAMES = ["start", "descriptor", "event", "event", "stop"]


def names(source: object) -> list[str]:
    pairs = list(as_source(source))
    assert all(type(name) is str for name, _ in pairs)
    return [name for name, _ in pairs]


def uids(source: object) -> list[str]:
    return [document["uid"] for name, document in as_source(source) if name == "start"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three recordings, whose names are not in the order of their times."""
    with Recorder(tmp_path) as recorder:
        for uid, time in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
            for name, document in documents_of(uid, time):
                recorder(name, document)
    return tmp_path


def test_a_path_of_a_recording_is_a_source(directory, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(directory))
    for path in (directory / "a.bsrec", str(directory / "a.bsrec"), Recording(directory / "a.bsrec"), "~/a.bsrec"):
        source = as_source(path)
        assert [name for name, _ in source] == [name for name, _ in source] == NAMES
        assert uids(path) == ["a"]


def test_a_path_of_json_is_a_source(tmp_path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps([name, {"uid": name}]) + "\n" for name in NAMES))
    assert names(path) == NAMES


def test_a_directory_is_a_source_of_its_runs_in_order_of_time(directory) -> None:
    source = as_source(directory)
    for _ in range(2):
        assert [document["uid"] for name, document in source if name == "start"] == ["b", "c", "a"]
    assert names(str(directory)) == 3 * NAMES


def test_a_path_where_nothing_is_is_refused_at_once(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        as_source(tmp_path / "nothing.bsrec")
    with pytest.raises(FileNotFoundError, match=f"no recording in {tmp_path}"):
        as_source(tmp_path)


@pytest.mark.parametrize("adapt", [as_source, as_sink])
def test_an_address_is_no_path(adapt, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match="'http://localhost:8000' is an address, not a path"):
        adapt("http://localhost:8000")
    assert not list(tmp_path.iterdir())


def test_iterables_of_pairs_and_functions_that_make_them_are_sources() -> None:
    pairs = documents_of()

    def generate(first: int = 0) -> Iterator[tuple[str, Any]]:
        yield from pairs[first:]

    again = as_source(generate)
    assert list(again) == list(again) == pairs
    for source in (pairs, iter(pairs), deque(pairs), [list(pair) for pair in pairs], lambda *args, **kwargs: pairs):
        assert list(as_source(source)) == pairs
    start = MappingProxyType({"uid": "run"})
    assert list(as_source([("start", start)])) == [("start", start)]


def test_names_are_plain_whatever_they_were() -> None:
    pairs = [(DocumentNames[name], document) for name, document in documents_of()]
    assert names(pairs) == NAMES
    received: list = []
    as_sink(received)(*pairs[0])
    as_sink(lambda name, document: received.append((name, document)))(*pairs[0])
    assert [(type(name), name) for name, _ in received] == [(str, "start")] * 2


class Run:
    """As the runs of the databases: it can be called, but not for documents."""

    def __init__(self, pairs: list) -> None:
        self.pairs = pairs
        self.filled: list = []

    def __call__(self) -> Run:
        return self


class RunThatMayFill(Run):
    def documents(self, fill: bool = False) -> Iterator[tuple[str, Any]]:
        if fill:
            raise NotImplementedError("documents(fill=True) is not supported")
        yield from self.pairs


class RunThatMustBeTold(Run):
    def documents(self, *, fill: str, strict_order: bool = True) -> Iterator[tuple[str, Any]]:
        if fill != "no":
            raise ValueError(f"Invalid fill option: {fill}")
        yield from self.pairs


class RunThatCannotFill(Run):
    def documents(self) -> Iterator[tuple[str, Any]]:
        yield from self.pairs


@pytest.mark.parametrize("kind", [RunThatMayFill, RunThatMustBeTold, RunThatCannotFill])
def test_a_run_of_a_database_is_a_source(kind) -> None:
    pairs = documents_of()
    source = as_source(kind(pairs))
    assert list(source) == list(source) == pairs


@pytest.mark.parametrize("stop", [{}, None])
def test_the_empty_stop_of_a_run_without_one_is_left_out(stop) -> None:
    pairs = documents_of()[:-1]
    assert list(as_source(RunThatMayFill([*pairs, ("stop", stop)]))) == pairs


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "builtins.int is no source of documents: give a path, a run, an iterable"),
        (None, "builtins.NoneType is no source"),
        ({"start": {}}, "builtins.dict is no source"),
        (lambda run: [], "builtins.function is no source"),
        (RunEngine(), "bluesky.run_engine.RunEngine gives documents only while they are made: subscribe to it"),
    ],
    ids=["int", "none", "dict", "function", "run engine"],
)
def test_what_is_no_source_is_refused_at_once(source, message) -> None:
    with pytest.raises(TypeError) as error:
        as_source(source)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("item", ["ab", 3, ("start",), ("start", 3), (3, {}), ("start", {}, 1)])
def test_what_is_no_pair_is_refused_when_it_comes(item) -> None:
    source = iter(as_source([("start", {}), item]))
    assert next(source) == ("start", {})
    with pytest.raises(TypeError, match=f"the source gave builtins.{type(item).__name__}, not a pair"):
        next(source)


def test_a_list_is_a_sink() -> None:
    received: list = []
    run_engine = RunEngine(call_returns_result=False)
    run_engine(count([hw().det]), as_sink(received))
    assert [name for name, _ in received] == ["start", "descriptor", "event", "stop"]
    queue: deque = deque(maxlen=1)
    as_sink(queue)("stop", {"uid": "s"})
    assert list(queue) == [("stop", {"uid": "s"})]


def test_a_directory_is_a_sink_that_records(tmp_path) -> None:
    camera = SynSignal(func=lambda: IMAGE, name="camera")
    run_engine = RunEngine(call_returns_result=False)
    for path in (tmp_path / "path", str(tmp_path / "text")):
        sink = as_sink(path)
        assert isinstance(sink, Recorder)
        run_engine(count([camera]), sink)
        (recording,) = Recording.find(path)
        assert recording.complete
        image = next(document for name, document in recording if name == "event")["data"]["camera"]
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, IMAGE)


def test_a_function_is_a_sink_that_gets_the_document_itself_and_whose_error_is_not_swallowed() -> None:
    received: list = []

    def sink(name: str, document: dict) -> None:
        received.append((name, document))
        raise RuntimeError("full")

    document = {"uid": "run"}
    with pytest.raises(RuntimeError, match="full"):
        as_sink(sink)("start", document)
    assert received == [("start", document)]
    assert received[0][1] is document


class Broker:
    """As databroker.v1.Broker: a call is a search."""

    def __init__(self) -> None:
        self.inserted: list = []

    def __call__(self, text_search: str | None = None, **kwargs: object) -> list:
        raise AssertionError("searched")

    def insert(self, name: str, document: dict) -> None:
        self.inserted.append((name, document))


def test_a_broker_is_a_sink_by_its_insert_and_pages_stay_pages() -> None:
    broker = Broker()
    page = {"descriptor": "d", "seq_num": [1, 2], "data": {"x": [1.0, 2.0]}}
    as_sink(broker)(DocumentNames.event_page, page)
    assert broker.inserted == [("event_page", page)]
    with pytest.raises(TypeError, match="Broker holds many runs: give one of them"):
        as_source(broker)


@pytest.mark.parametrize("sink", [3, None, {}, (), RunThatMayFill([])])
def test_what_is_no_sink_is_refused_at_once(sink) -> None:
    with pytest.raises(TypeError, match="is no sink of documents: give a function") as error:
        as_sink(sink)
    assert "\n" not in str(error.value)


def test_a_catalogue_is_a_sink_and_its_run_a_source_that_can_be_read_again(embedded) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(3)])
    sink = as_sink(embedded)
    assert isinstance(sink, Saver)
    feed(sink, docs)
    source = as_source(embedded[uid_of(docs)])
    for _ in range(2):
        assert_same(docs, list(source))
    with pytest.raises(TypeError, match="holds many runs: give one of them"):
        as_source(embedded)
    with pytest.raises(TypeError, match="is no sink of documents"):
        as_sink(embedded[uid_of(docs)])


def nested(document: dict) -> list:
    return [value for value in document.values() if isinstance(value, Mapping)]


def test_a_run_that_tiled_writer_saved(embedded) -> None:
    from bluesky_tiled_plugins import TiledWriter

    numbers = iter(range(100))
    camera = SynSignal(func=lambda: images("u2", next(numbers), (64, 64)), name="camera")
    camera.describe = lambda: {"camera": {"source": "sim", "dtype": "array", "shape": [64, 64], "dtype_numpy": "<u2"}}
    given: Docs = []
    run_engine = RunEngine(call_returns_result=False)
    run_engine.subscribe(lambda name, document: given.append((name, copy.deepcopy(document))))
    run_engine.subscribe(TiledWriter(embedded, max_array_size=0))
    (uid,) = run_engine(count([camera, hw().det], 4))
    back = list(documents(embedded[uid]))
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
