"""Records: the bytes of a document in a recording.

A recording is 16 bytes that say what it is, then one record for each document: 16 bytes of header (length of the
payload, 8 bytes; CRC-32 of the payload, 4 bytes; CRC-32 of these 12 bytes; little endian) and the payload. The payload
is a frame as `bluesky_ext.engine.codec.documents` describes it, with two more ``bin`` before those of the arrays: the
name of the document, and one byte for each array that says how it is stored: 0 as it is, n compressed.

Compressed is: of every item, which has n bytes, all the first bytes, then all the second ones, and so on; all that
deflated by zlib at level 1 with the strategy Z_RLE. For 8 MiB of uint16 (2048 by 2048 pixels with Poisson noise, one
core of a server) that is 5.6 times less for a mean of 3 counts, 3.0 for 100, 1.9 for 2000, in 39 to 58 ms; zlib's
default strategy without the exchange of bytes has 3.6, 2.2 and 1.6 times less in 73 to 128 ms. To write them as they
are takes 3 to 8 ms. So an array is compressed only if a sample of it, which costs under 1 ms, promises half the size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.documents import decode, encode
from bluesky_ext.engine.codec.framing import Buffer, DecodeError, parts, split

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "ORPHANS_SUFFIX",
    "SUFFIX",
    "Compression",
    "pack_record",
    "read_header",
    "read_payload",
]

SUFFIX = ".bsrec"
ORPHANS_SUFFIX = ".bsorphans"

_VERSION = 1
MAGIC = struct.pack("<14sH", b"\x89BSREC\r\n\x1a\n", _VERSION)
HEADER_SIZE = 16

Compression: TypeAlias = Literal["auto", "zlib"] | None

# Smaller arrays are not worth the time to look at them.
_LEAST = 16384
_PIECE = 4096  # of a sample, which has four


def pack_record(name: str, document: Mapping[str, Any], compression: Compression) -> list[Buffer]:
    """Return the pieces of a record; in them the arrays are not copied unless they are compressed."""
    head, arrays = encode(document)
    stored = [_store(array, compression) for array in arrays]
    methods = bytes(method for method, _ in stored)
    payload = list(parts(head, [name.encode(), methods, *(data for _, data in stored)]))
    crc = 0
    for piece in payload:
        crc = zlib.crc32(piece, crc)
    header = struct.pack("<QI", sum(map(len, payload)), crc)
    return [header + struct.pack("<I", zlib.crc32(header)), *payload]


def read_header(header: bytes) -> tuple[int, int]:
    """Return the length and the CRC-32 of the payload; raise `DecodeError` if the header is damaged."""
    length, crc, check = struct.unpack("<QII", header)
    if zlib.crc32(header[:-4]) != check:
        raise DecodeError("the header of a document is wrong")
    return length, crc


def read_payload(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Return name and document; the arrays that were not compressed are windows on the payload.

    Raises ValueError if this is not the payload of a record.
    """
    head, bins = split(payload)
    name = bytes(next(bins, b"")).decode()
    stored = zip(next(bins, b""), bins, strict=True)

    def take(nbytes: int) -> Buffer:
        method, data = next(stored, (0, b""))
        return _inflate(data, method, nbytes) if method else data

    document = decode(head, take)
    if next(stored, None) is not None:
        raise DecodeError("a record with more arrays than its document has")
    return name, document


def _store(array: NDArray[Any], compression: Compression) -> tuple[int, Buffer]:
    """Return how the array is stored, and so its bytes."""
    data = raw(array)
    if compression is None or len(data) < _LEAST:
        return 0, data
    width = array.itemsize if array.itemsize < 256 else 1
    if compression == "auto" and not _pays(data, width):
        return 0, data
    compressed = _deflate(data, width)
    return (width, compressed) if len(compressed) < len(data) else (0, data)


def _pays(data: memoryview, width: int) -> bool:
    """Whether four pieces of whole items, from the whole length of the data, become twice as small or better."""
    step = len(data) // 4 // width * width
    piece = _PIECE // width * width
    sample = b"".join(data[start : start + piece] for start in range(0, 4 * step, step))
    return 2 * len(_deflate(sample, width)) <= len(sample)


def _deflate(data: Buffer, width: int) -> bytes:
    """Compress after putting together the first bytes of all items, then the second ones, and so on."""
    items = np.frombuffer(data, np.uint8).reshape(-1, width)
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_RLE)
    return compressor.compress(items.T.tobytes()) + compressor.flush()


def _inflate(data: Buffer, width: int, nbytes: int) -> Buffer:
    try:
        # One more than there should be: 0 would be no limit.
        planes = zlib.decompressobj().decompress(data, nbytes + 1)
    except zlib.error as error:
        raise DecodeError(f"an array that is not compressed as it claims: {error}") from error
    if len(planes) != nbytes:
        raise DecodeError(f"an array of {nbytes} bytes that was stored as {len(planes)}")
    return raw(np.frombuffer(planes, np.uint8).reshape(width, -1).T.copy())
