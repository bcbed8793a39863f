"""Records: the bytes of a document in a recording.

A recording is 16 bytes that say what it is, then one record for each document: 16 bytes of header (length of the
payload, 8 bytes; `checksum` of the payload, 4 bytes; that of these 12 bytes; little endian) and the payload. The
payload is a frame as `bluesky_ext.engine.codec.documents` describes it, with one more ``bin`` before those of the
arrays: the name of the document.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from xxhash import xxh3_64

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.depth import is_too_deep
from bluesky_ext.engine.codec.documents import ERRORS, decode, encode, small_unpacker
from bluesky_ext.engine.codec.framing import Buffer, DecodeError, bins, parts, split

SUFFIX = ".bsrec"

_VERSION = 2
MAGIC = struct.pack("<14sH", b"\x89BSREC\r\n\x1a\n", _VERSION)
_HEADER = struct.Struct("<QII")
HEADER_SIZE = _HEADER.size
_SMALL = 65536


def pack_record(name: str, document: Mapping[str, Any]) -> list[Buffer]:
    """Return the pieces of a record; in them the arrays are not copied."""
    head, arrays = encode(document)
    payload = list(parts(head, [name.encode(), *map(raw, arrays)]))
    header = struct.pack("<QI", sum(map(len, payload)), checksum(*payload))
    return [header + struct.pack("<I", checksum(header)), *payload]


def checksum(*pieces: Buffer) -> int:
    """Return 32 bits of the XXH3 of pieces that follow each other: an image of 2 MiB takes a fifth of its CRC-32."""
    digest = xxh3_64()
    for piece in pieces:
        digest.update(piece)
    return digest.intdigest() & 0xFFFFFFFF


def read_header(header: bytes) -> tuple[int, int]:
    """Return the length and the checksum of the payload; raise `DecodeError` if the header is damaged."""
    length, expected, check = _HEADER.unpack(header)
    if checksum(header[:-4]) != check:
        raise DecodeError("the header of a document is wrong")
    return length, expected


def read_payload(payload: Buffer) -> tuple[str, dict[str, Any]]:
    """Return name and document, whose arrays are windows on the payload; ValueError if it is not that of a record."""
    head, arrays = split(payload)
    name = bytes(next(arrays, b"")).decode()
    return name, decode(head, arrays)


class PayloadReader:
    """`read_payload` for one payload of a recording after another: small ones without arrays in a third of its time."""

    def __init__(self) -> None:
        self._unpacker = small_unpacker()
        self._names: dict[bytes, str] = {}  # by what is behind a document without arrays

    def __call__(self, payload: bytes) -> tuple[str, dict[str, Any]]:
        """Return name and document."""
        if len(payload) <= _SMALL:
            try:
                self._unpacker.feed(payload)
                document = self._unpacker.unpack()
                behind = self._unpacker.read_bytes(_SMALL)
                if not is_too_deep(document, payload):
                    return self._names.get(behind) or self._name(behind), document
            except ERRORS:  # it has arrays, or is none
                self._unpacker = small_unpacker()
        return read_payload(payload)

    def _name(self, behind: bytes) -> str:
        (name,) = (bytes(one).decode() for one in bins(memoryview(behind)))
        if len(self._names) < 1000:
            self._names[behind] = name
        return name
