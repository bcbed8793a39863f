"""Records: the bytes of a document in a recording.

A recording is 16 bytes that say what it is, then one record for each document: 16 bytes of header (length of the
payload, 8 bytes; `checksum` of the payload, 4 bytes; that of these 12 bytes; little endian) and the payload. The
payload is a frame as `bluesky_ext.engine.codec.documents` describes it, with one more ``bin`` before those of the
arrays: the name of the document. Of an event with images in the file beside the recording, a zero and the list of these
(see `bluesky_ext.engine.recording.frame_file`) follow the name, and the document has None in their places.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from xxhash import xxh3_64

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.depth import is_too_deep
from bluesky_ext.engine.codec.documents import ERRORS, decode, dumps, encode, loads, small_unpacker
from bluesky_ext.engine.codec.framing import Buffer, DecodeError, bins, parts, split
from bluesky_ext.engine.recording.frame_file import Frame

SUFFIX = ".bsrec"

_VERSION = 2
MAGIC = struct.pack("<14sH", b"\x89BSREC\r\n\x1a\n", _VERSION)
_HEADER = struct.Struct("<QII")
HEADER_SIZE = _HEADER.size
_SMALL = 65536


def pack_record(name: str, document: Mapping[str, Any]) -> list[Buffer]:
    """Return the pieces of a record; in them the arrays are not copied. Data of an event may be a `Frame`."""
    label = name.encode()
    data = document.get("data") if name == "event" else None
    if isinstance(data, Mapping) and (frames := [value for value in data.values() if isinstance(value, Frame)]):
        label += b"\0" + dumps([list(frame) for frame in frames])
        document = {**document, "data": {**data, **{frame.key: None for frame in frames}}}
    head, arrays = encode(document)
    payload = list(parts(head, [label, *map(raw, arrays)]))
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


def read_payload(payload: Buffer, read_frame: Callable[[Frame], Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Return name and document, whose arrays are windows on the payload; ValueError if it is not that of a record.

    Of images in a file beside, the data are what `read_frame` returns; without that, they are refused.
    """
    head, arrays = split(payload)
    label = bytes(next(arrays, b""))
    return _with_frames(label, decode(head, arrays), read_frame)


def _with_frames(
    label: bytes, document: dict[str, Any], read_frame: Callable[[Frame], Any] | None
) -> tuple[str, dict[str, Any]]:
    name, refers, frames = label.partition(b"\0")
    if refers:
        if read_frame is None:
            raise DecodeError("a document with images in a file beside, where none is read")
        try:
            found = [Frame(*frame) for frame in loads(frames)]
            document["data"].update({frame.key: read_frame(frame) for frame in found})
        except (TypeError, LookupError, AttributeError) as error:
            raise DecodeError(f"a document with images in a file beside, which it does not tell of: {error}") from error
    return name.decode(), document


class PayloadReader:
    """`read_payload` for one payload of a recording after another: small ones without arrays in a third of its time."""

    def __init__(self, read_frame: Callable[[Frame], Any] | None = None) -> None:
        self._read_frame = read_frame
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
                    name = self._names.get(behind)
                    return (name, document) if name else self._named(behind, document)
            except ERRORS:  # it has arrays, or is none
                self._unpacker = small_unpacker()
        return read_payload(payload, self._read_frame)

    def _named(self, behind: bytes, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        (label,) = (bytes(one) for one in bins(memoryview(behind)))
        if b"\0" not in label and len(self._names) < 1000:
            self._names[behind] = label.decode()
        return _with_frames(label, document, self._read_frame)
