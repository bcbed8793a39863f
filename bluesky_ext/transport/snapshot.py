"""A document as it is now, whatever its owner does to it later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["is_frozen", "snapshot"]

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_OBJECT = 32  # bytes of a number in a list, about


def snapshot(value: Any, share: bool = False) -> tuple[Any, int]:
    """Return a document that shares with the one given only what does not change, and its bytes, about.

    Parameters
    ----------
    value : object
        The document.
    share : bool
        Whether arrays are shared too, even if they can be written to.
    """
    if isinstance(value, np.ndarray):
        return (value if share or is_frozen(value) else value.copy()), value.nbytes + _OBJECT
    kind = type(value)
    if kind in _PLAIN:
        return value, len(value) + _OBJECT if kind in (str, bytes) else _OBJECT
    if isinstance(value, Mapping):
        items, nbytes = {}, 0
        for key, item in value.items():
            items[key], more = snapshot(item, share)
            nbytes += more + 2 * _OBJECT
        return items, nbytes
    if kind in (list, tuple):
        if set(map(type, value)) <= _PLAIN - {str, bytes}:  # the rows of an image, perhaps
            return kind(value), _OBJECT * (len(value) + 1)
        copies = [snapshot(item, share) for item in value]
        return kind([copy for copy, _ in copies]), sum(more for _, more in copies) + _OBJECT
    return value, _OBJECT


def is_frozen(array: np.ndarray) -> bool:
    """Whether nobody can write to the memory of an array, by way of this array or those that it is a part of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or (isinstance(base, bytes | memoryview) and memoryview(base).readonly)
