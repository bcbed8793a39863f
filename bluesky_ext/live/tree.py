"""Published trees: dicts of arrays, numbers, texts and dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def copy_of(tree: Any) -> Any:
    """A copy that nobody changes, of dicts, lists and arrays all the way down; what is no data is as it is."""
    if isinstance(tree, Mapping):
        return {key: copy_of(value) for key, value in list(tree.items())}
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, list | tuple):
        return [copy_of(value) for value in tree] if any(map(_is_nested, tree)) else list(tree)
    return tree


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The arrays, numbers and texts of a tree by the names on the way to them, joined by ``_``; no attributes."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if not isinstance(name, str) or name == "_attrs" or name.endswith("_attrs"):
            continue
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{name}_")
        elif (data := _as_data(value)) is not None:
            found[f"{prefix}{name}"] = data
    return found


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple | np.ndarray)


def _as_data(value: Any) -> Any:
    if isinstance(value, str | bool | int | float | np.generic):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # lists of unequal lengths
        return None
    return array if array.dtype.kind in "biuf" else None
