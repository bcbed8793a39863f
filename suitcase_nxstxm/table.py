"""The readings that have no place on the grid, a column for each in the collection: a temperature, a setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

from suitcase_nxstxm.keys import Devices, mended_units
from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.nexus import array, group, name_in
from suitcase_nxstxm.stream import FrameRows, Stream

_TEXT = h5py.string_dtype()
_EXACT = 1 << 53

Sources = Sequence[tuple[Stream, np.ndarray]]
"""Streams that have a key, with the row of the collection that each of their rows is."""


class Rows(NamedTuple):
    """The rows that a run has of a stream, and those of its data keys that are wanted."""

    run: str
    stream: Stream
    keys: Sequence[str]


def write_stream(parent: h5py.Group, name: str, rows: Sequence[Rows], devices: Devices) -> None:
    """Write the readings of a stream: a group for each device, a dataset for each of its keys, a row for each event.

    Rows are in the order of the runs and of their events. Devices have the names that NeXus allows and their own as the
    attribute ``name``. The time of each event is ``time``; ``run`` and ``seq_num`` say which event it is, where that
    isn't plain.
    """
    rows = [one for one in rows if len(one.stream)]
    if not rows:
        return
    numbers = [one.stream.head("seq_num") for one in rows]
    events = [np.unique(own) if (np.diff(own) <= 0).any() else own for own in numbers]
    begins = np.cumsum([0, *map(len, events)]).tolist()
    where = [begin + np.searchsorted(own, all_) for own, all_, begin in zip(events, numbers, begins, strict=False)]
    found, times = np.concatenate(events), np.full(begins[-1], np.nan)
    del events, numbers
    for one, places in zip(rows, where, strict=True):
        told = one.stream.head("time")
        known = slice(None) if not np.isnan(told).any() else ~np.isnan(told)
        times[places[known]] = told[known]
    made = group(parent, name_in(parent, name, name), "NXcollection", name=name)
    array(made, "time", times.shape, float, data=times).attrs["units"] = "s"
    if len(rows) > 1:
        runs = np.repeat(np.array([one.run for one in rows], object), np.diff(begins))
        array(made, "run", runs.shape, _TEXT, data=runs)
    if len(rows) > 1 or not np.array_equal(found, np.arange(1, len(found) + 1)):
        array(made, "seq_num", found.shape, found.dtype, data=found)
    for key in dict.fromkeys(key for one in rows for key in one.keys):
        mine = [(one.stream, rows_of) for one, rows_of in zip(rows, where, strict=True) if key in one.stream.columns]
        if mine:
            _write_column(made, key, devices, len(found), mine)


def _write_column(parent: h5py.Group, key: str, devices: Devices, total: int, sources: Sources) -> None:
    """Write the readings of a key: as numbers of the type that holds them as they are, else as text."""
    device = sources[0][0].owner.get(key, key)
    columns = [column for stream, _ in sources for column in stream.columns[key]]
    shapes = {column.shape for column in columns if column.numbers is not None}
    dtype = _dtype(key, total, sources)
    found, field = _field(parent, device, key, devices)
    texts = np.full(total if dtype is None else 0, "", object)
    made = None if dtype is None else array(found, field, (total, *shapes.pop()), dtype)
    for stream, rows in sources:
        for row, values in stream.blocks(key):
            if isinstance(values, FrameRows) or (made is not None and values.dtype.kind == "O"):
                continue
            # Of several rows with one place the last one counts.
            places, last = np.unique(rows[row : row + len(values)][::-1], return_index=True)
            values = values[::-1][last]
            if made is None:
                texts[places] = [_text(value) for value in values.tolist()]
            else:
                made[places if (np.diff(places) > 1).any() else slice(places[0], places[-1] + 1)] = values
    if made is None:
        made = found.create_dataset(field, data=texts, dtype=_TEXT)
    info = next((stream.info[key] for stream, _ in sources if key in stream.info), {})
    _describe(made, key, info, devices.role_of(device))


def _dtype(key: str, total: int, sources: Sources) -> np.dtype | None:
    """The type that holds all readings of a key as they are, NaN where there is none; None if that is text."""
    columns = [column for stream, _ in sources for column in stream.columns[key]]
    dtypes = [column.numbers for column in columns if column.numbers is not None]
    if len({column.shape for column in columns if column.numbers is not None}) != 1 or any(c.frames for c in columns):
        return None
    for stream, _ in sources if len(dtypes) < len(columns) else ():  # None is a gap, anything else makes text of all
        for _, values in stream.blocks(key):
            if isinstance(values, np.ndarray) and values.dtype.kind == "O" and any(v is not None for v in values):
                return None
    filled = np.unique(np.concatenate([rows[stream.sizes(key) > 0] for stream, rows in sources]))
    whole, booleans = np.result_type(*dtypes), {dtype.kind == "b" for dtype in dtypes}
    if len(filled) == total and (booleans == {True} or (whole.kind in "iu" and booleans == {False})):
        return whole
    exact = booleans == {False} and all(is_exact(stream, key) for stream, _ in sources)
    return np.result_type(whole, np.float32) if exact else None


def is_exact(stream: Stream, key: str) -> bool:
    """Whether floats hold all numbers of a key."""
    if not any(dtype.str[1:] in ("i8", "u8") for dtype in stream.dtypes(key)):
        return True
    blocks = (found for _, found in stream.blocks(key) if isinstance(found, np.ndarray) and found.dtype.kind in "iu")
    return all(found.max() <= _EXACT and found.min() >= -_EXACT for found in blocks)


def _text(value: object) -> str:
    """Text as it is, anything else as JSON; and so is text that HDF5 can't hold."""
    if isinstance(value, str) and "\0" not in value and value == value.encode(errors="ignore").decode():
        return value
    return as_json(value)


