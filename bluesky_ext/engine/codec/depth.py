"""The depth of a document: how many levels of lists and dicts it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

#: Levels of containers that a document may have. Real documents have about ten; the limit is on both sides, so that a
#: document which no one could read is refused where it is made.
MAX_DEPTH = 100

# All bytes but those with which msgpack begins a list or a dict, of up to 15 items or of a length of 16 or 32 bits.
_NOT_CONTAINERS = bytes({*range(256)} - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})

_LEAVES = frozenset({str, float, int, bool, type(None), bytes, np.ndarray, np.float64, np.int64})


def is_too_deep(document: object, packed: bytes) -> bool:
    """Whether a document, of which this is the msgpack, has more than `MAX_DEPTH` levels of containers."""
    # A level takes a byte that begins one at least: nearly always there are too few of these, which is known at once.
    return len(packed.translate(None, _NOT_CONTAINERS)) > MAX_DEPTH and _is_deeper(document, MAX_DEPTH)


def _is_deeper(value: object, levels: int) -> bool:
    """Whether a document has more than so many levels of containers."""
    if type(value) is dict:
        children = value.values()
    elif type(value) is list:
        children = value
    elif not is_container(value):
        return False
    else:
        children = value.values() if isinstance(value, Mapping) else value
    if not levels:
        return True
    for child in children:  # noqa: SIM110 - of each document that is read or sent: any() takes twice as long
        if type(child) not in _LEAVES and _is_deeper(child, levels - 1):
            return True
    return False


def is_container(value: object) -> TypeGuard[Sequence[Any] | Mapping[Any, Any]]:
    """Whether a value is a list, a dict, or the like of these."""
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
