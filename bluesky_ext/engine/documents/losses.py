"""Losses: the events of a run that never came, or never came through, as its stop document tells of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.valid import LARGEST

#: A stop document lists at most this many lost events one by one; ``lost_counts`` beside it is always whole.
LISTED = 10_000


class Losses:
    """The missing events of a run, by the names of its streams."""

    def __init__(self) -> None:
        self._seq_nums: defaultdict[str, Intervals] = defaultdict(Intervals)
        self._unlisted: Counter[str] = Counter()

    def add(self, stream: str, seq_nums: Iterable[range]) -> None:
        """Add events of a stream; what was added before counts once."""
        for some in seq_nums:
            self._seq_nums[str(stream)].add(some.start, some.stop)  # a descriptor may call its stream anything

    def count(self, stream: str, events: int) -> None:
        """Add so many events of a stream, of which it is not known which."""
        self._unlisted[str(stream)] += events

    def add_listed(self, stop: Mapping[str, Any], key: str) -> None:
        """Add what a stop document says under this key; what is odd there is left out."""
        listed, counts = mapping_of(stop, key, list), mapping_of(stop, f"{key}_counts", int)
        for stream in {*listed, *counts}:
            numbers = [n for n in listed.get(stream, ()) if isinstance(n, int) and 0 < n <= LARGEST]
            self.add(stream, [range(number, number + 1) for number in numbers])
            self._unlisted[stream] += max(0, counts.get(stream, 0) - len(numbers))

    @property
    def counts(self) -> dict[str, int]:
        """How many events are missing, by stream."""
        missing = {*self._seq_nums, *+self._unlisted}
        return {stream: len(self._seq_nums[stream]) + self._unlisted[stream] for stream in sorted(missing)}

    def as_document(self, key: str) -> dict[str, Any]:
        """``{key: {stream: seq_nums}, key_counts: {stream: count}}``, or nothing when nothing is missing.

        A stop document that claims a billion events must not fill the memory of everyone who reads it: the lists end
        after `LISTED` numbers of all streams, and the counts say how many there are.
        """
        counts = self.counts
        if not counts:
            return {}
        listed: dict[str, list[int]] = {}
        left = LISTED
        for name in counts:
            listed[name] = list(islice(chain.from_iterable(self._seq_nums[name]), left))
            left -= len(listed[name])
        return {key: listed, f"{key}_counts": counts}


def mapping_of(stop: Mapping[str, Any], key: str, kind: type) -> dict[str, Any]:
    """What a stop document says of each stream, where that is of this kind; a stop may say anything."""
    value = stop.get(key)
    items = value.items() if isinstance(value, Mapping) else ()
    said = {name: item for name, item in items if isinstance(name, str) and isinstance(item, kind)}
    return {name: min(item, LARGEST) for name, item in said.items()} if kind is int else said
