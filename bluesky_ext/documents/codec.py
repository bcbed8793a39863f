"""The bytes of a document, and the document again: msgpack with exact arrays and scalars, and without pickle.

A frame is a sequence of msgpack objects, so that any msgpack library can take it apart: first the document, then
one ``bin`` for each of its arrays, in the order in which they stand in it. The arrays are kept out of the document so
that reading them copies nothing; nils before each make it start at a multiple of 16 bytes, because numpy and numba
are slower on arrays that are not aligned. The frame of a document without arrays is its plain msgpack.

What msgpack does not know by itself are extension types:

=====  =========================================================================================================
code   payload
=====  =========================================================================================================
1      array: number of dimensions (1 byte), their lengths (8 bytes each), dtype; its values are the next ``bin``
2      numpy scalar: length of the dtype (2 bytes), dtype, value
3      tuple: msgpack of the list of its items
4      int beyond 64 bits: two's complement
5      complex: two float64
6-8    datetime and date (ISO 8601), timedelta (days, seconds, microseconds: 4 bytes each)
=====  =========================================================================================================

All of these numbers are little endian. A dtype is numpy's string for it (``<u2``, ``>f8``, ``<M8[ns]``), or ``str``
or ``bytes`` for the scalars `numpy.str_` and `numpy.bytes_`, or, if it has fields, msgpack of
``[itemsize, [[name, dtype, shape, offset, title], ...]]``.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeAlias, TypeGuard, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_DEPTH", "Buffer", "DecodeError", "decode", "dumps", "encode", "loads", "parts", "raw", "split"]

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_DEPTH = 100
"""Levels of containers that a document may have. Real ones have about ten; the limit is on both sides, so that a
document which no one could read is refused where it is made."""


class _Type(IntEnum):
    ARRAY = 1
    SCALAR = 2
    TUPLE = 3
    INT = 4
    COMPLEX = 5
    DATETIME = 6
    DATE = 7
    TIMEDELTA = 8


_ALIGNMENT = 16
_CHUNK = 65536
_MAX_BIN = 2**32 - 1
_MAX_DTYPE = 2**16 - 1

# dtypes that numpy reads by their string. A whitelist by kind, so that the text from a frame never reaches numpy's
# parser of structured dtypes, and no object ('O') or foreign dtype can be named. M8[0s] is left out: it divides by 0.
_PLAIN_DTYPE = re.compile(rb"[<>|=](?:[biufcSUV]\d{1,10}|[mM]8(?:\[(?:[1-9]\d{0,9})?[A-Za-z]{1,2}\])?)")

_LEAVES = frozenset({str, float, int, bool, type(None), bytes, np.ndarray, np.float64, np.int64})


class DecodeError(ValueError):
    """The bytes are no frame of this codec, or one beyond the limits given."""


def dumps(document: object) -> bytes:
    """Return the frame of a document; it can be given to Bluesky's ``Publisher(..., serializer=dumps)``.

    Parameters
    ----------
    document : object
        A document: mappings, sequences, str, bytes, numbers, bool, None, datetime, date, timedelta, numpy arrays and
        scalars. Keys may be whatever is hashable among these. Its arrays may have any order and byte order.

    Returns
    -------
    bytes
        The frame. `loads` gives an equal document of the same types, down to dtypes and NaNs, except that
        subclasses come back as what they extend: every mapping as dict, every other sequence as list, named tuples
        as tuple, str or int enums as str or int, `numpy.memmap` and `numpy.recarray` as ndarray, bytearray and
        memoryview as bytes. A time zone comes back as its offset from UTC.

    Raises
    ------
    TypeError
        At something that would not come back as it was: a set, an array of objects, any other type. The message
        says where in the document it is.
    ValueError
        If the document has more than `MAX_DEPTH` levels, or contains itself.
    """
    head, arrays = encode(document)
    return b"".join(parts(head, map(raw, arrays))) if arrays else head


def loads(buffer: Buffer, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> Any:
    """Return the document of a frame; it can be given to ``RemoteDispatcher(..., deserializer=loads)``.

    Safe on bytes from anyone: nothing in them is executed, nothing is allocated for a length that they claim but do
    not have, and what is allocated is in proportion to their number.

    Parameters
    ----------
    buffer : bytes, bytearray or memoryview
        The frame.
    max_bytes : int, optional
        Refuse a longer frame.
    max_depth : int
        Refuse a document with more levels of containers.

    Returns
    -------
    object
        The document. Its arrays are read-only, and are windows on the buffer, which they keep alive; only those
        that the buffer holds at an address unfit for their dtype are copied.

    Raises
    ------
    DecodeError
        If this is not a frame, or one beyond the limits.
    """
    frame = memoryview(buffer).cast("B")
    if max_bytes is not None and len(frame) > max_bytes:
        raise DecodeError(f"a frame of {len(frame)} bytes: no more than {max_bytes} are allowed")
    head, bins = split(frame)

    def take(nbytes: int) -> Buffer:
        data = next(bins, None)
        if data is None:
            raise DecodeError(f"an array of {nbytes} bytes that is not in the frame")
        return data

    document = decode(head, take, max_depth=max_depth)
    if next(bins, None) is not None:
        raise DecodeError("a frame with more arrays than its document has")
    return document


def encode(document: object) -> tuple[bytes, list[NDArray[Any]]]:
    """Return the document as msgpack, and its arrays, C-contiguous and in the order in which they stand in it.

    The first half of `dumps`, for those who store or send the arrays in their own way. An array that is contiguous
    already is not copied: use it before the document can change.
    """
    encoder = _Encoder()
    try:
        head = encoder.pack(document)
    except _RefusedError as refused:
        raise TypeError(f"document{_path(document, refused.value) or ''}: {refused}") from None
    if _deeper_than(MAX_DEPTH, document):
        raise ValueError(_TOO_DEEP)
    return head, encoder.arrays


def decode(head: Buffer, take: Callable[[int], Buffer], *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the document from its msgpack; ``take(nbytes)`` is called for the bytes of each array in turn.

    The second half of `loads`. Raises `DecodeError`, also if `take` gives another number of bytes.
    """
    try:
        document = _Decoder(take, max_depth).unpack(head)
        if _deeper_than(max_depth, document):
            raise DecodeError(f"a document of more than {max_depth} levels")
    except DecodeError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, struct.error, msgpack.UnpackException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"not a document: {reason[:200]}") from error
    return document


