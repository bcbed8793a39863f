"""Subscribers: the callbacks that get the documents of a stage."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.engine.documents.complaints import Complaints, OnError, check_on_error
from bluesky_ext.engine.documents.stats import Stats

Subscriber = Callable[[str, dict[str, Any]], Any]


class Subscribers:
    """The subscribers of one stage, in the order in which they came, and the error that it is to raise, if any."""

    def __init__(self, owner: str, stats: Stats, complaints: Complaints, on_error: OnError = "log") -> None:
        self._owner = owner
        self._stats = stats
        self._complaints = complaints
        self._raises = check_on_error(on_error) == "raise"
        #: The first error that the owner, if it ``raises``, or a subscriber that does was not asked for yet.
        self.error: BaseException | None = None
        self._tokens = 0
        self._all: dict[int, tuple[str, Subscriber]] = {}

    def add(self, callback: Subscriber, name: str | DocumentNames) -> int:
        """Have a callback called; return its token."""
        if isinstance(callback, type) and hasattr(callback, "subscribe"):
            raise TypeError(f"{callback.__name__} is a class: give an instance, {callback.__name__}(...)")
        kind = name.name if isinstance(name, DocumentNames) else name
        kinds = sorted(DocumentNames.__members__)
        if kind not in ("all", *kinds):
            raise ValueError(f"there are no documents named {kind!r}: give 'all' or one of {kinds}")
        self._tokens += 1
        self._all[self._tokens] = (kind, callback)
        return self._tokens

    def remove(self, token: int) -> None:
        """Stop calling the callback with this token."""
        if token not in self._all:
            raise ValueError(f"no subscription has the token {token!r}: give what subscribe() returned")
        del self._all[token]

    @property
    def raises(self) -> bool:
        """Whether the owner, or a subscriber that is a stage, was told to raise its errors."""
        return self._raises or any(getattr(callback, "raises", False) is True for _, callback in self._all.values())

    def note(self, error: BaseException, is_demanded: bool = False) -> None:
        """Keep an error to be raised, if the owner was told to raise them, or a subscriber was whose error it is."""
        if self._raises or is_demanded:
            self.error = self.error or error

    def emit(self, name: str, doc: dict[str, Any]) -> None:
        """Call the subscribers to documents of this kind, all of them also when one fails.

        What is subscribed or unsubscribed meanwhile is so from the next document on.
        """
        if name == "event":
            self._stats.emitted += 1
        elif name == "event_page":
            self._stats.emitted += len(doc["seq_num"])
        for token, (kind, callback) in list(self._all.items()):
            if kind == "event" and name == "event_page":
                rows: Any = unpack_event_page(doc)  # pyright: ignore[reportArgumentType]
            else:
                rows = (doc,) if kind in ("all", name) else ()
            for row in rows:
                try:
                    callback("event" if row is not doc else name, row)
                except Exception as error:
                    self._report(token, callback, name, error)

    def _report(self, token: int, callback: Subscriber, name: str, error: Exception) -> None:
        is_demanded = getattr(callback, "raises", False) is True
        self.note(error, is_demanded)
        self._stats.subscriber_failures += 1
        self._complaints(
            f"subscriber {token} {type(error).__name__}",
            "%s: its subscriber %s failed on a document %r: %s: %s",
            *(self._owner, reprlib.repr(callback), name, type(error).__name__, error),
            exc_info=None if is_demanded else error,  # the stage that raises it has logged it
        )
