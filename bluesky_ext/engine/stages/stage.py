"""Stages: callbacks that are given the documents of a run and emit those of a derived run."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from event_model import DocumentNames

from bluesky_ext.engine.documents.derive import INPUTS, DerivedRun
from bluesky_ext.engine.documents.guard import Complaints, OnError
from bluesky_ext.engine.documents.provenance import Provenance
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.stages.intake import Intake
from bluesky_ext.engine.stages.run import Run
from bluesky_ext.engine.stages.subscribers import Subscriber, Subscribers

DAY = 86_400.0


class Stage(Intake):
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
        Whether an error is logged and counted, so that the scan goes on, or raised when the document is through, also
        by the stages that feed this one. An error at the stop keeps the stop document from the callbacks of the
        RunEngine that were subscribed later: let those that store it come first.
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
    #: Which of the keys that it adds are arrays of another length in each event.
    ragged: tuple[str, ...] = ()

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
        super().__init__(name or type(self).__name__, data_keys, logging.getLogger(type(self).__module__), stale_after)
        self.parameters = parameters
        self._provenance = Provenance.of(self.name, parameters)
        self.on_error: OnError = on_error
        self._handlers = handlers
        self._root_map = root_map
        self._hash_images = hash_images
        self._max_open_runs = max_open_runs
        self._subscribers = Subscribers(self.name, self.stats, self._complaints)
        self._error: BaseException | None = None
        self._demanded: BaseException | None = None

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
        failure, demanded = self._subscribers.emit(name, doc)
        self._error = self._error or failure
        self._demanded = self._demanded or demanded

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

    @property
    def raises(self) -> bool:
        """Whether this stage, or one that it feeds, was told to raise its errors: then the scan is to stop for them."""
        return self.on_error == "raise" or self._subscribers.raise_errors

    def _raise_on_request(self) -> None:
        if self._error is not None or self._demanded is not None:
            error, self._error, demanded, self._demanded = self._error, None, self._demanded, None
            if demanded is not None:
                raise demanded
            if error is not None and self.on_error == "raise":
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

    # Runs and their failures

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
            ragged=self.ragged,
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

    def _fail(self, run: Run, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        self.stats.failed += len(seq_nums)
        run.failed[stream].update(seq_nums)
        what = f"event {seq_nums[0]}" if len(seq_nums) == 1 else f"events {seq_nums[0]} to {seq_nums[-1]}"
        run.complaints(
            f"failed {type(error).__name__}",
            "%s failed on run %s, stream %r, %s: %s: %s",
            *(self.name, run.uid, stream, what, type(error).__name__, " ".join(str(error).split())),
            exc_info=_unexpected(error),
        )
        self._error = self._error or error

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
                *(self.name, run.uid, type(error).__name__, " ".join(str(error).split())),
                exc_info=_unexpected(error),
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

    def _begin(self, run: Run) -> None:
        """Prepare a run."""

    def _finish(self, run: Run, stop: Mapping[str, Any]) -> None:
        """Emit what is left, before the stop document."""


def _unexpected(error: BaseException) -> BaseException | None:
    """The error, if the log should have its traceback: if it may be a mistake of ours, that one must find.

    These others say what is wrong with the data, in a line.
    """
    about_data = isinstance(error, ValueError | OSError) or type(error) is LookupError
    return None if about_data else error
