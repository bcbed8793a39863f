"""What a stage keeps of an open run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.losses import Losses, mapping_of
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenStream
from bluesky_ext.engine.frames.join import Joiner

if TYPE_CHECKING:
    from bluesky_ext.engine.stages.stage import Stage

#: So many events, and so many bytes, are kept of those that come before it is known whether a run concerns the stage.
HELD, HELD_BYTES = 1000, 64 * 2**20


class Held:
    """Events that came before it was known whether their run is the stage's business, the last of them."""

    def __init__(self) -> None:
        self._events: deque[tuple[OpenStream, Mapping[str, Any], int]] = deque()
        self._nbytes = 0
        self.dropped: defaultdict[str, Intervals] = defaultdict(Intervals)

    def add(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Keep an event; the oldest make room for it."""
        nbytes = sum(value.nbytes for value in event["data"].values() if isinstance(value, np.ndarray))
        self._events.append((stream, event, nbytes))
        self._nbytes += nbytes
        while len(self._events) > HELD or self._nbytes > HELD_BYTES:
            dropped, oldest, nbytes = self._events.popleft()
            self._nbytes -= nbytes
            self.dropped[dropped.name].note(oldest["seq_num"])

    def release(self) -> Iterable[tuple[OpenStream, Mapping[str, Any]]]:
        """The events, in order, which are kept no more."""
        while self._events:
            yield self._events.popleft()[:2]


@dataclass(eq=False)
class StageRun(OpenRun):
    """An open run, and what a stage makes of it: made at the start and dropped at the stop.

    Attributes
    ----------
    stage : Stage
        The stage.
    joiner : Joiner
        Where its events meet their frames.
    complaints : Complaints
        What was said of it in the log.
    incomplete : str
        Why it will never be whole, if that is known already.
    derived : DerivedRun or None
        The derived run; None until a stream has the keys that the stage works on.
    refusal : Exception or None
        Why the stage can't work on it at all: every event fails with it.
    state : object
        What the stage keeps of it.
    failed : dict of set of int
        The seq_nums whose last event could not be worked on, by the name of the stream.
    revision : int
        Grows whenever what a reduce shows of it changes.
    published : Published or None
        What it showed last.
    held : Held
        Events of other streams, which go on when the derived run begins.
    """

    stage: Stage
    joiner: Joiner
    complaints: Complaints
    incomplete: str = ""
    derived: DerivedRun | None = field(default=None, init=False)
    refusal: Exception | None = field(default=None, init=False)
    state: Any = field(default=None, init=False)
    failed: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set), init=False)
    revision: int = field(default=0, init=False)
    published: Any = field(default=None, init=False)
    held: Held = field(default_factory=Held, init=False)

    def begin(self) -> None:
        """Begin the derived run; descriptors and events that came before are worked on now."""
        stage = self.stage
        try:
            self.derived = stage.derive(self.start)
            stage.begin_run(self)
            for stream in self.streams.values():
                stage.describe_stream(self, stream)
        except Exception as error:
            self.refusal = error.with_traceback(None)  # which would keep all that the callers of this hold
            self.incomplete = f"{type(error).__name__}: {error}"
            stage.refuse_run(self)
            if self.derived is None:
                self._report("cannot begin", error, 0)
        for name, seq_nums in self.held.dropped.items():
            error = BufferError(f"came before any event with {' and '.join(stage.data_keys)}, and too many others")
            self.fail(name, [seq_num for some in seq_nums for seq_num in some], error)
        for stream, event in self.held.release():
            try:
                if self.refusal is not None:
                    raise self.refusal
                stage.take(stream, event)
            except Exception as error:
                self.fail(stream.name, (event["seq_num"],), error.with_traceback(None))

    def fail(self, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        """Take note of events that could not be worked on; the first of a kind is reported."""
        self.failed[stream].update(seq_nums)
        what = f"event {seq_nums[0]}" if len(seq_nums) == 1 else f"events {seq_nums[0]} to {seq_nums[-1]}"
        self._report("failed", error, len(seq_nums), f"stream {stream!r}, {what}")

    def end(self, stop: Mapping[str, Any], *, closed: bool) -> None:
        """End the derived run, if there is one.

        Parameters
        ----------
        stop : dict
            The stop document.
        closed : bool
            Whether the run was closed without one, which has been said and counted.
        """
        described = {stream.name for stream in self.streams.values()}
        if self.refusal is None and self.derived is None and mapping_of(stop, "num_events", int).keys() - described:
            self.begin()  # streams were lost, of which nobody knows what they had
        if self.derived is None:
            if self.refusal is None:
                self._say_that_it_has_none_of_the_keys()
            return
        problem = ""
        try:
            events, never = self.joiner.finish()
            for event in events:
                self.stage.accept(self.streams[event["descriptor"]], event)
            for missing in never:
                name = self.streams[missing.descriptor].name
                self.received[name].note(missing.seq_num)  # it came, and is not lost
                error = FileNotFoundError(f"{missing.data_key}: {missing.reason}")
                self.fail(name, (missing.seq_num,), error)
            if self.refusal is None:
                self.stage.finish_run(self, stop)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            self._report("could not finish", error, 1)
        finally:
            self._emit_stop(self.derived, stop, stop.get("incomplete") or self.incomplete or problem, closed)

    def _say_that_it_has_none_of_the_keys(self) -> None:
        self.stage.stats.not_concerned += 1
        streams = {stream.name: sorted(stream.descriptor["data_keys"]) for stream in self.streams.values()}
        about = self.stage.name, " and ".join(self.stage.data_keys), self.uid, streams
        self.complaints.log.info("%s: no stream has %s in run %s, which has %s", *about)

    def _report(self, what: str, error: BaseException, count: int, where: str = "") -> None:
        """Count what went wrong, and say it in one line: as a warning the first time that it does in this run."""
        self.stage.stats.failed += count
        # A traceback only where it may be a mistake in the code: these say what is wrong with the data.
        about_data = isinstance(error, ValueError | OSError) or type(error) in (LookupError, BufferError)
        where = f", {where}" if where else ""
        self.complaints(
            f"{what} {type(error).__name__}",
            "%s %s on run %s%s: %s: %s",
            *(self.stage.name, what, self.uid, where, type(error).__name__, " ".join(str(error).split())),
            exc_info=None if about_data else error,
        )
        self.stage.note_error(error)

    def _emit_stop(self, derived: DerivedRun, stop: Mapping[str, Any], incomplete: str, closed: bool) -> None:
        """Emit the stop document: whatever the input's is like, the derived run has one that is valid."""
        stats, log = self.stage.stats, self.complaints.log
        lost, failed = self.lost(stop), Losses()
        for upstream in ("lost", "failed"):
            lost.add_listed(stop, upstream)
        for name, seq_nums in self.failed.items():
            failed.add(name, [range(seq_num, seq_num + 1) for seq_num in seq_nums])
        stats.lost += sum(lost.counts.values())
        more = {**lost.as_document("lost"), **failed.as_document("failed")}
        if more:
            what = lost.counts, failed.counts
            log.warning("%s: of run %s, %s never came and %s failed", self.stage.name, self.uid, *what)
        if incomplete:
            more["incomplete"] = incomplete
            if not closed:
                stats.incomplete += 1
                log.warning("%s closes run %s as incomplete: %s", self.stage.name, self.uid, incomplete)
        status, reason = stop.get("exit_status", "success"), stop.get("reason") or ""
        if status not in ("success", "abort", "fail"):
            status, reason = "fail", f"exit_status {status!r}: {reason}"
        derived.stop(status, str(reason), more)
