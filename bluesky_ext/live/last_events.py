"""The last events of each worker, for whoever looks for a mistake: what they had, in words."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.live.events import Event, Filled

#: So many events of each worker are kept, and so many of their keys; in events of more bytes, no arrays are.
KEPT, KEYS, LARGE = 10, 50, 2**14
#: So many characters of a value, and of an error.
LONG, LONGEST = 80, 500


class LastEvents:
    """The last events that the workers of a run are done with."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[tuple[float, Event | dict[str, Any], str | None]]] = {}

    def note(self, worker: str, events: Sequence[Event], failures: Sequence[tuple[int | None, str, str]]) -> None:
        """Take note of a batch, and of what failed in it."""
        last, now = events[-KEPT:], time.time()
        why = {(number, stream): said for number, stream, said in failures}
        kept = self._kept.get(worker)
        if kept is None:
            kept = self._kept[worker] = deque(maxlen=KEPT)
        for event in last:
            is_large = event.is_captured or sum(getattr(one, "nbytes", 0) for one in _data_of(event).values()) > LARGE
            failed = why.get((event.event_number, event.stream)) if why else None
            kept.append((now, described(event) if is_large else event, failed))

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """Of each worker its last events, the latest at the end, from any thread."""
        return {worker: [_told(*one) for one in list(kept)] for worker, kept in sorted(dict(self._kept).items())}


def described(event: Event) -> dict[str, Any]:
    """The number and the stream of an event, and its values by key as short texts; images in files are not read."""
    data = event.streams if event.is_captured else _data_of(event)
    values = {printable(key, LONG): _value(value) for key, value in islice(data.items(), KEYS)}
    return {"number": event.event_number, "stream": printable(event.stream, LONG), "data": values}


def _told(when: float, event: Event | dict[str, Any], failed: str | None) -> dict[str, Any]:
    about = described(event) if isinstance(event, Event) else event
    return {**about, "time": when, "failed": None if failed is None else printable(failed, LONGEST)}


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
