"""The last events of each worker, for whoever looks for a mistake: what they had, in words."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.live.events import Event, Filled

#: So many events of each worker are kept, and so many of their keys; in events of more bytes, no arrays are.
KEPT, KEYS, LARGE = 10, 50, 2**14
#: So many characters of a value, and of an error.
LONG, LONGEST = 80, 500

_Failures: TypeAlias = Sequence[tuple[int | None, str, str]]


class LastEvents:
    """The last events that the workers of a run are done with."""

    def __init__(self) -> None:
        # Of each worker its last batches: when it was done, the last events of it or what they had, and what failed.
        self._batches: dict[str, deque[tuple[float, Sequence[Event | dict[str, Any]], _Failures]]] = {}
        self._is_large: dict[str, bool] = {}  # whether events of a stream are, as the first one was

    def note(self, worker: str, events: Sequence[Event], failures: _Failures) -> None:
        """Take note of a batch, and of what failed in it."""
        if not events:
            return
        last: Sequence[Event | dict[str, Any]] = events[-KEPT:]
        stream = events[-1].stream
        is_large = self._is_large.get(stream)
        if is_large is None:
            is_large = self._is_large[stream] = _is_large(events[-1])
        if is_large:  # then no arrays are kept
            last = [described(event) for event in events[-KEPT:]]
        batches = self._batches.get(worker)
        if batches is None:
            batches = self._batches[worker] = deque(maxlen=KEPT)
        batches.append((time.time(), last, failures))

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """Of each worker its last events, the latest at the end, from any thread."""
        return {worker: _told(list(batches)) for worker, batches in sorted(dict(self._batches).items())}


def described(event: Event) -> dict[str, Any]:
    """The number and the stream of an event, and its values by key as short texts; images in files are not read."""
    data = event.streams if event.is_captured else _data_of(event)
    values = {printable(key, LONG): _value(value) for key, value in islice(data.items(), KEYS)}
    return {"number": event.event_number, "stream": printable(event.stream, LONG), "data": values}


def _told(batches: Sequence[tuple[float, Sequence[Event | dict[str, Any]], _Failures]]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for when, events, failures in batches:
        why = {(number, printable(stream, LONG)): printable(text, LONGEST) for number, stream, text in failures}
        for event in events:
            about = described(event) if isinstance(event, Event) else event
            said.append({**about, "time": when, "failed": why.get((about["number"], about["stream"]))})
    return said[-KEPT:]


def _is_large(event: Event) -> bool:
    return event.is_captured or sum(getattr(one, "nbytes", 0) for one in _data_of(event).values()) > LARGE


def _data_of(event: Event) -> Mapping[str, Any]:
    return event.data.known if isinstance(event.data, Filled) else event.data


def _value(value: Any) -> str:
    if hasattr(value, "dtype") and getattr(value, "ndim", 0):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    is_short = isinstance(value, str | float) or hasattr(value, "dtype") or value is None
    if is_short or (isinstance(value, int) and abs(value) < 2**64):
        return printable(value, LONG)
    return type(value).__name__
