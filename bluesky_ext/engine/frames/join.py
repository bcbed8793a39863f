"""Joining: events meet the frames that came in other documents, whichever came first."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, cast

from event_model import unpack_datum_page, unpack_event_page
from event_model.documents import Event

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.valid import check_seq_nums
from bluesky_ext.engine.frames.datums import DatumReference, HandlerClass
from bluesky_ext.engine.frames.readable import ANYWHERE, Readable, present
from bluesky_ext.engine.frames.references import PATIENCE, FrameReference
from bluesky_ext.engine.frames.stream_files import StreamReference, place_of
from bluesky_ext.engine.frames.streams import JoinedDescriptor, JoinedStream, is_streamed_number

Document = Mapping[str, Any]


class Missing(NamedTuple):
    """What never was complete when its run stopped: events, or the frames that make one in a fly scan."""

    descriptor: str
    seq_nums: range
    data_key: str
    reason: str

    @property
    def events(self) -> str:
        """Which events they are, in words."""
        first, last = self.seq_nums[0], self.seq_nums[-1]
        return f"event {first}" if first == last else f"events {first} to {last}"


class _NotYet(Exception):  # noqa: N818 - nothing is wrong
    """Arguments: why a frame can't be named yet, and the datum id or resource uid that it waits for, or None."""


