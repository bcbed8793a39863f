from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest

from bluesky_ext.engine.recording.records import HEADER_SIZE, pack_record, read_header, read_payload


def images() -> Iterator[tuple[str, np.ndarray, bool]]:
    """Images by name, and whether it pays to compress them."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(100, (200, 300))
    for dtype in ("<u2", ">u2", "<u4", "<i8"):
        yield f"counts {dtype}", counts.astype(dtype), True
    yield "zeros", np.zeros((300, 300)), True
    yield "mask", counts > 100, True
    yield "times", np.arange(20_000).astype("<M8[ns]"), True
    yield "text", np.full(2000, "label", "<U8"), True
    yield "records", np.zeros(3000, "u1,f8,S3"), True
    yield "items of 12 bytes", np.rec.fromarrays([counts.astype("<i8"), counts.astype("<u4")]).view(np.ndarray), True
    yield "items of 300 bytes", np.zeros(100, "S300"), True
    yield "strided", counts.astype("<u4")[::2, ::3], True
    yield "noise", rng.integers(0, 2**16, (200, 300), np.uint16), False
    yield "small", np.zeros(1000, np.uint8), False


@pytest.mark.parametrize(("image", "pays"), [pytest.param(i, p, id=name) for name, i, p in images()])
@pytest.mark.parametrize("compression", ["auto", "zlib", None])
def test_an_array_is_compressed_where_it_pays_and_comes_back(image, pays, compression) -> None:
    header, *pieces = pack_record("event", {"data": {"image": image}, "seq_num": 1}, compression)
    payload = b"".join(pieces)
    if pays and compression is not None:
        assert len(payload) < image.nbytes / 2
    else:
        assert image.tobytes() in payload
        assert len(payload) < image.nbytes + 400
    assert read_header(header) == (len(payload), zlib.crc32(payload))
    name, document = read_payload(payload)
    assert name == "event"
    assert document["seq_num"] == 1
    assert document["data"]["image"].dtype == image.dtype
    np.testing.assert_array_equal(document["data"]["image"], image)


def test_what_zlib_makes_smaller_but_not_by_half_is_compressed_only_on_demand() -> None:
    # 5 random bits in every 8 leave at least 5/8, and zlib comes near to that.
    image = np.random.default_rng(0).integers(0, 32, 100_000, np.uint8)
    sizes = {c: sum(map(len, pack_record("event", {"image": image}, c))) for c in ("auto", "zlib", None)}
    assert sizes["auto"] == sizes[None] > 100_000
    assert 62_500 < sizes["zlib"] < 70_000


def test_the_bytes_of_items_are_exchanged_as_the_module_describes() -> None:
    image = np.arange(10_000, dtype="<u2")
    planes = (image & 0xFF).astype("u1").tobytes() + (image >> 8).astype("u1").tobytes()
    header, *pieces = pack_record("event", {"image": image}, "zlib")
    unpacker = msgpack.Unpacker(max_buffer_size=100_000)
    unpacker.feed(b"".join(pieces))
    document, *bins = [item for item in unpacker if item is not None]
    assert set(document) == {"image"}
    name, methods, data = bins
    assert (name, methods) == (b"event", b"\2")
    assert zlib.decompress(data) == planes
    assert len(header) == HEADER_SIZE


def payload_of(shape: tuple[int, ...], methods: bytes, *data: bytes) -> bytes:
    """A payload, made by hand, of a document that is an array of uint16."""
    head = msgpack.packb(msgpack.ExtType(1, struct.pack(f"<B{len(shape)}Q", len(shape), *shape) + b"<u2"))
    return head + b"".join(struct.pack(">BI", 0xC6, len(item)) + item for item in (b"event", methods, *data))


def test_a_payload_made_by_hand_is_read() -> None:
    for payload in (payload_of((2,), b"\0", b"\1\0\2\0"), payload_of((2,), b"\2", zlib.compress(b"\1\2\0\0"))):
        name, array = read_payload(payload)
        assert name == "event"
        assert array.tolist() == [1, 2]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        payload_of((2,), b""),
        payload_of((2,), b"\0"),
        payload_of((2,), b"", b"\1\0\2\0"),
        payload_of((2,), b"\0\0", b"\1\0\2\0", b"\1\0\2\0"),
        payload_of((2,), b"\0", b"\1\0\2"),
        payload_of((2,), b"\2", b"\1\0\2\0"),
        payload_of((2,), b"\2", zlib.compress(b"\1\2\0")),
        payload_of((2,), b"\2", zlib.compress(b"\1\2\0\0\0")),
        payload_of((2,), b"\3", zlib.compress(b"\1\2\0\0")),
        payload_of((0,), b"\2", zlib.compress(b"\1\2")),
        payload_of((2,), b"\0", b"\1\0\2\0").replace(b"event", b"even\xff"),
    ],
)
def test_a_payload_that_is_none_of_ours_is_refused(payload) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the messages differ
        read_payload(payload)
    assert "\n" not in str(error.value)


def test_no_more_is_inflated_than_the_array_has() -> None:
    bomb = payload_of((2,), b"\2", zlib.compress(bytes(10**8)))
    with pytest.raises(ValueError, match="an array of 4 bytes that was stored as 5"):
        read_payload(bomb)


def test_a_damaged_header_is_refused() -> None:
    header, *_ = pack_record("stop", {"uid": "x"}, None)
    for at in range(HEADER_SIZE):
        damaged = header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]
        with pytest.raises(ValueError, match="the header of a document is wrong"):
            read_header(damaged)
