from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from runs import feed, images, run_of, uid_of

from bluesky_ext.storage import read, save
from bluesky_ext.storage.metadata import as_json


def stream_of(catalog: Any, rows: list[dict[str, Any]], tmp_path: Any) -> Any:
    docs = run_of(rows)
    with save(catalog, backup=tmp_path) as sink:
        feed(sink, docs)
    return read(catalog[uid_of(docs)])["primary"]


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
    ],
    ids=lambda value: str(value)[:20],
)
def test_columns_have_the_dtype_of_their_values(embedded, values, dtype, read_back, tmp_path) -> None:
    column = stream_of(embedded, [{"x": value} for value in values], tmp_path)["x"]
    assert column.dtype == np.dtype(dtype)
    assert column.values.tolist() == read_back


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


def test_images_are_read_in_blocks_when_they_are_computed(embedded, tmp_path) -> None:
    frames = [images("u2", n, (1500, 1500)) for n in range(6)]
    column = stream_of(embedded, [{"camera": frame} for frame in frames], tmp_path)["camera"]
    # 4.5 MB an image, so 3 in 16 MiB.
    assert column.data.chunks[0] == (3, 3)
    requests: list[str] = []
    embedded.context.http_client.event_hooks["request"].append(lambda request: requests.append(request.url.path))
    try:
        assert np.array_equal(column[4].values, frames[4])
        assert len(requests) == 1
        assert np.array_equal(column.mean("seq_num").values, np.mean(frames, 0))
    finally:
        embedded.context.http_client.event_hooks["request"].clear()


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
        (np.zeros((40, 50), "u2"), "array of 40 x 50 uint16"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_are_what_json_knows(value, json) -> None:
    assert as_json(value) == json
    assert type(as_json(value)) is type(json)
