"""Streams of a run as a joiner knows them: which frames there are, which events wait for theirs."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from event_model.documents import Event

from bluesky_ext.engine.documents.intervals import Intervals

EVENTS_KEPT = 1000
LARGE = 64 * 1024  # bytes


class Missing(NamedTuple):
    """What never was complete when its run stopped: an event, or the frames that make one in a fly scan."""

    descriptor: str
    seq_num: int
    data_key: str
    reason: str


@dataclass(slots=True)
class JoinedStream:
    """The events and frames of a stream, whose events may have several descriptors.

    `waiting` are the events that lack a frame. `recent` are those that were given, `seen` their seq_nums and those of
    all before them: a pause may bring their frames anew. `too_late` are those whose new frame came when the event
    was no longer kept, with the data key.
    """

    name: str
    frames: dict[str, Intervals] = field(default_factory=dict)
    waiting: dict[int, Event] = field(default_factory=dict)
    recent: OrderedDict[int, Event] = field(default_factory=OrderedDict)
    seen: Intervals = field(default_factory=Intervals)
    too_late: dict[int, str] = field(default_factory=dict)

    def remember(self, event: Event) -> None:
        """Keep an event that was given for a while, unless it has an image in itself."""
        seq_num = event["seq_num"]
        self.seen.add(seq_num, seq_num + 1)
        self.too_late.pop(seq_num, None)
        self.recent.pop(seq_num, None)
        if not any(_is_large(value) for value in event["data"].values()):
            self.recent[seq_num] = event
            if len(self.recent) > EVENTS_KEPT:
                self.recent.popitem(last=False)

    def frames_alone(self) -> dict[str, list[range]]:
        """Return the seq_nums, by data key, that have frames but no event."""
        known = Intervals()
        for seq_num in self.waiting:
            known.add(seq_num, seq_num + 1)
        for seq_nums in self.seen:
            known.add(seq_nums.start, seq_nums.stop)
        alone = {key: list(ranges.outside(known)) for key, ranges in self.frames.items()}
        return {key: seq_nums for key, seq_nums in alone.items() if seq_nums}


@dataclass(slots=True)
class JoinedDescriptor:
    """A descriptor and what it means for the joining of its events.

    Of its keys, `wanted` are those whose frames are, `external` those that it says are elsewhere, and `streamed` those
    of the wanted whose frames come in stream_datum documents. Events of a `plain` one are complete when they
    come; one that is `fly` has nothing but streamed frames, and then there need not be events.
    """

    doc: Mapping[str, Any]
    stream: JoinedStream
    wanted: frozenset[str]
    external: frozenset[str] = frozenset()
    streamed: frozenset[str] = frozenset()
    plain: bool = True
    fly: bool = False

    def sort_keys(self, stream_keys: Collection[str]) -> None:
        """Sort the keys (again), `stream_keys` being those that some stream_resource is of."""
        keys: Mapping[str, Any] = self.doc["data_keys"]
        self.external = frozenset(key for key, about in keys.items() if about.get("external"))
        # 'STREAM:' is what the RunEngine goes by; other sources may do without.
        streamed = {key for key in self.external if keys[key]["external"].startswith("STREAM")}
        streamed.update(keys.keys() & stream_keys)
        self.streamed = self.wanted & streamed
        self.plain = not self.external and not streamed
        self.fly = bool(self.streamed) and len(streamed) == len(keys)

    def datum_id(self, event: Event, key: str) -> str | None:
        """Return what stands for the frame of a key in the event, or None if that is the value itself."""
        value = event["data"][key]
        # Not every event tells (those from Tiled do not), and not every device says `external` that should.
        if isinstance(value, str) and not (event.get("filled") or {}).get(key, key not in self.external):
            return value
        return None

    def has_frames(self, seq_num: int) -> bool:
        """Return whether all streamed frames of an event are there."""
        frames = self.stream.frames
        return all(key in frames and frames[key].get(seq_num) is not None for key in self.streamed)

    def event_of_frames(self, seq_num: int) -> Event:
        """Return an event that has nothing yet but its frames, which is all that a fly scan tells of it."""
        return Event(
            uid=str(uuid.uuid4()),
            descriptor=self.doc["uid"],
            seq_num=seq_num,
            time=self.doc["time"],
            data={},
            timestamps={},
            filled={},
        )

    def incomplete(self) -> Iterator[Missing]:
        """Yield the events of a fly scan that have some of their frames and not the others."""
        empty = Intervals()
        for key in sorted(self.streamed):
            ranges = self.stream.frames.get(key, empty)
            lacking = {
                seq_num
                for other in self.streamed - {key}
                for seq_nums in self.stream.frames.get(other, empty).outside(ranges)
                for seq_num in seq_nums
            }
            for seq_num in lacking - self.stream.waiting.keys():
                yield Missing(self.doc["uid"], seq_num, key, "no stream_datum of this seq_num came for it")


def _is_large(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], list)
    return isinstance(value, np.ndarray) and value.nbytes > LARGE
