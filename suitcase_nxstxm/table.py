"""The readings that have no place on the grid, a column for each in the collection: a temperature, a setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.devices import Devices, mended_units
from suitcase_nxstxm.fill import LARGE, exact_floats
from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.nexus import group, name_in
from suitcase_nxstxm.stream import Stream

__all__ = ["Rows", "is_exact", "write_configuration", "write_stream"]

_TEXT = h5py.string_dtype()


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that a run has of a stream, and which of its data keys are wanted."""

    run: str
    stream: Stream
    keys: Sequence[str]


def write_stream(parent: h5py.Group, name: str, rows: Sequence[Rows], devices: Devices) -> None:
    """Write the readings of a stream: a group for each device, a dataset for each of its keys, a row for each event.

    Rows are in the order of the runs and of their events. Devices have the names that NeXus allows and their own as the
    attribute ``name``. The time of each event is ``time``; ``run`` and ``seq_num`` say which event it is, where that
    isn't plain.
    """
    numbers = [np.unique(one.stream.seq_num()) for one in rows]
    begins = np.cumsum([0, *(len(found) for found in numbers)])
    total = int(begins[-1])
    if not total:
        return
    made = group(parent, name_in(parent, name, name), "NXcollection", name=name)
    places = [
        begin + np.searchsorted(found, one.stream.seq_num())
        for begin, found, one in zip(begins, numbers, rows, strict=False)
    ]
    times = np.full(total, np.nan)
    for one, where in zip(rows, places, strict=True):
        times[where] = one.stream.times()
    made.create_dataset("time", data=times, **_stored(times)).attrs["units"] = "s"
    several = np.count_nonzero([len(found) for found in numbers]) > 1
    if several:
        runs = [one.run for one, found in zip(rows, numbers, strict=True) for _ in range(len(found))]
        made.create_dataset("run", data=runs, dtype=_TEXT, **({"compression": "gzip"} if total > 1000 else {}))
    all_numbers = np.concatenate(numbers)
    if several or not np.array_equal(all_numbers, np.arange(1, total + 1)):
        made.create_dataset("seq_num", data=all_numbers, **_stored(all_numbers))
    for key in dict.fromkeys(key for one in rows for key in one.keys):
        mine = [(one.stream, where) for one, where in zip(rows, places, strict=True) if key in one.keys]
        device = mine[0][0].owner.get(key, key)
        info = next((stream.info[key] for stream, _ in mine if key in stream.info), {})
        _write_column(made, device, key, info, devices, total, mine)


