"""Captures of dranspose (``.cbors``, ``.cbors.gz``): what its ingesters received, read without it."""

from __future__ import annotations

import gzip
import logging
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

log = logging.getLogger(__name__)

#: Frames of so many bytes are not copied from the file: they are read where they are looked at.
LARGE = 2**16
#: The tags of CBOR by which its classes are known.
EVENT, STREAM = 42877, 42878

# With it a file may begin, or what was appended to it.
_SELF_DESCRIBED = 55799

# The kinds of items of CBOR that a capture is made of.
_NUMBER, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6


class StreamMessage(NamedTuple):
    """What came of one stream: of which protocol, and the frames of its message; large ones lie in the file."""

    typ: str
    frames: list[bytes | memoryview]

    @property
    def length(self) -> int:
        """How many frames there are."""
        return len(self.frames)

    def __reduce__(self) -> Any:  # to another process frames go as they are
        return type(self), (self.typ, [bytes(frame) for frame in self.frames])


class Captured(NamedTuple):
    """A message of a capture: the number of its event, and what came of each stream."""

    event_number: int
    streams: dict[str, StreamMessage]


def read_capture(path: str | os.PathLike[str]) -> Iterator[Captured]:
    """Yield the messages of a capture, one after another; one that is cut short at the end is reported.

    Raises
    ------
    ValueError
        If it is no capture, or is damaged; it names the file and the number of the message.
    """
    path, number, at = Path(path), 0, 0
    with opened(path) as (file, is_cut):
        size = file.seek(0, os.SEEK_END)
        if size:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # as long as a frame is in use
            while at < size:
                try:
                    message, at = _message(content, at)
                except IndexError:
                    break
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, message {number}, is no event of a capture: {error}") from error
                yield message
                number += 1
        if at < size or is_cut:
            log.warning("%s is cut short: the last %d bytes are no whole message, and left out", path, size - at)


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """A file, decompressed if it is called ``.gz``; and whether it is cut short, as far as its compression tells."""
    if path.suffix != ".gz":
        with path.open("rb") as file:
            yield file, False
        return
    with gzip.open(path) as packed, tempfile.TemporaryFile() as file:
        is_cut = False
        try:
            while piece := packed.read1(2**20):
                file.write(piece)
        except EOFError:
            is_cut = True
        file.seek(0)
        yield file, is_cut


# Items of CBOR: each function is told where one begins, and returns where it ends, too. IndexError: it is not whole.


def _message(content: Any, at: int) -> tuple[Captured, int]:
    tag, at = _head(content, at, _TAG, "an event")
    if tag == _SELF_DESCRIBED:
        tag, at = _head(content, at, _TAG, "an event")
    if tag != EVENT:
        raise ValueError(f"its tag is {tag}, not {EVENT}: of another version of dranspose?")
    length, at = _head(content, at, _ARRAY, "an event's items")
    number, at = _head(content, at, _NUMBER, "the number of an event")
    count, at = _head(content, at, _MAP, "the streams of an event")
    streams = {}
    for _ in range(count):
        name, at = _string(content, at, _TEXT, "the name of a stream")
        tag, at = _head(content, at, _TAG, "a stream")
        if tag != STREAM:
            raise ValueError(f"the tag of a stream is {tag}, not {STREAM}: of another version of dranspose?")
        _, at = _head(content, at, _ARRAY, "a stream's items")
        typ, at = _string(content, at, _TEXT, "the type of a stream")
        frame_count, at = _head(content, at, _ARRAY, "the frames of a stream")
        frames = []
        for _ in range(frame_count):
            frame, at = _frame(content, at)
            frames.append(frame)
        streams[name.decode()] = StreamMessage(typ.decode(), frames)
    for _ in range(length - 2):  # newer ones say when the event was made
        at = _end_of_item(content, at)
    return Captured(number, streams), at


def _head(content: Any, at: int, kind: int, what: str) -> tuple[int, int]:
    """The number that an item begins with: itself, its length, or its tag."""
    first = content[at]
    if first >> 5 != kind:
        raise ValueError(f"{what} is missing at byte {at} (bare messages of a detector need a source of your own)")
    size = first & 31
    if size < 24:
        return size, at + 1
    if size > 27:
        raise ValueError(f"{what} has no length at byte {at}")
    end = at + 1 + (1 << (size - 24))
    if end > len(content):
        raise IndexError(end)
    return int.from_bytes(content[at + 1 : end], "big"), end


def _string(content: Any, at: int, kind: int, what: str) -> tuple[bytes, int]:
    length, at = _head(content, at, kind, what)
    end = at + length
    if end > len(content):
        raise IndexError(end)
    return content[at:end], end


def _frame(content: Any, at: int) -> tuple[bytes | memoryview, int]:
    length, at = _head(content, at, _BYTES, "a frame")
    end = at + length
    if end > len(content):
        raise IndexError(end)
    return content[at:end] if length < LARGE else memoryview(content)[at:end], end


def _end_of_item(content: Any, at: int) -> int:
    """Where an item of any kind ends."""
    kind = content[at] >> 5
    if kind in (_BYTES, _TEXT):
        return _string(content, at, kind, "text")[1]
    number, at = _head(content, at, kind, "an item")
    for _ in range({_ARRAY: number, _MAP: 2 * number, _TAG: 1}.get(kind, 0)):
        at = _end_of_item(content, at)
    return at
