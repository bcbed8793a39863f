"""Frames: the image of an event, whatever form it came in.

A frame that is in a file travels as a reference: small, frozen and picklable, so that the process or the
cluster that works on the image is also the one that reads it.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.frames.files import event_shape, stream_files, stream_reader
from bluesky_ext.engine.frames.handlers import OPEN_HANDLERS, HandlerClass, handler_class

POLL_INTERVAL = 0.01  # s
RESOURCES_REMEMBERED = 1024


class FrameNotAvailable(OSError):  # noqa: N818 - it names a state of the file, as BlockingIOError does
    """The file of a frame is missing, unreadable or does not hold the frame yet."""


class Deadlines:
    """When this process stops waiting for the files of a resource: once, at the first miss plus the patience.

    A missing directory then costs the patience once, and not once for every event of a scan. The
    last `RESOURCES_REMEMBERED` resources are known; one that was forgotten is waited for again.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew; a forked child has its own patience, and its parent's lock may be held forever."""
        self._lock = threading.Lock()
        self._ends: OrderedDict[str, float] = OrderedDict()

    def wait(self, resource: str, patience: float) -> bool:
        """Sleep a moment and return True, or return False at once if the time for this resource is over."""
        if patience <= 0:
            return False
        now = time.monotonic()
        with self._lock:
            end = self._ends.setdefault(resource, now + patience)
            if len(self._ends) > RESOURCES_REMEMBERED:
                self._ends.popitem(last=False)
        if end <= now:
            return False
        time.sleep(min(POLL_INTERVAL, end - now))
        return True


_DEADLINES = Deadlines()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_DEADLINES.forget)


class Whose(NamedTuple):
    """The event that frames belong to."""

    run: str
    stream: str
    seq_num: int

    def __str__(self) -> str:
        return f"run {self.run[:8]}, stream {self.stream}, seq_num {self.seq_num}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReference(ABC):
    """Where the frames of one event are.

    Parameters
    ----------
    data_key
        The key of the event's data that they belong to.
    resource
        The uid of their resource or stream_resource.
    whose
        The event; for messages only.
    """

    data_key: str
    resource: str
    whose: Whose | None = None

    @property
    @abstractmethod
    def file(self) -> str:
        """The path (or the URI, if it is not a file) to name in messages."""

    @abstractmethod
    def _reader(self) -> Callable[[], np.ndarray]:
        """Return a function that reads once; OSError means that the frames are not there yet."""

    def read(self, patience: float = 1.0) -> np.ndarray:
        """Return the frames: an array whose shape and dtype are those of the data key.

        Parameters
        ----------
        patience
            How long (seconds) to wait for a file that is not there yet. This is counted once per
            resource and process, from the first miss; afterwards a missing file fails at once.

        Raises
        ------
        FrameNotAvailable
            If the file is missing, unreadable or too short.
        ValueError
            If it can never be read: an unknown spec or mimetype, a URI that is not a file.
        """
        try:
            read = self._reader()
        except ValueError as error:
            raise ValueError(f"{self._name()}: {_one_line(error)}") from error
        while True:
            try:
                return read()
            except OSError as error:
                if not _DEADLINES.wait(self.resource, patience):
                    raise FrameNotAvailable(f"{self._name()}: no frame in {self.file}: {_one_line(error)}") from error
            except ValueError as error:
                raise ValueError(f"{self._name()}, {self.file}: {_one_line(error)}") from error

    def _name(self) -> str:
        return f"{self.data_key} ({self.whose})" if self.whose else self.data_key


@dataclass(frozen=True, slots=True, kw_only=True)
class DatumReference(FrameReference):
    """Frames behind a resource and a datum document.

    Parameters
    ----------
    spec, root, resource_path, resource_kwargs
        As in the resource document; `root` as it is called here (after the root_map).
    datum_kwargs
        As in the datum document.
    handler
        The class that reads the spec. None: the one that an installed package declares for it (entry points
        `databroker.handlers`), looked up where the frames are read.
    """

    spec: str
    root: str = ""
    resource_path: str
    resource_kwargs: Mapping[str, Any] = field(default_factory=dict)
    datum_kwargs: Mapping[str, Any] = field(default_factory=dict)
    handler: HandlerClass | None = None

    @property
    def file(self) -> str:
        """The path that the handler is given; a handler of file sequences adds to it."""
        return os.path.join(self.root, self.resource_path) if self.root else self.resource_path

    def _reader(self) -> Callable[[], np.ndarray]:
        handler = self.handler or handler_class(self.spec)
        file, kwargs = self.file, self.resource_kwargs
        frames = kwargs.get("frame_per_point", 1)
        key = (self.resource, file, handler, repr(kwargs))
        return lambda: OPEN_HANDLERS.read(key, lambda: handler(file, **kwargs), self.datum_kwargs, frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReference(FrameReference):
    """Frames behind a stream_resource and a stream_datum document.

    Parameters
    ----------
    uri, mimetype, parameters
        As in the stream_resource document.
    description
        What the descriptor says of the data key.
    index
        Which event of the resource, counted from 0.
    """

    uri: str
    mimetype: str
    parameters: Mapping[str, Any]
    description: Mapping[str, Any]
    index: int

    @property
    def file(self) -> str:
        """The first of the files that hold the frames."""
        shape = event_shape(self.description, self.parameters)
        try:
            return stream_files(self.uri, self.mimetype, self.parameters, shape, self.index)[0]
        except ValueError:  # a property for messages does not raise: read() says what is wrong
            return self.uri

    def _reader(self) -> Callable[[], np.ndarray]:
        return stream_reader(self.uri, self.mimetype, self.parameters, self.data_key, self.description, self.index)


def as_image(value: Any, patience: float = 1.0) -> np.ndarray:
    """Return the image that a value of an event's data stands for, with its own shape and dtype.

    Parameters
    ----------
    value
        An array (returned as it is, not copied), nested lists, or a reference, which is read.
    patience
        How long (seconds) a missing file is waited for, see `FrameReference.read`.
    """
    if isinstance(value, FrameReference):
        value = value.read(patience)
    if isinstance(value, str):
        raise ValueError(f"{value!r} is no image: a datum id whose datum and resource were not joined to it")
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"a list of {len(value)} ragged lists is no image: {_one_line(error)}") from error
    elif not isinstance(value, np.ndarray) and hasattr(value, "__array__"):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"a {type(value).__name__} is no image: give an array, nested lists or a reference")
    if value.dtype.kind not in "biufc":
        raise ValueError(f"an array of shape {value.shape} and dtype {value.dtype} is no image: not numeric")
    return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
