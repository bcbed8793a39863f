"""What has subscribers: callbacks that are given its documents."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.engine.documents.complaints import Complaints, OnError, check_on_error
from bluesky_ext.engine.documents.stats import Stats

Subscriber = Callable[[str, dict[str, Any]], Any]


class Emitter:
    """The base of stages and dispatchers: callbacks are called in the order in which they were subscribed."""

    def __init__(self, owner: str, stats: Stats, complaints: Complaints, on_error: OnError = "log") -> None:
        self.stats = stats
        self.complaints = complaints
        self._owner = owner
        self._is_to_raise = check_on_error(on_error) == "raise"
        self._error: BaseException | None = None  # the first that is to be raised
        self._tokens = 0
        self._subscribers: dict[int, tuple[str, Subscriber]] = {}

    def subscribe(self, callback: Subscriber, name: str | DocumentNames = "all") -> int:
        """Have ``callback(name, doc)`` called with documents of this kind, or "all"; return a token for `unsubscribe`.

        A callback that raises is reported, and does not keep the document from the others. A table is one
        ``event_page``: that is what "all" sees, and a subscriber to "event" gets its rows one by one.
        """
        if callback is self:
            raise ValueError(f"{self._owner} can't be subscribed to itself: its runs would have no end")
        if isinstance(callback, type) and hasattr(callback, "subscribe"):
            raise TypeError(f"{callback.__name__} is a class: give an instance, {callback.__name__}(...)")
        kind = name.name if isinstance(name, DocumentNames) else name
        kinds = sorted(DocumentNames.__members__)
        if kind not in ("all", *kinds):
            raise ValueError(f"there are no documents named {kind!r}: give 'all' or one of {kinds}")
        self._tokens += 1
        self._subscribers[self._tokens] = (kind, callback)
        return self._tokens

    def unsubscribe(self, token: int) -> None:
        """Stop calling the callback that this token was given for."""
        if token not in self._subscribers:
            raise ValueError(f"no subscription has the token {token!r}: give what subscribe() returned")
        del self._subscribers[token]

    @property
    def raises(self) -> bool:
        """Whether it, or a stage that it feeds, was told to raise its errors: then the scan is to stop for them."""
        subscribers = self._subscribers.values()
        return self._is_to_raise or any(getattr(callback, "raises", False) is True for _, callback in subscribers)

    def note_error(self, error: BaseException, is_demanded: bool = False) -> None:
        """Keep an error to be raised, if this was told to raise them, or a subscriber was whose error it is."""
        if self._is_to_raise or is_demanded:
            self._error = self._error or error

    def emit(self, name: str, doc: dict[str, Any]) -> None:
        """Call the subscribers to documents of this kind, all of them also when one fails.

        What is subscribed or unsubscribed meanwhile is so from the next document on.
        """
        if name == "event":
            self.stats.emitted += 1
        elif name == "event_page":
            self.stats.emitted += len(doc["seq_num"])
        for token, (kind, callback) in list(self._subscribers.items()):
            if kind == "event" and name == "event_page":
                rows: Any = unpack_event_page(doc)  # pyright: ignore[reportArgumentType]
            else:
                rows = (doc,) if kind in ("all", name) else ()
            for row in rows:
                try:
                    callback("event" if row is not doc else name, row)
                except Exception as error:
                    self._subscriber_failed(token, callback, name, error)

    def _subscriber_failed(self, token: int, callback: Subscriber, name: str, error: Exception) -> None:
        is_demanded = getattr(callback, "raises", False) is True
        self.note_error(error, is_demanded)
        self.stats.subscriber_failures += 1
        self.complaints(
            f"subscriber {token} {type(error).__name__}",
            "%s: its subscriber %s failed on a document %r: %s: %s",
            *(self._owner, reprlib.repr(callback), name, type(error).__name__, error),
            exc_info=None if is_demanded else error,  # the stage that raises it has logged it
        )
