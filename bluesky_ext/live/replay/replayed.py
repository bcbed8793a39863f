"""A replay as an analysis, for those who look at analyses: the live server, processed files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.stages.reduce import Published
from bluesky_ext.engine.stages.run import Progress
from bluesky_ext.live.analysis import LiveAnalysis
from bluesky_ext.live.classes import class_of
from bluesky_ext.live.dranspose import forms_in_use
from bluesky_ext.live.pair import Pair
from bluesky_ext.live.pair_run import PairRun


class Replayed(LiveAnalysis):
    """A pair that is replayed: its ``pair`` is fed by `bluesky_ext.live.replay.run_pair.play`, and not by documents.

    What its reducer raises ends the replay; results reach it in the order of their events.
    """

    _run_shown: PairRun | None = None
    _shown: Published | None = None
    _start: Mapping[str, Any]

    def make_pair(self, worker: type | str, reducer: type | str, **options: Any) -> Pair:
        """The pair, whose classes may be dranspose's."""
        worker, reducer = class_of(worker, "process_event", "event"), class_of(reducer, "process_result", "result")
        return Pair(worker, reducer, **{**options, "ordered": True, "raises": True}, forms=forms_in_use())

    def opened(self, run: PairRun, start: Mapping[str, Any]) -> None:
        """Show a run, which begins."""
        self._start = {"uid": "replay", **start}
        self._run_shown = run

    def closed(self) -> None:
        """Take note that the run is over; what it came to is still shown."""
        self.ended = next(iter(self.progress()), None)

    @property
    def open_runs(self) -> list[str]:
        """The uid of the run, while it is played."""
        run = self._run_shown
        return [] if run is None or run.is_over else [self._start["uid"]]

    @property
    def lag(self) -> float:
        """For how long the oldest result waits for the reducer, in s."""
        return 0.0 if self._run_shown is None else self._run_shown.lag

    @property
    def load(self) -> dict[str, Any]:
        """How busy the workers are, by name."""
        return {} if self._run_shown is None else self._run_shown.load.told()

    @property
    def last_events(self) -> dict[str, Any]:
        """The last events of each worker."""
        return {} if self._run_shown is None else self._run_shown.last_events.told()

    def publish(self, uid: str | None = None) -> Published | None:
        """What the reducer published last."""
        run = self._run_shown
        if run is None:
            return None
        revision = run.revision
        if self._shown is None or self._shown.revision != revision:
            self._shown = Published(self._start["uid"], revision, run.snapshot())
        return self._shown

    def progress(self) -> list[Progress]:
        """How far it is."""
        run = self._run_shown
        if run is None:
            return []
        done = {stream: len(numbers) for stream, numbers in list(run.handled.items())}
        failed = {"events": run.failed} if run.failed else {}
        status = "success" if run.is_over else None
        return [Progress(self._start, done, done, failed, {}, {}, run.touched, status)]
