"""What a stage keeps of an open run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.derive import DerivedRun
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.losses import Losses
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenStream
from bluesky_ext.engine.frames.join import Joiner

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

    def fail(self, stage: str, stream: str, seq_nums: Sequence[int], error: BaseException) -> None:
        """Take note of events that could not be worked on; the first of a kind is reported."""
        self.failed[stream].update(seq_nums)
        what = f"event {seq_nums[0]}" if len(seq_nums) == 1 else f"events {seq_nums[0]} to {seq_nums[-1]}"
        self.report("failed", stage, error, f"stream {stream!r}, {what}")

    def report(self, what: str, stage: str, error: BaseException, where: str = "") -> None:
        """Say in one line what went wrong; the first time that it does in this run, as a warning."""
        # A traceback only where it may be a mistake in the code: these say what is wrong with the data.
        about_data = isinstance(error, ValueError | OSError) or type(error) in (LookupError, BufferError)
        self.complaints(
            f"{what} {type(error).__name__}",
            "%s %s on run %s%s: %s: %s",
            *(stage, what, self.uid, f", {where}" if where else "", type(error).__name__, " ".join(str(error).split())),
            exc_info=None if about_data else error,
        )

    def emit_stop(self, stage: str, stop: Mapping[str, Any], incomplete: str, closed: str) -> int:
        """Emit the stop document of the derived run; return how many events were lost.

        Whatever the input's stop is like, this one is valid. ``closed`` says why the run was closed without a stop, if
        so: then that is in the log already.
        """
        lost, failed = self.lost(stop), Losses()
        for upstream in ("lost", "failed"):
            lost.add_listed(stop, upstream)
        for name, seq_nums in self.failed.items():
            failed.add(name, [range(seq_num, seq_num + 1) for seq_num in seq_nums])
        more = {**lost.as_document("lost"), **failed.as_document("failed")}
        if more:
            counts = lost.counts, failed.counts
            self.complaints.log.warning("%s: of run %s, %s never came and %s failed", stage, self.uid, *counts)
        if incomplete:
            more["incomplete"] = incomplete
            if not closed:
                self.complaints.log.warning("%s closes run %s as incomplete: %s", stage, self.uid, incomplete)
        status, reason = stop.get("exit_status", "success"), stop.get("reason") or ""
        if status not in ("success", "abort", "fail"):
            status, reason = "fail", f"exit_status {status!r}: {reason}"
        if self.derived is not None:
            self.derived.stop(status, str(reason), more)
        return sum(lost.counts.values())
