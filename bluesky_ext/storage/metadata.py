"""Metadata: what a catalogue shows of a document, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

__all__ = ["as_json", "text"]

_MOST_ITEMS = 1000
_MOST_INT = 2**53 - 1


def as_json(value: Any) -> Any:
    """Return a value as JSON has it, to be searched and shown; the log of the run has the document itself.

    Arrays become lists, or a word on their shape and dtype if they are large; integers that JSON's readers could not
    tell apart become floats; what JSON does not know becomes text. It never fails.
    """
    match value:
        case None | bool():
            return value
        case str():
            return text(str.__str__(value))  # enums and the like extend str
        case float():
            return float(value)
        case int():
            return _int(value)
        case Mapping():
            return {text(_said(key)): as_json(item) for key, item in value.items()}
        case np.generic():
            plain = value.item()
            if not isinstance(plain, np.generic):
                return as_json(plain)
            # Of a long double, it is one again.
            return float(value) if value.dtype.kind == "f" else text(_said(value))
        case np.ndarray():
            if value.size <= _MOST_ITEMS:
                return [as_json(item) for item in value] if value.ndim else as_json(value[()])
            return f"array of {' x '.join(map(str, value.shape))} {value.dtype}"
        case Sequence() | Set() if not isinstance(value, bytes | bytearray | memoryview):
            return [as_json(item) for item in value]
    return text(_said(value))


def text(value: str) -> str:
    """Return the text, with what UTF-8 cannot hold, lone surrogates, written out as in a literal of Python."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _int(value: int) -> int | float | str:
    if abs(value) <= _MOST_INT:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return f"integer of {value.bit_length()} bits"


def _said(value: object) -> str:
    try:
        return str(value)
    except (ValueError, TypeError, RecursionError):  # as of an int of thousands of digits
        return f"a {type(value).__name__}"
