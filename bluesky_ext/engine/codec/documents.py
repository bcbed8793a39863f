"""The bytes of a document, and the document again: msgpack with exact arrays and scalars, and without pickle.

The frame of a document is its msgpack, and the bytes of its arrays in the order in which they stand in it, put together
as `bluesky_ext.engine.codec.framing` describes it. What msgpack does not know by itself are extension types:

=====  =========================================================================================================
code   payload (numbers are little endian)
=====  =========================================================================================================
1, 2   array, numpy scalar: as `bluesky_ext.engine.codec.arrays` describes them
3      tuple: msgpack of the list of its items
4      int beyond 64 bits: two's complement
5      complex: two float64
6-8    datetime and date (ISO 8601), timedelta (days, seconds, microseconds: 4 bytes each)
=====  =========================================================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from enum import IntEnum
from itertools import tee
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.codec.arrays import array_of, array_payload, raw, scalar_of, scalar_payload
from bluesky_ext.engine.codec.depth import MAX_DEPTH, is_container, is_too_deep
from bluesky_ext.engine.codec.framing import MAX_OBJECTS, MAX_PLAIN, Buffer, DecodeError, parts, split

_FEW_KEYS = 1000
_MAX_INT = 512  # bytes; more digits than Python prints take more
_SMALL = 4096  # bytes

_TOO_DEEP = f"document of more than {MAX_DEPTH} levels, or one that contains itself: flatten it"

#: What is raised by bytes that are no document.
ERRORS = (ValueError, TypeError, OverflowError, RecursionError, struct.error, msgpack.UnpackException)


class _Type(IntEnum):
    ARRAY = 1
    SCALAR = 2
    TUPLE = 3
    INT = 4
    COMPLEX = 5
    DATETIME = 6
    DATE = 7
    TIMEDELTA = 8


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
        as tuple, str or int enums as str or int, `numpy.memmap` as ndarray, bytearray and memoryview as bytes. A time
        zone comes back as its offset from UTC.

    Raises
    ------
    TypeError
        At something that would not come back as it was: a set, an array of objects or with fields, any other type. The
        message says where in the document it is.
    ValueError
        If the document has more than `MAX_DEPTH` levels, or contains itself.
    """
    head, arrays = encode(document)
    return b"".join(parts(head, map(raw, arrays))) if arrays else head


