"""Captures of dranspose (``.cbors``, ``.cbors.gz``): what its ingesters received, read without it."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

#: The tags of CBOR by which its classes are known.
EVENT, STREAM = 42877, 42878


class StreamMessage(NamedTuple):
    """What came of one stream: of which protocol, and the frames of its message."""

    typ: str
    frames: list[bytes]


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
    try:
        import cbor2  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("to read captures, install cbor2: pip install cbor2") from error

    def untagged(*arguments: Any) -> Any:  # cbor2 5 and 6 give them in another order
        tag = next(one for one in arguments if isinstance(one, cbor2.CBORTag))
        if tag.tag == EVENT:  # newer ones have a third item, when it was made
            return Captured(tag.value[0], dict(tag.value[1]))
        return StreamMessage(tag.value[0], list(tag.value[1])) if tag.tag == STREAM else tag

    path, number = Path(path), 0
    with _opened(path) as file:
        if not file.peek(1):  # which cbor2 6.0 does not survive
            return
        decoder: Any = cbor2.CBORDecoder(file, tag_hook=untagged)
        while True:
            try:
                message = decoder.decode()
            except (cbor2.CBORDecodeError, EOFError, ValueError, TypeError, LookupError) as error:
                rest = _rest(path, number)
                if rest is None:
                    raise ValueError(f"{path}, message {number}: {' '.join(str(error).split())}") from error
                if rest:
                    log.warning("%s is cut short: the last %d bytes are no whole message, and left out", path, rest)
                return
            if not isinstance(message, Captured):
                raise ValueError(f"{path}, message {number} is a {type(message).__name__}, and no event of a capture")
            number += 1
            yield message


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _rest(path: Path, number: int) -> int | None:
    """How many bytes a file has behind so many whole items; None if these are enough for a whole one.

    What a decoder has read does not tell, since it reads ahead.
    """
    with _opened(path) as file:
        content = file.read()
    at = 0
    try:
        for _ in range(number):
            at = _end_of_item(content, at)
        _end_of_item(content, at)
    except IndexError:
        return len(content) - at
    return None


def _end_of_item(content: bytes, at: int) -> int:
    """Where the item of CBOR ends that begins here; IndexError if the content ends before it."""
    wanted = 1
    while wanted:
        kind, size = content[at] >> 5, content[at] & 31
        at += 1
        length = size
        if 24 <= size <= 27:
            width = 1 << (size - 24)
            if at + width > len(content):
                raise IndexError(at)
            length = int.from_bytes(content[at : at + width], "big")
            at += width
        wanted -= 1
        if kind in (2, 3):  # bytes and text
            at += length
            if at > len(content):
                raise IndexError(at)
        elif kind in (4, 5, 6):  # arrays, maps, tags
            wanted += {4: length, 5: 2 * length, 6: 1}[kind]
    return at
