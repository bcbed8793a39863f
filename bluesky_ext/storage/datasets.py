"""Runs as xarray: a dataset for each stream."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.storage.adapters import as_source
from bluesky_ext.storage.columns import StoredRows, column
from bluesky_ext.storage.log import Place
from bluesky_ext.storage.stored import entries, run_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["read"]

logger = logging.getLogger(__name__)


def read(
    run: Any, *, streams: Collection[str] | None = None, arrays: Collection[str] | None = None
) -> dict[str, xr.Dataset]:
    """Return the streams of a run, by name: each as a dataset with one row an event.

    Parameters
    ----------
    run : object
        What `documents` takes, or whatever else `as_source` takes: a recording, a list of documents.
    streams : collection of str, optional
        Which streams are read; all by default.
    arrays : collection of str, optional
        Data keys whose values are read when they are arrays, such as images; all by default. Scalars are always read.

    Returns
    -------
    dict of str to xarray.Dataset
        Along the dimension ``seq_num``, with the coordinate ``time`` (s since 1970): a variable for each data key, with
        the dtype of its data, or of its `dtype_numpy` where the values are scalars, and the ``units`` of its descriptor
        in its attributes; ``seq_num_`` and ``time_`` are data keys called seq_num and time. Of a seq_num that came
        again after a pause, the last event. Large arrays in a catalogue are dask arrays, read when they are computed,
        in blocks of 16 MiB. Values that have no dtype or shape in common are objects; where an event lacks a key, it is
        NaN or None.
        Images in the files of a detector are dask arrays too, a block for each event, which are read from the files;
        those of a fly scan make the events. What is not read, or cannot be read from its files, is left out and named
        in the attribute ``external``; the latter is reported by a warning in the log too, and a file that goes later
        makes the computation fail.
        The other attributes are ``start`` and ``stop``, and ``complete``: whether there is a stop.

    Raises
    ------
    LookupError
        If the run has no stream of a name that is given.
    ValueError
        If there are several runs.
    """
    stored = run_of(run)
    start: dict[str, Any] = {}
    stop: dict[str, Any] | None = None
    found: dict[str, _Stream] = {}
    by_descriptor: dict[str, _Stream] = {}
    frames = _Frames()
    for name, document, places in ((*pair, ()) for pair in as_source(run)) if stored is None else entries(stored):
        match name:
            case "start" if start:
                raise ValueError(f"there are several runs, {start['uid']} is the first: give one of them")
            case "start":
                start = document
            case "stop":
                stop = document
            case "descriptor":
                name_of = document.get("name", "primary")
                stream = found.setdefault(name_of, _Stream(name_of, dict(document["data_keys"]), arrays))
                if streams is not None and name_of not in streams:
                    continue
                by_descriptor[document["uid"]] = stream
            case "event" | "event_page" | "stream_datum" if document["descriptor"] not in by_descriptor:
                continue
            case "event" | "event_page":
                document = {**document, "data": _with_rows(name, document, places)}
                by_descriptor[document["descriptor"]].add(_events(name, document))
        for event in frames(name, document):
            by_descriptor[event["descriptor"]].add([(event["seq_num"], event["time"], event["data"])])
    for event in frames.finish():
        by_descriptor[event["descriptor"]].add([(event["seq_num"], event["time"], event["data"])])
    for name in streams or ():
        if name not in found:
            raise LookupError(f"run {start.get('uid')} has no stream {name!r}, only {list(found)}: give one of these")
    attributes = {"start": start, "stop": stop, "complete": stop is not None}
    return {name: found[name].dataset(stored, attributes) for name in (found if streams is None else streams)}


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
            count, first = sum(len(one.seq_nums) for one in missing), missing[0]
            logger.warning(
                "%d images are not there, of %s in %s first: %s", count, first.data_key, first.events, first.reason
            )
        return events


def _with_rows(name: str, document: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """The data of an event or a page, with where the large arrays are in their place."""
    data = dict(document["data"])
    for key, kind, stream, first, count in places:
        if kind == "rows":
            data[key] = StoredRows(stream, first, count)
        else:
            rows = [StoredRows(stream, number, 0) for number in range(first, first + count)]
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
    arrays: Collection[str] | None
    """Which keys are kept when their values are arrays."""
    events: dict[int, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def add(self, events: Iterator[tuple[int, float, dict[str, Any]]] | list[Any]) -> None:
        for seq_num, time, data in events:
            if self.arrays is not None:
                data = {key: value for key, value in data.items() if key in self.arrays or not _is_array(value)}
            # An event of nothing but frames may come after these.
            self.events[seq_num] = time, data or self.events.get(seq_num, (time, data))[1]

    def dataset(self, run: Any, attributes: Mapping[str, Any]) -> xr.Dataset:
        import xarray as xr

        seq_nums = sorted(self.events)
        times = [self.events[n][0] for n in seq_nums]
        there = dict.fromkeys(key for _, data in self.events.values() for key in data)
        columns = {}
        for key in there:
            values = [self.events[n][1].get(key) for n in seq_nums]
            values = column(run, self.name, key, values, self.data_keys.get(key, {}))
            if values is not None:
                columns[key] = values
        names: dict[str, str] = {}
        for key in columns:
            names[key] = _other(key, {"seq_num", "time", *names.values()})
        variables = {}
        for key, values in columns.items():
            dims = [_other(f"{key}_{axis}", names.values()) for axis in range(values.ndim - 1)]
            units = self.data_keys.get(key, {}).get("units")
            variables[names[key]] = ("seq_num", *dims), values, {"units": units} if units else {}
        return xr.Dataset(
            variables,
            coords={"seq_num": np.asarray(seq_nums, int), "time": ("seq_num", np.asarray(times, float))},
            attrs={**attributes, "external": sorted({*self.data_keys, *there} - set(columns))},
        )


def _other(name: str, taken: Collection[str]) -> str:
    """The name, with as many underscores after it as it takes to be another than those."""
    while name in taken:
        name += "_"
    return name


def _is_array(value: Any) -> bool:
    return isinstance(value, list | StoredRows | FrameReference) or getattr(value, "ndim", 0) > 0
