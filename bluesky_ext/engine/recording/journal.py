"""Journals: files that only grow, by whole records."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from bluesky_ext.engine.codec.framing import Buffer

_MOST_PIECES = 512  # of one writev; Linux takes 1024


class Journal:
    """A new file that only grows, by whole records: what could be written of one that failed is taken away again.

    Its errors are OSError with the name of the file; FileExistsError at first if there is one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._torn = False
        # "x": never over another file. To append, so that the position follows when the end is cut off.
        self._file = FileIO(str(path), "x", opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o666))

    def append(self, record: list[Buffer]) -> None:
        """Write a record, given in pieces; it has reached the operating system when this returns."""
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

    def sync(self) -> None:
        """Flush the file to the disk, and its directory, so that its name survives a loss of power too."""
        with _naming(self.path):
            os.fsync(self._file.fileno())
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with _naming(self.path.parent):
                os.fsync(directory)
        except OSError as error:
            # Some network file systems cannot do this with a directory, and need not.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(directory)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: list[Buffer]) -> None:
        pieces = [memoryview(piece) for piece in record]
        while pieces:
            written = os.writev(self._file.fileno(), pieces[:_MOST_PIECES])
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = pieces[0][written:]

    def _cut(self) -> None:
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
