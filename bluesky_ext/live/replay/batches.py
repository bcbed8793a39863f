"""Events in batches that are worth a worker's while."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bluesky_ext.live.events import Event
from bluesky_ext.live.replay.run_items import Item

#: Events are handed on in batches of so many, or of so many bytes.
BATCH, BATCH_BYTES = 100, 2**20

Sizes = Mapping[Any, int]  # of an event, by the uid of its descriptor


def batched(items: Iterable[Item], size_of: Callable[[Event, Sizes], int]) -> Iterator[tuple[str, Any]]:
    """Yield documents as they are, and the events between them in lists, as ("events", list)."""
    batch: list[Event] = []
    size, sizes = 0, {}
    for item in items:
        if type(item) is Event:
            batch.append(item)
            size += size_of(item, sizes)
            if len(batch) < BATCH and size < BATCH_BYTES:
                continue
        if batch:
            yield "events", batch
            batch, size = [], 0
        if type(item) is tuple:
            name, document = item
            if name == "descriptor":
                sizes[document["uid"]] = sum(map(_size_of, document["data_keys"].values()))
            yield name, document


def size_in_file(event: Event, sizes: Sizes) -> int:
    """About how many bytes an event has, with the frames that are in files."""
    return sizes.get(event.descriptor, 0)


def size_joined(event: Event, sizes: Sizes) -> int:
    """The same of an event of several streams."""
    return sum(sizes.get(stream.descriptor, 0) for stream in event.streams.values())


def size_of_frames(event: Event, sizes: Sizes) -> int:
    """How many bytes an event of a capture has."""
    return sum(len(frame) for message in event.streams.values() for frame in message.frames)


def _size_of(data_key: Mapping[str, Any]) -> int:
    """About how many bytes a reading has; lengths that nobody knows count as 1."""
    return 8 * math.prod(length for length in data_key.get("shape") or () if isinstance(length, int) and length > 0)
