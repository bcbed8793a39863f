"""A callback in a thread of its own, so that a slow analysis does not slow the scan."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - so that its end is known before ours: see below
import logging
import reprlib
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints, OnError, check_on_error
from bluesky_ext.engine.documents.open_runs import plain_name
from bluesky_ext.transport.overtaking import Overtaking
from bluesky_ext.transport.queue import DocumentQueue, Policy

if TYPE_CHECKING:
    from event_model import DocumentNames

log = logging.getLogger(__name__)

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_OBJECT = 32  # bytes of a number in a list, about


@dataclass
class Done:
    """What became of the documents that came to a callback in the background; they only grow.

    Those ``overtaken`` are events of live runs (for alignment) behind which a later one was there already.
    """

    kind: ClassVar[str] = "background"

    received: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    overtaken: int = 0


class background:  # noqa: N801 - to its users, what makes a callback of another one
    """A callback that hands its documents to another one in a thread of its own, so that the scan does not wait.

    The documents are copied as they come, so that nobody changes them on their way; arrays only if somebody can
    write to them. When the process ends, it first does what is left.

    Parameters
    ----------
    callback : callable
        A stage, or a function of name and document. It is called by one thread only, in order.
    policy : {"block", "drop"}
        What to do when the queue is full: have the scan wait, or drop events and count them.
    max_documents, max_bytes : int
        When it is full.
    on_error : {"log", "raise"}
        Whether a failure of the callback is logged and counted, or also raised, at the next document, at `wait` or at
        `close`, so that the scan stops; also behind a stage, by its attribute ``raises``.
    share_arrays : bool
        Do not copy arrays, for detectors that make a new one for each reading.
    name : str, optional
        What it is called in the log.

    Attributes
    ----------
    stats : Done
        How many documents came, and what became of them.
    failure : Exception or None
        The first that the callback raised.

    Examples
    --------
    >>> from bluesky_ext.transport import background
    >>> names = []
    >>> with background(lambda name, doc: names.append(name)) as slow:
    ...     slow("start", {"uid": "x"})  # as a RunEngine does that it is subscribed to
    >>> names
    ['start']
    """

    def __init__(
        self,
        callback: Callable[[str, dict[str, Any]], object],
        *,
        policy: Policy = "block",
        max_documents: int = 1000,
        max_bytes: int = 2**30,
        on_error: OnError = "log",
        share_arrays: bool = False,
        name: str | None = None,
    ) -> None:
        if not callable(callback):
            raise TypeError(f"{callback!r} can't be called: give a function of (name, document), or a stage")
        self.name = name or reprlib.repr(callback)
        self.stats = Done()
        self.failure: Exception | None = None
        self._callback = self.__wrapped__ = callback  # as functools.wraps does, so that a stage is seen to be in it
        self.raises = check_on_error(on_error) == "raise"
        self._raised = False
        self._share = share_arrays
        self._complaints = Complaints(log)
        self._closed = False
        self._queue: DocumentQueue[tuple[Context, str, dict[str, Any]]] = DocumentQueue(
            max_documents, max_bytes, policy
        )
        self._overtaking = Overtaking(self._call, self._queue.__len__)
        self._thread = threading.Thread(target=self._work, name=f"background {self.name}", daemon=True)
        self._thread.start()
        _living.add(self)

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Take a document, and return before anything is done with it."""
        if self._closed:
            raise RuntimeError(f"background {self.name} has been closed: make a new one")
        self._raise_on_request()
        name = plain_name(name)
        copy, nbytes = copied(doc, self._share)
        self.stats.received += 1
        # Which files may be read is of the caller's context.
        if not self._queue.put(name, (copy_context(), name, copy), nbytes):
            self.stats.dropped += 1
            self._complaints("dropped", "background %s does not keep up: documents are dropped, and counted", self.name)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the callback is through with all that was given so far; False if that takes more seconds."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"background {self.name} can't wait for itself: call wait() from another thread")
        done = self._queue.wait(timeout)
        self._raise_on_request()
        return done

    def close(self, timeout: float | None = None) -> None:
        """Wait until all is done, but no longer than so many seconds, and end the thread; what is left is dropped."""
        if not self._closed:
            self._closed = True
            self._queue.close()
            if threading.current_thread() is not self._thread:
                self._thread.join(timeout)
            self.stats.dropped += self._queue.clear()
            _living.discard(self)
            if self.stats.failed or self.stats.dropped:
                log.warning(
                    "background %s: of %d documents, %d failed and %d were dropped",
                    *(self.name, self.stats.received, self.stats.failed, self.stats.dropped),
                )
        self._raise_on_request()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"background({self.name})"

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            context, name, doc = item
            self._overtaking(name, doc, context)
            self._overtaking.settle()
            self.stats.overtaken = self._overtaking.count

    def _call(self, name: str, doc: dict[str, Any], context: Context) -> None:
        try:
            context.run(self._callback, name, doc)
        except Exception as error:  # the scan does not die of its analysis; on_error="raise" is below
            self.stats.failed += 1
            self.failure = self.failure or error
            self._complaints.failure(f"background {self.name}", name, error)
        else:
            self.stats.done += 1

    def _raise_on_request(self) -> None:
        if self.raises and self.failure is not None and not self._raised:
            self._raised = True
            raise RuntimeError(f"background {self.name} failed: {self.failure}") from self.failure


def copied(value: Any, share: bool = False) -> tuple[Any, int]:
    """Return a copy of a document but for what does not change, and arrays if they are shared; and its bytes, about."""
    if isinstance(value, np.ndarray):
        return (value if share or is_frozen(value) else value.copy()), value.nbytes + _OBJECT
    kind = type(value)
    if kind in _PLAIN:
        return value, len(value) + _OBJECT if kind in (str, bytes) else _OBJECT
    if isinstance(value, Mapping):
        items, nbytes = {}, 0
        for key, item in value.items():
            items[key], more = copied(item, share)
            nbytes += more + 2 * _OBJECT
        return items, nbytes
    if kind in (list, tuple):
        if set(map(type, value)) <= _PLAIN - {str, bytes}:  # the rows of an image, perhaps
            return kind(value), _OBJECT * (len(value) + 1)
        copies = [copied(item, share) for item in value]
        return kind([copy for copy, _ in copies]), sum(more for _, more in copies) + _OBJECT
    return value, _OBJECT


def is_frozen(array: np.ndarray) -> bool:
    """Whether nobody can write to the memory of an array, by way of this array or those that it is a part of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or (isinstance(base, bytes | memoryview) and memoryview(base).readonly)


_living: weakref.WeakSet[background] = weakref.WeakSet()  # those that have not been closed


def _finish_all() -> None:
    for one in list(_living):
        if left := len(one._queue):  # noqa: SLF001 - it is of this module
            log.warning("background %s: %d documents are left to do before this process ends", one.name, left)
        with suppress(RuntimeError):  # its failure has been said
            one.close()


# Pools of threads, which a stage may have, take no more tasks once they have heard of the end of the process. They are
# told before `atexit` functions are called, in the order last come, first served
# (https://github.com/python/cpython/blob/3.11/Lib/concurrent/futures/thread.py#L39): so one must be told like them.
getattr(threading, "_register_atexit", atexit.register)(_finish_all)
