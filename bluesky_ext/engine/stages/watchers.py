"""Watchers: what sees the events that a stage works on, as a live server does that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bluesky_ext.engine.documents.open_runs import OpenStream
    from bluesky_ext.engine.stages.run import StageRun
    from bluesky_ext.engine.stages.stage import Stage


class Watcher(Protocol):
    """Sees runs and events as a stage does; called in the thread of the stage, which it must not hold up."""

    def begin(self, stage: Stage, run: StageRun) -> object:
        """See a run that the stage works on from now on."""
        ...

    def event(self, stage: Stage, stream: OpenStream, event: Mapping[str, Any], result: Any) -> object:
        """See an event, when the stage is through with it; of a map its result, None if the event failed."""
        ...

    def page(self, stage: Stage, stream: OpenStream, page: Mapping[str, Any]) -> object:
        """See an event_page that a reduce took as a whole."""
        ...

    def end(self, stage: Stage, run: StageRun, stop: Mapping[str, Any], closed: bool) -> object:
        """See the end of a run, with its stop document; ``closed`` if that never came."""
        ...


def tell(stage: Stage, what: str, *about: Any) -> None:
    """Call a method of all watchers of a stage. What fails in one is said in the log, and harms nothing else."""
    for watcher in stage.watchers:
        try:
            getattr(watcher, what)(stage, *about)
        except Exception as error:
            kind = type(error).__name__
            message = "%s: what watches it failed: %s: %s"
            stage.complaints(f"watcher {what} {kind}", message, stage.name, kind, error, exc_info=error)
