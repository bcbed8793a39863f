"""Watchers: what sees the events that a stage works on, as a live server does that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bluesky_ext.engine.documents.complaints import Complaints

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


class Watchers:
    """The watchers of one stage. What fails in one of them is said in the log, and harms nothing else."""

    def __init__(self, owner: str, complaints: Complaints) -> None:
        self._owner = owner
        self._complaints = complaints
        self._all: tuple[Watcher, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, watcher: Watcher) -> None:
        """Have a watcher see what comes from now on."""
        self._all = (*self._all, watcher)

    def remove(self, watcher: Watcher) -> None:
        """Let a watcher go."""
        self._all = tuple(one for one in self._all if one is not watcher)

    def tell(self, what: str, *about: Any) -> None:
        """Call a method of all watchers."""
        for watcher in self._all:
            try:
                getattr(watcher, what)(*about)
            except Exception as error:
                self._complaints(
                    f"watcher {what} {type(error).__name__}",
                    "%s: what watches it failed: %s: %s",
                    *(self._owner, type(error).__name__, error),
                    exc_info=error,
                )
