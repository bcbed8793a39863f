"""What a stage knows of a run that is open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bluesky_ext.engine.documents.derive import DerivedRun
from bluesky_ext.engine.documents.guard import Complaints, Losses, SeqNums
from bluesky_ext.engine.frames.join import Joiner


@dataclass(eq=False)
class Stream:
    """A descriptor of an open run, and the events that came with it.

    Parameters
    ----------
    run, name, descriptor
        Where it belongs, and what it is.
    received : SeqNums
        The numbers that came; descriptors of one name share them.
    wanted : bool
        Whether the stage works on its events.
    joined : bool
        Whether its events are not complete as they come, since frames of theirs lie elsewhere.
    """

    run: Run
    name: str
    descriptor: Mapping[str, Any]
    received: SeqNums
    wanted: bool
    joined: bool


@dataclass(eq=False)
class Run:
    """An open run: it is made at the start and dropped at the stop, with all that is kept of it.

    Parameters
    ----------
    start : dict
        The start document.
    derived : DerivedRun
        What the stage makes of the run.
    joiner : Joiner
        Where its events meet their frames.
    complaints : Complaints
        What was said of it in the log.
    touched : float
        When a document of it came last, on the monotonic clock.
    incomplete : str
        Why it will never be whole, if that is known already.
    refusal : Exception, optional
        Why the stage can't work on it at all: every event fails with it.
    state : object
        What the stage keeps of it.
    streams : dict
        Its descriptors by uid.
    received : dict
        The numbers that came, by the name of the stream.
    failed : dict
        The numbers whose last event could not be worked on, by the name of the stream.
    resources : set of str
        The uids of the resources that its frames are in.
    """

    start: Mapping[str, Any]
    derived: DerivedRun
    joiner: Joiner
    complaints: Complaints
    touched: float
    incomplete: str = ""
    refusal: Exception | None = None
    state: Any = None
    streams: dict[str, Stream] = field(default_factory=dict)
    received: defaultdict[str, SeqNums] = field(default_factory=lambda: defaultdict(SeqNums))
    failed: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    resources: set[str] = field(default_factory=set)

    @property
    def uid(self) -> str:
        """The uid of its start document."""
        return self.start["uid"]

    def losses(self, stop: Mapping[str, Any]) -> tuple[Losses, Losses]:
        """The events that never came, here or upstream, and those that the stage failed on, by the streams they are of.

        What is odd in the stop document is left out.
        """
        lost, failed = Losses(), Losses()
        for upstream in ("lost", "failed"):
            lost.add_listed(_mapping(stop, upstream, list), _mapping(stop, f"{upstream}_counts", int))
        expected = _mapping(stop, "num_events", int)
        for name in {*self.received, *expected} - self._uncounted():
            seen = self.received[name] if name in self.received else SeqNums()
            lost.add(name, seen.missing(expected.get(name, 0)))
        for name, seq_nums in self.failed.items():
            failed.add(name, [(seq_num, seq_num + 1) for seq_num in seq_nums])
        return lost, failed

    def _uncounted(self) -> set[str]:
        """Streams of fly scans, which have frames instead of events, that the stage does not read."""
        return {stream.name for stream in self.streams.values() if stream.joined and not stream.wanted}


def _mapping(stop: Mapping[str, Any], key: str, kind: type) -> dict[str, Any]:
    """What of a stop document's mapping is of the kind that it should be."""
    value = stop.get(key)
    return {name: item for name, item in value.items() if isinstance(item, kind)} if isinstance(value, Mapping) else {}


class OpenRuns:
    """The runs that have started and not stopped, and which descriptors and resources are theirs."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._owners: dict[str, list[Run]] = {}
        #: Streams by the uid of their descriptor.
        self.streams: dict[str, Stream] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def get(self, uid: str) -> Run | None:
        """The run with this uid, if it is open."""
        return self._runs.get(uid)

    def add(self, run: Run) -> None:
        """Take a run in."""
        self._runs[run.uid] = run

    def describe(self, stream: Stream) -> None:
        """Take in a descriptor of a run."""
        self.streams[stream.descriptor["uid"]] = stream.run.streams[stream.descriptor["uid"]] = stream

    def claim(self, resource: str, run: Run) -> None:
        """Note that frames of a run are in this resource."""
        if resource not in run.resources:
            run.resources.add(resource)
            self._owners.setdefault(resource, []).append(run)

    def owners(self, resource: str) -> list[Run]:
        """The runs of which frames are in this resource."""
        return self._owners.get(resource, [])

    def least_recent(self) -> Run:
        """The run that was heard of least recently."""
        return min(self._runs.values(), key=lambda run: run.touched)

    def drop(self, run: Run) -> None:
        """Forget a run and all that is its."""
        self._runs.pop(run.uid, None)
        for uid in run.streams:
            self.streams.pop(uid, None)
        for resource in run.resources:
            owners = self._owners[resource]
            owners.remove(run)
            if not owners:
                del self._owners[resource]
