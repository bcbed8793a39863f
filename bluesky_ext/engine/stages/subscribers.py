"""Those who are called with the documents of a stage."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from event_model import DocumentNames, unpack_event_page

from bluesky_ext.engine.documents.guard import Complaints, Stats

Subscriber = Callable[[str, dict[str, Any]], Any]


class Subscribers:
    """The subscribers of one stage, in the order in which they came.

    Parameters
    ----------
    owner : str
        The name of the stage.
    stats, complaints
        Where failures of subscribers are counted and reported.
    """

    def __init__(self, owner: str, stats: Stats, complaints: Complaints) -> None:
        self._owner = owner
        self._stats = stats
        self._complaints = complaints
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

    def emit(self, name: str, doc: dict[str, Any]) -> tuple[Exception | None, Exception | None]:
        """Call all whom a document concerns, also when one of them fails.

        Who subscribes or unsubscribes meanwhile does so from the next document on.

        Returns
        -------
        tuple
            The first failure, and the first one of a stage that was told to raise its errors.
        """
        first = demanded = None
        for token, callback, by_rows in self._of[name]:
            rows = unpack_event_page(doc) if by_rows else (doc,)  # pyright: ignore[reportArgumentType]
            for one in rows:
                try:
                    callback("event" if by_rows else name, one)  # pyright: ignore[reportArgumentType]
                except Exception as error:
                    first = first or error
                    is_demanded = getattr(callback, "raises", False) is True
                    if is_demanded:
                        demanded = demanded or error
                    self._stats.subscriber_failures += 1
                    self._complaints(
                        f"subscriber {token} {type(error).__name__}",
                        "%s: its subscriber %s failed on a document %r: %s: %s",
                        *(self._owner, reprlib.repr(callback), name, type(error).__name__, error),
                        exc_info=None if is_demanded else error,  # who raises it has it all
                    )
        return first, demanded

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
