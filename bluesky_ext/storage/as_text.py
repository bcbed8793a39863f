"""Documents with text or lists for what a recording cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from bluesky_ext.engine.codec.depth import MAX_DEPTH
from bluesky_ext.engine.codec.documents import encode

__all__ = ["with_text"]

_DEEPEST = MAX_DEPTH // 2  # a text on what is below says enough


def with_text(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document as a recording can hold it, and what was changed for that: the types, by place.

    Sets become sorted lists, arrays of objects lists, arrays with fields dicts of these, masked arrays dicts of
    ``data`` and ``mask``, and all else that `bluesky_ext.engine.codec.documents` refuses its text, ``str(value)``. The
    rest is what it was.
    """
    changed: dict[str, str] = {}
    plain = {_key(key, "", changed): _with_text(item, str(key), 1, changed) for key, item in document.items()}
    return plain, changed


def _with_text(value: Any, where: str, level: int, changed: dict[str, str]) -> Any:
    if level > _DEEPEST:
        changed[where] = f"{type(value).__name__} of more than {_DEEPEST} levels"
        return _text(value)
    match value:
        case np.ma.MaskedArray():
            changed[where] = "MaskedArray"
            parts = {"data": np.asarray(value.data), "mask": np.ma.getmaskarray(value)}
            return {key: _with_text(part, where, level + 1, changed) for key, part in parts.items()}
        case np.ndarray() | np.void() if value.dtype.names:
            changed[where] = "array with fields"
            return {name: _with_text(value[name], f"{where}.{name}", level + 1, changed) for name in value.dtype.names}
        case np.ndarray() if value.dtype.hasobject:
            changed[where] = "array of objects"
            return _with_text(value.tolist(), where, level + 1, changed)
        case np.ndarray() | str() | bytes() | bytearray() | memoryview():
            pass
        case Mapping():
            items = ((_key(key, where, changed), key, item) for key, item in value.items())
            return {plain: _with_text(item, f"{where}.{key}", level + 1, changed) for plain, key, item in items}
        case Set():
            changed[where] = type(value).__name__
            return sorted((_with_text(item, where, level + 1, changed) for item in value), key=repr)
        case tuple():
            return tuple(_with_text(item, f"{where}[]", level + 1, changed) for item in value)
        case Sequence():
            return [_with_text(item, f"{where}[]", level + 1, changed) for item in value]
    if _is_known(value):
        return value
    changed[where] = type(value).__name__
    return _text(value)


def _key(key: Any, where: str, changed: dict[str, str]) -> Any:
    if _is_known(key):
        return key
    changed[f"a key of {where or 'the document'}"] = type(key).__name__
    return _text(key)


def _is_known(value: Any) -> bool:
    try:
        encode(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        # It is the text of an object of any kind; what that raises must not end a run.
        return f"{type(value).__module__}.{type(value).__qualname__} ({type(error).__name__})"
