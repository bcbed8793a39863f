"""Events of several streams that are one point of a scan, joined by their number."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator

from bluesky_ext.live.events import Event

log = logging.getLogger(__name__)

#: So many events wait for their other streams, of so many bytes together; then the oldest goes on without them.
WAITING, WAITING_BYTES = 10_000, 2**28
#: So many that wait are worth a remark.
HINT = 100


class Join:
    """The events of a run of which not all streams have come yet.

    Parameters
    ----------
    streams : collection of str
        The streams that are joined. Unless they are named, each that is described, but for those whose numbers are not
        those of points: the baseline and monitors.
    """

    def __init__(self, streams: Collection[str] = ()) -> None:
        self._streams = set(streams)
        self._first = self._last = 0  # numbers: a stream may be described when the first event of another has come
        self._is_named = bool(streams)
        self._parts: OrderedDict[int, dict[str, Event]] = OrderedDict()
        self._bytes = 0
        self._said = False

    def describe(self, stream: str) -> None:
        """Take note of a stream that was described."""
        if not self._is_named and stream != "baseline" and not stream.endswith("_monitor"):
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
        self._first, self._last = self._first or number, max(self._last, number)
        for one in sorted({self._first, number}):
            is_known = self._is_named or self._last > self._first  # which streams there are
            if is_known and self._parts.get(one, {}).keys() >= self._streams:
                yield self._whole(one)
        if len(self._parts) == HINT and not self._said:
            missing = " and ".join(sorted(self._streams - next(iter(self._parts.values())).keys()))
            log.warning(
                "%d events wait for stream %s: name the streams that are to be joined, join=(...)", HINT, missing
            )
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
