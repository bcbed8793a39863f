"""The bytes of a dtype, and the dtype again, without numpy's parser of structured dtypes.

A dtype is numpy's string for it (``<u2``, ``>f8``, ``<M8[ns]``), or, if it has fields, msgpack of
``[itemsize, [[name, dtype, shape, offset, title], ...]]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import msgpack
import numpy as np

from bluesky_ext.engine.codec.framing import MAX_DEPTH, DecodeError, unpack

__all__ = ["code_of", "dtype_of"]

_MAX_BYTES = 2**16 - 1
_TOO_LARGE = f"cannot encode a dtype of more than {MAX_DEPTH} levels or {_MAX_BYTES} bytes: give one array a field"

# dtypes that numpy reads by their string. A whitelist by kind, so that the text from a frame never reaches numpy's
# parser of structured dtypes, and no object ('O') or foreign dtype can be named. M8[0s] is left out: it divides by 0.
_PLAIN = re.compile(rb"[<>|=](?:[biufcSUV]\d{1,10}|[mM]8(?:\[(?:[1-9]\d{0,9})?[A-Za-z]{1,2}\])?)")


@lru_cache(maxsize=256)
def code_of(dtype: np.dtype[Any], level: int = 0) -> bytes:
    """Return the bytes of a dtype, which is at this level of fields within fields.

    Raises TypeError if it would not come back as it was: one of objects, of a library other than numpy, or of too
    many fields.
    """
    if dtype.names is None:
        plain = dtype.str.encode()
        # Compared, because a dtype from elsewhere (bfloat16) may call itself plain bytes.
        if not _PLAIN.fullmatch(plain) or np.dtype(dtype.str) != dtype or not dtype.itemsize:
            raise TypeError(f"cannot encode dtype {dtype}: convert it to numbers, bool, bytes ('S') or str ('U')")
        return plain
    if level > MAX_DEPTH:
        raise TypeError(_TOO_LARGE)
    fields = []
    for name in dtype.names:
        # Its type in numpy's stubs is a mapping of literal strings, which the names are not.
        field, offset, *title = cast("Mapping[str, Any]", dtype.fields)[name]
        base, shape = field.subdtype or (field, ())
        fields.append([name, code_of(base, level + 1), shape, offset, title[0] if title else None])
    code: bytes = msgpack.Packer().pack([dtype.itemsize, fields])
    if len(code) > _MAX_BYTES:
        raise TypeError(_TOO_LARGE)
    return code


@lru_cache(maxsize=256)
def dtype_of(code: bytes, level: int = 0) -> np.dtype[Any]:
    """Return the dtype of these bytes, which are at this level of fields within fields.

    Raises `DecodeError`, or the TypeError, ValueError or OverflowError of numpy at one that it refuses.
    """
    if _PLAIN.fullmatch(code):
        dtype = np.dtype(code.decode())
    elif len(code) > _MAX_BYTES or level > MAX_DEPTH:
        raise DecodeError("a dtype of too many fields")
    else:
        itemsize, fields = unpack(code, msgpack.ExtType)
        names, codes, shapes, offsets, titles = zip(*fields, strict=True)
        if not all(title is None or isinstance(title, str) for title in titles):
            raise DecodeError("a dtype with a field whose title is no text")
        formats = [(dtype_of(base, level + 1), tuple(shape)) for base, shape in zip(codes, shapes, strict=True)]
        dtype = np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "titles": titles, "itemsize": itemsize}
        )
    if not dtype.itemsize:
        raise DecodeError("a dtype of no bytes")
    return dtype
