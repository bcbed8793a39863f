"""Reduces: a fold over the events of a run, whose last word comes at the stop."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.documents.derive import DerivedRun
from bluesky_ext.engine.stages.run import Run, Stream
from bluesky_ext.engine.stages.stage import Stage


class Reduce(Stage, ABC):
    """The base of stages that make one thing of a whole run.

    A subclass says what it keeps of a run (`begin`), how an event changes that (`reduce`), and what is emitted at the
    end (`finish`). Events may come again, after a pause and resume, with the ``seq_num`` that they had: keep a record
    for each ``seq_num``, and replace it. Nothing is emitted before the stop, when nothing can be taken back any more.
    """

    keeps_objects = False

    def __init__(self, **stage: Any) -> None:
        super().__init__(**stage)
        self._latest: Any = None

    @abstractmethod
    def begin(self, start: Mapping[str, Any]) -> Any:
        """What is kept of a run; called at its start."""

    @abstractmethod
    def reduce(self, state: Any, stream: str, event: Mapping[str, Any]) -> None:
        """Take an event into the state; called in the order in which events come, frames and all."""

    def reduce_page(self, state: Any, stream: str, page: Mapping[str, Any]) -> bool:
        """Take a whole event_page into the state; False to have it as single events."""
        return False

    def finish(self, state: Any, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the result; called at the stop, however the run ended."""

    @property
    def latest(self) -> Any:
        """The state of the run that started last, provisional while it goes; None before the first."""
        return self._latest

    def _begin(self, run: Run) -> None:
        run.state = self._latest = self.begin(run.start)

    def _take(self, stream: Stream, event: Mapping[str, Any]) -> None:
        if stream.wanted:
            self.reduce(stream.run.state, stream.name, event)

    def _accept_page(self, stream: Stream, page: Mapping[str, Any]) -> None:
        seq_nums = [operator.index(seq_num) for seq_num in page["seq_num"]]
        if stream.run.refusal is not None or not stream.wanted:
            super()._accept_page(stream, page)
            return
        try:
            if self.reduce_page(stream.run.state, stream.name, page):
                self._note(stream, seq_nums)
            else:
                super()._accept_page(stream, page)
        except Exception as error:
            self._note(stream, seq_nums)
            self._fail(stream.run, stream.name, seq_nums, error)

    def _finish(self, run: Run, stop: Mapping[str, Any]) -> None:
        self.finish(run.state, run.derived, run.start)
