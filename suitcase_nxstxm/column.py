"""A column of readings in the file: of bools, integers, floats or text, whichever holds all that has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.nexus import existing

__all__ = ["BATCH", "changed", "create", "extend", "kind_of", "put"]

BATCH = 256
"""How many rows are written at once."""

_EXACT = 1 << 53
_TYPES = {"b": np.dtype(bool), "i": np.dtype(np.int64), "f": np.dtype(float), "O": h5py.string_dtype()}


def kind_of(values: Sequence[Any]) -> str:
    """The kind of column that holds all of the values, None among them as NaN: that of its dtype."""
    kinds = {float if value is None else type(value) for value in values}
    if kinds <= {bool}:
        return "b"
    if kinds <= {int}:
        return "i" if all(-(1 << 63) <= value < 1 << 63 for value in values) else "O"
    if kinds <= {int, float} and all(value is None or isinstance(value, float) or _exact(value) for value in values):
        return "f"
    return "O"


def _exact(value: float) -> bool:
    return -_EXACT <= value <= _EXACT


def _text(value: object) -> str:
    """Text as it is, anything else as JSON; and so is text that HDF5 can't hold."""
    if isinstance(value, str) and "\0" not in value and value == value.encode(errors="ignore").decode():
        return value
    return as_json(value)


def create(parent: h5py.Group, name: str, kind: str) -> h5py.Dataset:
    """A column without rows."""
    fill = np.nan if kind == "f" else None
    return parent.create_dataset(name, (0,), _TYPES[kind], maxshape=(None,), chunks=(BATCH,), fillvalue=fill)


def put(stored: h5py.Dataset, rows: Sequence[int], values: Sequence[Any], *, gaps: bool) -> h5py.Dataset:
    """Put values to rows of a column; return the column, which is another one if this can't hold them.

    Parameters
    ----------
    stored
        The column.
    rows, values
        Which row has which value.
    gaps
        Whether rows between the last one of the column and these have no value.
    """
    kind, new = stored.dtype.kind, kind_of(values)
    if kind != new:
        numbers = {kind, new} == {"i", "f"} and (new == "f" or all(_exact(value) for value in values))
        stored = changed(stored, "f" if numbers else "O")
    if gaps and stored.shape[0] < min(rows) and stored.dtype.kind in "ib":
        stored = changed(stored, "f")
    if stored.shape[0] <= max(rows):
        stored.resize((max(rows) + 1,))
    if stored.dtype.kind == "O":
        values = [_text(value) for value in values]
    else:
        values = [np.nan if value is None else value for value in values]
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        stored[rows[0] : rows[0] + len(rows)] = values
    else:
        for row, value in zip(rows, values, strict=True):
            stored[row] = value
    return stored


def extend(stored: h5py.Dataset, number: int) -> h5py.Dataset:
    """A column with as many rows, in which rows without a value have none: NaN, or text of no characters."""
    if stored.shape[0] < number:
        if stored.dtype.kind in "ib":
            stored = changed(stored, "f")
        stored.resize((number,))
    return stored


def changed(stored: h5py.Dataset, kind: str) -> h5py.Dataset:
    """A column as one of another kind: floats, unless they don't hold its integers, or text."""
    path, _, name = str(stored.name).rpartition("/")
    parent = stored.file[path]
    if not isinstance(parent, h5py.Group):
        raise TypeError(f"{stored.name} is in no group")
    old, attributes = existing(parent, name)[()].tolist(), dict(stored.attrs)
    if kind == stored.dtype.kind or stored.dtype.kind == "O":
        return stored
    if kind == "f" and not all(isinstance(value, float) or _exact(value) for value in old):
        kind = "O"
    del parent[name]
    made = create(parent, name, kind)
    made.resize((len(old),))
    if old:
        made[:] = [as_json(value) for value in old] if kind == "O" else np.array(old, float)
    made.attrs.update(attributes)
    return made
