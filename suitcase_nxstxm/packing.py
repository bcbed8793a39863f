"""How a reading is a part of a row of the journal: as numbers if it is numbers, else as JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from suitcase_nxstxm.metadata import as_json

__all__ = ["Stored", "as_numbers", "packed"]

_SHORTEST = 32  # bytes that text takes at least; longer text takes the next power of two, so that forms are few
_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"} | {
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "?": "?",
}
_SCALARS: dict[type, tuple[str, str]] = {float: ("<f8", "d"), int: ("<i8", "q"), bool: ("|b1", "?")} | {
    np.dtype(name).type: (np.dtype(name).newbyteorder("<").str, code) for name, code in _CODES.items()
}
"""The dtype of numbers by their type, and the code that packs them."""


class Stored(NamedTuple):
    """A frame that is stored elsewhere: in which dataset, in which row of it; and the sum of its numbers."""

    frames: str
    row: int
    sum: float


def packed(value: Any, array: np.ndarray | None) -> tuple[str, tuple[int, ...], bytes, str]:
    """The kind, the shape and the bytes of a reading, and the code that packs others of its type; or no code.

    The array is what `as_numbers` makes of it.
    """
    dtype, code = _SCALARS.get(type(value), ("", ""))
    if dtype and (code != "q" or -(1 << 63) <= value < 1 << 63):
        return dtype, (), struct.pack(f"<{code}", value), code
    if array is not None:
        return array.dtype.str, array.shape, array.tobytes(), ""
    text = as_json(value).encode()
    size = max(_SHORTEST, 1 << (len(text) - 1).bit_length())
    return f"S{size}", (), text.ljust(size), ""


def as_numbers(value: Any) -> np.ndarray | None:
    """An array, or a list, of numbers as a contiguous array with the smallest byte first; None for anything else."""
    if isinstance(value, (str, bytes, Mapping, int, float, np.generic)):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # of lists of different lengths
        return None
    if array.dtype.kind not in "biuf" or not array.size:
        return None
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
