"""Runs as xarray: a dataset for each stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bluesky_ext.storage.log import Place
from bluesky_ext.storage.rows import BLOCK_BYTES, fetch
from bluesky_ext.storage.stored import array_of, entries

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["read"]

_BLOCK = BLOCK_BYTES // 4


def read(run: Any) -> dict[str, xr.Dataset]:
    """Return the streams of a run, by name: each as a dataset with one row an event.

    Parameters
    ----------
    run : client
        The client of a run in a catalogue.

    Returns
    -------
    dict of str to xarray.Dataset
        Along the dimension ``seq_num``, with the coordinate ``time`` (s since 1970): a variable for each data key, with
        the dtype of its data, or of its `dtype_numpy` where the values are scalars. Of a seq_num that came again after
        a pause, the last event. Large arrays are dask arrays, read when they are computed, in blocks of 16 MiB.
        Values that have no dtype or shape in common are objects; where an event lacks a key, it is NaN or None.
        What is behind references in the files of a detector is left out, and named in the attribute ``external``. The
        other attributes are ``start`` and ``stop``, and ``complete``: whether there is a stop.
    """
    start: dict[str, Any] = {}
    stop: dict[str, Any] | None = None
    streams: dict[str, _Stream] = {}
    by_descriptor: dict[str, _Stream] = {}
    for name, document, places in entries(run):
        match name:
            case "start":
                start = document
            case "stop":
                stop = document
            case "descriptor":
                stream = streams.setdefault(document["name"], _Stream(document["name"], document["data_keys"]))
                by_descriptor[document["uid"]] = stream
            case "event" | "event_page" if document["descriptor"] in by_descriptor:
                by_descriptor[document["descriptor"]].add(_events(name, document, places))
    attributes = {"start": start, "stop": stop, "complete": stop is not None}
    return {name: stream.dataset(run, attributes) for name, stream in streams.items()}


@dataclass(frozen=True)
class _Row:
    """Where the array of an event is."""

    stream: str
    number: int


def _events(name: str, document: Mapping[str, Any], places: Sequence[Place]) -> Iterator[tuple[int, float, dict]]:
    """Yield seq_num, time and data of the events."""
    data = dict(document["data"])
    for key, _, stream, first, count in places:
        rows = [_Row(stream, number) for number in range(first, first + count)]
        data[key] = rows[0] if name == "event" else rows
    external = {key for key, filled in document.get("filled", {}).items() if _refers(filled)}
    if name == "event":
        yield document["seq_num"], document["time"], {k: v for k, v in data.items() if k not in external}
        return
    columns = {k: v for k, v in data.items() if k not in external}
    for n, (seq_num, time) in enumerate(zip(document["seq_num"], document["time"], strict=True)):
        yield seq_num, time, {key: values[n] for key, values in columns.items()}


def _refers(filled: Any) -> bool:
    """Whether a value is the name of a datum: it is not filled, in a page not in any row."""
    return not any(filled) if isinstance(filled, list) else not filled


@dataclass
class _Stream:
    name: str
    data_keys: Mapping[str, Any]
    events: dict[int, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def add(self, events: Iterator[tuple[int, float, dict[str, Any]]]) -> None:
        for seq_num, time, data in events:
            self.events[seq_num] = time, data

    def dataset(self, run: Any, attributes: Mapping[str, Any]) -> xr.Dataset:
        import xarray as xr

        seq_nums = sorted(self.events)
        times = [self.events[n][0] for n in seq_nums]
        there = dict.fromkeys(key for _, data in self.events.values() for key in data)
        variables = {}
        for key in there:
            column = self._column(run, key, [self.events[n][1].get(key) for n in seq_nums])
            variables[key] = ("seq_num", *(f"{key}_{axis}" for axis in range(column.ndim - 1))), column
        external = sorted(set(self.data_keys) - set(there))
        return xr.Dataset(
            variables,
            coords={"seq_num": np.asarray(seq_nums, int), "time": ("seq_num", np.asarray(times, float))},
            attrs={**attributes, "external": external},
        )

    def _column(self, run: Any, key: str, values: list[Any]) -> Any:
        rows = [value for value in values if isinstance(value, _Row)]
        if rows and len(rows) == len(values):
            return _lazy(array_of(run, rows[0].stream, key), [row.number for row in rows])
        if rows:
            node = array_of(run, rows[0].stream, key)
            values = [fetch(node, v.number, v.number + 1)[0] if isinstance(v, _Row) else v for v in values]
        return _array(values, self.data_keys.get(key, {}))


def _array(values: list[Any], described: Mapping[str, Any]) -> np.ndarray:
    dtype = described.get("dtype_numpy")
    if isinstance(dtype, str) and all(np.ndim(value) == 0 for value in values):
        try:
            scalars = np.asarray(values, np.dtype(dtype))
        except (TypeError, ValueError, OverflowError):
            scalars = None
        if scalars is not None and scalars.tolist() == [np.asarray(value).item() for value in values]:
            return scalars
    kinds = {np.asarray(value).dtype.kind for value in values}
    if len({np.shape(value) for value in values}) == 1 and (kinds <= {*"biufc"} or kinds <= {"U"}):
        return np.asarray(values)
    if kinds <= {*"iufO"} and all(
        value is None or (np.ndim(value) == 0 and not isinstance(value, dict)) for value in values
    ):
        return np.asarray([np.nan if value is None else value for value in values])
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _lazy(node: Any, numbers: list[int]) -> Any:
    """Return rows of an array as a dask array that reads neighbours at once."""
    import dask.array as da  # pyright: ignore[reportMissingImports]
    from dask.delayed import delayed  # pyright: ignore[reportMissingImports]

    size = max(1, int(np.prod(node.shape[1:])) * node.dtype.itemsize)
    most = max(1, _BLOCK // size)
    parts, begin = [], 0
    for n in range(1, len(numbers) + 1):
        if n == len(numbers) or numbers[n] != numbers[n - 1] + 1:
            for first in range(begin, n, most):
                stop = min(n, first + most)
                parts.append((numbers[first], numbers[stop - 1] + 1))
            begin = n
    read_rows = delayed(fetch, pure=True)
    return da.concatenate(
        [
            da.from_delayed(read_rows(node, start, stop), (stop - start, *node.shape[1:]), node.dtype)
            for start, stop in parts
        ]
    )
