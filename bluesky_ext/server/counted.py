"""Whether a source gave all the events that its runs have."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bluesky_ext.engine.documents.losses import mapping_of
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenRuns
from bluesky_ext.storage.adapters import Pair

log = logging.getLogger(__name__)


def counted(documents: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the documents as they are; warn of a run that has fewer events than its stop document says.

    The frames of a fly scan come in ``stream_datum`` documents, without events: its streams are not counted.
    """
    runs: OpenRuns[OpenRun] = OpenRuns(lambda run, reason: None, name="the count of a source", log=log)
    for name, document in documents:
        with runs.lock:
            uid = document["uid"] if name == "start" else document.get("run_start")
            if name in ("start", "descriptor", "stop") and uid is not None and runs.get(uid) is None:
                runs.open(OpenRun({"uid": uid}))  # its start may lack
            for run in runs.follow(name, document):
                if name in ("event", "event_page"):
                    seq_nums = document["seq_num"] if name == "event_page" else [document["seq_num"]]
                    runs.note_all(runs.streams[document["descriptor"]], seq_nums)
                elif name == "stop":
                    runs.drop(run)
                    _report(run, document)
        yield name, document


def _report(run: OpenRun, stop: Mapping[str, Any]) -> None:
    frames_alone = {stream.name for stream in run.streams.values() if stream.has_frames and not stream.received}
    for name, number in mapping_of(stop, "num_events", int).items():
        count = len(run.received[name])
        if count < number and name not in frames_alone:
            log.warning("run %s, stream %r: the source has %d of its %d events", run.uid, name, count, number)
