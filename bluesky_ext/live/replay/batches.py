"""Events in batches that are worth a worker's while."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bluesky_ext.live.events import Event
from bluesky_ext.live.pair_run import BATCH, BATCH_BYTES
from bluesky_ext.live.replay.run_items import Item


def batched(items: Iterable[Item]) -> Iterator[tuple[str, Any]]:
    """Yield documents as they are, and the events between them in lists, as ("events", list)."""
    batch: list[Event] = []
    size = described = 0  # about how many bytes: those in the batch, and an event with all streams that are described
    for item in items:
        if type(item) is Event:
            batch.append(item)
            size += described or _size_of_frames(item)
            if size < BATCH_BYTES and len(batch) < BATCH:
                continue
        if batch:
            yield "events", batch
            batch, size = [], 0
        if type(item) is tuple:
            name, document = item
            if name == "descriptor":
                described += 1 + sum(map(_size_of, document["data_keys"].values()))
            yield name, document


def _size_of_frames(event: Event) -> int:
    """How many bytes an event of a capture has."""
    return sum(len(frame) for message in event.streams.values() for frame in message.frames)


def _size_of(data_key: Mapping[str, Any]) -> int:
    """About how many bytes a reading has; lengths that nobody knows count as 1."""
    return 8 * math.prod(length for length in data_key.get("shape") or () if isinstance(length, int) and length > 0)
