"""Runs of databroker: those of version 1.2.5, and those of version 2, in Tiled's own catalogue or in MongoDB."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from bluesky.plans import count
from bluesky_tiled_plugins import TiledWriter
from ophyd.sim import NumpySeqHandler, SynSignal, det, hw
from runs import Docs, assert_same, feed, images, run_of

from bluesky_ext import replay
from bluesky_ext.storage import as_sink, as_source, close_catalog, documents, read, save

databroker = pytest.importorskip("databroker")
v1 = pytest.importorskip("databroker.v1")

is_2 = int(databroker.__version__.split(".")[0]) == 2
only_2 = pytest.mark.skipif(not is_2, reason="of databroker 2")
pytestmark = [
    # What databroker itself makes other libraries warn of.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*httpx.*:UserWarning"),
]


@pytest.fixture
def database() -> Iterator[Any]:
    """A Broker in memory; that of databroker 2 is made of what stands for MongoDB in tests."""
    database = v1.temp()
    yield database
    if is_2:
        close_catalog(database.v2)


def plain(value: object) -> Any:
    """As event_model.sanitize_doc does it, as databases do to documents."""
    return json.loads(json.dumps(value, default=lambda array: array.tolist()))


def test_a_broker_is_a_sink_and_its_headers_are_sources(database) -> None:
    docs = run_of([{"x": float(n), "image": images("u2", n, (3, 4))} for n in range(2)], uid="header")
    feed(as_sink(database), docs)
    with pytest.raises(TypeError, match="holds many runs"):
        as_source(database)
    rows = [plain(doc["data"]) for name, doc in docs if name == "event"]
    for run in (database["header"], database.v2["header"]):
        first, second, *middle, last = as_source(run)
        assert [first[0], second[0], last[0]] == ["start", "descriptor", "stop"]
        came = []
        for name, doc in middle:
            if name == "event":
                came.append(plain(doc["data"]))
            else:
                assert name == "event_page"
                came += [
                    dict(zip(doc["data"], row, strict=True)) for row in zip(*plain(doc["data"]).values(), strict=True)
                ]
        assert came == rows
        assert read(run)["primary"]["image"].values.tolist() == [row["image"] for row in rows]
        with pytest.raises(TypeError, match="is no sink of documents"):
            as_sink(run)


@only_2
@pytest.mark.parametrize("writer", [save, TiledWriter])
def test_runs_of_databroker_2_in_a_catalogue(embedded, documents_of, tmp_path, writer: Callable[..., Any]) -> None:
    numbers = iter(range(100))
    camera = SynSignal(func=lambda: images("u2", next(numbers), (64, 64)), name="camera")
    camera.describe = lambda: {"camera": {"source": "sim", "dtype": "array", "shape": [64, 64], "dtype_numpy": "<u2"}}
    docs = documents_of(count([camera, det], 3))
    feed(writer(embedded), docs)
    uid = docs[0][1]["uid"]
    expected, dataset = list(documents(embedded[uid])), read(embedded[uid])["primary"]
    assert [name for name, _ in expected] == [name for name, _ in docs]
    broker = v1.Broker(embedded)
    for run in (broker.v2[uid], broker[uid]):
        assert_same(expected, list(documents(run)))
        assert_same(expected, list(as_source(run)))
        xr.testing.assert_identical(read(run)["primary"], dataset)
        got: Docs = []
        assert replay(run, got) == [uid]
        assert_same(expected, got)


@only_2
def test_runs_of_databroker_2_in_mongodb(database, documents_of, tmp_path) -> None:
    docs = documents_of(count([hw(str(tmp_path)).img, det], 3))
    feed(database.insert, docs)
    uid = docs[0][1]["uid"]
    for run in (database.v2[uid], database[uid]):
        came = list(documents(run))
        assert {name for name, _ in came} == {"start", "descriptor", "resource", "datum_page", "event_page", "stop"}
        assert all(type(doc) is dict for _, doc in came)
        assert dict(came)["start"] == plain(docs[0][1])
        frames = read(run)["primary"]["img"]
        assert frames.chunks is not None  # read from the files when they are computed
        np.testing.assert_array_equal(frames, np.ones((3, 10, 10)))
        got: Docs = []
        assert replay(run, got, handlers={"NPY_SEQ": NumpySeqHandler}) == [uid]
        rows = [doc["data"] for name, doc in got if name == "event"]
        assert [row["det"] for row in rows] == [doc["data"]["det"] for name, doc in docs if name == "event"]
        np.testing.assert_array_equal([row["img"] for row in rows], np.ones((3, 10, 10)))


@only_2
def test_a_run_in_mongodb_without_a_stop_ends_without_one(database) -> None:
    feed(database.insert, run_of([{"x": 1.0}], uid="unfinished")[:-1])
    for run in (database.v2["unfinished"], database["unfinished"]):
        assert "stop" not in [name for name, _ in documents(run)]
        assert not read(run)["primary"].attrs["complete"]
