"""Streams of a run as a joiner knows them: which frames there are, which events wait for theirs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from event_model.documents import Event

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.provenance import new_uid

EVENTS_KEPT = 1000
LARGE = 64 * 1024  # bytes


@dataclass(slots=True)
class JoinedStream:
    """The events and frames of a stream, whose events may have several descriptors.

    `waiting` are the events that lack a frame. `recent` are those that were given, `seen` their seq_nums and those of
    all before them: a pause may bring their frames anew. `too_late` are those whose new frame came when the event
    was no longer kept, with the data key. `flown` is one whose frames came without events.
    """

    name: str
    frames: dict[str, Intervals] = field(default_factory=dict)
    waiting: dict[int, Event] = field(default_factory=dict)
    recent: dict[int, Event] = field(default_factory=dict)
    seen: Intervals = field(default_factory=Intervals)
    too_late: dict[int, str] = field(default_factory=dict)
    has_events: bool = False
    flown: bool = False

    def remember(self, event: Event) -> None:
        """Keep an event that was given for a while, unless it has an image in itself."""
        seq_num = event["seq_num"]
        self.seen.add(seq_num, seq_num + 1)
        self.too_late.pop(seq_num, None)
        self.recent.pop(seq_num, None)
        if not has_image(event):
            self.recent[seq_num] = event
            if len(self.recent) > EVENTS_KEPT:
                del self.recent[next(iter(self.recent))]


@dataclass(slots=True)
class JoinedDescriptor:
    """A descriptor and what it means for the joining of its events.

    Of its keys, `wanted` are those whose frames are, `external` those that it says are elsewhere, and `streamed` those
    of the wanted whose frames come in stream_datum documents; `numbers` are those of them that are single numbers.
    Events of a `plain` one are complete when they come; one of `only_frames` has nothing but streamed keys, as those
    of fly scans have.
    """

    doc: Mapping[str, Any]
    stream: JoinedStream
    wanted: frozenset[str]
    external: frozenset[str] = frozenset()
    streamed: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    plain: bool = True
    only_frames: bool = False

    def sort_keys(self, stream_keys: Collection[str]) -> None:
        """Sort the keys (again), `stream_keys` being those that some stream_resource is of."""
        keys: Mapping[str, Any] = self.doc["data_keys"]
        self.external = frozenset(key for key, about in keys.items() if about.get("external"))
        # 'STREAM:' is what the RunEngine goes by; other sources may do without.
        streamed = {key for key in self.external if keys[key]["external"].startswith("STREAM")}
        streamed.update(keys.keys() & stream_keys)
        self.streamed = self.wanted & streamed
        self.numbers = frozenset(key for key in self.streamed if is_streamed_number(keys[key]))
        self.plain = not self.external and not streamed
        self.only_frames = bool(self.streamed) and len(streamed) == len(keys)

    def datum_id(self, event: Event, key: str) -> str | None:
        """Return what stands for the frame of a key in the event, or None if that is the value itself."""
        value = event["data"][key]
        # Not every event tells (those from Tiled do not), and not every device says `external` that should.
        if isinstance(value, str) and not (event.get("filled") or {}).get(key, key not in self.external):
            return value
        return None

    def flown(self, changed: Iterable[range] | None) -> Iterator[Event]:
        """Return the events that frames alone make, lazily; those of a fly scan have nothing else.

        A step scan gives each event after its frames: it takes frames of two seq_nums without an event, or the end of
        the run (``changed``, the seq_nums of new frames, is None then), to tell a fly scan from it.
        """
        frames = [self.stream.frames[key] for key in self.streamed if key in self.stream.frames]
        if not self.only_frames or self.stream.has_events or len(frames) < len(self.streamed):
            return iter(())
        if not self.stream.flown:
            there = chain.from_iterable(frames)
            self.stream.flown = changed is None or len({n for some in there for n in (some[0], some[-1])}) > 1
            changed = frames[0] if self.stream.flown else ()
        about: Any = {"descriptor": self.doc["uid"], "time": self.doc["time"]}
        return (
            Event(uid=new_uid(), seq_num=seq_num, data={}, timestamps={}, filled={}, **about)
            for seq_num in chain.from_iterable(changed or ())
            if all(seq_num in ranges for ranges in frames)
        )

    def incomplete(self) -> Iterator[tuple[range, str]]:
        """Yield the seq_nums that have frames under some streamed keys, and those of the keys under which they lack."""
        frames = {key: self.stream.frames.get(key, Intervals()) for key in self.streamed}
        for key, ranges in frames.items():
            lacking = Intervals()
            for seq_nums in chain.from_iterable(other.outside(ranges) for other in frames.values()):
                lacking.add(seq_nums.start, seq_nums.stop)
            yield from ((seq_nums, key) for seq_nums in lacking)


def is_streamed_number(about: Mapping[str, Any]) -> bool:
    """Whether a data key is of a single number for each event, which is in a file."""
    is_streamed = str(about.get("external", "")).startswith("STREAM")
    return is_streamed and about["dtype"] in ("number", "integer") and math.prod(about["shape"] or ()) == 1


def has_image(event: Mapping[str, Any]) -> bool:
    """Whether an event holds an image, or another large array: then it is not kept for what may come."""
    for value in event["data"].values():
        if (isinstance(value, list) and value and isinstance(value[0], list)) or getattr(value, "nbytes", 0) > LARGE:
            return True
    return False
