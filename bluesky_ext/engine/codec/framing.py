"""The framing of a document: its msgpack, then the bytes of its arrays, each in a ``bin`` of msgpack.

So a frame is a sequence of msgpack objects, which any msgpack library can take apart. The arrays are kept out of the
document so that reading them copies nothing; nils before each make it start at a multiple of 16 bytes, because numpy
and numba are slower on arrays that are not aligned. The frame of a document without arrays is its plain msgpack.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgpack

Buffer: TypeAlias = bytes | bytearray | memoryview

#: What a document from anyone may have, unless told otherwise: lists, dicts, arrays and others that are neither numbers
#: nor text, each of which takes up to 70 times its bytes; and bytes of msgpack, beside the values of arrays.
MAX_OBJECTS = 250_000
MAX_PLAIN = 20 * 2**20

_ALIGNMENT = 16
_CHUNK = 65536
_MAX_BIN = 2**32 - 1
_NIL = b"\xc0"
_BIN = 0xC6
_BIN_HEADER = struct.Struct(">BI")


class DecodeError(ValueError):
    """The bytes are no frame of this codec, or one beyond the limits given."""


def parts(head: bytes, buffers: Iterable[Buffer], start: int = 0) -> Iterator[Buffer]:
    """Yield the pieces that make a frame when they are joined: the document, and the bytes of its arrays.

    The arrays are aligned as they will lie in a message of which the frame begins at byte `start`.
    """
    yield head
    offset = start + len(head)
    for data in buffers:
        size = len(data)
        if size > _MAX_BIN:
            raise ValueError(f"an array of {size} bytes: a frame holds arrays of up to {_MAX_BIN} bytes")
        padding = -(offset + _BIN_HEADER.size) % _ALIGNMENT
        yield _NIL * padding + _BIN_HEADER.pack(_BIN, size)
        yield data
        offset += padding + _BIN_HEADER.size + size


def split(buffer: Buffer, max_plain: int | None = None) -> tuple[memoryview, Iterator[memoryview]]:
    """Return the document of a frame as msgpack, and an iterator over the bytes of its arrays; copies neither.

    Raises `DecodeError` if the document is not whole, or has more bytes than ``max_plain``; the iterator does so at
    what is no array.
    """
    frame = memoryview(buffer).cast("B")
    limit = len(frame) if max_plain is None else max_plain
    # Skipping makes no objects: it finds the end of the document, and that it is all there, before anything is
    # allocated for the lengths that it claims.
    unpacker = msgpack.Unpacker(read_size=_CHUNK, max_buffer_size=max(len(frame), _CHUNK))
    for offset in range(0, min(len(frame), limit + 1), _CHUNK):
        unpacker.feed(frame[offset : offset + _CHUNK])
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            continue
        except (ValueError, msgpack.UnpackException) as error:
            raise DecodeError("not msgpack") from error
        end = unpacker.tell()
        if end <= limit:
            return frame[:end], bins(frame, end)
    if len(frame) > limit:
        raise DecodeError(
            f"a document of more than {limit} bytes beside its arrays (limit plain): send images as arrays"
        )
    raise DecodeError("a frame that ends within its document")


def bins(frame: memoryview, offset: int = 0) -> Iterator[memoryview]:
    """Yield the bytes of the arrays that begin at an offset of a frame; `DecodeError` at what is none."""
    while offset < len(frame):
        padding = bytes(frame[offset : offset + _ALIGNMENT - 1])
        start = offset + len(padding) - len(padding.lstrip(_NIL))
        if len(frame) - start < _BIN_HEADER.size or frame[start] != _BIN:
            raise DecodeError(f"no array at byte {offset} of the frame")
        _, size = _BIN_HEADER.unpack_from(frame, start)
        offset = start + _BIN_HEADER.size
        if size > len(frame) - offset:
            raise DecodeError(f"an array that claims {size} bytes: the frame has {len(frame) - offset} left")
        yield frame[offset : offset + size]
        offset += size
