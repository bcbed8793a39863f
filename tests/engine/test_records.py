from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest
import xxhash

from bluesky_ext.engine.codec.framing import DecodeError
from bluesky_ext.engine.recording.records import HEADER_SIZE, PayloadReader, pack_record, read_header, read_payload


def test_a_record_is_header_document_name_and_arrays_and_comes_back() -> None:
    image = np.arange(10_000, dtype=">u2").reshape(100, 100)
    header, *pieces = pack_record("event", {"data": {"image": image}, "seq_num": 1})
    payload = b"".join(pieces)
    assert len(header) == HEADER_SIZE
    assert read_header(header) == (len(payload), xxhash.xxh3_64_intdigest(payload) % 2**32)
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload)
    document, name, data = (item for item in unpacker if item is not None)
    assert (list(document), name, data) == (["data", "seq_num"], b"event", image.tobytes())
    name, document = read_payload(payload)
    assert (name, document["seq_num"]) == ("event", 1)
    assert document["data"]["image"].dtype == image.dtype
    np.testing.assert_array_equal(document["data"]["image"], image)


def payload_of(shape: tuple[int, ...], *data: bytes) -> bytes:
    """A payload, made by hand, of a document that is an array of uint16."""
    head = msgpack.packb(msgpack.ExtType(1, struct.pack(f"<B{len(shape)}Q", len(shape), *shape) + b"<u2"))
    return head + b"".join(struct.pack(">BI", 0xC6, len(item)) + item for item in (b"event", *data))


def test_a_payload_made_by_hand_is_read() -> None:
    name, array = read_payload(payload_of((2,), b"\1\0\2\0"))
    assert name == "event"
    assert array.tolist() == [1, 2]


def test_a_reader_of_many_payloads_reads_each_as_it_stands() -> None:
    read = PayloadReader()
    plain, numbers = {"a": [1, None, {"b": "c"}]}, {"x": np.float64(1.5), "t": (1, 2)}
    payloads = [b"".join(pack_record("event", doc)[1:]) for doc in (plain, numbers, {"i": np.arange(3)}, {1: 2}, plain)]
    assert [read(payload)[1].keys() for payload in payloads] == [{"a"}, {"x", "t"}, {"i"}, {1}, {"a"}]
    for bad in (b"", payloads[0][:-1], payloads[0] + b"\xc6", payloads[0] + b"\x01"):
        with pytest.raises(DecodeError):
            read(bad)
        assert read(payloads[0]) == ("event", plain)
        assert type(read(payloads[1])[1]["x"]) is np.float64


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        payload_of((2,)),
        payload_of((2,), b"\1\0\2\0", b"\1\0\2\0"),
        payload_of((2,), b"\1\0\2"),
        payload_of((2,), b"\1\0\2\0").replace(b"event", b"even\xff"),
    ],
)
def test_a_payload_that_is_none_of_ours_is_refused(payload) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the messages differ
        read_payload(payload)
    assert "\n" not in str(error.value)


def test_a_damaged_header_is_refused() -> None:
    header, *_ = pack_record("stop", {"uid": "x"})
    for at in range(HEADER_SIZE):
        damaged = header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]
        with pytest.raises(ValueError, match="the header of a document is wrong"):
            read_header(damaged)