def _field(parent: h5py.Group, device: str, key: str, devices: Devices) -> tuple[h5py.Group, str]:
    """The group of a device, and the name of the field of one of its keys."""
    found = group(parent, name_in(parent, device, device), "NXcollection", name=device)
    label = devices.called(device)
    if label:
        found.attrs["label"] = label
    own = "value" if key == device else key.removeprefix(device).lstrip("_-.:") or key
    return found, name_in(found, own, key)


def _describe(made: h5py.Dataset, key: str, info: Mapping[str, Any], role: str | None) -> None:
    given = info.get("units")
    units = mended_units(role, given) if given else None
    said = {"name": key, "units": units, "units_of_the_document": given if units != given else None}
    for attribute, item in (said | {name: info.get(name) for name in ("source", "enum_strs")}).items():
        if item:
            made.attrs[attribute] = item


def write_configuration(parent: h5py.Group, configurations: Iterable[Mapping[str, Any]], devices: Devices) -> None:
    """Write the settings of the devices: one value, or one for each descriptor that has it where they differ."""
    found: dict[tuple[str, str], tuple[Mapping[str, Any], list[Any]]] = {}
    for configuration in configurations:
        for device, settings in configuration.items():
            for key, value in (settings.get("data") or {}).items():
                info = (settings.get("data_keys") or {}).get(key, {})
                found.setdefault((device, key), (info, []))[1].append(value)
    for (device, key), (info, values) in found.items():
        made = group(parent, "configuration", "NXcollection")
        device_group, field = _field(made, device, key, devices)
        if all(as_json(value) == as_json(values[0]) for value in values):
            values = values[:1]
        numbers = np.asarray(values if all(isinstance(value, (int, float, np.number)) for value in values) else "")
        if numbers.dtype.kind in "biuf":
            stored = device_group.create_dataset(field, data=numbers)
        else:
            stored = device_group.create_dataset(field, data=[_text(value) for value in values], dtype=_TEXT)
        _describe(stored, key, info, devices.role_of(device))
