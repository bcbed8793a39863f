"""The log of a run: its documents as they came, and where their images are.

A catalogue of Tiled keeps a run as metadata, tables and arrays, from which everyone can read it; but not the order of
its documents across streams, the uids of its events, nor what has no place in a table. So beside the runs, in a
container ``documents``, every run has a log: an array of uint8 that grows. Its records are those of a recording
(`bluesky_ext.engine.recording.records`). In a record, large arrays are left out of the data of events: a list of places
tells in which array of the run, and in which row, they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.codec.framing import DecodeError
from bluesky_ext.engine.recording.records import HEADER_SIZE, checksum, pack_record, read_header, read_payload
from bluesky_ext.storage.image_file import FileRows, ImageFile
from bluesky_ext.storage.rows import Rows, fetch, length

__all__ = ["CONTAINER", "TOKEN", "Entry", "Log", "Place", "read_log"]

CONTAINER = "documents"
"""The container beside the runs in which their logs are, under the same keys."""

TOKEN = "log"
"""The metadata that is the same random text in a run and in its log; a log of a run that was deleted has another."""

logger = logging.getLogger(__name__)

_CHUNK = 2**18  # bytes of a file of the array: the last one is written again by each flush
_BLOCK = 2**24  # bytes read at once


class Place(NamedTuple):
    """Where the array of a data key is, that was left out of an event or an event_page."""

    key: str
    kind: str
    """"event": one row; "number": one that is a number; "rows": several of one event; "array" or "list": of a page, an
    array or a list of arrays."""
    stream: str
    first: int
    """Row of the array ``{stream}/{key}`` of the run; a page has the following ones too."""
    length: int


class Entry(NamedTuple):
    """A document, None in the place of each array that is elsewhere, and these places."""

    name: str
    document: dict[str, Any]
    places: list[Place]


class Log:
    """The log of a run while it is written: `append` entries, then `flush`."""

    def __init__(self, container: Any, key: str, token: str, file: ImageFile | None) -> None:
        byte, metadata = np.zeros((), np.uint8), {TOKEN: token}
        self._container = container
        self._rows: Rows | FileRows
        if file is None:
            self._rows = Rows(key, byte, length=_CHUNK, metadata=metadata)
        else:
            self._rows = file.rows(CONTAINER, byte, key, metadata)

    def append(self, entry: Entry) -> int:
        """Keep an entry to be written by the next `flush`; return its size in bytes."""
        record = b"".join(pack_record(entry.name, {"document": entry.document, "places": entry.places}))
        self._rows.append(np.frombuffer(record, np.uint8))
        return len(record)

    def flush(self, *, whole: bool = False) -> None:
        """Write what was appended; of one that lies in a file, the catalogue is told when it is there, and whole."""
        self._rows.flush(self._container, tell=whole)


def read_log(node: Any) -> Iterator[Entry]:
    """Yield the entries of a log up to its end, or to where the last write was broken off.

    Raises ValueError if it is damaged in the middle.
    """
    window = _Window(node)
    while (header := _header(window.take(HEADER_SIZE))) is not None:
        payload = window.take(header[0])
        if payload is None or checksum(payload) != header[1]:
            if payload is not None and _header(window.take(HEADER_SIZE)) is not None:
                raise ValueError(f"the log of run {node.item['id']} is damaged before byte {window.offset}")
            logger.warning("the log of run %s ends within a document", node.item["id"])
            return
        name, record = read_payload(payload)
        yield Entry(name, record["document"], [Place(*place) for place in record["places"]])


class _Window:
    """The bytes of a log, one after another, a block at a time."""

    def __init__(self, node: Any) -> None:
        self.offset = 0
        self._node, self._length = node, length(node)
        self._block = b""
        self._from = 0

    def take(self, count: int) -> bytes | None:
        """Return the next bytes, or None if there are not so many."""
        stop = self.offset + count
        if stop > self._length:
            return None
        if stop > self._from + len(self._block):
            until = min(self._length, self.offset + max(_BLOCK, count))
            self._block, self._from = fetch(self._node, self.offset, until).tobytes(), self.offset
        taken = self._block[self.offset - self._from : stop - self._from]
        self.offset = stop
        return taken


def _header(header: bytes | None) -> tuple[int, int] | None:
    """Length and checksum of the payload; None at the end, which may be zeros: the array can be longer than the log."""
    if header is None:
        return None
    try:
        return read_header(header)
    except DecodeError:
        return None
