"""Batches of events: which they are, how much they are, and what came of them."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence

from bluesky_ext.live.events import Event
from bluesky_ext.live.kernel import Done
from bluesky_ext.live.reduction import Spans


def unpickled_of(done: Done) -> Done:
    """What came of a batch, with its results, which were pickled by a process of ours."""
    results, failures = [], list(done.failures)
    for number, stream, pickled in done.results:
        try:
            results.append((number, stream, pickle.loads(pickled)))
        except Exception as error:  # each type fails in its own way
            said = " ".join(str(error).split())
            failures.append((number, stream, f"its result can't be unpickled here: {type(error).__name__}: {said}"))
    return done._replace(results=results, failures=failures)


def spans_of(events: Sequence[Event]) -> Spans:
    """Which events these are, without what they hold."""
    if not events:
        return ()
    first, last = events[0], events[-1]
    if first is last and first.is_single:
        return ((first.stream, first.event_number, first.event_number + 1),)
    one_after_another = last.event_number - first.event_number + 1 == len(events)
    if one_after_another and first.is_single and last.is_single and len({event.stream for event in events}) == 1:
        return [(first.stream, first.event_number, last.event_number + 1)]
    return [(stream, event.event_number, event.event_number + 1) for event in events for stream in event.streams]


def size_of(events: Iterable[Event]) -> int:
    """About how many bytes travel with these events."""
    size = 0
    for event in events:
        for stream in event.streams.values():
            if hasattr(stream, "frames"):
                size += sum(map(len, stream.frames))
            else:
                size += sum(getattr(value, "nbytes", 64) for value in stream.data.values())
    return size
