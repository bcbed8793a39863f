"""The readings that are no image: a device of the baseline, a set point, a temperature; a column for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.devices import Devices, mended_units
from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.nexus import dataset, group, legal

__all__ = ["Readings", "owners"]

_BATCH = 256


def owners(descriptor: Mapping[str, Any]) -> dict[str, str]:
    """The device that each data key of a stream belongs to."""
    of_key = {key: device for device, keys in (descriptor.get("object_keys") or {}).items() for key in keys}
    for key, info in descriptor["data_keys"].items():
        of_key[key] = info.get("object_name") or of_key.get(key, key)
    return of_key


class Readings:
    """The readings of a stream in an NXcollection: a group for each device, a dataset for each of its keys.

    Devices have the names that NeXus allows and their own as the attribute ``name``. Rows are events by their
    ``seq_num``; they are written in batches, and when `flush` is called.

    Parameters
    ----------
    parent
        Where the collection goes.
    name
        Its name: that of the stream.
    descriptor
        The descriptor of the stream.
    keys
        Those of its data keys that are wanted.
    devices
        What people call the devices.
    """

    def __init__(
        self, parent: h5py.Group, name: str, descriptor: Mapping[str, Any], keys: list[str], devices: Devices
    ) -> None:
        self._parent = parent
        self._name = name
        self._descriptor = descriptor
        self._owners = owners(descriptor)
        self._keys = keys
        self._devices = devices
        self._datasets: dict[str, h5py.Dataset] = {}
        self._waiting: list[tuple[int, Mapping[str, Any]]] = []

    def put(self, row: int, data: Mapping[str, Any]) -> None:
        """Take the readings of an event as row ``row``, from 0."""
        self._waiting.append((row, {key: data[key] for key in self._keys if key in data}))
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write the readings that wait."""
        rows, self._waiting = self._waiting, []
        for key in self._keys:
            column = [(row, data[key]) for row, data in rows if key in data]
            if column:
                self._write(key, column)

    def _write(self, key: str, column: list[tuple[int, Any]]) -> None:
        values = [_storable(value) for _, value in column]
        stored = self._datasets.get(key)
        if stored is None or (stored.dtype.kind != "f" and _kind(values) not in (stored.dtype.kind, "O")):
            stored = self._datasets[key] = self._dataset(key, values)
        rows = [row for row, _ in column]
        if stored.shape[0] <= max(rows):
            stored.resize((max(rows) + 1,))
        if stored.dtype.kind == "O":
            values = [value if isinstance(value, str) else as_json(value) for value in values]
        if rows == list(range(rows[0], rows[0] + len(rows))):
            stored[rows[0] : rows[0] + len(rows)] = values
        else:
            for row, value in zip(rows, values, strict=True):
                stored[row] = value

    def _dataset(self, key: str, values: list[Any]) -> h5py.Dataset:
        """The dataset of a key; one of integers becomes one of floats when the first number with a fraction comes."""
        info = self._descriptor["data_keys"].get(key, {})
        name = self._owners.get(key, key)
        stream = group(self._parent, legal(self._name), "NXcollection", name=self._name)
        device = group(stream, legal(name), "NXcollection", name=name)
        label = self._devices.called(name)
        if label:
            device.attrs["label"] = label
        field = "value" if key == name else legal(key.removeprefix(name).lstrip("_-.:") or key)
        kind = _kind(values)
        there = dataset(device, field)
        if there is not None and there.dtype.kind in (kind, "O", "f"):
            return there
        dtype = {"f": np.dtype(float), "i": np.dtype(np.int64), "b": np.dtype(bool)}.get(kind, h5py.string_dtype())
        old = [] if there is None else list(there[()])
        if there is not None:
            del device[field]
        fill = np.nan if kind == "f" else None
        made = device.create_dataset(field, (len(old),), dtype, maxshape=(None,), chunks=(_BATCH,), fillvalue=fill)
        if old:
            made[:] = old if kind != "O" else [as_json(value) for value in old]
        made.attrs["name"] = key
        units = mended_units(self._devices.role_of(name), info.get("units")) if info.get("units") else None
        for attribute, item in (("units", units), ("source", info.get("source")), ("enum_strs", info.get("enum_strs"))):
            if item:
                made.attrs[attribute] = item
        if units != info.get("units") and info.get("units"):
            made.attrs["units_of_the_document"] = info["units"]
        return made


def _storable(value: Any) -> Any:
    """A number, a bool or text; anything else as JSON."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    small = not isinstance(value, int) or -(1 << 63) <= value < 1 << 63
    return value if isinstance(value, (bool, int, float, str)) and small else as_json(value)


def _kind(values: list[Any]) -> str:
    """The kind of array that holds all of the values: of bool, int, float or text."""
    kinds = {type(value) for value in values}
    if kinds <= {bool}:
        return "b"
    if kinds <= {int}:
        return "i"
    return "f" if kinds <= {int, float} else "O"
