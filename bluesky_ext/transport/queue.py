"""A queue that is bounded by the number of its documents and by their bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Literal, TypeVar

Policy = Literal["block", "drop"]
T = TypeVar("T")

#: The documents of which a run has many, each of which may be missed; without the others it can't be understood.
MANY = frozenset({"event", "event_page", "datum", "datum_page", "stream_datum"})

#: So many of the others find room where there is none for these.
RESERVE = 1000


class DocumentQueue(Generic[T]):
    """Documents on their way from one thread to another, in order.

    When there are ``max_documents``, or one more would make them more than ``max_bytes``, it is full; a larger document
    passes when it is alone. Then `put` waits or drops, as the ``policy`` says, but documents of which a run has few are
    never dropped for the sake of others.
    """

    def __init__(self, max_documents: int, max_bytes: int, policy: Policy) -> None:
        if max_documents < 1 or max_bytes < 1:
            raise ValueError(f"a queue of {max_documents} documents and {max_bytes} bytes: give numbers above 0")
        if policy not in ("block", "drop"):
            raise ValueError(f"policy={policy!r}: give 'block' (wait while the queue is full) or 'drop' (and count)")
        self._max_documents = max_documents
        self._max_bytes = max_bytes
        self._drops = policy == "drop"
        self._items: deque[tuple[T, int]] = deque()
        self._nbytes = 0
        # A lock that its thread may take twice, since the handler of a signal may call `close`.
        self._changed = threading.Condition(threading.RLock())
        self._at_work = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_over(self) -> bool:
        """Whether no document will ever come out of it."""
        return self._closed and not self._items

    def put(self, name: str, item: T, nbytes: int) -> bool:
        """Add a document; False if it was dropped, being too much or too late."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._drops or self._has_room(name, nbytes))
            if self._closed or not self._has_room(name, nbytes):
                return False
            self._items.append((item, nbytes))
            self._nbytes += nbytes
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> T | None:
        """The next document, None if none comes in so many seconds, or ever; the one before it counts as done."""
        with self._changed:
            self._at_work = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if not self._items:
                return None
            item, nbytes = self._items.popleft()
            self._nbytes -= nbytes
            self._at_work = True
            self._changed.notify_all()
            return item

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all documents are done; False if that takes more seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._items and not self._at_work, timeout)

    def close(self) -> None:
        """Take no more documents; those that are in it can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> int:
        """Drop all that is in it; return how many documents that were."""
        with self._changed:
            count = len(self._items)
            self._items.clear()
            self._nbytes = 0
            self._changed.notify_all()
            return count

    def _has_room(self, name: str, nbytes: int) -> bool:
        if not self._items:
            return True
        if self._drops and name not in MANY:
            return len(self._items) < self._max_documents + RESERVE
        return len(self._items) < self._max_documents and self._nbytes + nbytes <= self._max_bytes
