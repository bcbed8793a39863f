"""References: where the frames of an event are, when they are in a file.

A reference is small, frozen and picklable, so that the process or the cluster that works on the image is also the one
that reads it.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bluesky_ext import _deadline
from bluesky_ext.engine.frames.readable import ANYWHERE, Readable

PATIENCE = 1.0  # s
POLL_INTERVAL = 0.01  # s
RESOURCES_REMEMBERED = 1024
MISSES = 100  # in a row, after which one frame in so many is looked for, while the file stays as it is

#: Pairs of name and document, and the datum id by data key, if the event has one.
Told = tuple[list[tuple[str, dict[str, Any]]], dict[str, str]]


class FrameNotAvailable(OSError):  # noqa: N818 - it names a state of the file, as BlockingIOError does
    """The file of a frame is missing, unreadable or does not hold the frame yet."""


class Silences:
    """Since when this process waits for each resource without a sign of life.

    A sign of life is a frame that was read, or another size, time of change or existence of the file. A file that never
    comes then costs the patience once, and not once for every event of a scan. Of the resources that lack a frame, the
    last `RESOURCES_REMEMBERED` are known; one that was forgotten is waited for again.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew; a forked child has its own patience, and its parent's lock may be held forever."""
        self._lock = threading.Lock()
        self._since: dict[str, tuple[float, str, Any, int]] = {}

    def wait(self, resource: str, file: str, patience: float) -> bool:
        """Sleep a moment and return True, or return False at once if the patience for this resource is over."""
        if patience <= 0:
            return False
        now, state = time.monotonic(), _state(file)
        with self._lock:
            since, last, before, misses = self._since.get(resource, (now, file, state, 0))
            # Of a sequence of files, another file says nothing: two that are waited for in turn would have no end.
            if last == file and before != state:
                since, misses = now, 0
            left = since + patience - now
            self._since[resource] = since, file, state, misses + (left <= 0)
            if len(self._since) > RESOURCES_REMEMBERED:
                del self._since[next(iter(self._since))]
        if left <= 0:
            return False
        time.sleep(min(POLL_INTERVAL, left))
        return True

    def skips(self, resource: str, file: str) -> bool:
        """Whether a frame is not worth a look: so many were not there, and the file is as it was then.

        A stream_datum of a few bytes may be of a million frames that never were.
        """
        *_, state, misses = self._since.get(resource, (None, 0))
        if misses < MISSES or not misses % MISSES:
            return False
        return _state(file) == state

    def end(self, resource: str) -> None:
        """Take note that a frame of the resource was read."""
        self._since.pop(resource, None)


def _state(file: str) -> tuple[int, int] | None:
    try:
        about = os.stat(file)
    except OSError:  # it is not there
        return None
    return about.st_size, about.st_mtime_ns


