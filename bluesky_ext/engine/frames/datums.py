"""Frames behind a resource and a datum document, which Bluesky's handlers read, by their spec."""

from __future__ import annotations

import logging
import math
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any, ClassVar

import numpy as np

from bluesky_ext.engine.documents.file_name import check_sequence
from bluesky_ext.engine.documents.provenance import new_uid, plain_copy
from bluesky_ext.engine.frames.hdf5 import BLOCK, open_hdf5
from bluesky_ext.engine.frames.hdf5_links import Links
from bluesky_ext.engine.frames.readable import Readable, Unreadable
from bluesky_ext.engine.frames.references import Blocks, FrameReference, Told
from bluesky_ext.engine.frames.tiff import check_tiff

logger = logging.getLogger(__name__)

OPEN_AT_MOST = 16

# What handlers are seen to raise while their file is missing, half written or shorter than asked for.
NOT_THERE = (OSError, EOFError, KeyError, IndexError, ValueError, RuntimeError, struct.error)

HandlerClass = Callable[..., Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatumReference(FrameReference):
    """Frames behind a resource and a datum document; the `root` of the resource is that after the root_map."""

    external: ClassVar[str] = "FILESTORE:"

    datum_kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: The class that reads the spec. None: the one that an installed package declares for it (entry points
    #: `databroker.handlers`), looked up where the frames are read.
    handler: HandlerClass | None = None
    #: Which frames of the event, first and last + 1; all by default.
    part: tuple[int, int] | None = None

    @property
    def file(self) -> str:
        """The path that the handler is given; a handler of file sequences adds to it."""
        return os.path.join(self.resource.get("root") or "", self.resource["resource_path"])

    def blocks(self) -> Blocks:
        """Return some of the frames at a time, if the handler gives a dask array, which is read in pieces."""
        kwargs = self.resource["resource_kwargs"]
        if max(kwargs.get("frame_per_point", 1), kwargs.get("images_per_file", 1)) < 2:
            return Blocks([self])  # as nearly all: the file is not looked at twice
        shape, dtype = self._waited(partial(self._read, _lazy_shape))
        if len(shape) < 3:
            return Blocks([self])
        step = max(1, BLOCK // max(1, math.prod(shape[1:]) * dtype.itemsize))
        return Blocks([replace(self, part=(at, min(shape[0], at + step))) for at in range(0, shape[0], step)])

    def _read(self, take: Callable[[Any, int], Any] | None = None) -> Any:
        handler = self.handler or handler_class(self.resource["spec"])
        file, kwargs = self.file, self.resource["resource_kwargs"]
        key = (self.resource["uid"], file, handler, repr(kwargs), self.readable)
        make = partial(_ConfinedHandler, self.readable, handler, file, kwargs)
        if not self.readable.is_limited:
            make = partial(handler, self.readable.check_kind(file), **kwargs)
        take = take or partial(_as_array, part=self.part)
        return OPEN_HANDLERS.read(key, make, self.datum_kwargs, kwargs.get("frame_per_point", 1), take)

    def documents(self, run: str, descriptor: str, seq_num: int, told: dict[str, Any]) -> Told:
        """Return the resource, if it was not told of yet, and a datum; and the id of that."""
        documents = []
        uid = told.get(self.resource["uid"])
        if uid is None:
            uid = told[self.resource["uid"]] = new_uid()
            documents.append(("resource", {**plain_copy(self.resource), "uid": uid, "run_start": run}))
        datum_id = f"{uid}/{new_uid()}"
        datum = {"datum_id": datum_id, "resource": uid, "datum_kwargs": plain_copy(self.datum_kwargs)}
        return [*documents, ("datum", datum)], {self.data_key: datum_id}


@cache
def handler_class(spec: str) -> HandlerClass:
    """Return the handler class that an installed package has for this spec; it is imported now."""
    installed = {point.name: point for point in entry_points(group="databroker.handlers")}
    if spec not in installed:
        why = f"is not installed (there are {', '.join(sorted(installed)) or 'none'}): install area-detector-handlers"
    else:
        try:
            return installed[spec].load()
        except (ImportError, AttributeError) as error:
            why = f"{installed[spec].value}, cannot be imported ({error}): install what it needs"
    raise ValueError(f"the handler for spec {spec!r}, {why}, or pass handlers={{{spec!r}: YourHandler}}")


class _ConfinedHandler:
    """A handler that is given nothing but files that may be read, as far as it tells which it reads."""

    def __init__(self, readable: Readable, handler: HandlerClass, file: str, kwargs: Mapping[str, Any]) -> None:
        check_resource(readable, file, kwargs)
        self._readable, self._links = readable, Links(readable, open_hdf5)
        self._links.check_all(file)
        self._handler: Any = handler(file, **kwargs)

    def __call__(self, **datum_kwargs: Any) -> Any:
        self._readable.check_texts(datum_kwargs)
        if hasattr(self._handler, "get_file_list"):
            for path in self._handler.get_file_list([datum_kwargs]):
                self._links.check_all(os.fspath(path))
                check_tiff(os.fspath(path))
        return self._handler(**datum_kwargs)

    def close(self) -> None:
        close = getattr(self._handler, "close", None)
        if callable(close):
            close()


def check_resource(readable: Readable, file: str, kwargs: Mapping[str, Any]) -> None:
    """Raise `Unreadable` if a resource, which may name the beginning of paths, leads to files that may not be read."""
    readable.check_kind(readable.check_place(file))
    readable.check_texts(kwargs)
    if isinstance(template := kwargs.get("template"), str):
        try:
            check_sequence(template, is_printf=True)
        except ValueError as error:
            raise Unreadable(str(error)) from None


class _Entry:
    """An open handler, which one thread uses at a time; it is closed when the last of its users lets it go."""

    def __init__(self) -> None:
        self.handler: Callable[..., Any] | None = None
        self.lock = threading.Lock()

    def __del__(self) -> None:
        close = getattr(self.handler, "close", None)
        if callable(close):
            try:
                close()
            except Exception:  # the frame has been read all the same
                logger.warning("handler %r failed to close", self.handler, exc_info=True)


class OpenHandlers:
    """The handlers that this process has open: the last few used. Safe for threads, as handlers themselves are not."""

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
        make: Callable[[], Callable],
        datum_kwargs: Mapping,
        frames: int = 1,
        take: Callable[[Any, int], Any] | None = None,
    ) -> Any:
        """Return what a handler gives for a datum, as an array that no longer needs its file, or what is taken of it.

        The handler is the one that is open under `key`, or what `make` opens. OSError means that the data is not there
        (yet), or fewer than `frames` frames on its first axis.
        """
        while True:
            with self._lock:
                entry = self._entries.setdefault(key, _Entry())
                self._entries.move_to_end(key)
                oldest = self._entries.popitem(last=False) if len(self._entries) > self._size else None
            del oldest  # closed, if it is not in use, now that the lock is free again
            opened = False
            try:
                with entry.lock:
                    if entry.handler is None:
                        opened = True
                        entry.handler = make()
                    return (take or _as_array)(entry.handler(**datum_kwargs), frames)
            except Exception as error:
                # A handler that was opened earlier may not see what its file got since (many keep the dataset's shape
                # of their first read) or may work only once (AD_HDF5_SWMR of area-detector-handlers 0.0.10 refreshes
                # what is a dask array by then). Only a fresh one is believed.
                with self._lock:
                    if self._entries.get(key) is entry:
                        del self._entries[key]
                if not opened:
                    continue
                if isinstance(error, NOT_THERE) and not isinstance(error, OSError | Unreadable):
                    raise OSError(f"{type(error).__name__}: {error}") from error
                raise


def _lazy_shape(value: Any, frames: int) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype of what can be read in pieces; () of what is an array already, or has too few frames yet."""
    whole = hasattr(value, "compute") and value.ndim > 2 and len(value) >= frames
    return (value.shape, value.dtype) if whole else ((), np.dtype(float))


def _as_array(value: Any, frames: int, part: tuple[int, int] | None = None) -> np.ndarray:
    """The frames, or some of them; OSError if there are fewer than `frames` on the first axis."""
    if part is not None:
        value, frames = value[slice(*part)], part[1] - part[0]
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


OPEN_HANDLERS = OpenHandlers()
os.register_at_fork(after_in_child=OPEN_HANDLERS.forget)
