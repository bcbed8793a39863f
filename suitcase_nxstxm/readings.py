"""The readings that are no image: a device of the baseline, a set point, a temperature; a column for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.column import BATCH, create, kind_of, put
from suitcase_nxstxm.devices import Devices, mended_units
from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.nexus import dataset, group, name_in
from suitcase_nxstxm.rows import Rows

__all__ = ["Readings", "owners"]


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
    shared
        How to get the rows that all runs of a scan have in the collection; None if the run is all of the scan.
    run
        The uid of the run.
    """

    def __init__(
        self,
        parent: h5py.Group,
        name: str,
        descriptor: Mapping[str, Any],
        keys: list[str],
        devices: Devices,
        shared: Callable[[], Rows] | None = None,
        run: str = "",
    ) -> None:
        self._parent = parent
        self._name = name
        self._descriptor = descriptor
        self._owners = owners(descriptor)
        self._keys = keys
        self._devices = devices
        self._shared = shared
        self._run = run
        self._datasets: dict[tuple[str, str], h5py.Dataset] = {}
        self._waiting: list[tuple[int, Mapping[str, Any]]] = []

    def put(self, row: int, data: Mapping[str, Any]) -> None:
        """Take the readings of an event as row ``row``, from 0."""
        self._waiting.append((row, {key: data[key] for key in self._keys if key in data}))
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write the readings that wait."""
        rows, self._waiting = self._waiting, []
        if self._shared is not None and any(data for _, data in rows):
            shared = self._shared()
            self._datasets = shared.columns
            numbers = shared.of(self._run, [row + 1 for row, _ in rows])
            rows = [(number, data) for number, (_, data) in zip(numbers, rows, strict=True)]
        for key in self._keys:
            column = [(row, data[key]) for row, data in rows if key in data]
            if column:
                self._write(key, column)

    def _write(self, key: str, column: list[tuple[int, Any]]) -> None:
        values = [_storable(value) for _, value in column]
        column_of = self._owners.get(key, key), key
        stored = self._datasets.get(column_of) or self._dataset(key, kind_of(values))
        gaps = self._shared is not None  # the rows between are of runs that lack the key
        self._datasets[column_of] = put(stored, [row for row, _ in column], values, gaps=gaps)

    def _dataset(self, key: str, kind: str) -> h5py.Dataset:
        """The dataset of a key, made if it isn't there."""
        info = self._descriptor["data_keys"].get(key, {})
        name = self._owners.get(key, key)
        place = name_in(self._parent, self._name, self._name)
        stream = group(self._parent, place, "NXcollection", name=self._name)
        device = group(stream, name_in(stream, name, name), "NXcollection", name=name)
        label = self._devices.called(name)
        if label:
            device.attrs["label"] = label
        field = name_in(device, "value" if key == name else key.removeprefix(name).lstrip("_-.:") or key, key)
        there = dataset(device, field)
        if there is not None:
            return there
        made = create(device, field, kind)
        made.attrs["name"] = key
        units = mended_units(self._devices.role_of(name), info.get("units")) if info.get("units") else None
        for attribute, item in (("units", units), ("source", info.get("source")), ("enum_strs", info.get("enum_strs"))):
            if item:
                made.attrs[attribute] = item
        if units != info.get("units") and info.get("units"):
            made.attrs["units_of_the_document"] = info["units"]
        return made


def _storable(value: Any) -> Any:
    """A number, a bool, text or None; anything else as JSON."""
    if isinstance(value, (np.ndarray, np.generic)) and not value.ndim:
        value = value.item()
    return value if isinstance(value, (bool, int, float, str)) or value is None else as_json(value)
