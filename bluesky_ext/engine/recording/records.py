"""Records: the bytes of a document in a recording.

A recording is 16 bytes that say what it is, then one record for each document: 16 bytes of header (length of the
payload, 8 bytes; CRC-32 of the payload, 4 bytes; CRC-32 of these 12 bytes; little endian) and the payload. The payload
is a frame as `bluesky_ext.engine.codec.documents` describes it, with one more ``bin`` before those of the arrays: the
name of the document.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.documents import SmallDecoder, decode, encode
from bluesky_ext.engine.codec.framing import Buffer, DecodeError, bins, parts, split

SUFFIX = ".bsrec"

_VERSION = 1
MAGIC = struct.pack("<14sH", b"\x89BSREC\r\n\x1a\n", _VERSION)
HEADER_SIZE = 16
_SMALL = 65536


def pack_record(name: str, document: Mapping[str, Any]) -> list[Buffer]:
    """Return the pieces of a record; in them the arrays are not copied."""
    head, arrays = encode(document)
    payload = list(parts(head, [name.encode(), *map(raw, arrays)]))
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


def read_payload(payload: Buffer) -> tuple[str, dict[str, Any]]:
    """Return name and document, whose arrays are windows on the payload; ValueError if it is not that of a record."""
    head, arrays = split(payload)
    name = bytes(next(arrays, b"")).decode()
    return name, decode(head, arrays)


class PayloadReader:
    """`read_payload` for one payload of a recording after another: small ones without arrays in a fifth of its time."""

    def __init__(self) -> None:
        self._decoder = SmallDecoder()
        self._names: dict[bytes, str] = {}  # by what is behind a document without arrays

    def __call__(self, payload: bytes) -> tuple[str, dict[str, Any]]:
        """Return name and document."""
        found = self._decoder(payload) if len(payload) <= _SMALL else None
        if found is None:
            return read_payload(payload)
        document, behind = found
        name = self._names.get(behind)
        if name is None:
            (name,) = (bytes(one).decode() for one in bins(memoryview(behind)))
            if len(self._names) < 1000:
                self._names[behind] = name
        return name, document
