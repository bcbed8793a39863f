"""Events of several streams that are one point of a scan, joined by their number."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator

from bluesky_ext.live.events import Event

log = logging.getLogger(__name__)

#: So many events wait for their other streams, of so many bytes together; then the oldest goes on without them.
WAITING, WAITING_BYTES = 10_000, 2**28


class Join:
    """The events of a run of which not all streams have come yet.

    Parameters
    ----------
    streams : collection of str
        The streams that are joined; each that is described, unless they are named.
    """

    def __init__(self, streams: Collection[str] = ()) -> None:
        self._streams = set(streams)
        self._is_named = bool(streams)
        self._parts: OrderedDict[int, dict[str, Event]] = OrderedDict()
        self._bytes = 0
        self._said = False

    def describe(self, stream: str) -> None:
        """Take note of a stream that was described."""
        if not self._is_named:
            self._streams.add(stream)

    def joins(self, stream: str) -> bool:
        """Whether a stream is one of those that are joined."""
        return stream in self._streams

    def put(self, event: Event) -> Iterator[Event]:
        """Take what an event has of one stream; yield those that are whole with it."""
        number = event.event_number
        parts = self._parts.setdefault(number, {})
        if event.stream in parts:  # it comes again
            self._bytes -= _size(parts[event.stream])
        parts[event.stream] = event
        self._bytes += _size(event)
        if parts.keys() >= self._streams:
            yield self._whole(number)
        while len(self._parts) > WAITING or self._bytes > WAITING_BYTES:
            oldest = next(iter(self._parts))
            if not self._said:
                missing = " and ".join(sorted(self._streams - self._parts[oldest].keys()))
                log.warning("event %d goes on without %s: too many events wait for it", oldest, missing)
                self._said = True
            yield self._whole(oldest)

    def finish(self) -> Iterator[Event]:
        """Yield those that lack a stream, in the order of their numbers."""
        for number in sorted(self._parts):
            yield self._whole(number)

    def _whole(self, number: int) -> Event:
        parts = list(self._parts.pop(number).values())
        self._bytes -= sum(map(_size, parts))
        return Event.joined(parts)


def _size(event: Event) -> int:
    return sum(getattr(value, "nbytes", 0) for value in event.data.values())
