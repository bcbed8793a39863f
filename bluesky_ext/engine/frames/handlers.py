"""Bluesky's handlers: the code that reads files behind resource and datum documents, by their spec."""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

ENTRY_POINTS = "databroker.handlers"
OPEN_AT_MOST = 16

# What handlers are seen to raise while their file is missing, half written or shorter than asked for.
NOT_THERE = (OSError, EOFError, KeyError, IndexError, ValueError, RuntimeError, struct.error)

HandlerClass = Callable[..., Callable[..., Any]]


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def handler_class(spec: str) -> HandlerClass:
    """Return the handler class that an installed package has for this spec; it is imported now."""
    try:
        return _installed()[spec].load()
    except KeyError:
        known = ", ".join(sorted(_installed())) or "none"
        raise ValueError(
            f"no handler for spec {spec!r} (installed: {known}): install area-detector-handlers, "
            f"or pass handlers={{{spec!r}: YourHandler}}"
        ) from None
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"the handler for spec {spec!r}, {_installed()[spec].value}, cannot be imported ({error}): "
            f"install what it needs, or pass handlers={{{spec!r}: YourHandler}}"
        ) from error


class _Entry:
    """An open handler and who is using it."""

    __slots__ = ("dropped", "handler", "lock", "users")

    def __init__(self) -> None:
        self.handler: Callable[..., Any] | None = None
        self.lock = threading.Lock()
        self.users = 0
        self.dropped = False


class OpenHandlers:
    """The handlers that this process has open: the last few used, closed as they leave.

    Safe for threads. Handlers are not (they open lazily, refresh, remember datasets), so each is used by one
    thread at a time, and one that is dropped while in use is closed by its last user.
    """

    def __init__(self, size: int = OPEN_AT_MOST) -> None:
        self._size = size
        self.forget()

    def forget(self) -> None:
        """Start anew without closing anything: in a forked child the handlers belong to the parent."""
        # Kept alive on purpose: a destructor could want a lock that some thread of the parent held at the fork.
        self._inherited = getattr(self, "_entries", None)
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        key: Hashable,
        make: Callable[[], Callable[..., Any]],
        datum_kwargs: Mapping[str, Any],
        frames: int = 1,
    ) -> np.ndarray:
        """Return what the handler under `key` gives for a datum, as an array that no longer needs its file.

        Parameters
        ----------
        key
            Equal for equal files and handlers.
        make
            Opens the handler.
        datum_kwargs
            As in the datum document.
        frames
            How many frames there must be at least on the first axis.

        Raises
        ------
        OSError
            If the data is not there (yet).
        """
        while True:
            entry = self._enter(key)
            opened = False
            try:
                with entry.lock:
                    handler = entry.handler
                    if handler is None:
                        opened = True
                        handler = entry.handler = make()
                    return _as_array(handler(**datum_kwargs), frames)
            except Exception as error:
                # A handler that was opened earlier may not see what its file got since (many keep the dataset's shape
                # of their first read) or may work only once (AD_HDF5_SWMR of area-detector-handlers 0.0.10 refreshes
                # what is a dask array by then). Only a fresh one is believed.
                self._drop(key, entry)
                if not opened:
                    continue
                if isinstance(error, NOT_THERE) and not isinstance(error, OSError):
                    raise OSError(f"{type(error).__name__}: {error}") from error
                raise
            finally:
                self._leave(entry)

    def _enter(self, key: Hashable) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            entry.users += 1
            oldest = self._entries.popitem(last=False)[1] if len(self._entries) > self._size else None
            if oldest is not None:
                oldest.dropped = True
            idle = oldest if oldest is not None and not oldest.users else None
        if idle is not None:
            _close(idle)
        return entry

    def _leave(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            last = entry.dropped and not entry.users
        if last:
            _close(entry)

    def _drop(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]
            entry.dropped = True


def _as_array(value: Any, frames: int) -> np.ndarray:
    if hasattr(value, "compute"):
        # In this thread: inside a dask worker, compute() would go through the scheduler and wait for a
        # place on the very workers that wait here.
        value = value.compute(scheduler="synchronous")
    array = np.asarray(value)
    if not array.size:
        raise OSError("the handler returned no data: the file does not hold this frame yet")
    if frames > 1 and (not array.ndim or len(array) < frames):
        raise OSError(f"the handler returned data of shape {array.shape}, {frames} frames are expected")
    return array


def _close(entry: _Entry) -> None:
    close = getattr(entry.handler, "close", None)
    if not callable(close):
        return
    try:
        close()
    except Exception:  # the frame has been read all the same
        logger.warning("handler %r failed to close", entry.handler, exc_info=True)


OPEN_HANDLERS = OpenHandlers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=OPEN_HANDLERS.forget)
