"""Documents put together from the metadata, tables and arrays of a run that has no log."""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bluesky_ext.engine.documents.provenance import plain_copy
from bluesky_ext.engine.frames.streams import is_streamed_number
from bluesky_ext.storage.log import Entry, Place

__all__ = ["rebuilt"]

_NOTHING: Mapping[str, Any] = {"dtype": "", "shape": []}

logger = logging.getLogger(__name__)


class _Array(NamedTuple):
    """An array of a stream: an event has `rows` of it, 0 for one that is not an axis of its own."""

    length: int
    rows: int
    numbers: Mapping[int, int]
    """For each row of the table that has an image, counted from 0, its number among the images."""


def rebuilt(run: Any) -> Iterator[Entry]:
    """Yield the documents of a run that `bluesky_tiled_plugins.TiledWriter` saved, in order of time.

    Tiled's own ``run.documents()`` gives them as JSON: an array of 2 MiB takes it 0.2 s.
    """
    uid = run.metadata["start"]["uid"]
    yield Entry("start", plain_copy(run.metadata["start"]), [])
    streams = (_of_stream(run[name], name, uid) for name in run)
    for *_, entry in heapq.merge(*streams, key=lambda item: item[:2]):
        yield entry
    if run.metadata.get("stop"):
        yield Entry("stop", plain_copy(run.metadata["stop"]), [])


def _of_stream(stream: Any, name: str, run_uid: str) -> Iterator[tuple[float, int, Entry]]:
    """Yield (time, order at that time, entry)."""
    first, *updates = [plain_copy({**d, "name": name, "run_start": run_uid}) for d in stream.descriptors]
    yield first["time"], 0, Entry("descriptor", first, [])
    table = _rows(stream.base)
    arrays = {
        key: _array(f"run {run_uid}, {name}/{key}", key, stream.base[key].shape, first["data_keys"].get(key, {}), table)
        for key in stream.base
        if not _is_table(key)
    }
    if not table and arrays:
        # A fly scan has files and no events.
        count = max(array.length // max(1, array.rows) for array in arrays.values())
        table = [{"seq_num": n + 1, "time": first["time"]} for n in range(count)]
    # Of a seq_num that came again after a pause the last row counts; the arrays have all of them.
    last = {int(row["seq_num"]): n for n, row in enumerate(table)}
    current = first
    numbers = {key for key in arrays if is_streamed_number(first["data_keys"].get(key, _NOTHING))}
    for seq_num, n in sorted(last.items()):
        row = table[n]
        time = row["time"]
        while updates and updates[0]["time"] <= time:
            current = updates.pop(0)
            yield current["time"], 0, Entry("descriptor", current, [])
        data = {key: value for key, value in row.items() if key not in ("seq_num", "time") and key[:3] != "ts_"}
        places = [place for key, array in arrays.items() if (place := _place(array, key, name, n)) is not None]
        places = [place._replace(kind="number") if place.key in numbers else place for place in places]
        stamps = {key: row.get(f"ts_{key}", time) for key in (*data, *(place.key for place in places))}
        external = [place.key for place in places if first["data_keys"].get(place.key, {}).get("external")]
        event = {
            "uid": f"{current['uid']}-{seq_num}",
            "descriptor": current["uid"],
            "seq_num": seq_num,
            "time": time,
            "data": data | dict.fromkeys(place.key for place in places),
            "timestamps": stamps,
            "filled": dict.fromkeys(external, True),
        }
        yield time, 1, Entry("event", event, places)


def _array(
    about: str, key: str, shape: tuple[int, ...], described: Mapping[str, Any], table: list[dict[str, Any]]
) -> _Array:
    """Which of its rows belong to which rows of the table."""
    length, of_event = shape[0], list(described.get("shape") or [])
    external = bool(described.get("external"))
    # What lies in files may be joined along the axis of the frames of an event, instead of a new one.
    joined = external and len(shape) == len(of_event) and isinstance(of_event[0], int) and of_event[0] > 0
    rows = of_event[0] if joined else 0
    frames, events = length // max(1, rows), len(table)
    if not table:
        return _Array(length, rows, {n: n for n in range(frames)})
    there = [n for n, row in enumerate(table) if not _is_null(row.get(f"ts_{key}", row["time"]))]
    if frames == len(there):
        return _Array(length, rows, {row: number for number, row in enumerate(there)})
    if external:
        # Its frames are counted by the events: those at the end have none yet, or belong to no event.
        logger.warning("%s has frames for %d events, and there are %d", about, frames, events)
        return _Array(length, rows, {n: n for n in range(min(frames, events))})
    logger.warning(
        "%s has %d images for %d events, and nothing says which belong together: it is left out",
        *(about, frames, len(there)),
    )
    return _Array(length, rows, {})


def _place(array: _Array, key: str, stream: str, row: int) -> Place | None:
    number = array.numbers.get(row)
    if number is None:
        return None
    if array.rows:
        return Place(key, "rows", stream, number * array.rows, array.rows)
    return Place(key, "event", stream, number, 1)


def _is_null(value: Any) -> bool:
    return value is None or value != value


def _rows(stream: Any) -> list[dict[str, Any]]:
    """The rows of the tables of a stream, in the order in which they were written."""
    tables = [_table(stream[key]) for key in sorted(stream) if _is_table(key)]
    return [{key: value for part in parts for key, value in part.items()} for parts in zip(*tables, strict=True)]


def _table(node: Any) -> list[dict[str, Any]]:
    frame = node.read()
    if hasattr(frame, "compute"):  # a client of dask
        frame = frame.compute()
    return frame.to_dict("records")


def _is_table(key: str) -> bool:
    return re.fullmatch(r"internal(_\d+)?", key) is not None