SILENCES = Silences()
os.register_at_fork(after_in_child=SILENCES.forget)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReference(ABC):
    """Where the frames of one event are: its resource or stream_resource document, and what of that.

    The ``patience`` is how long, in s, `read` waits for a file that shows no sign of life, unless told otherwise;
    ``readable`` says which files it may read; run, stream and seq_num are for messages.
    """

    #: What a descriptor says in `external` of keys with such frames.
    external: ClassVar[str]

    data_key: str
    resource: Mapping[str, Any]
    patience: float = PATIENCE
    readable: Readable = ANYWHERE
    run: str = ""
    stream: str = ""
    seq_num: int = 0

    @property
    @abstractmethod
    def file(self) -> str:
        """The path (or the URI, if it is not a file) to name in messages."""

    @abstractmethod
    def _read(self) -> np.ndarray:
        """Read once; OSError means that the frames are not there yet."""

    @abstractmethod
    def documents(self, run: str, descriptor: str, seq_num: int, told: dict[str, Any]) -> Told:
        """Return the documents that tell in a derived run where the frames are, and what its event has in their place.

        That event is named by the uids of its start and its descriptor and its number; ``told`` is what the run was
        told before, by the uids of resources: this adds to it.
        """

    def blocks(self) -> Blocks:
        """Return the frames some at a time: an event may have more than fit into memory.

        The file of a resource may have to be looked at for that; this waits and raises as `read` does.
        """
        return Blocks([self])

    def read(self, patience: float | None = None) -> np.ndarray:
        """Return the frames: an array whose shape and dtype are those of the data key.

        The patience counts from the last sign of life of the resource in this process, see `Silences`; after it,
        FrameNotAvailable is raised. ValueError if it can never be read, as of a URI that is not a file.
        """
        return self._waited(self._read, patience)

    def _waited(self, read: Callable[[], Any], patience: float | None = None) -> Any:
        patience = self.patience if patience is None else patience
        while True:
            try:
                _deadline.check()
                frames = read()
            except OSError as error:
                if _deadline.is_over() or not SILENCES.wait(self.resource["uid"], self.file, patience):
                    raise FrameNotAvailable(f"{self._name()}: no frame in {self.file}: {_one_line(error)}") from error
            except ValueError as error:
                raise ValueError(f"{self._name()}, {self.file}: {_one_line(error)}") from error
            else:
                SILENCES.end(self.resource["uid"])
                return frames

    def _name(self) -> str:
        event = f" (run {self.run[:8]}, stream {self.stream}, seq_num {self.seq_num})" if self.run else ""
        return f"{self.data_key}{event}"


@dataclass(frozen=True, slots=True)
class Blocks:
    """The frames of one event, some of them at a time: an array for each of the references, in order."""

    references: Sequence[FrameReference]
    #: What is made of each array, one after the other; frames stay frames.
    steps: tuple[Callable[[np.ndarray], np.ndarray], ...] = ()

    def __len__(self) -> int:
        return len(self.references)

    def __iter__(self) -> Iterator[np.ndarray]:
        for reference in self.references:
            block = reference.read()
            for step in self.steps:
                block = step(block)
            yield block

    def read(self) -> np.ndarray:
        """Return all frames, with no more than a block of them in memory twice."""
        count, frames = 0, np.empty(0)
        for block in self:
            if not count:
                frames = np.empty((len(block) * len(self), *block.shape[1:]), block.dtype)  # the last is short
            frames[count : count + len(block)] = block
            count += len(block)
        return frames[:count]


def as_image(value: Any, patience: float | None = None) -> np.ndarray:
    """Return the image that a value of an event's data stands for, with its own shape and dtype.

    The value is an array (returned as it is, not copied), nested lists, or a reference, which is read as
    `FrameReference.read` does it.
    """
    if isinstance(value, FrameReference):
        value = value.read(patience)
    elif isinstance(value, Blocks):
        value = value.read()
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


def image_of(data: Mapping[str, Any], data_key: str) -> np.ndarray:
    """Return the image that an event's data has under a key, read if it is a reference: (..., ny, nx), real numbers."""
    image = as_image(data[data_key])
    if image.ndim < 2 or image.dtype.kind not in "biuf":
        raise ValueError(f"{data_key} is no image: shape {image.shape}, dtype {image.dtype}; give the key of an image")
    return image


def image_blocks(data: Mapping[str, Any], data_key: str) -> Iterator[np.ndarray]:
    """Yield what `image_of` returns, in blocks of up to 64 MiB along its first axis where its files allow that."""
    value = data[data_key]
    if isinstance(value, FrameReference):
        value = value.blocks()
    for block in value if isinstance(value, Blocks) else [value]:
        yield image_of({data_key: block}, data_key)


def with_images(data: Mapping[str, Any], data_key: str, function: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return what a function makes of the image of an event's data, which works on each frame by itself.

    Of an image in blocks, it is in blocks too.
    """
    value = data[data_key]
    if isinstance(value, Blocks):
        return Blocks(value.references, (*value.steps, function))
    return function(image_of(data, data_key))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
