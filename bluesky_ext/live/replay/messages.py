"""Messages of detectors, as dranspose captures them: the events that they make."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bluesky_ext.live.events import Event
from bluesky_ext.live.replay.captures import Captured, StreamMessage, read_capture
from bluesky_ext.live.replay.pickles import read_pickles
from bluesky_ext.live.replay.run_items import Item


def messages_of(path: Path, unsafe_pickle: bool) -> Iterator[Any]:
    """The messages of a capture: they have an ``event_number`` and ``streams``."""
    if ".pkls" not in path.suffixes:
        return read_capture(path)
    if not unsafe_pickle:
        raise ValueError(f"{path} holds pickles, which execute what they hold: give --unsafe-pickle if you trust it")
    return read_pickles(path)


def items_of_messages(sources: Sequence[Iterable[Any]]) -> Iterator[Item]:
    """Yield the items of a run, of the messages of one scan; of several sources those with the same number are one.

    Raises
    ------
    TypeError, ValueError
        If there is something else among them, or if two sources have a stream of the same name in one event.
    """
    yield "start", {"uid": str(uuid.uuid4()), "time": time.time()}
    events = [map(_event_of, source) for source in sources]
    yield from events[0] if len(events) == 1 else _joined(events)
    yield "stop", {}


def _event_of(message: Any) -> Event:
    if type(message) is Captured:
        return Event.captured(*message)
    try:
        streams = {
            # as bytes, since zmq's frames stay in this process
            name: StreamMessage(part.typ, [getattr(frame, "bytes", frame) for frame in part.frames])
            for name, part in message.streams.items()
        }
        return Event.captured(message.event_number, streams)
    except AttributeError as error:
        kind = type(message).__name__
        raise TypeError(
            f"the source gave {kind}: give messages, with event_number and streams, or documents"
        ) from error


def _joined(sources: Sequence[Iterator[Event]]) -> Iterator[Event]:
    heads = [next(one, None) for one in sources]
    while there := [head.event_number for head in heads if head is not None]:
        lowest, streams = min(there), {}
        for at, head in enumerate(heads):
            if head is None or head.event_number != lowest:
                continue
            if twice := streams.keys() & head.streams.keys():
                raise ValueError(
                    f"event {lowest} has the stream {twice.pop()!r} in two of the sources: give one of them"
                )
            streams |= head.streams
            heads[at] = next(sources[at], None)
        yield Event.captured(lowest, streams)
