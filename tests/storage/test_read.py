from __future__ import annotations

import copy
import logging
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import event_model
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from bluesky_tiled_plugins import TiledWriter
from ophyd.sim import hw
from ophyd_async.core import TriggerInfo
from runs import Docs, assert_same, described, feed, fly, images, run_of, saved, uid_of
from tiled.server import app
from tiled.server.settings import get_settings

from bluesky_ext.storage import close_catalog, documents, open_catalog, read, save
from bluesky_ext.storage.metadata import as_json


def stream_of(catalog: Any, rows: list[dict[str, Any]], tmp_path: Path) -> Any:
    return read(saved(catalog, run_of(rows), tmp_path))["primary"]


@pytest.mark.parametrize(
    ("values", "dtype", "read_back"),
    [
        ([1, 2, 3], "i8", [1, 2, 3]),
        ([np.uint16(1), np.uint16(65535)], "u2", [1, 65535]),
        ([2**64 - 1, 2**64 - 2], "u8", [2**64 - 1, 2**64 - 2]),
        ([1.5, 2, 3.5], "f8", [1.5, 2.0, 3.5]),
        ([1, 2.5], "f8", [1.0, 2.5]),
        ([True, False], "?", [True, False]),
        (["a", "bcd"], "U3", ["a", "bcd"]),
        ([[1, 2], [3, 4]], "i8", [[1, 2], [3, 4]]),
        ([[1, 2], [3]], "O", [[1, 2], [3]]),
        ([{"a": 1}, {"b": 2}], "O", [{"a": 1}, {"b": 2}]),
        (["a", 1], "O", ["a", 1]),
        ([np.float32(0.5), np.float32("nan")], "f4", [0.5, None]),
        ([np.array([b"a", b"b"]), np.array([b"c", b"d"])], "S1", [[b"a", b"b"], [b"c", b"d"]]),
        ([np.array([5], "m8[ns]"), np.array([6], "m8[ns]")], "m8[ns]", [[5], [6]]),
        ([[[1, 2], [3]], [[1], [2]]], "O", [[[1, 2], [3]], [[1], [2]]]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_columns_have_the_dtype_of_their_values(embedded, values, dtype, read_back, tmp_path) -> None:
    docs = run_of([{"x": 0.0} for _ in values])
    docs[1][1]["data_keys"]["x"] = described(values[0]) if dtype != "O" else {"source": "sim", "dtype": "array"}
    for (_, event), value in zip(docs[2:-1], values, strict=True):
        event["data"]["x"] = value
    column = read(saved(embedded, docs, tmp_path))["primary"]["x"]
    assert column.dtype == np.dtype(dtype)
    assert [None if value != value else value for value in column.values.tolist()] == read_back


def test_what_an_event_lacks_is_nan_or_none(embedded, tmp_path) -> None:
    rows = [{"x": 1.0, "name": "a", "camera": images("u2", 0, (64, 64))}, {}, {"x": None, "name": "b"}]
    stream = stream_of(embedded, rows, tmp_path)
    assert stream["seq_num"].values.tolist() == [1, 2, 3]
    assert stream["time"].values.tolist() == [11.0, 12.0, 13.0]
    np.testing.assert_array_equal(stream["x"].values, [1.0, np.nan, np.nan])
    assert stream["name"].values.tolist() == ["a", None, "b"]
    first, *others = stream["camera"].values.tolist()
    assert np.array_equal(first, images("u2", 0, (64, 64)))
    assert others == [None, None]


def test_images_that_change_their_shape(embedded, tmp_path) -> None:
    frames = [images("u2", n, shape) for n, shape in enumerate([(64, 64), (70, 80), (64, 64)])]
    column = stream_of(embedded, [{"camera": frame} for frame in frames], tmp_path)["camera"]
    assert column.dtype == object
    for frame, back in zip(frames, column.values, strict=True):
        assert np.array_equal(frame, back)


def test_images_are_read_in_blocks_when_they_are_computed(served, tmp_path) -> None:
    frames = [images("u2", n, (1500, 1500)) for n in range(6)]
    column = stream_of(served, [{"camera": frame} for frame in frames], tmp_path)["camera"]
    # 4.5 MB an image, so 3 in 16 MiB.
    assert column.data.chunks[0] == (3, 3)
    requests: list[str] = []
    served.context.http_client.event_hooks["request"].append(lambda request: requests.append(request.url.path))
    try:
        assert np.array_equal(column[4].values, frames[4])
        assert len(requests) == 1
        assert np.array_equal(column.mean("seq_num").values, np.mean(frames, 0))
    finally:
        served.context.http_client.event_hooks["request"].clear()


def test_data_keys_that_are_called_as_the_coordinates(embedded, tmp_path) -> None:
    rows = [{"time": float(n), "seq_num": n + 5, "camera": images("u2", n, (64, 64)), "camera_0": n} for n in range(2)]
    stream = stream_of(embedded, rows, tmp_path)
    assert stream["time"].values.tolist() == [11.0, 12.0]
    assert stream["seq_num"].values.tolist() == [1, 2]
    assert stream["time_"].values.tolist() == [0.0, 1.0]
    assert stream["seq_num_"].values.tolist() == [5, 6]
    assert stream["camera_0"].values.tolist() == [0, 1]
    assert stream["camera"].dims == ("seq_num", "camera_0_", "camera_1")


@pytest.mark.parametrize("is_stored", [False, True], ids=["documents", "catalogue"])
def test_a_stream_without_its_images(embedded, is_stored, tmp_path) -> None:
    docs = run_of([{"x": float(n), "camera": images("u2", n, (64, 64)), "few": [n, 1]} for n in range(3)])
    docs[1][1]["data_keys"]["x"]["units"] = "mm"
    other = copy.deepcopy(docs[1:3])
    other[0][1].update(name="other", uid=str(uuid.uuid4()))
    other[1][1].update(descriptor=other[0][1]["uid"], seq_num=9)
    docs[3:3] = other
    source = docs
    if is_stored:
        with save(embedded, backup=tmp_path) as sink:
            feed(sink, docs)
        source = embedded[uid_of(docs)]
    (stream,) = read(source, streams=["primary"], arrays=["few"]).values()
    assert {*stream} == {"x", "few"}
    assert stream.attrs["external"] == ["camera"]
    assert stream["x"].values.tolist() == [0.0, 1.0, 2.0]
    assert (stream["x"].attrs, stream["few"].attrs) == ({"units": "mm"}, {})
    assert stream["few"].shape == (3, 2)
    with pytest.raises(LookupError, match=r"has no stream 'second', only \['primary', 'other'\]"):
        read(source, streams=["second"])


def test_several_runs_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="several runs"):
        read([*run_of([{"x": 1}]), *run_of([{"x": 2}])])


def the_run(run_engine: RunEngine, catalog: Any, plan: Any, tmp_path: Path) -> Any:
    with save(catalog, backup=tmp_path / "backup") as sink:
        run_engine.subscribe(sink)
        (uid,) = run_engine(plan)
    return catalog[uid]


def test_images_that_a_resource_tells_of(run_engine, embedded, tmp_path, caplog) -> None:
    devices = hw(save_path=str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    run = the_run(run_engine, embedded, count([devices.img, devices.det], 3), tmp_path)
    stream = read(run)["primary"]
    assert stream.attrs["external"] == []
    assert stream["img"].shape == (3, 10, 10)
    assert type(stream["img"].data).__module__ == "dask.array.core"
    assert np.array_equal(stream["img"].values, np.ones((3, 10, 10)))
    assert stream["det"].shape == (3,)
    assert not caplog.records
    # A file that is gone.
    lost = sorted((tmp_path / "images").iterdir())
    lost[-1].unlink()
    with pytest.raises(OSError, match="no frame in"):
        stream["img"].values  # noqa: B018
    for path in lost[:-1]:
        path.unlink()
    stream = read(run)["primary"]
    assert stream.attrs["external"] == ["img"]
    assert stream["det"].shape == (3,)
    (record,) = [record for record in caplog.records if record.name.startswith("bluesky_ext")]
    assert record.levelno == logging.WARNING
    assert "primary/img: an image in a file cannot be read" in record.getMessage()


@pytest.mark.parametrize("flown", [False, True], ids=["events", "fly"])
def test_images_that_a_stream_resource_tells_of(run_engine, embedded, flown, blob, tmp_path, caplog) -> None:
    @bpp.stage_decorator([blob])
    @bpp.run_decorator()
    def step() -> Any:
        yield from bps.prepare(blob, TriggerInfo(number_of_events=1, collections_per_event=3), wait=True)
        for _ in range(2):
            yield from bps.trigger_and_read([blob])

    run = the_run(run_engine, embedded, fly(blob, 2, 3) if flown else step(), tmp_path)
    stream = read(run)["primary"]
    assert stream["seq_num"].values.tolist() == [1, 2]
    assert stream.attrs["external"] == []
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        frames = file["/entry/data/data"][:]
    assert stream["blob"].shape == (2, 3, *frames.shape[-2:])
    assert type(stream["blob"].data).__module__ == "dask.array.core"
    assert stream["blob"].dtype == frames.dtype
    assert np.array_equal(stream["blob"].values.reshape(frames.shape), frames)
    assert not [record for record in caplog.records if record.name.startswith("bluesky_ext")]


def test_runs_of_tiled_writer_have_the_images_of_their_events(embedded, tmp_path, caplog) -> None:
    """Of events that came again after a pause, of events without an image, and never the wrong one."""
    docs = run_of([{"camera": np.full((64, 64), n, "u2"), "x": float(n)} for n in range(5)])
    for (_, event), seq_num in zip(docs[2:-1], (1, 2, 1, 2, 3), strict=True):
        event["seq_num"] = seq_num
    assert pairs_of(embedded, docs) == [(1, 2.0, 2), (2, 3.0, 3), (3, 4.0, 4)]
    stream = read(embedded[uid_of(docs)])["primary"]
    assert stream["camera"].values[:, 0, 0].tolist() == stream["x"].values.tolist() == [2.0, 3.0, 4.0]

    docs = run_of([{"camera": np.full((64, 64), n, "u2"), "x": float(n)} for n in range(4)])
    for part in ("data", "timestamps"):
        del docs[3][1][part]["camera"]
    assert pairs_of(embedded, docs) == [(1, 0.0, 0), (2, 1.0, None), (3, 2.0, 2), (4, 3.0, 3)]
    assert not [record for record in caplog.records if record.name.startswith("bluesky_ext")]

    docs = run_of([{"camera": np.full((64, 64), n, "u2"), "x": float(n)} for n in range(4)])
    del docs[3][1]["data"]["camera"]  # but its timestamp says that there is one
    assert pairs_of(embedded, docs) == [(n + 1, float(n), None) for n in range(4)]
    assert "has 3 images for 4 events, and nothing says which belong together" in caplog.text


def pairs_of(catalog: Any, docs: Docs) -> list[Any]:
    """Number, value and the first pixel of the events of a run that TiledWriter saved."""
    feed(TiledWriter(catalog, max_array_size=0), copy.deepcopy(docs))
    events = [document for name, document in documents(catalog[uid_of(docs)]) if name == "event"]
    images = [event["data"].get("camera") for event in events]
    return [
        (event["seq_num"], event["data"]["x"], None if image is None else int(image[0, 0]))
        for event, image in zip(events, images, strict=True)
    ]


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A catalogue that gives no more than 100 kB at once, as others give no more than 300 MB."""
    build = app.build_app
    limits = {"response_bytesize_limit": 100_000}
    monkeypatch.setattr(app, "build_app", lambda tree: build(tree, server_settings=limits))
    for name in ("BLOCK_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(f"bluesky_ext.storage.rows.{name}", 60_000)
    settings = get_settings()  # one for all apps of the process: those made later have the limit of this one
    limit = settings.response_bytesize_limit
    client = open_catalog(tmp_path / "narrow")
    yield client
    close_catalog(client)
    settings.response_bytesize_limit = limit


@pytest.mark.parametrize(("dtype", "shape"), [("u2", (150, 1000)), (">u2", (3, 50, 701)), ("u2", (140_001,))])
def test_documents_that_are_larger_than_any_answer(narrow, shape, dtype, tmp_path) -> None:
    docs = run_of([{"c": images(dtype, n, shape)} for n in range(2)])
    page = event_model.pack_event_page(*(document for name, document in docs if name == "event"))
    page["data"]["c"] = np.stack([images(dtype, n, shape) for n in range(2)])
    for given in (docs, [*docs[:2], ("event_page", page), *docs[-1:]]):
        given = [(name, copy.deepcopy(document)) for name, document in given]
        uid = given[0][1]["uid"] = str(uuid.uuid4())
        given[1][1]["run_start"] = given[-1][1]["run_start"] = uid
        run = saved(narrow, given, tmp_path / "backup")
        assert_same(given, list(documents(run)))
        assert read(run)["primary"]["c"].values.tobytes() == page["data"]["c"].tobytes()
        if dtype == "u2" and shape != (140_001,):
            # Other clients ask for chunks, which must not be too large either.
            assert 2 * math.prod(map(max, run["primary/c"].chunks)) <= 60_000


@pytest.mark.parametrize(
    ("value", "json"),
    [
        ({"a": (1, 2), 3: {4}}, {"a": [1, 2], "3": [4]}),
        (np.arange(3, dtype="u1"), [0, 1, 2]),
        (np.float32(0.5), 0.5),
        (2**60, float(2**60)),
        (2**53 - 1, 2**53 - 1),
        (True, True),
        (None, None),
        (b"ab", "b'ab'"),
        (np.longdouble(1.5), 1.5),
        (np.array([1.5], "longdouble"), [1.5]),
        (np.clongdouble(1), "(1+0j)"),
        (10**400, "integer of 1329 bits"),
        ({"a\udc80": "b\udc80"}, {"a\\udc80": "b\\udc80"}),
        (np.zeros((40, 50), "u2"), "array of 40 x 50 uint16"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_are_what_json_knows(value, json) -> None:
    assert as_json(value) == json
    assert type(as_json(value)) is type(json)
