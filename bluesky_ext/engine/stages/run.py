"""What a stage keeps of an open run."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.intervals import Counted, Intervals
from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.engine.documents.losses import Losses, mapping_of
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenStream
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.documents.provenance import INPUTS, analysis_of
from bluesky_ext.engine.executors.in_flight import Latest
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.readable import reading
from bluesky_ext.engine.frames.streams import has_image
from bluesky_ext.engine.stages.watchers import tell

if TYPE_CHECKING:
    from bluesky_ext.engine.stages.stage import Stage

#: So many events are kept of those that come before a run is known to concern the stage.
HELD = 1000
#: And so many of those with the arrays that earlier stages were given, of which there is one for each of these.
INPUTS_HELD = 64
#: Where a stop document has the numbers of events that are not there.
MISSING = ("lost_counts", "failed_counts")


class Progress(NamedTuple):
    """How far a stage is with a run: numbers of events by the name of their stream."""

    #: The start document of the run that the stage was given.
    start: Mapping[str, Any]
    received: Mapping[str, int]
    #: Those that the stage is through with, and that did not fail.
    done: Mapping[str, int]
    failed: Mapping[str, int]
    #: While the run is open, what is missing among the numbers so far.
    lost: Mapping[str, int]
    #: Those of a live run that nobody looked at.
    skipped: Mapping[str, int]
    #: When a document of it came last, on the monotonic clock.
    touched: float
    #: How it ended, as in the stop document; None while it is open.
    exit_status: str | None


@dataclass(eq=False)
class StageRun(OpenRun):
    """An open run, and what a stage makes of it: made at the start and dropped at the stop."""

    stage: Stage
    #: Where its events meet their frames.
    joiner: Joiner
    #: What was said of it in the log.
    complaints: Complaints
    #: Why it will never be whole, if that is known already.
    incomplete: str = ""
    #: The derived run; None until a stream has the keys that the stage works on.
    derived: DerivedRun | None = field(default=None, init=False)
    #: Why the stage can't work on it at all: every event fails with it.
    refusal: Exception | None = field(default=None, init=False)
    #: What the stage keeps of it.
    state: Any = field(default=None, init=False)
    #: The tasks of a map that are under way.
    tasks: Any = field(default=None, init=False)
    #: The seq_nums whose last event could not be worked on, by the name of the stream.
    failed: defaultdict[str, Intervals] = field(init=False)
    #: Grows whenever what a reduce shows of it changes; and what it showed last.
    revision: int = field(default=0, init=False)
    published: Any = field(default=None, init=False)
    #: The events of a live run that wait for room among the tasks.
    latest: Latest = field(default_factory=Latest, init=False)
    #: Events of other streams, which go on when the derived run begins, and the seq_nums of those that can't.
    _held: list[tuple[OpenStream, Mapping[str, Any]]] = field(default_factory=list, init=False)
    _not_held: defaultdict[str, Intervals] = field(default_factory=lambda: defaultdict(Intervals), init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.failed = defaultdict(Counted if self.is_live else Intervals)

    def progress(self, exit_status: str | None = None, lost: Mapping[str, int] | None = None) -> Progress | None:
        """How far the stage is with it, without waiting for the thread at work; None if it is none of its business."""
        if self.derived is None:
            return None
        received = dict(self.received)  # a copy in one step, as another thread may add to it
        skipped = self.skipped()
        if lost is None and not self.is_live:
            lost = {name: gaps for name, some in received.items() if (gaps := some.high - len(some)) > 0}
        counts = {name: len(some) - self.overtaken[name] for name, some in received.items()}
        failed = {name: len(some) for name, some in dict(self.failed).items() if some}
        return Progress(
            self.start, counts, self.stage.done(self), failed, lost or {}, skipped, self.touched, exit_status
        )

    def passes_over(self, stream: OpenStream) -> bool:
        """Whether nobody looks at an event of a live run that came, since its stream is switched off."""
        if "original_run_uid" in self.start or not stream.wanted:
            return False
        live_streams.add(stream.name)
        is_off = not live_streams.is_on(stream.name)
        self.overtaken[stream.name] += is_off
        return is_off

    def forward(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Hand on the arrays that an earlier stage was given."""
        seq_num, name = event["seq_num"], stream.name
        if name == INPUTS:  # those of the stage before this one, whose place in the chain is behind those before it
            name = f"{INPUTS}_{len(analysis_of(self.start).get('upstream', ()))}"
        try:
            self.derived.event(name, seq_num, {}, event=event, descriptor=stream.descriptor, counts=False)  # pyright: ignore
        except Exception as error:  # what is wrong with these costs the run nothing but that it can't be made again
            self.fail(stream.name, (seq_num,), error)

    def hold(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Keep an event that goes on when the derived run begins, unless there are many already, or it has an image."""
        if self.refusal is not None:
            self.fail(stream.name, (event["seq_num"],), self.refusal)
            return
        if not (self.stage.passes_others or stream.is_input):
            return
        if stream.is_input:
            has_room = sum(one.is_input for one, _ in self._held) < INPUTS_HELD
        else:
            has_room = len(self._held) < HELD and not has_image(event)
        if has_room:
            self._held.append((stream, event))
        else:
            self._not_held[stream.name].note(event["seq_num"])

    def begin(self) -> None:
        """Begin the derived run; descriptors and events that came before are worked on now."""
        stage = self.stage
        if self.is_live and not stage.follows_live:
            return
        try:
            try:
                stage.begin_run(self)
                about = stage.about(self.state)
            except Exception:  # the derived run says all the same that there is nothing, and why
                self.derived = DerivedRun(stage.emit, self.start, stage.provenance)
                raise
            self.derived = DerivedRun(stage.emit, self.start, stage.provenance, about)
            for stream in self.streams.values():
                stage.describe_stream(self, stream)
            tell(stage, "begin", self)
        except Exception as error:
            self.refusal = error.with_traceback(None)  # which would keep all that the callers of this hold
            self.incomplete = f"{type(error).__name__}: {error}"
            stage.refuse_run(self)
            if self.derived is None:
                self.report("cannot begin", error, 0)
        for name, seq_nums in self._not_held.items():
            keys = " and ".join(stage.data_keys)
            error = BufferError(f"came before any event with {keys}, and was too large, or one of too many, to be kept")
            for some in seq_nums:
                self.fail(name, some, error)
        held, self._held = self._held, []
        for stream, event in held:
            if self.refusal is not None:
                self.fail(stream.name, (event["seq_num"],), self.refusal)
            elif stream.is_input:
                self.forward(stream, event)
            else:
                try:
                    stage.take(stream, event)
                except Exception as error:
                    self.fail(stream.name, (event["seq_num"],), error)

    def fail(self, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        """Take note of events that could not be worked on; the first of a kind is reported."""
        failed = self.failed[stream]
        if isinstance(seq_nums, range):  # of frames that never came; there may be very many
            failed.add(seq_nums.start, seq_nums.stop)
        else:
            for seq_num in seq_nums:
                failed.note(seq_num)
        what = f"event {seq_nums[0]}" if len(seq_nums) == 1 else f"events {seq_nums[0]} to {seq_nums[-1]}"
        self.report("failed", error, len(seq_nums), f"stream {stream!r}, {what}")

    def end(self, stop: Mapping[str, Any], *, closed: bool) -> None:
        """End the derived run, if there is one; ``closed`` if its stop document never came, which has been said."""
        try:
            with reading(self.joiner.readable):  # also in the thread of a clock
                self._end(stop, closed=closed)
        finally:
            if self.derived is not None:
                tell(self.stage, "end", self, stop, closed)
            self.stage.end_run(self)

    def _end(self, stop: Mapping[str, Any], *, closed: bool) -> None:
        described = {stream.name for stream in self.streams.values()}
        told = {name for key in ("num_events", *MISSING) for name in mapping_of(stop, key, int)}
        if self.refusal is None and self.derived is None and told - described:
            self.begin()  # streams were lost, or failed upstream: nobody knows what they had
        if self.derived is None:
            if self.refusal is None:
                self.stage.stats.not_concerned += 1
                if self.is_live and not self.stage.follows_live:
                    return
                streams = {one.name: sorted(map(str, one.descriptor["data_keys"])) for one in self.streams.values()}
                about = self.stage.name, " and ".join(self.stage.data_keys), self, streams
                # The first key is there, and another one that was named is in no stream with it: it may be mistyped.
                is_close = any(self.stage.data_keys[0] in keys for keys in streams.values())
                level = logging.WARNING if is_close else logging.INFO
                self.complaints.log.log(level, "%s: no stream has %s in run %s, which has %s", *about)
            return
        problem = ""
        try:
            events, never = self.joiner.finish()
            for event in events:
                self.stage.accept(self.streams[event["descriptor"]], event)
            for missing in never:
                name = self.streams[missing.descriptor].name
                self.received[name].add(missing.seq_nums.start, missing.seq_nums.stop)  # they came, and are not lost
                error = FileNotFoundError(f"{missing.data_key}: {missing.reason}")
                self.fail(name, missing.seq_nums, error)
            if self.refusal is None:
                self.stage.finish_run(self, stop)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            self.report("could not finish", error, 1)
        finally:
            said = stop.get("incomplete")  # by the stage that made it
            incomplete = said if isinstance(said, str) and said else self.incomplete or problem
            self._emit_stop(self.derived, stop, incomplete, closed)

    def report(self, what: str, error: BaseException, count: int, where: str = "") -> None:
        """Count what went wrong, and say it in one line: as a warning the first time that it does in this run."""
        self.stage.stats.failed += count
        # A traceback only where it may be a mistake in the code: these say what is wrong with the data.
        about_data = isinstance(error, ValueError | OSError) or type(error) in (LookupError, BufferError)
        about_data = about_data or error.__traceback__ is None
        where = f", {where}" if where else ""
        self.complaints(
            f"{what} {getattr(error, 'kind', type(error).__name__)}",
            "%s %s on run %s%s: %s: %s",
            *(self.stage.name, what, self, where, type(error).__name__, " ".join(str(error).split())),
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
            failed.add(name, seq_nums)
            failed.count(name, len(seq_nums) if self.is_live else 0)
        stats.lost += sum(lost.counts.values())
        more: dict[str, Any] = {**lost.as_document("lost"), **failed.as_document("failed")}
        if self.is_live:
            more["skipped_counts"] = self.skipped()
            stats.skipped += sum(more["skipped_counts"].values())
        for counts, what in ((lost.counts, "never came"), (failed.counts, "failed")):
            for name, count in counts.items():
                events = f"{count} event{'s' if count > 1 else ''} of stream {name!r}"
                log.warning("%s: %s of run %s %s", self.stage.name, events, self, what)
        if incomplete:
            more["incomplete"] = incomplete
            if not closed:
                stats.incomplete += 1
                log.warning("%s closes run %s as incomplete: %s", self.stage.name, self, printable(incomplete))
        status, reason = stop.get("exit_status", "success"), stop.get("reason")
        reason = "" if reason is None else str(reason)
        if not isinstance(status, str) or status not in ("success", "abort", "fail"):
            status, reason = "fail", f"exit_status {status!r}: {reason}"
        derived.stop(status, reason, more)
        self.stage.ended = self.progress(status, lost.counts)
