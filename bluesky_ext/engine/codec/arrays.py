"""The bytes of arrays and numpy scalars, and these again, down to dtypes and NaNs.

An array is its number of dimensions (1 byte), their lengths (8 bytes each) and its dtype; its values are elsewhere. A
scalar is the length of its dtype (2 bytes), the dtype and the value. All numbers are little endian, and a dtype is as
`bluesky_ext.engine.codec.dtypes` has it, or ``str`` or ``bytes`` for the scalars `numpy.str_` and `numpy.bytes_`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.codec.dtypes import code_of, dtype_of
from bluesky_ext.engine.codec.framing import Buffer, DecodeError

__all__ = ["array_of", "array_payload", "raw", "scalar_of", "scalar_payload"]

_PLAIN_TYPES = (np.ndarray, np.memmap, np.recarray)


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a C-contiguous array, without a copy."""
    if not array.nbytes:
        return memoryview(b"")
    # By way of uint8, because datetime64 has no buffer protocol of its own.
    return array.reshape(-1).view(np.uint8).data


def array_payload(array: NDArray[Any]) -> bytes:
    """Return the bytes of an array but for its values; raise TypeError if it would not come back as it was."""
    # A subclass can mean more than its numbers, as the mask of a masked array or a unit.
    if type(array) not in _PLAIN_TYPES:
        raise TypeError(f"cannot encode {type(array).__name__}: give plain arrays, numpy.asarray(...)")
    return struct.pack(f"<B{array.ndim}Q", array.ndim, *array.shape) + code_of(array.dtype)


def array_of(payload: bytes, take: Callable[[int], Buffer]) -> NDArray[Any]:
    """Return the array, read-only, on the memory that ``take(nbytes)`` gives for its values."""
    (ndim,) = struct.unpack_from("<B", payload)
    shape = struct.unpack_from(f"<{ndim}Q", payload, 1)
    dtype = dtype_of(payload[1 + 8 * ndim :])
    return _window(shape, dtype, take(math.prod(shape) * dtype.itemsize))


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