class Joiner:
    """The complete events of one run, in which a reference stands for every frame that is in a file.

    Feed it the run's documents in the order in which they come, and use up what it returns before the next one. An
    event that lacks nothing comes back at once, as the same object; one whose datum or stream_datum is not there yet
    comes when it is; `finish` tells of those that never were complete. No document is changed, and no file is opened,
    but for single numbers that are in one, such as where a motor was in a fly scan.

    A frame is looked for where an event has a datum id or lacks a key of its descriptor: devices disagree on what
    `external` means. Of repeated seq_nums the last event and the last frame win, in any order, and one of the last
    `streams.EVENTS_KEPT` events of a stream is given again when its frame is replaced.

    Frames of the ``data_keys`` are wanted, in streams that have all of them (None: every frame); others are left out
    of the events, and not waited for. ``handlers`` and ``root_map`` are as for `event_model.Filler`; ``patience`` is
    that of the references. They read files that are ``readable``, and that the thread which makes the joiner may read.
    """

    def __init__(
        self,
        data_keys: Collection[str] | None = None,
        handlers: Mapping[str, HandlerClass] | None = None,
        root_map: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
        readable: Readable = ANYWHERE,
    ) -> None:
        self._handlers = dict(handlers or {})
        for spec, handler in self._handlers.items():
            if not callable(handler):
                raise TypeError(f"handlers[{spec!r}]={handler!r} is not a handler class: give the class itself")
        self._data_keys = None if data_keys is None else frozenset(data_keys)
        self._root_map = dict(root_map or {})
        self.readable = readable & present()
        self._about: Any = {"patience": patience, "readable": self.readable}
        self._complaints = Complaints(logging.getLogger(__name__))
        self._streams: dict[str, JoinedStream] = {}
        self._descriptors: dict[str, JoinedDescriptor] = {}
        self._resources: dict[str, Document] = {}
        self._datums: dict[str, tuple[str, Document]] = {}
        # What waits for a datum id or resource uid, as (stream, seq_num); a dict, for the order.
        self._awaited: dict[str, dict[tuple[str, int], None]] = {}
        self._stream_resources: list[Document] = []
        self._stream_keys: set[str] = set()
        self._ranks: dict[str, int] = {}
        self._routes: dict[str, Callable[[Document], Iterable[Event]]] = {
            "descriptor": self._descriptor,
            "resource": self._resource,
            "datum": self._datum,
            "datum_page": lambda doc: _of_all(self._datum, unpack_datum_page(cast(Any, doc))),
            "stream_resource": self._stream_resource,
            "stream_datum": self._stream_datum,
            "event": self._event,
            "event_page": lambda doc: _of_all(self._event, unpack_event_page(cast(Any, doc))),
        }

    def __call__(self, name: str, doc: Document) -> Iterable[Event]:
        """Return the events that are complete with this document, which is taken in at once."""
        route = self._routes.get(name)
        return route(doc) if route is not None else ()

    def needs(self, descriptor_uid: str) -> bool:
        """Return whether events of this descriptor can lack anything; a stream_resource can change the answer."""
        return not self._find(descriptor_uid, "needs()").plain

    @property
    def first_file(self) -> str:
        """The path that the first resource names, a file or how its files begin; empty if there is none so far."""
        for resource in self._resources.values():
            return os.path.join(resource["root"], resource["resource_path"])
        for resource in self._stream_resources:
            return place_of(resource) or ""
        return ""

    def finish(self) -> tuple[list[Event], list[Missing]]:
        """Return the events that the end of the run completes, and what never was complete; called at the stop."""
        events: list[Event] = []
        missing: list[Missing] = []
        for descriptor in {one.stream.name: one for one in self._descriptors.values()}.values():
            stream, uid = descriptor.stream, descriptor.doc["uid"]
            events += [self._complete(descriptor, event) for event in descriptor.flown(None)]
            missing += chain.from_iterable(map(self._lacking, stream.waiting.values()))
            too_late = "its new frame came when the event was no longer kept"
            missing += [Missing(uid, range(n, n + 1), key, too_late) for n, key in stream.too_late.items()]
            if descriptor.only_frames and not stream.has_events:
                reason = "no stream_datum of this seq_num came for it"
                missing += [Missing(uid, seq_nums, key, reason) for seq_nums, key in descriptor.incomplete()]
        return events, sorted(missing, key=lambda one: (one.descriptor, one.seq_nums[0], one.data_key))

    def _descriptor(self, doc: Document) -> Iterable[Event]:
        name, keys = doc.get("name", "primary"), doc["data_keys"].keys()
        wanted = frozenset(keys if self._data_keys is None else self._data_keys if self._data_keys <= keys else ())
        if wanted:
            wanted |= {key for key, about in doc["data_keys"].items() if is_streamed_number(about)}
        stream = self._streams.setdefault(name, JoinedStream(name))
        self._descriptors[doc["uid"]] = JoinedDescriptor(doc, stream, wanted)
        self._descriptors[doc["uid"]].sort_keys(self._stream_keys)
        return ()

    def _resource(self, doc: Document) -> Iterable[Event]:
        root = doc.get("root") or ""
        self._resources[doc["uid"]] = {**doc, "root": self._root_map.get(root, root)}
        return self._arrived(doc["uid"])

    def _datum(self, doc: Document) -> Iterable[Event]:
        self._datums[doc["datum_id"]] = doc["resource"], doc["datum_kwargs"]
        return self._arrived(doc["datum_id"])

    def _event(self, doc: Document) -> Iterable[Event]:
        event = cast(Event, doc)
        descriptor = self._find(event["descriptor"], f"event {event['uid']}")
        if descriptor.plain and len(event["data"]) == len(descriptor.doc["data_keys"]):
            filled = event.get("filled")
            if not filled or False not in filled.values():
                return (event,)
        check_seq_nums(descriptor.stream.name, (event["seq_num"],))  # not when it has waited
        descriptor.stream.has_events = True
        return self._offer(event)

    def _stream_resource(self, doc: Document) -> Iterable[Event]:
        if doc["uid"] in self._ranks:
            return ()
        self._ranks[doc["uid"]] = len(self._stream_resources)
        self._stream_resources.append(doc)
        if doc["data_key"] not in self._stream_keys:
            self._stream_keys.add(doc["data_key"])
            for descriptor in self._descriptors.values():
                descriptor.sort_keys(self._stream_keys)
        return ()

    def _stream_datum(self, doc: Document) -> Iterable[Event]:
        about = f"stream_datum {doc['uid']}"
        descriptor = self._find(doc["descriptor"], about)
        rank = self._ranks.get(doc["stream_resource"])
        if rank is None:
            raise ValueError(f"{about}: its stream_resource {doc['stream_resource']} has not come; send it first")
        key = self._stream_resources[rank]["data_key"]
        if key not in descriptor.wanted:
            return ()
        (start, stop), (first, end) = ((doc[name]["start"], doc[name]["stop"]) for name in ("seq_nums", "indices"))
        if stop - start != end - first:
            raise ValueError(f"{about} has {end - first} indices for {stop - start} seq_nums: an index is of one event")
        if start < stop:
            check_seq_nums(descriptor.stream.name, (start, stop - 1))
        changed = descriptor.stream.frames.setdefault(key, Intervals()).add(start, stop, rank, first)
        if descriptor.only_frames and not descriptor.stream.has_events:
            return (self._complete(descriptor, event) for event in descriptor.flown(changed))
        return self._replaced(descriptor.stream, key, changed)

    def _replaced(self, stream: JoinedStream, key: str, changed: Iterable[range]) -> Iterator[Event]:
        """Yield the events whose frame is there now, or is another one now; lazily, for there may be thousands."""
        for seq_num in chain.from_iterable(changed):
            event = stream.waiting.get(seq_num) or stream.recent.get(seq_num)
            if event is not None:
                yield from self._offer(event)
            elif seq_num in stream.seen:
                stream.too_late[seq_num] = key

    def _arrived(self, uid: str) -> Iterable[Event]:
        """Return the events that waited for this datum or resource only."""
        waiting = [self._streams[name].waiting.get(seq_num) for name, seq_num in self._awaited.pop(uid, ())]
        return _of_all(self._offer, filter(None, waiting))

    def _offer(self, event: Event) -> Iterable[Event]:
        """Return the event if it can be completed; let it wait if not."""
        descriptor = self._descriptors[event["descriptor"]]
        stream, seq_num = descriptor.stream, event["seq_num"]
        try:
            complete = self._complete(descriptor, event)
        except _NotYet as lack:
            stream.waiting[seq_num] = event  # an earlier event of this seq_num is superseded
            if lack.args[1] is not None:
                self._awaited.setdefault(lack.args[1], {})[stream.name, seq_num] = None
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
        numbers = {key: self._number(frames.pop(key)) for key in descriptor.numbers & frames.keys()}
        return {
            **event,
            "data": {**_without(unwanted, data), **numbers, **frames},
            "timestamps": {**dict.fromkeys([*numbers, *frames], event["time"]), **_without(unwanted, times)},
            "filled": {**_without(unwanted, filled), **dict.fromkeys(frames, False)},
        }

    def _frame(self, descriptor: JoinedDescriptor, event: Event, key: str) -> FrameReference | None:
        """Return where the frame of an event is, or None if it is in the event."""
        stream, seq_num = descriptor.stream, event["seq_num"]
        about = {"data_key": key, "run": descriptor.doc["run_start"], "stream": stream.name, "seq_num": seq_num}
        about |= self._about
        if key not in event["data"]:
            frame = stream.frames[key].get(seq_num) if key in stream.frames else None
            if frame is None:
                kind = "stream_datum of this seq_num" if key in self._stream_keys else "stream_resource"
                raise _NotYet(f"neither a value nor a {kind} came for it", None)
            resource, description = self._stream_resources[frame[0]], descriptor.doc["data_keys"][key]
            n_told = stream.frames[key].following(seq_num)
            return StreamReference(resource=resource, description=description, index=frame[1], n_told=n_told, **about)
        datum_id = descriptor.datum_id(event, key)
        if datum_id is None:
            return None
        if datum_id not in self._datums:
            raise _NotYet(f"datum {datum_id!r} never came", datum_id)
        uid, datum_kwargs = self._datums[datum_id]
        if uid not in self._resources:
            raise _NotYet(f"resource {uid!r} of datum {datum_id!r} never came", uid)
        resource = self._resources[uid]
        handler = self._handlers.get(resource["spec"])
        return DatumReference(resource=resource, datum_kwargs=datum_kwargs, handler=handler, **about)

    def _number(self, reference: FrameReference) -> float:
        """Read the only number that there is; NaN if it can't be read, which is said once."""
        try:
            return reference.read().item()
        except (OSError, ValueError) as error:
            self._complaints(reference.data_key, "a reading is lost: %s", error)
            return math.nan

    def _lacking(self, event: Event) -> Iterator[Missing]:
        descriptor, seq_num = self._descriptors[event["descriptor"]], event["seq_num"]
        for key in sorted(descriptor.wanted):
            try:
                self._frame(descriptor, event, key)
            except _NotYet as lack:
                yield Missing(event["descriptor"], range(seq_num, seq_num + 1), key, lack.args[0])

    def _find(self, uid: str, about: str) -> JoinedDescriptor:
        try:
            return self._descriptors[uid]
        except KeyError:
            raise ValueError(f"{about}: its descriptor {uid!r} has not come; send all of the run, in order") from None


def _of_all(route: Callable[[Any], Iterable[Event]], docs: Iterable[Any]) -> list[Event]:
    return [event for doc in docs for event in route(doc)]


def _without(keys: Collection[str], mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}
