"""Subscribers: the callbacks that get the documents of a stage."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.stats import Stats

Subscriber = Callable[[str, dict[str, Any]], Any]


class Subscribers:
    """The subscribers of one stage, in the order in which they came.

    Parameters
    ----------
    owner : str
        The name of the stage.
    stats, complaints
        Where events are counted that are emitted, and failures of subscribers are counted and reported.

    Attributes
    ----------
    failure, demanded : Exception or None
        The first failure since `take_failures`, and the first one of a stage that was told to raise its errors.
    """

    def __init__(self, owner: str, stats: Stats, complaints: Complaints) -> None:
        self._owner = owner
        self._stats = stats
        self._complaints = complaints
        self.failure: Exception | None = None
        self.demanded: Exception | None = None
        self._tokens = 0
        self._all: dict[int, tuple[str, Subscriber]] = {}
        self._of: dict[str, list[tuple[int, Subscriber, bool]]] = {name.name: [] for name in DocumentNames}

    def add(self, callback: Subscriber, name: str | DocumentNames) -> int:
        """Have a callback called; return its token."""
        kind = name.name if isinstance(name, DocumentNames) else name
        if kind != "all" and kind not in self._of:
            raise ValueError(f"there are no documents named {kind!r}: give 'all' or one of {sorted(self._of)}")
        self._tokens += 1
        self._all[self._tokens] = (kind, callback)
        self._sort()
        return self._tokens

    def remove(self, token: int) -> None:
        """Stop calling the callback with this token."""
        if token not in self._all:
            raise ValueError(f"no subscription has the token {token!r}: give what subscribe() returned")
        del self._all[token]
        self._sort()

    @property
    def raise_errors(self) -> bool:
        """Whether one of them is a stage that was told to raise its errors."""
        return any(getattr(callback, "raises", False) is True for _, callback in self._all.values())

    def take_failures(self) -> tuple[Exception | None, Exception | None]:
        """Return ``failure`` and ``demanded``, and forget them."""
        failures = self.failure, self.demanded
        self.failure = self.demanded = None
        return failures

    def emit(self, name: str, doc: dict[str, Any]) -> None:
        """Call the subscribers to documents of this kind, all of them also when one fails.

        What is subscribed or unsubscribed meanwhile is so from the next document on.
        """
        if name == "event":
            self._stats.emitted += 1
        elif name == "event_page":
            self._stats.emitted += len(doc["seq_num"])
        for token, callback, by_rows in self._of[name]:
            try:
                if not by_rows:
                    callback(name, doc)
                    continue
            except Exception as error:
                self._note(token, callback, name, error)
                continue
            for row in unpack_event_page(doc):  # pyright: ignore[reportArgumentType]
                try:
                    callback("event", row)  # pyright: ignore[reportArgumentType]
                except Exception as error:
                    self._note(token, callback, name, error)

    def _note(self, token: int, callback: Subscriber, name: str, error: Exception) -> None:
        self.failure = self.failure or error
        is_demanded = getattr(callback, "raises", False) is True
        if is_demanded:
            self.demanded = self.demanded or error
        self._stats.subscriber_failures += 1
        self._complaints(
            f"subscriber {token} {type(error).__name__}",
            "%s: its subscriber %s failed on a document %r: %s: %s",
            *(self._owner, reprlib.repr(callback), name, type(error).__name__, error),
            exc_info=None if is_demanded else error,  # the stage that raises it has logged it
        )

    def _sort(self) -> None:
        # New lists, since one of the old may just be gone through.
        self._of = {
            kind: [
                (token, callback, (wanted, kind) == ("event", "event_page"))
                for token, (wanted, callback) in self._all.items()
                if wanted in ("all", kind) or (wanted, kind) == ("event", "event_page")
            ]
            for kind in self._of
        }
