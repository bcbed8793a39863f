"""Reduces: a fold over the events of a run, whose last word comes at the stop."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.documents.valid import LARGEST, check_seq_nums
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.engine.stages.stage import Stage
from bluesky_ext.engine.stages.watchers import Watcher, tell


class Published(NamedTuple):
    """What a reduce shows of a run at one moment."""

    #: The uid of the run.
    run: str
    #: Another one whenever the content is another.
    revision: int
    #: Arrays, scalars, strings and dicts of these; ``<name>_attrs`` are attributes of a name, ``_attrs`` those of the
    #: dict that they are in. It is not changed any more.
    tree: Mapping[str, Any]


class Reduce(Stage, ABC):
    """The base of stages that make one thing of a whole run.

    A subclass says what it keeps of a run (`begin`), how an event changes that (`reduce`), what is shown of it
    meanwhile (`tree`), and what is emitted at the end (`finish`). Events may come again, after a pause and resume, with
    the ``seq_num`` that they had: keep a record for each ``seq_num``, and replace it. Nothing is emitted before the
    stop, when nothing can be taken back any more.

    Live runs are none of its business, since what it keeps of each event would have no end; what it made of the scan
    before is still shown. One that keeps little says ``follows_live = True``.
    """

    keeps_objects = False
    follows_live = False

    def __init__(self, **stage: Any) -> None:
        super().__init__(**stage)
        self._latest: StageRun | None = None
        self._finished: StageRun | None = None

    def add_watcher(self, watcher: Watcher) -> None:
        """Have a watcher see runs and events, and the run that ended last, of which it still shows something."""
        with self._open_runs.lock:
            run = self._latest
            if run is not None and self.ended is not None and self._open_runs.get(run.uid) is not run:
                watcher.begin(self, run)
                watcher.end(self, run, {"exit_status": self.ended.exit_status}, False)
            super().add_watcher(watcher)

    @abstractmethod
    def begin(self, start: Mapping[str, Any]) -> Any:
        """What is kept of a run; called when it is known that the run concerns the stage."""

    @abstractmethod
    def reduce(self, state: Any, stream: str, event: Mapping[str, Any]) -> bool | None:
        """Take an event into the state; called in the order in which events come, frames and all.

        Return False if that changed nothing that `tree` shows.
        """

    def reduce_page(self, state: Any, stream: str, page: Mapping[str, Any]) -> bool:
        """Take a whole event_page into the state; False to have it as single events."""
        return False

    def tree(self, state: Any) -> dict[str, Any]:
        """What is shown of a run: new arrays, which later events do not change; see `Published`."""
        return {}

    def finish(self, state: Any, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the result; called at the stop, however the run ended."""

    @property
    def latest(self) -> Any:
        """The state of the run that started last, provisional while it goes; None before the first."""
        return None if self._latest is None else self._latest.state

    def publish(self, uid: str | None = None) -> Published | None:
        """What there is of a run so far, from any thread, while events come in or after the stop.

        As long as nothing has changed it is the same object. The run is an open one, or the one that started or ended
        last, by its uid or the uid of the scan that it comes from; the one that started last unless given, None before
        the first.
        """
        with self._open_runs.lock:
            run = self._latest if uid is None else self._run(uid)
            return None if run is None else self.published(run)

    def published(self, run: StageRun) -> Published | None:
        """What there is of a run so far, as for `publish`; also of one that ended, for whom still holds it."""
        with self._open_runs.lock:
            if run.refusal is not None:
                return None
            if run.published is None or run.published.revision != run.revision:
                run.published = Published(run.uid, run.revision, self.tree(run.state))
            return run.published

    def source(self, uid: str) -> tuple[Mapping[str, Any], str]:
        """The start document of a run, found as for `publish`, and the first file that its documents name, or ""."""
        with self._open_runs.lock:
            run = self._run(uid)
            return run.start, run.joiner.first_file

    def _run(self, uid: str) -> StageRun:
        for run in filter(None, [*self._open_runs, self._latest, self._finished]):
            if run.derived is not None and uid in (run.uid, run.start.get("original_run_uid")):
                return run
        raise LookupError(f"{self.name} has no run {uid}, open or latest: there are {self.open_runs}")

    def begin_run(self, run: StageRun) -> None:
        """Make the state of the run, which is the latest one now."""
        self._latest = run
        run.state = self.begin(run.start)

    def take(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Fold an event into the state."""
        if stream.wanted:
            if self.reduce(stream.run.state, stream.name, event) is not False:
                stream.run.revision += 1
            if self.watchers:
                tell(self, "event", stream, event, None)

    def _accept_page(self, stream: OpenStream, page: Mapping[str, Any]) -> None:
        run: StageRun = stream.run
        if run.refusal is not None or run.derived is None or run.is_live or not stream.wanted:
            super()._accept_page(stream, page)
            return
        seq_nums = list(map(operator.index, page["seq_num"]))
        if not seq_nums:
            return
        if not 1 <= min(seq_nums) <= max(seq_nums) <= LARGEST:
            check_seq_nums(stream.name, seq_nums)
        try:
            if not self.reduce_page(run.state, stream.name, page):
                super()._accept_page(stream, page)
                return
            run.revision += 1
        except Exception as error:
            run.fail(stream.name, seq_nums, error)
        else:
            if run.failed:
                for seq_num in seq_nums:
                    run.failed[stream.name].discard(seq_num, seq_num + 1)
            if self.watchers:
                tell(self, "page", stream, page)
        self._open_runs.note_all(stream, seq_nums)

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Emit the result."""
        self._finished = run
        try:
            self.finish(run.state, run.derived, run.start)  # pyright: ignore[reportArgumentType]
        finally:
            run.revision += 1
