"""Runs as xarray: a dataset for each stream."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.storage.log import Place
from bluesky_ext.storage.rows import BLOCK_BYTES, fetch
from bluesky_ext.storage.stored import array_of, entries

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["read"]

logger = logging.getLogger(__name__)

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
        the dtype of its data, or of its `dtype_numpy` where the values are scalars; ``seq_num_`` and ``time_`` are data
        keys called seq_num and time. Of a seq_num that came again after a pause, the last event. Large arrays are
        dask arrays, read when they are computed, in blocks of 16 MiB. Values that have no dtype or shape in common are
        objects; where an event lacks a key, it is NaN or None.
        Images in the files of a detector are dask arrays too, a block for each event, which are read from the files;
        those of a fly scan make the events. What cannot be read from its files is left out, named in the attribute
        ``external``, and reported by a warning in the log; a file that goes later makes the computation fail.
        The other attributes are ``start`` and ``stop``, and ``complete``: whether there is a stop.
    """
    start: dict[str, Any] = {}
    stop: dict[str, Any] | None = None
    streams: dict[str, _Stream] = {}
    by_descriptor: dict[str, _Stream] = {}
    frames = _Frames()
    for name, document, places in entries(run):
        match name:
            case "start":
                start = document
            case "stop":
                stop = document
            case "descriptor":
                name_of = document.get("name", "primary")
                stream = streams.setdefault(name_of, _Stream(name_of, dict(document["data_keys"])))
                by_descriptor[document["uid"]] = stream
            case "event" | "event_page" if document["descriptor"] in by_descriptor:
                document = {**document, "data": _with_rows(name, document, places)}
                by_descriptor[document["descriptor"]].add(_events(name, document))
        for event in frames(name, document):
            by_descriptor[event["descriptor"]].add([(event["seq_num"], event["time"], event["data"])])
    for event in frames.finish():
        by_descriptor[event["descriptor"]].add([(event["seq_num"], event["time"], event["data"])])
    attributes = {"start": start, "stop": stop, "complete": stop is not None}
    return {name: stream.dataset(run, attributes) for name, stream in streams.items()}


class _Rows(NamedTuple):
    """Where the array of an event is: one row of an array, or several."""

    stream: str
    first: int
    height: int
    """How many rows; 0: the row itself, without an axis of rows."""


class _Frames:
    """The events of a run with references to what is in files, as far as there are any."""

    def __init__(self) -> None:
        self._joiner = Joiner()
        self._over = False

    def __call__(self, name: str, document: Mapping[str, Any]) -> list[Any]:
        """The events that are complete with this document."""
        if self._over or name in ("start", "stop"):
            return []
        try:
            if name == "event_page" and not self._joiner.needs(document["descriptor"]) and not _refers(document):
                return []  # of peaks there are many, and these lack nothing
            events = [event for event in self._joiner(name, document) if event is not document]
        except (ValueError, KeyError, TypeError) as error:
            self._over = True
            logger.warning("this run refers to files, and they are left out from here on: %s", error)
            return []
        return events

    def finish(self) -> list[Any]:
        """The events that only the end of the run makes complete."""
        events, missing = ([], []) if self._over else self._joiner.finish()
        if missing:
            _, seq_num, key, reason = missing[0]
            logger.warning(
                "%d images are not there, of %s in event %d as the first: %s", len(missing), key, seq_num, reason
            )
        return events


