"""Metadata: what a catalogue shows of a document, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

__all__ = ["as_json"]

_MOST_ITEMS = 1000
_MOST_INT = 2**53 - 1


def as_json(value: Any) -> Any:
    """Return a value as JSON has it, to be searched and shown; the log of the run has the document itself.

    Arrays become lists, or a word on their shape and dtype if they are large; integers that JSON's readers could not
    tell apart become floats; what JSON does not know becomes text.
    """
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)  # enums and the like extend str
        case float():
            return float(value)
        case int():
            return int(value) if abs(value) <= _MOST_INT else float(value)
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case np.generic():
            return as_json(value.item())
        case np.ndarray():
            if value.size <= _MOST_ITEMS:
                return as_json(value.tolist())
            return f"array of {' x '.join(map(str, value.shape))} {value.dtype}"
        case Sequence() | Set() if not isinstance(value, bytes | bytearray | memoryview):
            return [as_json(item) for item in value]
    return str(value)
