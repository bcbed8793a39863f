"""Stages: callbacks that are given the documents of a run and emit those of a derived run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.engine.documents.complaints import Complaints, OnError
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS, REFERENCES, OpenRuns, OpenStream
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.documents.provenance import holds_inputs, plain_copy
from bluesky_ext.engine.documents.valid import LARGEST, with_seq_num
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.readable import Readable
from bluesky_ext.engine.frames.references import PATIENCE
from bluesky_ext.engine.stages.emitter import Emitter
from bluesky_ext.engine.stages.recorded import Recorded
from bluesky_ext.engine.stages.run import Progress, StageRun
from bluesky_ext.engine.stages.watchers import Watcher

if TYPE_CHECKING:
    from bluesky_ext._compile import Task


class Stage(Recorded, Emitter):
    """The base of all stages: subscribing, the documents of several runs at once, and what goes wrong with them.

    A stage is a Bluesky callback: subscribe it to a RunEngine, a RemoteDispatcher or another stage, feed it from a
    replay, or return it from a factory of a `event_model.RunRouter`. It never changes the documents that it is given.
    A run of which no stream has its keys is none of its business: nothing is emitted of it.

    Parameters
    ----------
    parameters : dict
        What the stage was given, for the provenance of its runs.
    name : str, optional
        What the stage is called there and in the log; the name of its class unless given.
    data_keys : collection of str
        The keys that it works on, in streams that have all of them. Their frames are found, wherever they are.
    on_error : {"log", "raise"}
        Whether an error is logged and counted, so that the scan goes on, or raised when the document is through, also
        by the stages that feed this one. An error at the stop keeps the stop document from the callbacks of the
        RunEngine that were subscribed later: let those that store it come first.
    handlers, root_map : dict, optional
        For images behind ``resource`` and ``datum``, as for `event_model.Filler`. Installed handlers are known.
    patience : float
        How long to wait for the file of an image that is not there or does not grow, in s.
    readable_roots : sequence of str, optional
        Images are read from files below these directories only; behind a server, below those that it has as well.
    hash_images : bool, optional
        Whether images count in the sha256 of the stop document, as the start document says: unless given, those of a
        reduce do, and those of a map do not.
    stale_after, max_open_runs : float, int
        A run without a document for so long, in s, is closed as incomplete, by a clock in a thread of its own; and when
        more runs than this are open, the one that was heard of least recently.
    """

    #: Whether events of the streams that it does not work on are handed on.
    passes_others = False
    #: Whether it is given the frames of all keys, not only those of its ``data_keys``.
    takes_all_frames = False
    #: What compiles the kernels that it needs: see `bluesky_ext._compile.compile_kernels`.
    kernels: ClassVar[tuple[Task, ...]] = ()
    #: Whether live runs are its business: see `bluesky_ext.engine.documents.live_runs`.
    follows_live = True

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any],
        name: str = "",
        data_keys: Collection[str] = (),
        on_error: OnError = "log",
        handlers: Mapping[str, type] | None = None,
        root_map: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
        readable_roots: Sequence[str] | None = None,
        hash_images: bool | None = None,
        stale_after: float = DAY,
        max_open_runs: int = MAX_OPEN_RUNS,
    ) -> None:
        if isinstance(data_keys, str):
            raise TypeError(f"data_keys={data_keys!r}: give a collection of keys, as in ({data_keys!r},)")
        if not 0 <= patience < float("inf"):
            raise ValueError(f"patience={patience!r}: give a time in seconds, 0 or more")
        Recorded.__init__(self, name, parameters, hash_images=hash_images)
        self.data_keys = tuple(data_keys)
        self.handlers, self.root_map = handlers, root_map
        self.patience = patience
        self._readable = Readable.below(readable_roots)
        self._log = logging.getLogger(type(self).__module__)
        self._open_runs: OpenRuns[StageRun] = OpenRuns(
            self._close_run, name=self.name, log=self._log, max_open_runs=max_open_runs, stale_after=stale_after
        )
        Emitter.__init__(self, self.name, self._open_runs.stats, self._open_runs.complaints, on_error)
        #: How far it came with the run that ended last.
        self.ended: Progress | None = None
        self._streams = self._open_runs.streams
        #: What sees its events beside the subscribers, which see those that it emits.
        self.watchers: tuple[Watcher, ...] = ()
        self._routes: dict[str, Callable[[Any], object]] = {
            "start": self._open,
            "descriptor": self._on_descriptor,
            "stop": self._on_stop,
            **{kind: partial(self._on_events, kind) for kind in ("event", "event_page")},
            **{kind: partial(self._on_reference, kind) for kind in REFERENCES},
        }

    def add_watcher(self, watcher: Watcher) -> None:
        """Have a watcher see the runs that it works on and their events; those that are open it sees begin now."""
        with self._open_runs.lock:
            for run in self._open_runs:
                if run.derived is not None and run.refusal is None:
                    watcher.begin(self, run)
            self.watchers = (*self.watchers, watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self.watchers = tuple(one for one in self.watchers if one is not watcher)

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return [run.uid for run in self._open_runs]

    @property
    def lag(self) -> float:
        """For how long the oldest event that it was given is not done, in s: 0 unless others are at work on it."""
        return 0.0

    def progress(self) -> list[Progress]:
        """How far it is with the run that ended last, and with the open ones; from any thread, which waits for none."""
        return [one for one in (self.ended, *(run.progress() for run in self._open_runs)) if one is not None]

    def close(self) -> None:
        """Close every open run as incomplete, as a server does before it stops."""
        self._open_runs.close_all("the stage was closed before its stop document came")
        self._raise_error()

    def close_stale(self, idle: float | None = None) -> None:
        """Close as incomplete the runs without a document for so many seconds (``stale_after`` unless given)."""
        self._open_runs.close_stale(idle)
        self._raise_error()

    def __repr__(self) -> str:
        return f"<{self.provenance}: {self.stats}, {len(self._open_runs)} open>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Take a document; what follows from it is emitted before this returns, unless an executor is at work on it."""
        with self._open_runs.lock:
            try:
                route = self._routes.get(name) or self._routes.get(getattr(name, "name", name))  # pyright: ignore
                if route is None:
                    raise ValueError(f"a document of unknown kind {name!r}")
                route(doc)
            except Exception as error:  # the scan does not die of its analysis; on_error="raise" is below
                self.stats.failed += 1
                self.complaints.failure(self.name, name, error)
                self.note_error(error)
            if self._error is not None:
                self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _on_descriptor(self, doc: Mapping[str, Any]) -> None:
        run = self._open_runs.get(doc["run_start"])
        if run is None:
            # What a run measured is worth having even if nobody heard how it began.
            reason = "its start document never came"
            self._log.warning("%s: run %s is joined in the middle: %s", self.name, printable(doc["run_start"]), reason)
            run = self._open({"uid": doc["run_start"], "time": doc["time"]}, incomplete=reason)
        if doc["uid"] in run.streams:
            return
        doc = plain_copy(doc)  # others may change theirs, as LiveDispatcher does
        run.joiner("descriptor", doc)
        self._open_runs.follow("descriptor", doc)
        stream = self._streams[doc["uid"]]
        stream.is_input = holds_inputs(run.start, stream.name, doc["data_keys"])
        stream.wanted = not stream.is_input and all(key in doc["data_keys"] for key in self.data_keys)
        stream.is_partial = run.joiner.needs(doc["uid"])
        if run.derived is None:
            if stream.wanted:
                run.begin()
        elif run.refusal is None:
            self.describe_stream(run, stream)

    def _on_events(self, name: str, doc: Mapping[str, Any]) -> None:
        stream = self._streams.get(doc["descriptor"])
        if stream is None:
            self._open_runs.orphaned(name, doc)
        elif stream.is_partial or doc.get("filled"):
            self._open_runs.follow(name, doc)  # it is heard of, though its frames may come later
            self._accept_all(stream.run.joiner(name, doc))
        elif name == "event":
            self.accept(stream, doc)
        else:
            self._accept_page(stream, doc)

    def _on_reference(self, name: str, doc: Mapping[str, Any]) -> None:
        runs = self._open_runs.follow(name, doc)
        for run in runs:
            self._accept_all(run.joiner(name, doc))
            if name in ("resource", "stream_resource"):  # perhaps of a key that was not called external
                for uid, stream in run.streams.items():
                    stream.is_partial = run.joiner.needs(uid)
        if not runs and name == "stream_datum":
            self._open_runs.orphaned(name, doc)

    def _on_stop(self, doc: Mapping[str, Any]) -> None:
        run = self._open_runs.get(doc["run_start"])
        if run is None:
            self._log.warning("%s: a stop came of run %s, which is unknown", self.name, printable(doc["run_start"]))
        else:
            self._open_runs.drop(run)
            run.end(doc, closed=False)

    def _accept_all(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self.accept(self._streams[event["descriptor"]], event)

    def accept(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Take an event that has all its frames, or references to them."""
        seq_num = event["seq_num"]
        if type(seq_num) is not int or not 1 <= seq_num <= LARGEST:
            event = with_seq_num(stream.name, event)
            seq_num = event["seq_num"]
        run: StageRun = stream.run
        self._open_runs.note(stream, seq_num)
        if run.is_live and run.passes_over(stream):
            return
        if run.failed:  # the last word on an event is the one that counts
            run.failed[stream.name].discard(seq_num, seq_num + 1)
        if run.derived is None or run.refusal is not None:
            run.hold(stream, event)
            return
        if stream.is_input:
            run.forward(stream, event)
            return
        try:
            self.take(stream, event)
        except Exception as error:
            run.fail(stream.name, (seq_num,), error)

    def _accept_page(self, stream: OpenStream, page: Mapping[str, Any]) -> None:
        self._accept_all(unpack_event_page(page))  # pyright: ignore[reportArgumentType]

    def _open(self, start: Mapping[str, Any], incomplete: str = "") -> StageRun:
        data_keys = None if self.takes_all_frames else self.data_keys
        joiner = Joiner(data_keys, self.handlers, self.root_map, self.patience, self._readable)
        run = StageRun(start, self, joiner, Complaints(self._log), incomplete)
        self._open_runs.open(run)
        if not self.data_keys:
            run.begin()
        return run

    def _close_run(self, run: StageRun, reason: str) -> None:
        run.end({"exit_status": "abort", "reason": reason, "num_events": {}, "incomplete": reason}, closed=True)

    def begin_run(self, run: StageRun) -> None:
        """Prepare a run; called before its derived run begins."""

    def refuse_run(self, run: StageRun) -> None:
        """Free what was prepared, since beginning the run failed."""

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Take note of a descriptor; called for all of a run, once that has begun."""

    def take(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Work on an event."""

    def done(self, run: StageRun) -> dict[str, int]:
        """How many events of each stream it is through with and did not fail; called by any thread."""
        return {name: len(some) - len(run.failed.get(name, ())) for name, some in dict(run.received).items()}

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Emit what is left, before the stop document."""

    def end_run(self, run: StageRun) -> None:
        """Let a run go; called at the end of each, whatever became of it."""