def _with_rows(name: str, document: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """The data of an event or a page, with where the large arrays are in their place."""
    data = dict(document["data"])
    for key, kind, stream, first, count in places:
        if kind == "rows":
            data[key] = _Rows(stream, first, count)
        else:
            rows = [_Rows(stream, number, 0) for number in range(first, first + count)]
            data[key] = rows[0] if name == "event" else rows
    return data


def _events(name: str, document: Mapping[str, Any]) -> Iterator[tuple[int, float, dict]]:
    """Yield seq_num, time and data of the events, without the names of datums."""
    external = {key for key, filled in document.get("filled", {}).items() if _is_reference(filled)}
    data = {key: value for key, value in document["data"].items() if key not in external}
    if name == "event":
        yield document["seq_num"], document["time"], data
        return
    for n, (seq_num, time) in enumerate(zip(document["seq_num"], document["time"], strict=True)):
        yield seq_num, time, {key: values[n] for key, values in data.items()}


def _refers(page: Mapping[str, Any]) -> bool:
    return any(_is_reference(filled) for filled in page.get("filled", {}).values())


def _is_reference(filled: Any) -> bool:
    """Whether a value is the name of a datum: it is not filled, in a page not in any row."""
    return not any(filled) if isinstance(filled, list) else not filled


@dataclass
class _Stream:
    name: str
    data_keys: Mapping[str, Any]
    events: dict[int, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def add(self, events: Iterator[tuple[int, float, dict[str, Any]]] | list[Any]) -> None:
        for seq_num, time, data in events:
            # An event of nothing but frames may come after these.
            self.events[seq_num] = time, data or self.events.get(seq_num, (time, data))[1]

    def dataset(self, run: Any, attributes: Mapping[str, Any]) -> xr.Dataset:
        import xarray as xr

        seq_nums = sorted(self.events)
        times = [self.events[n][0] for n in seq_nums]
        there = dict.fromkeys(key for _, data in self.events.values() for key in data)
        columns = {}
        for key in there:
            column = self._column(run, key, [self.events[n][1].get(key) for n in seq_nums])
            if column is not None:
                columns[key] = column
        names: dict[str, str] = {}
        for key in columns:
            names[key] = _other(key, {"seq_num", "time", *names.values()})
        variables = {}
        for key, column in columns.items():
            dims = [_other(f"{key}_{axis}", names.values()) for axis in range(column.ndim - 1)]
            variables[names[key]] = ("seq_num", *dims), column
        return xr.Dataset(
            variables,
            coords={"seq_num": np.asarray(seq_nums, int), "time": ("seq_num", np.asarray(times, float))},
            attrs={**attributes, "external": sorted({*self.data_keys, *there} - set(columns))},
        )

    def _column(self, run: Any, key: str, values: list[Any]) -> Any:
        """The values as an array; None if they are in files, and cannot be read."""
        if any(isinstance(value, FrameReference) for value in values):
            return _of_files(f"{self.name}/{key}", values)
        rows = [value for value in values if isinstance(value, _Rows)]
        if rows and len(rows) == len(values) and len({row.height for row in rows}) == 1:
            return _lazy(array_of(run, rows[0].stream, key), rows)
        if rows:
            node = array_of(run, rows[0].stream, key)
            values = [_fetched(node, value) if isinstance(value, _Rows) else value for value in values]
        return _array(values, self.data_keys.get(key, {}))


def _other(name: str, taken: Collection[str]) -> str:
    """The name, with as many underscores after it as it takes to be another than those."""
    while name in taken:
        name += "_"
    return name


def _fetched(node: Any, rows: _Rows) -> np.ndarray:
    block = fetch(node, rows.first, rows.first + (rows.height or 1))
    return block if rows.height else block[0]


def _array(values: list[Any], described: Mapping[str, Any]) -> np.ndarray:
    dtype = described.get("dtype_numpy")
    kinds = [_kind(value) for value in values]
    shapes = {shape for shape, _ in kinds}
    types = {kind for _, kind in kinds}
    if isinstance(dtype, str) and shapes == {()}:
        try:
            scalars = np.asarray(values, np.dtype(dtype))
        except (TypeError, ValueError, OverflowError):
            scalars = None
        if scalars is not None and all(map(_same, scalars.tolist(), values)):
            return scalars
    if len(shapes) == 1 and (types <= {*"biufc"} or (len(types) == 1 and types <= {*"USMm"})):
        return np.asarray(values)
    if types <= {*"iufO"} and all(
        value is None or (shape == () and kind != "O") for value, (shape, kind) in zip(values, kinds, strict=True)
    ):
        return np.asarray([np.nan if value is None else value for value in values])
    objects = np.empty(len(values), object)
    for n, value in enumerate(values):
        objects[n] = value
    return objects


def _kind(value: Any) -> tuple[tuple[int, ...], str]:
    """The shape of a value and the kind of its dtype; of a ragged list, those of an object."""
    try:
        array = np.asarray(value)
    except ValueError:
        return (), "O"
    return array.shape, array.dtype.kind


def _same(one: Any, value: Any) -> bool:
    other = np.asarray(value).item()
    return bool(one == other or (one != one and other != other))


def _lazy(node: Any, rows: list[_Rows]) -> Any:
    """Return rows of an array as a dask array that reads neighbours at once."""
    import dask.array as da  # pyright: ignore[reportMissingImports]
    from dask.delayed import delayed  # pyright: ignore[reportMissingImports]

    numbers = [number for row in rows for number in range(row.first, row.first + (row.height or 1))]
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
    stack = da.concatenate(
        [
            da.from_delayed(read_rows(node, start, stop), (stop - start, *node.shape[1:]), node.dtype)
            for start, stop in parts
        ]
    )
    count = rows[0].height
    return stack.reshape((len(rows), count, *node.shape[1:])) if count else stack


def _of_files(about: str, values: list[Any]) -> Any:
    """Return images in files as a dask array, a block for each; None, and a warning, if none can be read."""
    import dask.array as da  # pyright: ignore[reportMissingImports]
    from dask.delayed import delayed  # pyright: ignore[reportMissingImports]

    first: np.ndarray | None = None
    lost: Exception | None = None
    for value in values:
        if not isinstance(value, FrameReference):
            continue
        try:
            # What the descriptor says of shape and dtype is wrong often enough.
            first = value.read(patience=0)
        except (OSError, ValueError, LookupError, TypeError, ImportError) as error:
            lost = lost or error
        else:
            break
        if lost is not None and not isinstance(lost, OSError):
            break  # it can never be read, nor can the others
    if lost is not None:
        logger.warning("%s: an image in a file cannot be read: %s", about, lost)
    if first is None:
        return None
    shape, dtype = first.shape, first.dtype
    alike = [value is None or isinstance(value, FrameReference) for value in values]
    if not all(alike):
        logger.warning("%s: of %d events, %d have no image in a file", about, len(values), alike.count(False))
        values = [value if ok else None for value, ok in zip(values, alike, strict=True)]
    gaps = any(value is None for value in values)
    if gaps:
        dtype = np.promote_types(dtype, np.float32)  # there must be room for NaN
    image = delayed(_image, pure=False)
    nothing = da.full(shape, np.nan, dtype) if gaps else None
    return da.stack([nothing if v is None else da.from_delayed(image(v, shape, dtype), shape, dtype) for v in values])


def _image(reference: FrameReference, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    image = reference.read(patience=0)
    if image.shape != shape:
        raise ValueError(f"{reference.file} has an image of shape {image.shape} among those of {shape}")
    return image.astype(dtype, copy=False)
