"""Whether a source gave all the events that its runs have."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.storage.adapters import Pair

log = logging.getLogger(__name__)


def counted(documents: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the documents as they are; warn of a run that has fewer events than its stop document says.

    The frames of a fly scan come in ``stream_datum`` documents, without events: its streams are not counted.
    """
    streams: dict[str, tuple[str, str]] = {}  # by the uids of descriptors: run, and name of the stream
    seen: dict[str, dict[str, Intervals]] = {}  # by run and name
    flown: set[tuple[str, str]] = set()
    for name, document in documents:
        if name == "descriptor":
            streams[document["uid"]] = run, stream = document["run_start"], document.get("name", "primary")
            seen.setdefault(run, {}).setdefault(stream, Intervals())
        elif name in ("event", "event_page") and document["descriptor"] in streams:
            run, stream = streams[document["descriptor"]]
            for seq_num in document["seq_num"] if name == "event_page" else [document["seq_num"]]:
                seen[run][stream].note(seq_num)
        elif name == "stream_datum" and document["descriptor"] in streams:
            flown.add(streams[document["descriptor"]])
        elif name == "stop":
            run = document["run_start"]
            counts = {stream: len(seq_nums) for stream, seq_nums in seen.pop(run, {}).items()}
            _report(run, document, counts, {stream for of, stream in flown if of == run and not counts[stream]})
            streams = {uid: of for uid, of in streams.items() if of[0] != run}
            flown = {of for of in flown if of[0] != run}
        yield name, document


def _report(run: str, stop: Mapping[str, Any], counts: Mapping[str, int], without_events: Collection[str]) -> None:
    expected = stop.get("num_events")
    for stream, number in expected.items() if isinstance(expected, Mapping) else ():
        count = counts.get(stream, 0)
        if isinstance(number, int) and count < number and stream not in without_events:
            log.warning("run %s, stream %r: the source has %d of its %d events", run, stream, count, number)
