"""Recordings: the documents of a run in one file, images and all, readable up to the last whole document.

A recording is 16 bytes that say what it is, then one record for each document: 16 bytes of header (length of the
payload, 8 bytes; CRC-32 of the payload, 4 bytes; CRC-32 of these 12 bytes; little endian) and the payload. The payload
is a frame as `bluesky_ext.documents.codec` describes it, with two more ``bin`` before those of the arrays: the name of
the document, and one byte for each array that says how it is stored: 0 as it is, n compressed.

Compressed is: of every item, which has n bytes, all the first bytes, then all the second ones, and so on; all that
deflated by zlib at level 1 with the strategy Z_RLE. For 8 MiB of uint16 (2048 by 2048 pixels with Poisson noise, one
core of a server) that is 5.6 times less for a mean of 3 counts, 3.0 for 100, 1.9 for 2000, in 39 to 58 ms; zlib's
default strategy without the exchange of bytes has 3.6, 2.2 and 1.6 times less in 73 to 128 ms. To write them as they
are takes 3 to 8 ms. So an array is compressed only if a sample of it, which costs under 1 ms, promises half the size.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import string
import struct
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from event_model import DocumentNames
from numpy.typing import NDArray

from bluesky_ext.documents.codec import Buffer, DecodeError, decode, encode, parts, raw, split

__all__ = ["SUFFIX", "Recorder", "Recording"]

logger = logging.getLogger(__name__)

SUFFIX = ".bsrec"
ORPHANS_SUFFIX = ".bsorphans"

_VERSION = 1
_MAGIC = struct.pack("<14sH", b"\x89BSREC\r\n\x1a\n", _VERSION)
_HEADER = struct.Struct("<QII")

# Smaller arrays are not worth the time to look at them.
_LEAST = 16384
_SAMPLE = 16384
_MOST_PIECES = 512  # of one writev; Linux takes 1024

# Where each document names what it belongs to.
_PARENT = {
    "start": "uid",
    "descriptor": "run_start",
    "event": "descriptor",
    "event_page": "descriptor",
    "resource": "run_start",
    "datum": "resource",
    "datum_page": "resource",
    "stream_resource": "run_start",
    "stream_datum": "descriptor",
    "stop": "run_start",
}


class Recorder:
    """A callback that writes each run to a file of its own, which `Recording` reads.

    Every document has reached the operating system when the call returns: a process that is killed loses none.
    At the stop the file is flushed to the disk. Runs may be interleaved; a run that stopped, or that another
    `max_open` runs were opened after, is forgotten.

    Documents that belong to no open run (their start was lost, or they came after the stop) are kept in a file
    ``orphans-<unique>.bsorphans``; they are counted, and the first is reported.

    Parameters
    ----------
    directory : str or path
        Where the files go; it is made if it is not there.
    file_prefix : str
        Name of the file, without the suffix ``.bsrec``: a format string on the start document, as ``{uid}`` or
        ``{scan_id:05d}-{start[plan_name]}``. A slash in a value becomes an underscore.
    compression : {"auto", "zlib"} or None
        Compress the arrays from 16 KiB on: those that it makes twice as small or better, all of them, or none. An
        image of 8 MiB takes the RunEngine about 45 ms if it is compressed, and 4 ms if it is not.
    sync_interval : float, optional
        Flush to the disk during the run too, at most this often, in s: for machines that lose their power.
    max_open : int
        Most runs that may be open at once. The one that was silent for the longest time is closed as incomplete.

    Attributes
    ----------
    artifacts : list of pathlib.Path
        The files written so far, in the order in which they were opened.
    orphans : int
        Number of documents that belonged to no open run.

    Examples
    --------
    >>> import tempfile
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from ophyd.sim import det
    >>> RE = RunEngine()
    >>> with tempfile.TemporaryDirectory() as directory, Recorder(directory) as recorder:
    ...     _ = RE(count([det]), recorder)
    ...     [name for name, _ in Recording(recorder.artifacts[0])]
    ['start', 'descriptor', 'event', 'stop']
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        file_prefix: str = "{uid}",
        compression: Literal["auto", "zlib"] | None = "auto",
        sync_interval: float | None = None,
        max_open: int = 64,
    ) -> None:
        if "/" in file_prefix:
            raise ValueError(f"file_prefix {file_prefix!r} has a slash: give the folder as directory")
        list(string.Formatter().parse(file_prefix))  # raises if it is malformed
        if compression not in ("auto", "zlib", None):
            raise ValueError(f"compression {compression!r}: choose 'auto', 'zlib' or None")
        if sync_interval is not None and not sync_interval >= 0:
            raise ValueError(f"sync_interval {sync_interval!r} s: give a time of 0 or more, or None")
        if max_open < 1:
            raise ValueError(f"max_open {max_open!r}: at least one run must be open to be recorded")
        self.directory = Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.artifacts: list[Path] = []
        self.orphans = 0
        self._file_prefix = file_prefix
        self._compression = compression
        self._sync_interval = sync_interval
        self._max_open = max_open
        self._runs: dict[str, _Run] = {}
        self._orphanage: _File | None = None
        self._lock = threading.Lock()

    def __call__(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        """Write a document; raise OSError, with the name of the file, if that fails."""
        name = str(name.value if isinstance(name, Enum) else name)
        if name not in _PARENT:
            raise ValueError(f"a document called {name!r}: the names are {', '.join(_PARENT)}")
        record = _record(name, document, self._compression)
        with self._lock:
            if name == "start":
                self._open(document, record)
                return
            runs = self._runs_of(name, document)
            for run in runs:
                if name in ("descriptor", "resource", "stream_resource"):
                    run.uids.add(document["uid"])
                # Put last: the first in the dict is the one that was silent for the longest time.
                self._runs[run.uid] = self._runs.pop(run.uid)
                if name == "stop":
                    self._end(run, record)
                else:
                    run.file.append(record)
            if not runs:
                self._keep(name, record)

    def close(self) -> None:
        """Close the files; a run that has no stop yet is reported, and stays incomplete."""
        with self._lock:
            for run in list(self._runs.values()):
                self._abandon(run, "the recorder was closed")
            if self._orphanage is not None:
                logger.warning("%d documents of no open run are in %s", self.orphans, self._orphanage.path)
                self._orphanage.close()
                self._orphanage = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _runs_of(self, name: str, document: Mapping[str, Any]) -> list[_Run]:
        parent = document.get(_PARENT[name])
        if parent is None and name in ("resource", "stream_resource"):
            # Resources of old do not name their run. As event_model.RunRouter does: it may be any of them.
            return list(self._runs.values())
        return [run for run in self._runs.values() if parent in run.uids]

    def _open(self, start: Mapping[str, Any], record: list[Buffer]) -> None:
        uid = start["uid"]
        try:
            if uid in self._runs:
                raise FileExistsError(errno.EEXIST, "this run is being recorded", str(self._runs[uid].file.path))
            file = self._create(self.directory / (self._stem(start) + SUFFIX), record)
        except (FileExistsError, ValueError):
            self._keep("start", record)
            raise
        if len(self._runs) >= self._max_open:
            self._abandon(next(iter(self._runs.values())), f"{self._max_open} more were started")
        self._runs[uid] = _Run(uid, file, {uid})

    def _stem(self, start: Mapping[str, Any]) -> str:
        try:
            stem = self._file_prefix.format_map({**start, "start": start})
        except KeyError as error:
            raise ValueError(
                f"file_prefix {self._file_prefix!r} needs {error}, which the start of run {start['uid']} lacks"
            ) from None
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"file_prefix {self._file_prefix!r} fails on run {start['uid']}: {error}") from error
        if not stem:
            raise ValueError(f"file_prefix {self._file_prefix!r} gives no name for run {start['uid']}: add {{uid}}")
        return stem.replace("/", "_").replace("\0", "_")

    def _create(self, path: Path, record: list[Buffer]) -> _File:
        try:
            file = _File(path, self._sync_interval)
        except FileExistsError as error:
            message = "a recording is never written over: choose another file_prefix"
            raise FileExistsError(errno.EEXIST, message, str(path)) from error
        try:
            file.append([_MAGIC, *record])
        except BaseException:
            file.close()
            path.unlink()
            raise
        self.artifacts.append(path)
        return file

    def _end(self, run: _Run, record: list[Buffer]) -> None:
        del self._runs[run.uid]
        try:
            run.file.append(record)
            run.file.sync()
        finally:
            run.file.close()
        _sync_directory(self.directory)

    def _abandon(self, run: _Run, why: str) -> None:
        logger.warning("run %s has no stop, and %s: %s is incomplete", run.uid, why, run.file.path)
        del self._runs[run.uid]
        run.file.close()

    def _keep(self, name: str, record: list[Buffer]) -> None:
        self.orphans += 1
        if self._orphanage is not None:
            self._orphanage.append(record)
            return
        path = self.directory / f"orphans-{uuid.uuid4().hex}{ORPHANS_SUFFIX}"
        self._orphanage = self._create(path, record)
        logger.warning("a document (%s) of no open run: it and all like it are kept in %s", name, path)


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
            magic = file.read(len(_MAGIC))
        if magic[:-2] == _MAGIC[:-2] and magic != _MAGIC:
            version = int.from_bytes(magic[-2:], "little")
            raise ValueError(f"{self.path} is a recording of version {version}: update bluesky-ext to read it")
        self._binary = _MAGIC.startswith(magic)
        if not self._binary and magic.lstrip()[:1] not in (b"[", b"{", b"\x1e"):
            raise ValueError(f"{self.path} is not a recording: it begins with {magic!r}")
        name, document = next(iter(self), (None, None))
        self.start: dict[str, Any] | None = document if name == "start" else None

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r})"

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self.path.open("rb") as file:
            yield from self._records(file) if self._binary else self._lines(file)

    @classmethod
    def find(cls, directory: str | os.PathLike[str]) -> list[Recording]:
        """Return the recordings in a directory in the order in which their runs started.

        Other JSON files are passed over; so are recordings of no run, which are reported.
        """
        found = []
        for path in sorted(Path(directory).iterdir()):
            if path.suffix == ORPHANS_SUFFIX:
                logger.warning("%s has documents of runs that were not recorded from their start", path)
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
            if self._binary:
                last = deque(self._spans(file), maxlen=1)
                pair = self._read(file, *last[0]) if last else None
            else:
                last = deque(self._lines(file), maxlen=1)
                pair = last[0] if last else None
        return pair[1] if pair is not None and pair[0] == "stop" else None

    @property
    def complete(self) -> bool:
        """Whether the file has a start, and ends with a stop."""
        return self.start is not None and self.stop is not None

    def _records(self, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
        for span in self._spans(file):
            pair = self._read(file, *span)
            if pair is not None:
                yield pair

    def _spans(self, file: BinaryIO) -> Iterator[tuple[int, int, int]]:
        """Yield offset, length and CRC of the payloads, by the headers alone."""
        size = os.fstat(file.fileno()).st_size
        offset = len(_MAGIC)
        while offset < size:
            file.seek(offset)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                break
            length, crc, check = _HEADER.unpack(header)
            if zlib.crc32(header[:-4]) != check:
                # A machine that lost its power may leave zeros where it had no time to write.
                if any(header) or any(chunk.count(0) < len(chunk) for chunk in iter(lambda: file.read(2**20), b"")):
                    raise ValueError(f"{self.path} is damaged at byte {offset}: the header of a document is wrong")
                break
            if offset + _HEADER.size + length > size:
                break
            yield offset + _HEADER.size, length, crc
            offset += _HEADER.size + length
        if size and offset != size:
            self._report_torn(offset if offset < size else 0, size)

    def _read(self, file: BinaryIO, offset: int, length: int, crc: int) -> tuple[str, dict[str, Any]] | None:
        file.seek(offset)
        payload = file.read(length)
        if zlib.crc32(payload) == crc:
            try:
                return _document(payload)
            except (ValueError, zlib.error) as error:
                raise ValueError(f"{self.path} cannot be read at byte {offset}: {error}") from error
        size = os.fstat(file.fileno()).st_size
        if offset + length < size:
            raise ValueError(f"{self.path} is damaged at byte {offset}: the checksum of a document is wrong")
        self._report_torn(offset - _HEADER.size, size)
        return None

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


@dataclass(eq=False)
class _Run:
    """An open run: its file, and the uids of what belongs to it."""

    uid: str
    file: _File
    uids: set[str]


class _File:
    """A file that only grows, by whole records."""

    def __init__(self, path: Path, sync_interval: float | None) -> None:
        self.path = path
        self._sync_interval = sync_interval
        self._synced = time.monotonic()
        self._size = 0
        self._torn = False
        # "x": never over another file. To append, so that the position follows when the end is cut off.
        self._file = FileIO(str(path), "x", opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o666))

    def append(self, record: list[Buffer]) -> None:
        if self._torn:
            self._cut()
        self._torn = True
        try:
            with _naming(self.path):
                self._write(record)
        except BaseException:
            self._cut()
            raise
        self._torn = False
        self._size += sum(map(len, record))
        if self._sync_interval is not None and time.monotonic() - self._synced >= self._sync_interval:
            self.sync()

    def sync(self) -> None:
        self._synced = time.monotonic()
        with _naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _write(self, record: list[Buffer]) -> None:
        pieces = [memoryview(piece) for piece in record]
        first = 0
        while first < len(pieces):
            written = os.writev(self._file.fileno(), pieces[first : first + _MOST_PIECES])
            while first < len(pieces) and written >= len(pieces[first]):
                written -= len(pieces[first])
                first += 1
            if written:
                pieces[first] = pieces[first][written:]

    def _cut(self) -> None:
        """Take away what was written of a record."""
        with _naming(self.path):
            os.ftruncate(self._file.fileno(), self._size)
        self._torn = False


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the name of the file into the errors of the operating system."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync_directory(directory: Path) -> None:
    """Make the names of the files in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _naming(directory):
            os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do this with a directory, and need not.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _record(name: str, document: Mapping[str, Any], compression: str | None) -> list[Buffer]:
    """Return the pieces of a record, in which the arrays are not copied unless they are compressed."""
    head, arrays = encode(document)
    stored = [_store(array, compression) for array in arrays]
    methods = bytes(method for method, _ in stored)
    pieces = list(parts(head, [name.encode(), methods, *(data for _, data in stored)]))
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    header = struct.pack("<QI", sum(map(len, pieces)), crc)
    return [header + struct.pack("<I", zlib.crc32(header)), *pieces]


def _document(payload: bytes) -> tuple[str, dict[str, Any]]:
    head, bins = split(payload)
    name = bytes(next(bins, b"")).decode()
    stored = zip(next(bins, b""), bins, strict=True)

    def take(nbytes: int) -> Buffer:
        method, data = next(stored, (0, b""))
        return _inflate(data, method, nbytes) if method else data

    return name, decode(head, take)


def _store(array: NDArray[Any], compression: str | None) -> tuple[int, Buffer]:
    data = raw(array)
    if compression is None or len(data) < _LEAST:
        return 0, data
    width = array.itemsize if array.itemsize < 256 else 1
    if compression == "auto":
        step = len(data) // 4 // width * width
        sample = b"".join(data[start : start + _SAMPLE // 4] for start in range(0, 4 * step, step))
        if 2 * len(_deflate(sample, width)) > len(sample):
            return 0, data
    compressed = _deflate(data, width)
    return (width, compressed) if len(compressed) < len(data) else (0, data)


def _deflate(data: Buffer, width: int) -> bytes:
    """Compress after putting together the first bytes of all items, then the second ones, and so on."""
    items = np.frombuffer(data, np.uint8, len(data) // width * width).reshape(-1, width)
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_RLE)
    return compressor.compress(items.T.tobytes()) + compressor.flush()


def _inflate(data: Buffer, width: int, nbytes: int) -> Buffer:
    planes = zlib.decompressobj().decompress(data, max(nbytes, 1))
    if len(planes) != nbytes:
        raise DecodeError(f"an array of {nbytes} bytes that was stored as {len(planes)}")
    return raw(np.frombuffer(planes, np.uint8).reshape(width, -1).T.copy())
