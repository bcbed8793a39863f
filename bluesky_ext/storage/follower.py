"""The follower: carries a recording that is still growing into a catalogue, in a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from bluesky_ext.engine.recording.records import HEADER_SIZE, MAGIC, checksum, read_header, read_payload
from bluesky_ext.storage.writer import RunWriter

__all__ = ["Follower"]

_LONGEST = 1.5  # s
_BATCH = 2**20  # bytes
_ONE_REFERENCE = sys.getrefcount(bytearray()) + 1  # as that of an attribute is counted


class Follower:
    """Gives the documents of a recording to a writer as the file grows, and flushes that twice a second.

    Small ones wait for the next flush, so that the thread which they come from has the processor for itself meanwhile.

    The file is the queue: however slow the catalogue is, no more than one batch of documents is in memory, and the
    callback that writes the file does not wait. When the file cannot be written any more, the rest is given to `give`,
    which waits until a document is in the catalogue.

    Parameters
    ----------
    path : path
        The recording, which need not be there before the first `grown`, nor at all.
    writer : RunWriter
        It is called from the thread of the follower alone, until `wait` has returned True.
    began : callable
        Called in that thread before anything is written; an exception is a failure.
    ended : callable
        Called once, in that thread, with None, or with the exception if the writer failed: it writes no more then.
    interval : float
        How long a document waits for a flush, in s; of a catalogue that is busy, up to 1.5.
    """

    def __init__(
        self,
        path: Path,
        writer: RunWriter,
        began: Callable[[], object],
        ended: Callable[[Exception | None], object],
        interval: float,
    ) -> None:
        self.path = path
        self.error: Exception | None = None
        """Why nothing is written any more."""
        self._writer, self._began, self._ended, self._interval = writer, began, ended, interval
        self._size = self._enough = 0  # of the file, and that for which it is read on
        self._due = 0.0
        self._buffer = bytearray()
        self._given: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._taken = self._done = 0  # of what was given: how many were, and are in the catalogue
        self._over: str | None = None
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"save {path.stem}", daemon=True)

    def grown(self) -> None:
        """Tell it that the file has more whole records."""
        with self._news:
            self._size = self.path.stat().st_size
            if self._size >= self._enough:
                self._start()

    def give(self, name: str, document: Mapping[str, Any], timeout: float) -> bool:
        """Have a document written after the file; return whether it is in the catalogue within so many seconds.

        If it is not, give no more.
        """
        with self._news:
            self._given.append((name, document))
            self._taken += 1
            self._start()
            self._news.wait_for(lambda: self._done == self._taken or self.error is not None, timeout)
            self._given.clear()
            return self._done == self._taken

    def finish(self, incomplete: str = "") -> None:
        """Let it end with what is in the file now; if there is no stop, give the reason."""
        with self._news:
            self._over = incomplete
            self._news.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended; return whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._news.notify_all()

    def _work(self) -> None:
        try:
            self._began()
            for name, document in self._documents():
                self._writer(name, document)
                del document  # so that its memory can be used again
            if self._over:
                self._writer.close(self._over)
            else:
                self._writer.flush()
        except Exception as error:
            # The border of this thread: whatever it is, it is reported, and the recording stays.
            self._writer.discard()
            self._ended(error)
            with self._news:
                self.error = error
                self._news.notify_all()
        else:
            self._ended(None)

    def _documents(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with self.path.open("rb") if self._size else nullcontext() as file:
            if file is not None:
                yield from self._records(file)
        while given := self._next_given():
            yield given
            self._writer.flush()
            with self._news:
                self._done += 1
                self._news.notify_all()

    def _next_given(self) -> tuple[str, Mapping[str, Any]] | None:
        """Wait for a document that is given; None if that was all."""
        with self._news:
            self._news.wait_for(lambda: self._given or self._over is not None)
            return self._given.popleft() if self._given else None

    def _records(self, file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
        offset, self._due = file.seek(len(MAGIC)), time.monotonic() + self._interval
        while True:
            size = self._more(offset, self._due if self._writer.changed else None)
            while offset < size:
                header = file.read(HEADER_SIZE)
                length, expected = read_header(header)
                payload = self._payload(file, length)
                if checksum(payload) != expected:
                    raise OSError(f"{self.path} is damaged at byte {offset}: the disk did not give what was written")
                yield read_payload(payload, lambda frame: frame)  # which the writer has in its file
                del payload  # so that its memory can be used again
                offset += HEADER_SIZE + length
                self._flush_when_due(late=self._interval)
            if size < 0:
                self._writer.flush()
                return
            self._flush_when_due()

    def _payload(self, file: BinaryIO, length: int) -> memoryview:
        """Read so many bytes, into the memory of those before if nothing is left of these: new memory costs as much."""
        if len(self._buffer) < length or sys.getrefcount(self._buffer) > _ONE_REFERENCE:
            self._buffer = bytearray(length)
        payload = memoryview(self._buffer)[:length]
        file.readinto(payload)  # pyright: ignore[reportAttributeAccessIssue]
        return payload

    def _flush_when_due(self, late: float = 0.0) -> None:
        now = time.monotonic()
        if not self._writer.changed:
            self._due = now + self._interval
        elif now - late >= self._due:
            self._writer.flush()
            # A catalogue that is busy is told of more at once, so that this takes a tenth of the time.
            ended = time.monotonic()
            self._due = ended + min(_LONGEST, max(self._interval, 10 * (ended - now)))

    def _more(self, offset: int, until: float | None) -> int:
        """Wait for the file to grow, or for the time of a flush; return its size, -1 if that was all of it."""
        with self._news:
            self._enough = offset + (1 if until is None else _BATCH)
            while self._size < self._enough and self._over is None and not self._given:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._news.wait(left)
            return -1 if self._size <= offset and (self._over is not None or self._given) else self._size
