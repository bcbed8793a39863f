"""The bytes of arrays and numpy scalars, and these again, down to dtypes and NaNs.

An array is its number of dimensions (1 byte), their lengths (8 bytes each) and its dtype; its values are elsewhere. A
scalar is the length of its dtype (2 bytes), the dtype and the value. All numbers are little endian. A dtype is numpy's
string for it (``<u2``, ``>f8``, ``<M8[ns]``), or ``str`` or ``bytes`` for the scalars `numpy.str_` and `numpy.bytes_`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.codec.framing import Buffer, DecodeError

# dtypes that numpy reads by their string. A whitelist by kind, so that the text from a frame never reaches numpy's
# parser of structured dtypes, and no object ('O') or foreign dtype can be named. M8[0s] is left out: it divides by 0.
_PLAIN = re.compile(rb"[<>|=](?:[biufcSUV]\d{1,10}|[mM]8(?:\[(?:[1-9]\d{0,9})?[A-Za-z]{1,2}\])?)")


_MAX_EMPTY = 2**26


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a C-contiguous array, without a copy."""
    if not array.nbytes:
        return memoryview(b"")
    # By way of uint8, because datetime64 has no buffer protocol of its own.
    return array.reshape(-1).view(np.uint8).data


def array_payload(array: NDArray[Any]) -> bytes:
    """Return the bytes of an array but for its values; raise TypeError if it would not come back as it was."""
    # A subclass can mean more than its numbers, as the mask of a masked array or a unit.
    if type(array) not in (np.ndarray, np.memmap):
        raise TypeError(f"cannot encode {type(array).__name__}: give plain arrays, numpy.asarray(...)")
    return struct.pack(f"<B{array.ndim}Q", array.ndim, *array.shape) + code_of(array.dtype)


def array_of(payload: bytes, arrays: Iterator[Buffer]) -> NDArray[Any]:
    """Return the array, read-only, on the memory that is next among those of arrays."""
    (ndim,) = struct.unpack_from("<B", payload)
    shape = struct.unpack_from(f"<{ndim}Q", payload, 1)
    dtype = dtype_of(payload[1 + 8 * ndim :])
    data = next(arrays, None)
    if data is None:
        raise DecodeError(f"an array of {math.prod(shape) * dtype.itemsize} bytes that is not in the frame")
    return _window(shape, dtype, data)


def scalar_payload(scalar: np.generic) -> bytes:
    """Return the bytes of a scalar; raise TypeError if it would not come back as it was."""
    # Not by their dtypes: S strips the zeros at the end, and there is no U of no characters.
    if isinstance(scalar, np.str_):
        code, data = b"str", scalar.encode("utf-8", "surrogatepass")
    elif isinstance(scalar, np.bytes_):
        code, data = b"bytes", bytes(scalar)
    else:
        code, data = code_of(scalar.dtype), scalar.tobytes()
    return struct.pack("<H", len(code)) + code + data


def scalar_of(payload: bytes) -> Any:
    """Return the scalar."""
    (length,) = struct.unpack_from("<H", payload)
    code, data = payload[2 : 2 + length], payload[2 + length :]
    if code == b"str":
        return np.str_(data.decode("utf-8", "surrogatepass"))
    if code == b"bytes":
        return np.bytes_(data)
    return _window((), dtype_of(code), data)[()]


def _window(shape: tuple[int, ...], dtype: np.dtype[Any], data: Buffer) -> NDArray[Any]:
    nbytes = math.prod(shape) * dtype.itemsize
    if len(data) != nbytes:
        raise DecodeError(f"an array of {nbytes} bytes with {len(data)} bytes of values")
    if not nbytes and math.prod(filter(None, shape)) > _MAX_EMPTY:  # as lists, it would fill the memory
        raise DecodeError(f"an array of shape {shape} that has no values")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data)
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    if dtype.kind == "U" and array.size:  # text that numpy would hold, but fail to read
        codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max() > 0x10FFFF:
            raise DecodeError("an array of text with characters that do not exist")
    return array


@lru_cache(maxsize=256)
def code_of(dtype: np.dtype[Any]) -> bytes:
    """Return the bytes of a dtype; raise TypeError if it would not come back as it was, as one of objects."""
    code = dtype.str.encode()
    # Compared, because a dtype with fields, or one from elsewhere (bfloat16), calls itself plain bytes.
    if not _PLAIN.fullmatch(code) or np.dtype(dtype.str) != dtype or not dtype.itemsize:
        raise TypeError(
            f"cannot encode dtype {dtype}: give numbers, bool, bytes ('S') or str ('U'), each field by itself"
        )
    return code


@lru_cache(maxsize=256)
def dtype_of(code: bytes) -> np.dtype[Any]:
    """Return the dtype of these bytes.

    Raises `DecodeError`, or the TypeError, ValueError or OverflowError of numpy at one that it refuses.
    """
    if not _PLAIN.fullmatch(code) or not (dtype := np.dtype(code.decode())).itemsize:
        raise DecodeError(f"an array of an unknown dtype {code[:50]!r}")
    return dtype
