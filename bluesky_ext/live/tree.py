"""Published trees: dicts of arrays, numbers, texts and dicts."""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

_PLAIN = (str, bytes, bool, int, float, complex, np.generic, type(None))


def copy_of(tree: Any) -> Any:
    """A copy that nobody changes, all the way down; functions are as they are."""
    if isinstance(tree, _PLAIN) or callable(tree):
        return tree
    if isinstance(tree, Mapping):
        return {key: copy_of(value) for key, value in list(tree.items())}
    if isinstance(tree, np.ndarray) and tree.dtype.kind != "O":
        return tree.copy()
    if isinstance(tree, list | tuple | deque):
        return [copy_of(value) for value in tree]
    try:
        return copy.deepcopy(tree)
    except Exception:  # no data, such as a lock or an open file
        return tree


def leaves(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The arrays, numbers and texts of a tree, by the names on the way to them; and the names of what is none.

    The names are joined by ``_``; attributes are left out.
    """
    found: dict[str, Any] = {}
    others: list[str] = []

    def walk(branch: Mapping[str, Any], way: str) -> None:
        for name, value in branch.items():
            if isinstance(value, Mapping) and (name == "_attrs" or str(name).endswith("_attrs")):
                continue
            key = re.sub(r"[/.]", "_", f"{way}{name}")
            while key in found:
                key += "_"
            if isinstance(value, Mapping):
                walk(value, f"{way}{name}_")
            elif (data := _as_data(value)) is not None and key:
                found[key] = data
            elif value is not None and not callable(value):
                others.append(f"{way}{name}")

    walk(tree, "")
    return found, others


def _as_data(value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # lists of unequal lengths
        return None
    if array.dtype.kind not in "biufU":
        return None
    return array[()] if array.ndim == 0 else array