def _write_column(
    parent: h5py.Group,
    device: str,
    key: str,
    info: Mapping[str, Any],
    devices: Devices,
    total: int,
    sources: Sequence[tuple[Stream, np.ndarray]],
) -> None:
    columns = [column for stream, _ in sources for column in stream.keys().get(key, ())]
    if not columns:
        return
    dtype = _dtype(key, columns, total, sources)
    shapes = {column.shape for column, _ in columns if column.numbers is not None}
    shape = shapes.pop() if dtype is not None and len(shapes) == 1 else ()
    device_group, field = _place(parent, device, key, devices)
    if dtype is None:
        texts = [""] * total
        for stream, where in sources:
            for row, values in _lists(stream, key):
                for place, value in zip(where[row : row + len(values)], values, strict=True):
                    texts[place] = _text(value)
        made = device_group.create_dataset(field, data=texts, dtype=_TEXT)
    else:
        fill = np.nan if dtype.kind == "f" else None
        large = total * int(np.prod(shape)) * dtype.itemsize > LARGE
        options = {"chunks": True, "compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}
        made = device_group.create_dataset(field, (total, *shape), dtype, fillvalue=fill, **options)
        for stream, where in sources:
            for row, values in stream.blocks(key):
                if isinstance(values, np.ndarray):
                    _put(made, where[row : row + len(values)], values)
    _describe(made, key, info, devices.role_of(device))


def _put(made: h5py.Dataset, where: np.ndarray, values: np.ndarray) -> None:
    """Put rows; the last one of those with one place counts."""
    if len(where) == 1 or (np.diff(where) == 1).all():
        made[int(where[0]) : int(where[-1]) + 1] = values
        return
    places, last = np.unique(where[::-1], return_index=True)
    for place, i in zip(places.tolist(), last.tolist(), strict=True):
        made[place] = values[len(where) - 1 - i]


def _dtype(
    key: str, columns: Sequence[tuple[Any, int]], total: int, sources: Sequence[tuple[Stream, np.ndarray]]
) -> np.dtype | None:
    """The type that holds all readings of a key as they are; None if that is text."""
    dtypes = [column.numbers for column, _ in columns if column.numbers is not None]
    shapes = {column.shape for column, _ in columns if column.numbers is not None}
    others = any(column.numbers is None for column, _ in columns)
    if not dtypes or len(shapes) > 1 or any(column.frames for column, _ in columns):
        return None
    if others and (shapes != {()} or not _only_none(key, sources)):
        return None
    filled = len(np.unique(np.concatenate([where[_has(stream, key)] for stream, where in sources])))
    gaps = others or filled < total
    kinds = {dtype.kind for dtype in dtypes}
    if kinds == {"b"}:
        return np.dtype(float if gaps else bool)
    if "b" in kinds:
        return None
    whole = np.result_type(*dtypes)
    if kinds <= {"i", "u"} and whole.kind != "f" and not gaps:
        return whole
    if not all(is_exact(stream, key) for stream, _ in sources):
        return None
    return whole if whole.kind == "f" and whole.itemsize > 2 else np.dtype(float)


def _has(stream: Stream, key: str) -> np.ndarray:
    found = np.zeros(len(stream), bool)
    for row, values in stream.blocks(key):
        if isinstance(values, np.ndarray):
            found[row : row + len(values)] = True
    return found


def _only_none(key: str, sources: Iterable[tuple[Stream, np.ndarray]]) -> bool:
    return all(
        value is None
        for stream, _ in sources
        for _, values in stream.blocks(key)
        if isinstance(values, list)
        for value in values
    )


def is_exact(stream: Stream, key: str) -> bool:
    """Whether floats hold all numbers of a key."""
    dtypes = [column.numbers for column, _ in stream.keys().get(key, ())]
    if not any(dtype is not None and dtype.kind in "iu" and dtype.itemsize == 8 for dtype in dtypes):
        return True
    return all(exact_floats(values) for _, values in stream.blocks(key) if isinstance(values, np.ndarray))


def _lists(stream: Stream, key: str) -> Iterator[tuple[int, list[Any]]]:
    for row, values in stream.blocks(key):
        if isinstance(values, np.ndarray):
            yield row, values.tolist()
        elif isinstance(values, list):
            yield row, values


def _text(value: object) -> str:
    """Text as it is, anything else as JSON; and so is text that HDF5 can't hold."""
    if isinstance(value, str) and "\0" not in value and value == value.encode(errors="ignore").decode():
        return value
    return as_json(value)


def _place(parent: h5py.Group, device: str, key: str, devices: Devices) -> tuple[h5py.Group, str]:
    """The group of a device, and the field of one of its keys."""
    found = group(parent, name_in(parent, device, device), "NXcollection", name=device)
    label = devices.called(device)
    if label:
        found.attrs["label"] = label
    own = "value" if key == device else key.removeprefix(device).lstrip("_-.:") or key
    return found, name_in(found, own, key)


def _describe(made: h5py.Dataset, key: str, info: Mapping[str, Any], role: str | None) -> None:
    made.attrs["name"] = key
    units = mended_units(role, info.get("units")) if info.get("units") else None
    for attribute, item in (("units", units), ("source", info.get("source")), ("enum_strs", info.get("enum_strs"))):
        if item:
            made.attrs[attribute] = item
    if units != info.get("units") and info.get("units"):
        made.attrs["units_of_the_document"] = info["units"]


def write_configuration(parent: h5py.Group, runs: Sequence[Sequence[Mapping[str, Any]]], devices: Devices) -> None:
    """Write the settings of the devices: one value, or one for each descriptor that has it where they differ."""
    found: dict[tuple[str, str], tuple[Mapping[str, Any], list[Any]]] = {}
    for configurations in runs:
        for configuration in configurations:
            for device, settings in configuration.items():
                for key, value in (settings.get("data") or {}).items():
                    info = (settings.get("data_keys") or {}).get(key, {})
                    found.setdefault((device, key), (info, []))[1].append(value)
    if not found:
        return
    made = group(parent, "configuration", "NXcollection")
    for (device, key), (info, values) in found.items():
        device_group, field = _place(made, device, key, devices)
        if all(as_json(value) == as_json(values[0]) for value in values):
            values = values[:1]
        array = np.asarray(values) if all(isinstance(value, (int, float, np.generic)) for value in values) else None
        if array is not None and array.dtype.kind in "biuf":
            stored = device_group.create_dataset(field, data=array)
        else:
            stored = device_group.create_dataset(field, data=[_text(value) for value in values], dtype=_TEXT)
        _describe(stored, key, info, devices.role_of(device))


def _stored(values: np.ndarray) -> dict[str, Any]:
    """How a column is stored: compressed if it is large."""
    if values.nbytes <= LARGE:
        return {}
    return {"chunks": True, "compression": "gzip", "compression_opts": 1, "shuffle": True}