def loads(buffer: Buffer, *, max_plain: int = MAX_PLAIN, max_objects: int = MAX_OBJECTS) -> Any:
    """Return the document of a frame; it can be given to ``RemoteDispatcher(..., deserializer=loads)``.

    Safe on bytes from anyone: nothing in them is executed, nothing is allocated for a length that they claim but do
    not have, and what is allocated is in proportion to their number.

    Parameters
    ----------
    buffer : bytes, bytearray or memoryview
        The frame.
    max_plain, max_objects : int
        Refuse a document of more bytes beside the values of its arrays, or of more lists, dicts, arrays and others that
        are neither numbers nor text.

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
    return decode(*split(buffer, max_plain), max_objects)


def encode(document: object) -> tuple[bytes, list[NDArray[Any]]]:
    """Return the document as msgpack, and its arrays, C-contiguous and in the order in which they stand in it.

    The first half of `dumps`, for those who store or send the arrays in their own way. An array that is contiguous
    already is not copied: use it before the document can change.
    """
    encoder = _Encoder()
    try:
        head = encoder.pack(document)
    except TypeError as error:
        raise TypeError(f"document{_path(document, encoder.value) or ''}: {error}") from error
    except (ValueError, RecursionError) as error:
        if "recursion" not in str(error):
            raise
        raise ValueError(_TOO_DEEP) from error
    if is_too_deep(document, head):
        raise ValueError(_TOO_DEEP)
    return head, encoder.arrays


def decode(head: Buffer, arrays: Iterator[Buffer], max_objects: int | None = None) -> Any:
    """Return the document from its msgpack and the bytes of its arrays: the second half of `loads`."""
    arrays, again = tee(arrays)
    try:
        try:
            document = _Decoder(arrays, max_objects, strict_map_key=True).unpack(head)
        except ValueError as error:
            if "strict_map_key" not in str(error):
                raise
            # Keys that are no text are rare, and can be chosen to have the same hash: a dict of many takes hours.
            few = {} if max_objects is None else {"max_map_len": _FEW_KEYS}
            arrays = again
            document = _Decoder(arrays, max_objects, strict_map_key=False, **few).unpack(head)
        if is_too_deep(document, bytes(head)):
            raise DecodeError(f"a document of more than {MAX_DEPTH} levels")
        if next(arrays, None) is not None:
            raise DecodeError("a frame with more arrays than its document has")
    except DecodeError:
        raise
    except ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"not a document: {reason[:200]}") from error
    return document


def small_unpacker() -> msgpack.Unpacker:
    """An unpacker of small documents without arrays, one after another, which are not `is_too_deep`.

    At any other it may raise one of the `ERRORS`, and is no good then; what it is, `decode` knows.
    """
    decoder = _Decoder(iter(()), None, strict_map_key=True)
    return msgpack.Unpacker(ext_hook=decoder.extension, **decoder.options)


class _Encoder:
    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self.value: object = None
        """What `extend` was given last: what it refused, if it did."""

    def pack(self, value: object) -> bytes:
        # Strict: subclasses, numpy's scalars among them (numpy.float64 is a float), and tuples come to `extend`.
        packer = msgpack.Packer(default=self.extend, strict_types=True, unicode_errors="surrogatepass", buf_size=4096)
        return packer.pack(value)

    def extend(self, value: Any) -> object:
        """Return what msgpack does not know as something that it does."""
        self.value = value
        if isinstance(value, np.generic):
            return msgpack.ExtType(_Type.SCALAR, scalar_payload(value))
        if isinstance(value, np.ndarray):
            payload = array_payload(value)
            self.arrays.append(np.ascontiguousarray(value))
            return msgpack.ExtType(_Type.ARRAY, payload)
        if isinstance(value, int):
            if -(2**63) <= value < 2**64:
                return int(value)
            if value.bit_length() >= 8 * _MAX_INT:
                raise TypeError(f"an int of {value.bit_length()} bits: no more than {8 * _MAX_INT} are read")
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
            raise TypeError(f"a {type(value).__name__} has no order: give a sorted list")
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"cannot encode {kind}: give numbers, str, lists, dicts or arrays")


class _Decoder:
    def __init__(self, arrays: Iterator[Buffer], max_objects: int | None, **options: Any) -> None:
        self._arrays = arrays
        self._levels = MAX_DEPTH + 1
        self._max_objects = self._left = max_objects
        # timestamp=3: msgpack's own time stamps, which others send, become datetimes.
        self.options = {"unicode_errors": "surrogatepass", "timestamp": 3, **options}

    def count(self, item: Any) -> Any:
        """Return what was decoded, unless there is too much of it."""
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise DecodeError(
                    f"a document of more than {self._max_objects} lists, dicts and arrays (limit objects)"
                )
        return item

    def unpack(self, packed: Buffer) -> Any:
        if not self._levels:
            raise DecodeError("a document of too many levels")
        self._levels -= 1
        if len(packed) > _SMALL:  # else what it claims costs little
            split(packed)  # so that it is known to be all there, as it says
        # Not kept in self: the cycle would keep the frame in memory.
        hook = None if self._max_objects is None else self.count
        value = msgpack.unpackb(packed, ext_hook=self.extension, list_hook=hook, object_hook=hook, **self.options)
        self._levels += 1
        return value

    def extension(self, code: int, data: bytes) -> object:
        """Return the object that an extension type stands for."""
        self.count(None)
        match code:
            case _Type.ARRAY:
                return array_of(data, self._arrays)
            case _Type.SCALAR:
                return scalar_of(data)
            case _Type.TUPLE:
                items = self.unpack(data)
                if type(items) is not list:
                    raise DecodeError("a tuple that is no list of items")
                return tuple(items)
            case _Type.INT:
                if len(data) > _MAX_INT:
                    raise DecodeError(f"a number of {len(data)} bytes: no more than {_MAX_INT} are read")
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


def _path(node: object, value: object, level: int = 0) -> str | None:
    """Return where the value is in the document, as one would write it in Python; None if it is in a key."""
    if node is value:
        return ""
    if is_container(node) and level < MAX_DEPTH:
        for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            path = _path(child, value, level + 1)
            if path is not None:
                return f"[{key!r}]{path}"
    return None
