"""Live runs where documents wait in a queue: the latest event counts, and those that it has overtaken are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bluesky_ext.engine.documents.live_documents import LiveDocuments


class Overtaking:
    """Hands documents on; an event of a live run only if none of its stream waits behind it.

    Parameters
    ----------
    emit : callable
        ``emit(name, doc, *more)`` is called with what is handed on.
    waiting : callable
        How many documents wait in the queue.
    """

    def __init__(self, emit: Callable[..., object], waiting: Callable[[], int]) -> None:
        self._emit, self._waiting = emit, waiting
        self._live = LiveDocuments()
        self._held: dict[str, tuple[Any, ...]] = {}  # the latest event of each stream, by its descriptor
        self._left = 0  # documents that waited when the first of these came
        #: How many events were left out.
        self.count = 0

    def __call__(self, name: str, doc: Mapping[str, Any], *more: Any) -> None:
        """Take a document, in order."""
        if not self._live.has(name, doc) or name != "event":
            self._flush()
            self._emit(name, doc, *more)
            return
        self._left = self._left - 1 if self._held else self._waiting()
        self.count += self._held.pop(doc["descriptor"], None) is not None
        self._held[doc["descriptor"]] = (name, doc, *more)
        if self._left <= 0:  # so that something is seen, also where the queue is never empty
            self._flush()

    def settle(self) -> None:
        """Hand on what is held back, if nothing waits behind it; called after each document."""
        if self._held and not self._waiting():
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, {}
        for one in held.values():
            self._emit(*one)
