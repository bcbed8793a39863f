"""Documents of several runs at once, each kind in its way, until each event is with its stream."""

from __future__ import annotations

import logging
import operator
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from event_model import unpack_event_page

from bluesky_ext.engine.documents.derive import INPUTS
from bluesky_ext.engine.documents.guard import Complaints, Stats
from bluesky_ext.engine.documents.provenance import plain_copy
from bluesky_ext.engine.stages.run import OpenRuns, Run, Stream


class Intake(ABC):
    """The part of a stage that takes documents in: which run they are of, and whether all of them have come.

    Parameters
    ----------
    name : str
        The name of the stage.
    data_keys : collection of str
        The keys that it works on.
    log : Logger
        Where it says what is odd.
    stale_after : float
        After so many seconds without a document a run is given up.
    """

    def __init__(self, name: str, data_keys: Collection[str], log: logging.Logger, stale_after: float) -> None:
        self.name = name
        self.data_keys = tuple(data_keys)
        self.stats = Stats()
        self._log = log
        self._complaints = Complaints(log)
        self._stale_after = stale_after
        self._looked_for_stale = time.monotonic()
        self._open_runs = OpenRuns()
        self._routes: dict[str, Callable[[Any], None]] = {
            "start": self._on_start,
            "descriptor": self._on_descriptor,
            "event": self._on_event,
            "event_page": self._on_event_page,
            "resource": partial(self._on_resource, "resource"),
            "datum": partial(self._on_datum, "datum"),
            "datum_page": partial(self._on_datum, "datum_page"),
            "stream_resource": partial(self._on_resource, "stream_resource"),
            "stream_datum": self._on_stream_datum,
            "stop": self._on_stop,
        }

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return [run.uid for run in self._open_runs]

    def _on_start(self, doc: Mapping[str, Any]) -> None:
        if self._open_runs.get(doc["uid"]) is None:
            self._open(doc)
        else:
            self.stats.duplicate_runs += 1
            self._log.warning("%s: run %s has started already; its second start is ignored", self.name, doc["uid"])

    def _on_descriptor(self, doc: Mapping[str, Any]) -> None:
        run = self._open_runs.get(doc["run_start"])
        if run is None:
            # What a run measured is worth having even if nobody heard how it began.
            reason = "its start document never came"
            self._log.warning("%s: run %s is joined in the middle: %s", self.name, doc["run_start"], reason)
            run = self._open({"uid": doc["run_start"], "time": doc["time"]}, incomplete=reason)
        if doc["uid"] in run.streams:
            return
        name = doc.get("name", "primary")
        run.joiner("descriptor", doc)
        stream = Stream(
            run=run,
            name=name,
            descriptor=plain_copy(doc),  # others may change theirs, as LiveDispatcher does
            received=run.received[name],
            wanted=not (name == INPUTS and "analysis" in run.start) and self._wants(doc),
            joined=run.joiner.needs(doc["uid"]),
        )
        self._open_runs.describe(stream)
        run.touched = time.monotonic()
        if run.refusal is None:
            self._described(run, stream)

    def _on_event(self, doc: Mapping[str, Any]) -> None:
        stream = self._open_runs.streams.get(doc["descriptor"])
        if stream is None:
            self._orphaned(1, doc["descriptor"])
        elif stream.joined or doc.get("filled"):
            self._accept_all(stream.run.joiner("event", doc))
        else:
            self._accept(stream, doc)

    def _on_event_page(self, doc: Mapping[str, Any]) -> None:
        stream = self._open_runs.streams.get(doc["descriptor"])
        if stream is None:
            self._orphaned(len(doc["seq_num"]), doc["descriptor"])
        elif stream.joined or doc.get("filled"):
            self._accept_all(stream.run.joiner("event_page", doc))
        else:
            self._accept_page(stream, doc)

    def _on_resource(self, name: str, doc: Mapping[str, Any]) -> None:
        # Resources of old don't say whose they are: then they may be anyone's.
        runs = [self._open_runs.get(doc["run_start"])] if "run_start" in doc else list(self._open_runs)
        for run in runs:
            if run is not None:
                run.touched = time.monotonic()
                self._open_runs.claim(doc["uid"], run)
                self._accept_all(run.joiner(name, doc))
                for uid, stream in run.streams.items():  # a resource may be of a key that was not called external
                    stream.joined = run.joiner.needs(uid)

    def _on_datum(self, name: str, doc: Mapping[str, Any]) -> None:
        for run in self._open_runs.owners(doc["resource"]):
            run.touched = time.monotonic()
            self._accept_all(run.joiner(name, doc))

    def _on_stream_datum(self, doc: Mapping[str, Any]) -> None:
        stream = self._open_runs.streams.get(doc["descriptor"])
        if stream is None:
            self._orphaned(doc["seq_nums"]["stop"] - doc["seq_nums"]["start"], doc["descriptor"])
        else:
            stream.run.touched = time.monotonic()
            self._accept_all(stream.run.joiner("stream_datum", doc))

    def _on_stop(self, doc: Mapping[str, Any]) -> None:
        run = self._open_runs.get(doc["run_start"])
        if run is None:
            self._log.warning("%s: a stop came of run %s, which is unknown", self.name, doc["run_start"])
        else:
            self._end(run, doc)

    # Events

    def _accept_all(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self._accept(self._open_runs.streams[event["descriptor"]], event)

    def _accept(self, stream: Stream, event: Mapping[str, Any]) -> None:
        seq_num = event["seq_num"]
        if type(seq_num) is not int:
            seq_num = operator.index(seq_num)
            event = {**event, "seq_num": seq_num}
        if seq_num < 1:
            raise ValueError(f"an event of stream {stream.name!r} has seq_num {seq_num}: they count from 1")
        self._note(stream, (seq_num,))
        if stream.run.refusal is not None:
            self._fail(stream.run, stream.name, (seq_num,), stream.run.refusal)
            return
        try:
            self._take(stream, event)
        except Exception as error:
            self._fail(stream.run, stream.name, (seq_num,), error)

    def _accept_page(self, stream: Stream, page: Mapping[str, Any]) -> None:
        for event in unpack_event_page(page):  # pyright: ignore[reportArgumentType]
            self._accept(stream, event)

    def _note(self, stream: Stream, seq_nums: Sequence[int]) -> None:
        """Count events in; it runs for every event."""
        self.stats.received += len(seq_nums)
        run = stream.run
        run.touched = now = time.monotonic()
        for seq_num in seq_nums:
            if not stream.received.add(seq_num):
                self.stats.repeated += 1
        if run.failed:  # the last word on an event is the one that counts
            run.failed[stream.name].difference_update(seq_nums)
        if now - self._looked_for_stale > self._stale_after / 10:
            self._give_up_stale(self._stale_after)

    def _orphaned(self, count: int, descriptor: str) -> None:
        self.stats.orphaned += count
        self._complaints(
            f"orphans of {descriptor}",
            "%s: events came of a run that was not announced (descriptor %s)",
            *(self.name, descriptor),
        )

    # What a stage does with them

    def _wants(self, descriptor: Mapping[str, Any]) -> bool:
        return all(key in descriptor["data_keys"] for key in self.data_keys)

    @abstractmethod
    def _open(self, start: Mapping[str, Any], incomplete: str = "") -> Run:
        """Begin a run."""

    def _described(self, run: Run, stream: Stream) -> None:  # noqa: B027 - those who care define it
        """Take note of a new descriptor."""

    @abstractmethod
    def _take(self, stream: Stream, event: Mapping[str, Any]) -> None:
        """Work on an event."""

    @abstractmethod
    def _fail(self, run: Run, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        """Take note of events that could not be worked on."""

    @abstractmethod
    def _end(self, run: Run, stop: Mapping[str, Any]) -> None:
        """End a run."""

    @abstractmethod
    def _give_up_stale(self, limit: float, reason: str = "") -> None:
        """End the runs that have been silent for so many seconds."""
