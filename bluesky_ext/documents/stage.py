"""Stages: callbacks that are given the documents of a run and emit those of a derived run."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.documents.derive import INPUTS, DerivedRun
from bluesky_ext.documents.guard import Complaints, OnError, Stats
from bluesky_ext.documents.join import Joiner
from bluesky_ext.documents.provenance import Provenance, plain_copy
from bluesky_ext.documents.run import OpenRuns, Run, Stream
from bluesky_ext.documents.subscribers import Subscriber, Subscribers

DAY = 86_400.0


class Stage:
    """The base of all stages: subscribing, the documents of several runs at once, and what goes wrong with them.

    A stage is a Bluesky callback: subscribe it to a RunEngine, a RemoteDispatcher or another stage, feed it from a
    replay, or return it from a factory of a `event_model.RunRouter`. It never changes the documents that it is given.

    Parameters
    ----------
    parameters : dict
        What the stage was given, for the provenance of its runs.
    name : str, optional
        What the stage is called there and in the log; the name of its class unless given.
    data_keys : collection of str
        The keys that it works on. Events of streams without them are not its business; their frames, wherever they
        are, are found for it.
    on_error : {"log", "raise"}
        Whether an error is logged and counted, so that the scan goes on, or raised when the document is through.
    handlers, root_map : dict, optional
        For images behind ``resource`` and ``datum`` documents, as `event_model.Filler` takes them. Handlers that are
        installed (entry points of group ``databroker.handlers``) are known already.
    hash_images : bool
        Whether images count in the sha256 of the stop document; to hash one costs more than to make it.
    stale_after : float
        After so many seconds without a document a run is closed as incomplete.
    max_open_runs : int
        When more runs than this are open, the one that was heard of least recently is closed as incomplete.
    """

    #: Whether the derived descriptors carry the devices of the input, so that its motors and hints hold for them.
    keeps_objects = True
    #: The keys that the stage adds and that are worth a plot.
    hinted: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any],
        name: str = "",
        data_keys: Collection[str] = (),
        on_error: OnError = "log",
        handlers: Mapping[str, type] | None = None,
        root_map: Mapping[str, str] | None = None,
        hash_images: bool = False,
        stale_after: float = DAY,
        max_open_runs: int = 64,
    ) -> None:
        if on_error not in ("log", "raise"):
            raise ValueError(f"on_error={on_error!r}: give 'log' (the scan goes on) or 'raise'")
        if isinstance(data_keys, str):
            raise TypeError(f"data_keys={data_keys!r}: give a collection of keys, as in ({data_keys!r},)")
        if stale_after <= 0:
            raise ValueError(f"stale_after={stale_after!r}: give a time in seconds above 0")
        if max_open_runs < 1:
            raise ValueError(f"max_open_runs={max_open_runs!r}: give a number of runs above 0")
        self.name = name or type(self).__name__
        self.parameters = parameters
        self._provenance = Provenance.of(self.name, parameters)
        self.data_keys = tuple(data_keys)
        self.on_error: OnError = on_error
        self.stats = Stats()
        self._log = logging.getLogger(type(self).__module__)
        self._handlers = handlers
        self._root_map = root_map
        self._hash_images = hash_images
        self._stale_after = stale_after
        self._max_open_runs = max_open_runs
        self._looked_for_stale = time.monotonic()
        self._open_runs = OpenRuns()
        self._complaints = Complaints(self._log)
        self._subscribers = Subscribers(self.name, self.stats, self._complaints)
        self._error: BaseException | None = None
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

    # What subscribers see

    def subscribe(self, callback: Subscriber, name: str | DocumentNames = "all") -> int:
        """Have a callback called with the documents of the derived runs; return a token for `unsubscribe`.

        Parameters
        ----------
        callback : callable
            Called as ``callback(name, doc)``.
        name : str
            The kind of document, or "all". A table is emitted as one ``event_page``: that is what "all" sees, and a
            subscriber to "event" gets its rows one by one.
        """
        if callback is self:
            raise ValueError(f"{self.name} can't be subscribed to itself: its runs would have no end")
        return self._subscribers.add(callback, name)

    def unsubscribe(self, token: int) -> None:
        """Stop calling the callback that this token was given for."""
        self._subscribers.remove(token)

    def _emit(self, name: str, doc: dict[str, Any]) -> None:
        if name == "event":
            self.stats.emitted += 1
        elif name == "event_page":
            self.stats.emitted += len(doc["seq_num"])
        failure = self._subscribers.emit(name, doc)
        self._error = self._error or failure

    # What comes in

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Take a document; what follows from it is emitted before this returns, unless an executor is at work on it."""
        route = self._routes.get(name) or self._routes.get(getattr(name, "name", name))  # pyright: ignore
        try:
            if route is None:
                raise ValueError(f"a document of unknown kind {name!r}")
            route(doc)
        except Exception as error:  # the scan does not die of its analysis; on_error="raise" is below
            self.stats.failed += 1
            self._complaints(
                f"{name} {type(error).__name__}",
                "%s failed on a document %r: %s: %s",
                *(self.name, name, type(error).__name__, error),
                exc_info=error,
            )
            self._error = self._error or error
        self._raise_on_request()

    def _raise_on_request(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            if self.on_error == "raise":
                raise error

    def close(self) -> None:
        """Close every open run as incomplete, as a server does before it stops."""
        self.close_stale(idle=0.0, reason="the stage was closed before its stop document came")

    def close_stale(self, idle: float | None = None, reason: str = "") -> None:
        """Close as incomplete the runs without a document for so many seconds (``stale_after`` unless given)."""
        self._give_up_stale(self._stale_after if idle is None else idle, reason)
        self._raise_on_request()

    def _give_up_stale(self, limit: float, reason: str = "") -> None:
        self._looked_for_stale = now = time.monotonic()
        for run in self._open_runs:
            if now - run.touched >= limit:
                self._give_up(run, reason or f"no document came for {limit:g} s, and no stop document at all")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return [run.uid for run in self._open_runs]

    # Documents, one kind after another

    def _on_start(self, doc: Mapping[str, Any]) -> None:
        if self._open_runs.get(doc["uid"]) is None:
            self._open(doc)
        else:
            self.stats.duplicate_runs += 1
            self._log.warning("%s: run %s has started already; its second start is ignored", self.name, doc["uid"])

    def _open(self, start: Mapping[str, Any], incomplete: str = "") -> Run:
        self._give_up_stale(self._stale_after)
        while len(self._open_runs) >= self._max_open_runs:
            reason = f"no stop document came, and more than {self._max_open_runs} runs are open"
            self._give_up(self._open_runs.least_recent(), reason)
        derived = DerivedRun(
            self._emit,
            start,
            self._provenance,
            keep_objects=self.keeps_objects,
            hinted=self.hinted,
            hash_images=self._hash_images,
        )
        run = Run(
            start=start,
            derived=derived,
            joiner=Joiner(self.data_keys, handlers=self._handlers, root_map=self._root_map),
            complaints=Complaints(self._log),
            touched=time.monotonic(),
            incomplete=incomplete,
        )
        self._open_runs.add(run)
        self.stats.runs += 1
        try:
            self._begin(run)
        except Exception as error:
            run.refusal = error.with_traceback(None)  # which would keep all that the callers of this hold
            run.incomplete = f"{type(error).__name__}: {error}"
        return run

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

    def _fail(self, run: Run, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        self.stats.failed += len(seq_nums)
        run.failed[stream].update(seq_nums)
        what = f"event {seq_nums[0]}" if len(seq_nums) == 1 else f"events {seq_nums[0]} to {seq_nums[-1]}"
        run.complaints(
            f"failed {type(error).__name__}",
            "%s failed on run %s, stream %r, %s: %s: %s",
            *(self.name, run.uid, stream, what, type(error).__name__, " ".join(str(error).split())),
            # These say what is wrong with the data; others may be a mistake of ours, that one must find.
            exc_info=None if isinstance(error, ValueError | OSError) else error,
        )
        self._error = self._error or error

    def _orphaned(self, count: int, descriptor: str) -> None:
        self.stats.orphaned += count
        self._complaints(
            f"orphans of {descriptor}",
            "%s: events came of a run that was not announced (descriptor %s)",
            *(self.name, descriptor),
        )

    # The end of a run

    def _give_up(self, run: Run, reason: str) -> None:
        self._end(run, {"exit_status": "abort", "reason": reason, "num_events": {}, "incomplete": reason})

    def _end(self, run: Run, stop: Mapping[str, Any]) -> None:
        incomplete = stop.get("incomplete") or run.incomplete
        try:
            for missing in run.joiner.finish():
                error = FileNotFoundError(f"{missing.data_key}: {missing.reason}")
                self._fail(run, run.streams[missing.descriptor].name, (missing.seq_num,), error)
            if run.refusal is None:
                self._finish(run, stop)
        except Exception as error:
            incomplete = incomplete or f"{type(error).__name__}: {error}"
            self.stats.failed += 1
            self._log.warning(
                "%s could not finish run %s: %s: %s",
                *(self.name, run.uid, type(error).__name__, error),
                exc_info=error,
            )
            self._error = self._error or error
        finally:
            self._open_runs.drop(run)
            self._say_the_end(run, stop, incomplete)

    def _say_the_end(self, run: Run, stop: Mapping[str, Any], incomplete: str) -> None:
        """Emit the stop document: whatever the input's is like, the derived run has one that is valid."""
        lost, failed = run.losses(stop)
        self.stats.lost += sum(lost.counts.values())
        more = {**lost.documents("lost"), **failed.documents("failed")}
        if incomplete:
            self.stats.incomplete += 1
            more["incomplete"] = incomplete
            self._log.warning("%s closes run %s as incomplete: %s", self.name, run.uid, incomplete)
        if more.keys() - {"incomplete"}:
            self._log.warning(
                "%s: of run %s, %s never came and %s failed", self.name, run.uid, lost.counts, failed.counts
            )
        streams = [stream for stream in run.streams.values() if stream.name != INPUTS]
        if self.data_keys and streams and not any(stream.wanted for stream in streams):
            there = {stream.name: sorted(stream.descriptor["data_keys"]) for stream in streams}
            error = LookupError(
                f"{self.name}: no stream of run {run.uid} has {' and '.join(self.data_keys)}; there are {there}"
            )
            self._log.warning("%s", error)
            self._error = self._error or error
        status, reason = stop.get("exit_status", "success"), stop.get("reason") or ""
        if status not in ("success", "abort", "fail"):
            status, reason = "fail", f"exit_status {status!r}: {reason}"
        run.derived.stop(status, str(reason), more)

    # What a map and a reduce do, each in its way

    def _wants(self, descriptor: Mapping[str, Any]) -> bool:
        return all(key in descriptor["data_keys"] for key in self.data_keys)

    def _begin(self, run: Run) -> None:
        """Prepare a run."""

    def _described(self, run: Run, stream: Stream) -> None:
        """Take note of a new descriptor."""

    def _take(self, stream: Stream, event: Mapping[str, Any]) -> None:
        """Work on an event."""

    def _finish(self, run: Run, stop: Mapping[str, Any]) -> None:
        """Emit what is left, before the stop document."""
