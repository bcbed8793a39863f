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
    if len(events) == 1 and events[0].is_single:
        return ((events[0].stream, events[0].event_number, events[0].event_number + 1),)
    numbers = [event.event_number for event in events if event.is_single]
    if len(numbers) == len(events) > 0 and len({event.stream for event in events}) == 1:
        first, stop = numbers[0], numbers[0] + len(numbers)
        if numbers == list(range(first, stop)):  # nearly always
            return [(events[0].stream, first, stop)]
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
