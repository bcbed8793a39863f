"""Captures, written here in the form that dranspose gives them."""

from __future__ import annotations

import gzip
import logging

import numpy as np
import pytest

from bluesky_ext.live.replay.captures import read_capture

cbor2 = pytest.importorskip("cbor2")


def message(number, *frames, typ="STINS", stream="xrd", more=()):
    """A message as it is written, with bytes for frames."""
    return cbor2.dumps(cbor2.CBORTag(42877, [number, {stream: cbor2.CBORTag(42878, [typ, list(frames)])}, *more]))


@pytest.mark.parametrize("suffix", [".cbors", ".cbors.gz"])
def test_messages_come_as_they_were_captured(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    content = b"\xd9\xd9\xf7" + message(0, b'{"htype": "header"}') + message(1, b"{}", b"x" * 70_000, more=(1.5,))
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    first, second = read_capture(path)
    assert (first.event_number, first.streams["xrd"].typ, first.streams["xrd"].frames) == (
        0,
        "STINS",
        [b'{"htype": "header"}'],
    )
    assert second.event_number == 1
    assert [len(frame) for frame in second.streams["xrd"].frames] == [2, 70_000]


@pytest.mark.parametrize("cut", [1, 2, 5, 60])
def test_what_is_whole_is_read_of_a_capture_that_is_cut_short(tmp_path, caplog, cut):
    whole = message(0, b"a" * 50)
    (tmp_path / "a.cbors").write_bytes((whole + message(1, b"b" * 50))[:-cut])
    with caplog.at_level(logging.WARNING):
        assert [one.event_number for one in read_capture(tmp_path / "a.cbors")] == [0]
    (record,) = caplog.records
    assert f"the last {len(whole) - cut} bytes are no whole message" in record.getMessage()


@pytest.mark.parametrize("cut", [4, 50_000])
def test_what_is_whole_is_read_of_a_compressed_capture_that_is_cut_short(tmp_path, caplog, cut):
    noise = np.random.default_rng(0).bytes
    packed = gzip.compress(message(0, noise(100_000)) + message(1, noise(100_000)))
    (tmp_path / "a.cbors.gz").write_bytes(packed[:-cut])
    numbers = [one.event_number for one in read_capture(tmp_path / "a.cbors.gz")]
    assert numbers == ([0, 1] if cut == 4 else [0])
    (record,) = caplog.records
    assert "a.cbors.gz is cut short" in record.getMessage()


def test_an_empty_capture_has_no_messages(tmp_path, caplog):
    (tmp_path / "a.cbors").write_bytes(b"")
    assert list(read_capture(tmp_path / "a.cbors")) == []
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        *[cbor2.dumps(item) for item in ([1, 2], {"a": 1}, cbor2.CBORTag(42879, [0, {}]), cbor2.CBORTag(42877, {}))],
        cbor2.dumps(cbor2.CBORTag(42877, [0, {"a": cbor2.CBORTag(42878, ["x", ["text"]])}])),
        b"\x1c" * 20,
        b"\xff",
        message(0, more=())[:4] + b"\x83\x00\xa0" + b"\x81" * 5000,
    ],
)
def test_what_is_no_capture_is_named(tmp_path, content):
    (tmp_path / "a.cbors").write_bytes(message(0, b"") + content)
    with pytest.raises(ValueError, match=r"a\.cbors, message 1"):
        list(read_capture(tmp_path / "a.cbors"))
