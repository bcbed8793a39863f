"""Joining: events meet the frames that came in other documents, whichever came first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

from event_model import unpack_datum_page, unpack_event_page
from event_model.documents import Event

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.frames.datums import Datums, NotYet
from bluesky_ext.engine.frames.handlers import HandlerClass
from bluesky_ext.engine.frames.references import FrameReference, StreamReference, Whose
from bluesky_ext.engine.frames.streams import JoinedDescriptor, JoinedStream, Missing

logger = logging.getLogger(__name__)

Document = Mapping[str, Any]


class Joiner:
    """The complete events of one run, in which a reference stands for every frame that is in a file.

    Feed it the run's documents in the order in which they come, and use up what it returns before the next one. An
    event that lacks nothing comes back at once, as the same object; one whose datum or stream_datum is not there yet
    comes when it is; `finish` tells of those that never were complete. No document is changed, no file is opened.

    A frame is looked for where an event has a datum id or lacks a key of its descriptor; what the descriptor says in
    `external` decides nothing alone, since devices disagree on it. A descriptor of nothing but streamed frames is that
    of a fly scan, which need not have events: then the frames make them. After a pause the RunEngine repeats seq_nums
    with new uids and new frames: the last event and the last frame win, in any order, and an event that was given (one
    of the last `streams.EVENTS_KEPT` of its stream) is given again when its frame is replaced.

    Memory grows with what a run leaves open (the events that wait) and with its datum documents, which any later event
    may name; stream_datum documents are merged.

    Parameters
    ----------
    data_keys
        The keys whose frames are wanted (None: all). Other frames are left out of the events.
    handlers
        Handler classes by spec, for resource documents; beside them, those that are installed are known.
    root_map
        Replacements for the `root` of resource documents, as for `event_model.Filler`.
    """

    def __init__(
        self,
        data_keys: Collection[str] | None = None,
        handlers: Mapping[str, HandlerClass] | None = None,
        root_map: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(data_keys, str):
            raise TypeError(f"data_keys={data_keys!r} is one string: give a collection, such as [{data_keys!r}]")
        self._data_keys = None if data_keys is None else frozenset(data_keys)
        self._streams: dict[str, JoinedStream] = {}
        self._descriptors: dict[str, JoinedDescriptor] = {}
        self._datums = Datums(handlers or {}, root_map or {})
        # What waits for a datum id or resource uid, as (stream, seq_num); a dict, for the order.
        self._awaited: dict[str, dict[tuple[str, int], None]] = {}
        self._stream_resources: list[Document] = []
        self._stream_keys: set[str] = set()
        self._ranks: dict[str, int] = {}
        self._routes: dict[str, Callable[[Document], Iterable[Event]]] = {
            "descriptor": self._descriptor,
            "resource": self._resource,
            "datum": self._datum,
            "datum_page": self._datum_page,
            "stream_resource": self._stream_resource,
            "stream_datum": self._stream_datum,
            "event": self._event,
            "event_page": self._event_page,
        }

    def __call__(self, name: str, doc: Document) -> Iterable[Event]:
        """Return the events that are complete with this document, which is taken in at once."""
        if name == "event":  # as most documents are
            return self._event(doc)
        route = self._routes.get(name)
        return route(doc) if route is not None else ()

    def needs(self, descriptor_uid: str) -> bool:
        """Return whether events of this descriptor can lack anything; a stream_resource can change the answer."""
        return not self._find(descriptor_uid, "needs()").plain

    def finish(self) -> list[Missing]:
        """Return what never was complete, by descriptor and seq_num; to be called at the stop."""
        missing: list[Missing] = []
        for descriptor in {one.stream.name: one for one in self._descriptors.values()}.values():
            stream, uid = descriptor.stream, descriptor.doc["uid"]
            for event in stream.waiting.values():
                missing += self._lacking(event)
            for seq_num, key in stream.too_late.items():
                missing.append(Missing(uid, seq_num, key, "its new frame came when the event was no longer kept"))
            if descriptor.fly:
                missing += descriptor.incomplete()
                continue
            for key, alone in stream.frames_alone().items():
                logger.warning(
                    "run %s, stream %r: no event came for %d frames of %r (seq_nums %d to %d)",
                    *(descriptor.doc["run_start"], stream.name, sum(map(len, alone)), key),
                    *(alone[0].start, alone[-1].stop - 1),
                )
        return sorted(missing)

    # Documents, one kind after another

    def _descriptor(self, doc: Document) -> Iterable[Event]:
        name, keys = doc.get("name", "primary"), doc["data_keys"]
        stream = self._streams.setdefault(name, JoinedStream(name))
        wanted = frozenset(keys if self._data_keys is None else self._data_keys & keys.keys())
        descriptor = self._descriptors[doc["uid"]] = JoinedDescriptor(doc, stream, wanted)
        descriptor.sort_keys(self._stream_keys)
        return ()

    def _resource(self, doc: Document) -> Iterable[Event]:
        self._datums.add_resource(doc)
        return self._arrived(doc["uid"])

    def _datum(self, doc: Document) -> Iterable[Event]:
        self._datums.add_datum(doc)
        return self._arrived(doc["datum_id"])

    def _datum_page(self, doc: Document) -> Iterable[Event]:
        return [event for datum in unpack_datum_page(cast(Any, doc)) for event in self._datum(datum)]

    def _event_page(self, doc: Document) -> Iterable[Event]:
        return [event for row in unpack_event_page(cast(Any, doc)) for event in self._event(row)]

    def _event(self, doc: Document) -> Iterable[Event]:
        event = cast(Event, doc)
        descriptor = self._descriptors.get(event["descriptor"])
        if descriptor is None:
            descriptor = self._find(event["descriptor"], f"event {event['uid']}")
        if descriptor.plain and len(event["data"]) == len(descriptor.doc["data_keys"]):
            filled = event.get("filled")
            if not filled or False not in filled.values():
                return (event,)
        if descriptor.fly and not event["data"] and descriptor.has_frames(event["seq_num"]):
            # Its frames made an event already. It is known all the same, for when they come anew.
            descriptor.stream.remember(event)
            return ()
        return self._offer(descriptor, event)

    def _stream_resource(self, doc: Document) -> Iterable[Event]:
        if doc["uid"] in self._ranks:
            return ()
        self._ranks[doc["uid"]] = len(self._stream_resources)
        self._stream_resources.append(doc)
        if doc["data_key"] in self._stream_keys:
            return ()
        self._stream_keys.add(doc["data_key"])
        grounded = [one for one in self._descriptors.values() if not one.fly]
        for descriptor in self._descriptors.values():
            descriptor.sort_keys(self._stream_keys)
        # What turns out to be a fly scan may have frames that wait for events which need not come.
        return [
            event
            for one in grounded
            if one.fly and (ranges := one.stream.frames.get(key := min(one.streamed)))
            for event in self._meet(one, key, ranges)
        ]

    def _stream_datum(self, doc: Document) -> Iterable[Event]:
        about = f"stream_datum {doc['uid']}"
        descriptor = self._find(doc["descriptor"], about)
        rank = self._ranks.get(doc["stream_resource"])
        if rank is None:
            raise ValueError(f"{about}: its stream_resource {doc['stream_resource']} has not come; send it first")
        key = self._stream_resources[rank]["data_key"]
        if key not in descriptor.wanted:
            return ()
        start, stop = doc["seq_nums"]["start"], doc["seq_nums"]["stop"]
        first, end = doc["indices"]["start"], doc["indices"]["stop"]
        if stop - start != end - first:
            raise ValueError(
                f"{about} has {end - first} indices for {stop - start} seq_nums: an index must stand for one event, "
                "however many frames that has"
            )
        ranges = descriptor.stream.frames.setdefault(key, Intervals())
        return self._meet(descriptor, key, ranges.add(start, stop, rank, first))

    # Putting them together

    def _meet(self, descriptor: JoinedDescriptor, key: str, changed: Iterable[range]) -> Iterator[Event]:
        """Yield the events whose frame is there now, or is another one now; lazily, for there may be thousands."""
        stream = descriptor.stream
        for seq_num in chain.from_iterable(changed):
            event = stream.waiting.get(seq_num) or stream.recent.get(seq_num)
            if event is not None:
                yield from self._offer(self._descriptors[event["descriptor"]], event)
            elif descriptor.fly:
                if descriptor.has_frames(seq_num):
                    yield self._complete(descriptor, descriptor.event_of_frames(seq_num))
            elif stream.seen.get(seq_num) is not None:
                stream.too_late[seq_num] = key

    def _arrived(self, uid: str) -> Iterable[Event]:
        """Return the events that waited for this datum or resource and lack nothing else."""
        events: list[Event] = []
        for name, seq_num in self._awaited.pop(uid, ()):
            event = self._streams[name].waiting.get(seq_num)
            if event is not None:
                events += self._offer(self._descriptors[event["descriptor"]], event)
        return events

    def _offer(self, descriptor: JoinedDescriptor, event: Event) -> Iterable[Event]:
        """Return the event if it can be completed; let it wait if not."""
        stream, seq_num = descriptor.stream, event["seq_num"]
        try:
            complete = self._complete(descriptor, event)
        except NotYet as lack:
            stream.waiting[seq_num] = event  # an earlier event of this seq_num is superseded
            if lack.awaited is not None:
                self._awaited.setdefault(lack.awaited, {})[stream.name, seq_num] = None
            return ()
        stream.waiting.pop(seq_num, None)
        if descriptor.streamed:
            stream.remember(event)
        return (complete,)

    def _complete(self, descriptor: JoinedDescriptor, event: Event) -> Event:
        """Return the event with its frames and without those that are not wanted; the same object if it may be."""
        data, times, filled = event["data"], event["timestamps"], event.get("filled") or {}
        frames: dict[str, FrameReference] = {}
        unwanted: set[str] = set()
        for key in descriptor.doc["data_keys"]:
            if key in descriptor.wanted:
                frame = self._frame(descriptor, event, key)
                if frame is not None:
                    frames[key] = frame
            elif descriptor.datum_id(event, key) is not None if key in data else key in filled or key in times:
                unwanted.add(key)
        if not frames and not unwanted:
            return event
        return {
            **event,
            "data": {**_without(unwanted, data), **frames},
            "timestamps": {**dict.fromkeys(frames, event["time"]), **_without(unwanted, times)},
            "filled": {**_without(unwanted, filled), **dict.fromkeys(frames, False)},
        }

    def _frame(self, descriptor: JoinedDescriptor, event: Event, key: str) -> FrameReference | None:
        """Return where the frame of an event is, or None if it is in the event."""
        if key not in event["data"]:
            return self._streamed_frame(descriptor, event["seq_num"], key)
        datum_id = descriptor.datum_id(event, key)
        if datum_id is None:
            return None
        whose = Whose(descriptor.doc["run_start"], descriptor.stream.name, event["seq_num"])
        return self._datums.frame(datum_id, key, whose)

    def _streamed_frame(self, descriptor: JoinedDescriptor, seq_num: int, key: str) -> FrameReference:
        ranges = descriptor.stream.frames.get(key)
        frame = ranges.get(seq_num) if ranges is not None else None
        if frame is None:
            kind = "stream_datum of this seq_num" if key in self._stream_keys else "stream_resource"
            raise NotYet(f"neither a value nor a {kind} came for it")
        rank, index = frame
        resource = self._stream_resources[rank]
        return StreamReference(
            data_key=key,
            resource=resource["uid"],
            whose=Whose(descriptor.doc["run_start"], descriptor.stream.name, seq_num),
            uri=resource["uri"],
            mimetype=resource["mimetype"],
            parameters=resource["parameters"],
            description=descriptor.doc["data_keys"][key],
            index=index,
        )

    def _lacking(self, event: Event) -> Iterator[Missing]:
        descriptor = self._descriptors[event["descriptor"]]
        for key in sorted(descriptor.wanted):
            try:
                self._frame(descriptor, event, key)
            except NotYet as lack:
                yield Missing(event["descriptor"], event["seq_num"], key, lack.reason)

    def _find(self, uid: str, about: str) -> JoinedDescriptor:
        try:
            return self._descriptors[uid]
        except KeyError:
            raise ValueError(f"{about}: its descriptor {uid!r} has not come; send all of the run, in order") from None


def _without(keys: Collection[str], mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}
