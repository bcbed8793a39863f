"""A run as it is replayed: its events, and between them its start, descriptors and stop."""

from __future__ import annotations

import logging
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.losses import Losses, mapping_of
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.live.events import Event, events_of

log = logging.getLogger(__name__)

#: An event, or the start, a descriptor or the stop of the run as (name, document).
Item: TypeAlias = "Event | tuple[str, Mapping[str, Any]]"


def items_of_run(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Item]:
    """Yield the items of the only run that these documents are of; frames in files stay references to them.

    Its stop document tells of the events that never came (``lost``).

    Raises
    ------
    ValueError
        If there is another run among them, or no start.
    """
    run, is_open, is_over = _Run(), False, False
    plain, numbers = run.plain, run.numbers
    for name, document in documents:
        stream = plain.get(document["descriptor"]) if name in ("event", "event_page") else None
        if name == "start":
            if is_open:
                raise ValueError(
                    f"the source has more than one run, also {printable(document['uid'])}: give one of them"
                )
            is_open = True
            yield "start", document
        elif not is_open:
            raise ValueError(f"the source begins with a {printable(name)}: a run begins with its start document")
        elif stream is not None and not document.get("filled"):
            if name == "event":
                number = document["seq_num"]
                if type(number) is not int:
                    number = operator.index(number)
                numbers[stream].note(number)
                yield Event(number, stream, document["data"], document["timestamps"], document["descriptor"])
                continue
            for event in events_of(stream, document):
                numbers[stream].note(event.event_number)
                yield event
        elif name == "stop":
            yield from run.completed()
            yield "stop", run.stop(document)
            is_over = True
        else:
            yield from run.events(run.joiner(name, document))
            if name == "descriptor":
                run.names[document["uid"]] = document.get("name", "primary")
                yield name, document
            if name in ("descriptor", "stream_resource"):
                run.sort()
    if is_open and not is_over:
        log.warning("the source ends without a stop document")
        yield from run.completed()
        yield "stop", {}


class _Run:
    """What is known of a run while it is read."""

    def __init__(self) -> None:
        self.joiner = Joiner()
        self.names: dict[str, str] = {}  # of the streams, by the uids of their descriptors
        self.plain: dict[str, str] = {}  # of those whose events come whole
        self.numbers: defaultdict[str, Intervals] = defaultdict(Intervals)

    def sort(self) -> None:
        """Find out which events come whole."""
        self.plain.clear()
        self.plain.update({uid: name for uid, name in self.names.items() if not self.joiner.needs(uid)})

    def events(self, documents: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
        """Yield events that have all their frames, or references to them."""
        for event in documents:
            number, uid = operator.index(event["seq_num"]), event["descriptor"]
            self.numbers[self.names[uid]].note(number)
            yield Event(number, self.names[uid], event["data"], event["timestamps"], uid)

    def completed(self) -> Iterator[Event]:
        """Yield the events that the end of the run completes; those that never were complete are reported."""
        events, missing = self.joiner.finish()
        yield from self.events(events)
        for one in missing[:1]:
            count = sum(len(some.seq_nums) for some in missing)
            said = printable(f"{one.data_key} of {one.events}: {one.reason}")
            log.warning("%d frames never came; the first is %s", count, said)

    def stop(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The stop document, and the events in it that never came."""
        lost = Losses()
        expected = mapping_of(document, "num_events", int)
        for name in {*self.numbers, *expected}:
            lost.add(name, self.numbers[name].missing(expected.get(name, 0)))
        for name, count in lost.counts.items():
            log.warning("stream %r: the source lacks %d of its events", name, count)
        return {**document, **lost.as_document("lost")}