def parts(head: bytes, buffers: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield the pieces that make a frame when they are joined: the document, and the bytes of its arrays."""
    yield head
    offset = len(head)
    for data in buffers:
        size = len(data)
        if size > _MAX_BIN:
            raise ValueError(f"an array of {size} bytes: a frame holds arrays of up to {_MAX_BIN} bytes")
        padding = -(offset + 5) % _ALIGNMENT
        yield b"\xc0" * padding + struct.pack(">BI", 0xC6, size)
        yield data
        offset += padding + 5 + size


def split(buffer: Buffer) -> tuple[memoryview, Iterator[memoryview]]:
    """Return the document of a frame as msgpack, and an iterator over the bytes of its arrays; copies neither."""
    frame = memoryview(buffer).cast("B")
    # Skipping makes no objects: it finds the end of the document, and that it is all there, before anything is
    # allocated for the lengths that it claims.
    unpacker = msgpack.Unpacker(read_size=_CHUNK, max_buffer_size=max(len(frame), _CHUNK))
    for offset in range(0, len(frame), _CHUNK):
        unpacker.feed(frame[offset : offset + _CHUNK])
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            continue
        except (ValueError, msgpack.UnpackException) as error:
            raise DecodeError("not msgpack") from error
        end = unpacker.tell()
        return frame[:end], _bins(frame, end)
    raise DecodeError("a frame that ends within its document")


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a C-contiguous array, without a copy."""
    if not array.nbytes:
        return memoryview(b"")
    # By way of uint8, because datetime64 has no buffer protocol of its own.
    return array.reshape(-1).view(np.uint8).data


def _bins(frame: memoryview, offset: int) -> Iterator[memoryview]:
    while offset < len(frame):
        start = offset
        while offset < len(frame) and frame[offset] == 0xC0:
            offset += 1
        if offset - start >= _ALIGNMENT or len(frame) - offset < 5 or frame[offset] != 0xC6:
            raise DecodeError(f"no array at byte {start} of the frame")
        (size,) = struct.unpack_from(">I", frame, offset + 1)
        offset += 5
        if size > len(frame) - offset:
            raise DecodeError(f"an array that claims {size} bytes: the frame has {len(frame) - offset} left")
        yield frame[offset : offset + size]
        offset += size


_TOO_DEEP = f"document of more than {MAX_DEPTH} levels, or one that contains itself: flatten it"


class _RefusedError(TypeError):
    """A value of the document that does not come back as it was."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.value = value


class _Encoder:
    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._depth = 0

    def pack(self, value: object) -> bytes:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise ValueError(_TOO_DEEP)
        # Strict: subclasses, numpy's scalars among them (numpy.float64 is a float), and tuples come to `extend`.
        packer = msgpack.Packer(default=self.extend, strict_types=True, unicode_errors="surrogatepass", buf_size=4096)
        try:
            packed = packer.pack(value)
        except ValueError as error:
            raise ValueError(_TOO_DEEP if "recursion" in str(error) else str(error)) from error
        self._depth -= 1
        return packed

    def extend(self, value: Any) -> object:
        """Return what msgpack does not know as something that it does."""
        if isinstance(value, np.generic):
            return msgpack.ExtType(_Type.SCALAR, _scalar_payload(value))
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, int):
            if -(2**63) <= value < 2**64:
                return int(value)
            return msgpack.ExtType(_Type.INT, int(value).to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        if isinstance(value, str):
            # Not str(value), which is the name of the member if this is an Enum.
            return str.__str__(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if isinstance(value, complex):
            return msgpack.ExtType(_Type.COMPLEX, struct.pack("<dd", value.real, value.imag))
        # The exact types: a pandas Timestamp is a datetime too, and would lose its nanoseconds.
        if type(value) is datetime:
            return msgpack.ExtType(_Type.DATETIME, value.isoformat().encode())
        if type(value) is date:
            return msgpack.ExtType(_Type.DATE, value.isoformat().encode())
        if type(value) is timedelta:
            return msgpack.ExtType(_Type.TIMEDELTA, struct.pack("<iii", value.days, value.seconds, value.microseconds))
        if isinstance(value, tuple):
            return msgpack.ExtType(_Type.TUPLE, self.pack(list(value)))
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, Sequence):
            return list(value)
        if isinstance(value, Set):
            raise _RefusedError(value, f"a {type(value).__name__} has no order: give a sorted list")
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise _RefusedError(value, f"cannot encode {kind}: give numbers, str, lists, dicts or arrays")

    def _array(self, value: NDArray[Any]) -> object:
        # A subclass can mean more than its numbers, as the mask of a masked array or a unit.
        if type(value) not in (np.ndarray, np.memmap, np.recarray):
            raise _RefusedError(value, f"cannot encode {type(value).__name__}: give plain arrays, numpy.asarray(...)")
        code = _code_of(value)
        self.arrays.append(np.ascontiguousarray(value))
        return msgpack.ExtType(_Type.ARRAY, struct.pack(f"<B{value.ndim}Q", value.ndim, *value.shape) + code)


class _Decoder:
    def __init__(self, take: Callable[[int], Buffer], max_depth: int) -> None:
        self._take = take
        self._levels = max_depth + 1

    def unpack(self, packed: Buffer) -> Any:
        if not self._levels:
            raise DecodeError("a document of too many levels")
        self._levels -= 1
        value = _unpack(packed, self.extension)
        self._levels += 1
        return value

    def extension(self, code: int, data: bytes) -> object:
        """Return the object that an extension type stands for."""
        match code:
            case _Type.ARRAY:
                ndim = data[0] if data else 0
                shape = struct.unpack_from(f"<{ndim}Q", data, 1)
                return _window(shape, _dtype(data[1 + 8 * ndim :]), self._take)
            case _Type.SCALAR:
                return _scalar(data)
            case _Type.TUPLE:
                items = self.unpack(data)
                if type(items) is not list:
                    raise DecodeError("a tuple that is no list of items")
                return tuple(items)
            case _Type.INT:
                return int.from_bytes(data, "little", signed=True)
            case _Type.COMPLEX:
                return complex(*struct.unpack("<dd", data))
            case _Type.DATETIME:
                return datetime.fromisoformat(data.decode())
            case _Type.DATE:
                return date.fromisoformat(data.decode())
            case _Type.TIMEDELTA:
                return timedelta(*struct.unpack("<iii", data))
        raise DecodeError(f"extension type {code} is unknown: made by a newer bluesky-ext, or by another program")


def _unpack(packed: Buffer, extension: Callable[[int, bytes], object]) -> Any:
    head, rest = split(packed)
    if next(rest, None) is not None:
        raise DecodeError("more than one document")
    # timestamp=3: msgpack's own time stamps, which others send, become datetimes.
    return msgpack.unpackb(head, ext_hook=extension, strict_map_key=False, unicode_errors="surrogatepass", timestamp=3)


def _window(shape: tuple[int, ...], dtype: np.dtype[Any], take: Callable[[int], Buffer]) -> NDArray[Any]:
    """Return the next array, on the memory that `take` gives for it."""
    nbytes = math.prod(shape) * dtype.itemsize
    data = take(nbytes)
    if len(data) != nbytes:
        raise DecodeError(f"an array of {nbytes} bytes with {len(data)} bytes of values")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data)
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    _check_text(array)
    return array


def _check_text(array: NDArray[Any]) -> None:
    """Refuse text that numpy would hold, but fail to read."""
    for name in array.dtype.names or ():
        _check_text(array[name])
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max() > 0x10FFFF:
            raise DecodeError("an array of text with characters that do not exist")


def _scalar_payload(value: np.generic) -> bytes:
    # Not by their dtypes: S strips the zeros at the end, and there is no U of no characters.
    if isinstance(value, np.str_):
        code, data = b"str", value.encode("utf-8", "surrogatepass")
    elif isinstance(value, np.bytes_):
        code, data = b"bytes", bytes(value)
    else:
        code, data = _code_of(value), value.tobytes()
    return struct.pack("<H", len(code)) + code + data


def _scalar(payload: bytes) -> Any:
    (length,) = struct.unpack_from("<H", payload)
    code, data = payload[2 : 2 + length], payload[2 + length :]
    if code == b"str":
        return np.str_(data.decode("utf-8", "surrogatepass"))
    if code == b"bytes":
        return np.bytes_(data)
    return _window((), _dtype(code), lambda _: data)[()]


def _code_of(value: NDArray[Any] | np.generic) -> bytes:
    try:
        return _dtype_code(value.dtype)
    except TypeError as error:
        raise _RefusedError(value, str(error)) from None


@lru_cache(maxsize=256)
def _dtype_code(dtype: np.dtype[Any]) -> bytes:
    if dtype.names is not None:
        fields = []
        for name in dtype.names:
            # Its type in numpy's stubs is a mapping of literal strings, which the names are not.
            field, offset, *title = cast("Mapping[str, Any]", dtype.fields)[name]
            base, shape = field.subdtype or (field, ())
            fields.append([name, _dtype_code(base), list(shape), offset, title[0] if title else None])
        code: bytes = msgpack.Packer().pack([dtype.itemsize, fields])
        if len(code) > _MAX_DTYPE:
            raise TypeError(f"cannot encode a dtype of {len(fields)} fields: give one array a field")
        return code
    code = dtype.str.encode()
    # Compared, because a dtype from elsewhere (bfloat16) may call itself plain bytes.
    if not _PLAIN_DTYPE.fullmatch(code) or np.dtype(dtype.str) != dtype or not dtype.itemsize:
        raise TypeError(f"cannot encode dtype {dtype}: convert it to numbers, bool, bytes ('S') or str ('U')")
    return code


@lru_cache(maxsize=256)
def _dtype(code: bytes, level: int = 0) -> np.dtype[Any]:
    if _PLAIN_DTYPE.fullmatch(code):
        dtype = np.dtype(code.decode())
    elif len(code) > _MAX_DTYPE or level > MAX_DEPTH:
        raise DecodeError("a dtype of too many fields")
    else:
        itemsize, fields = _unpack(code, msgpack.ExtType)
        names, codes, shapes, offsets, titles = zip(*fields, strict=True)
        if not all(title is None or isinstance(title, str) for title in titles):
            raise DecodeError("a dtype with a field whose title is no text")
        formats = [(_dtype(base, level + 1), tuple(shape)) for base, shape in zip(codes, shapes, strict=True)]
        dtype = np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "titles": titles, "itemsize": itemsize}
        )
    if not dtype.itemsize:
        raise DecodeError("a dtype of no bytes")
    return dtype


def _deeper_than(limit: int, value: object) -> bool:
    level = [value] if _is_container(value) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, Mapping) else node)
            if type(child) not in _LEAVES and _is_container(child)
        ]
    return bool(level)


def _is_container(value: object) -> TypeGuard[Sequence[Any] | Mapping[Any, Any]]:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _path(node: object, value: object, level: int = 0) -> str | None:
    """Return where the value is in the document, as one would write it in Python; None if it is in a key."""
    if node is value:
        return ""
    if _is_container(node) and level < MAX_DEPTH:
        for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            path = _path(child, value, level + 1)
            if path is not None:
                return f"[{key!r}]{path}"
    return None
