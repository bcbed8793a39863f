"""Recordings: the documents of a run in one file, images and all, readable up to the last whole document."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from bluesky_ext.engine.codec.framing import DecodeError
from bluesky_ext.engine.recording.frame_file import FrameFile
from bluesky_ext.engine.recording.records import HEADER_SIZE, MAGIC, SUFFIX, PayloadReader, checksum, read_header

logger = logging.getLogger(__name__)

#: So many bytes are read at once: at each time another thread may take its turn, and this one waits for it.
_BUFFER = 2**18


class Recording:
    """The documents of a recording, read as they are asked for: an iterable of ``(name, document)``.

    It reads what `Recorder` writes, and the JSON of ``bluesky.callbacks.json_writer`` and of suitcase-jsonl. A file
    whose writer was killed ends with its last whole document; what is left after that is reported once.

    Parameters
    ----------
    path : str or path
        The file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    start : dict or None
        The start document; None if the file begins with another one, or with none.
    truncated_bytes : int
        Length of the torn document at the end, known when something has read up to there.

    Raises
    ------
    ValueError
        If it is not a recording; while it is read, if a document in the middle is damaged. It names file and offset.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.truncated_bytes = 0
        with self.path.open("rb") as file:
            magic = file.read(len(MAGIC))
            if magic[:-2] == MAGIC[:-2] and magic != MAGIC:
                version = int.from_bytes(magic[-2:], "little")
                known = MAGIC[-2]
                raise ValueError(f"{self.path} is a recording of version {version}: this bluesky-ext reads {known}")
            self._binary = MAGIC.startswith(magic)
            if not self._binary and magic.lstrip()[:1] not in (b"[", b"{", b"\x1e"):
                raise ValueError(f"{self.path} is not a recording: it begins with {magic!r}")
            file.seek(0)
            name, document = next(self._documents(file), (None, None))
        self.start: dict[str, Any] | None = document if name == "start" else None

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r})"

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self.path.open("rb", _BUFFER) as file:
            yield from self._documents(file)

    @classmethod
    def find(cls, directory: str | os.PathLike[str]) -> list[Recording]:
        """Return the recordings in a directory in the order in which their runs started.

        Other JSON files are passed over; so are recordings of no run, which are reported.
        """
        found = []
        for path in sorted(Path(directory).iterdir()):
            if path.suffix not in (SUFFIX, ".json", ".jsonl") or not path.is_file():
                continue
            try:
                recording = cls(path)
            except ValueError as error:
                if path.suffix == SUFFIX:
                    raise
                logger.info("passed over: %s", error)
                continue
            if recording.start is not None:
                found.append((recording.start.get("time", 0.0), recording))
            elif path.suffix == SUFFIX:
                logger.warning("%s does not begin with a start document: passed over", path)
        return [recording for _, recording in sorted(found, key=lambda item: item[0])]

    @cached_property
    def stop(self) -> dict[str, Any] | None:
        """The stop document, or None if the file does not end with one; looked for when it is first asked for."""
        with self.path.open("rb") as file:
            last = deque(self._documents(file, only_last=True), maxlen=1)
        name, document = last[0] if last else (None, None)
        return document if name == "stop" else None

    @property
    def complete(self) -> bool:
        """Whether the file has a start, and ends with a stop."""
        return self.start is not None and self.stop is not None

    def _documents(self, file: BinaryIO, only_last: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """The documents, or only the last of them, if those before it can be left out without being read."""
        return self._records(file, only_last) if self._binary else self._lines(file)

    def _records(self, file: BinaryIO, only_last: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the documents; or the one alone with which the file ends, found by the headers of the others."""
        with closing(FrameFile(self.path)) as read_frame:
            yield from self._read_records(file, PayloadReader(read_frame), only_last)

    def _read_records(
        self, file: BinaryIO, read: PayloadReader, only_last: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = os.fstat(file.fileno()).st_size
        offset = file.seek(len(MAGIC))
        while offset < size:
            header = file.read(HEADER_SIZE)
            if len(header) < HEADER_SIZE:
                break
            try:
                length, expected = read_header(header)
            except DecodeError as error:
                # A machine that lost its power may leave zeros where it had no time to write.
                if any(header) or any(chunk.count(0) < len(chunk) for chunk in iter(lambda: file.read(2**20), b"")):
                    raise ValueError(f"{self.path} is damaged at byte {offset}: {error}") from error
                break
            end = offset + HEADER_SIZE + length
            if end > size:
                break
            if only_last and end < size:
                offset = file.seek(end)
                continue
            payload = file.read(length)
            if checksum(payload) != expected:
                if end < os.fstat(file.fileno()).st_size:
                    place = offset + HEADER_SIZE
                    raise ValueError(f"{self.path} is damaged at byte {place}: the checksum of a document is wrong")
                break
            try:
                pair = read(payload)
            except ValueError as error:
                raise ValueError(f"{self.path} cannot be read at byte {offset + HEADER_SIZE}: {error}") from error
            yield pair
            offset = end
        if size and offset != size:
            self._report_torn(offset if offset < size else 0, size)

    def _lines(self, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the documents of a file of JSON, one a line, with or without the brackets and commas of a list."""
        offset = 0
        for line in file:
            text = line.strip(b" \t\r\n\x1e,")
            if text not in (b"", b"[", b"]"):
                try:
                    item = json.loads(text)
                except ValueError as error:
                    if not line.endswith(b"\n"):
                        self._report_torn(offset, offset + len(line))
                        return
                    raise ValueError(
                        f"{self.path} is damaged at byte {offset}, or not one document a line: {error}"
                    ) from error
                many = isinstance(item, list) and not (item and isinstance(item[0], str))
                for one in item if many else [item]:
                    yield self._pair(one, offset)
            offset += len(line)

    def _pair(self, item: Any, offset: int) -> tuple[str, dict[str, Any]]:
        match item:
            case {"name": str(name), "doc": dict(document)} | [str(name), dict(document)]:
                return name, document
        raise ValueError(f"{self.path} has no (name, document) at byte {offset}: is this a recording?")

    def _report_torn(self, offset: int, size: int) -> None:
        if not self.truncated_bytes:
            logger.warning("%s ends within a document: its last %d bytes are lost", self.path, size - offset)
        self.truncated_bytes = size - offset
