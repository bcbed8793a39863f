"""A file on a disk that may be full: HDF5 never learns of it, the caller does."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["Disk"]


class Disk(io.FileIO):
    """A file object for h5py that keeps the first error of writing to itself; the descriptor stays open.

    When HDF5 itself is told that a write has failed it tries again whenever an object of the file is closed, prints
    what it thinks of it, and ends with a segmentation fault at the exit of the process (2.0). So it is told nothing:
    after the first error nothing more goes to the disk, as if the process had been killed there, and `check` raises
    the error.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "rb+", closefd=False)
        self.error: OSError | None = None
        self._path = path
        self._end = super().seek(0, io.SEEK_END)

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, self._path)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the file; its end is where it would be if nothing had failed."""
        return super().seek(self._end + offset) if whence == io.SEEK_END else super().seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        """Read to the end of the buffer; what is beyond the end of the file is zero."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (number := super().readinto(view[done:])):
            done += number
        view[done:] = bytes(len(view) - done)
        return len(view)

    def write(self, buffer: Any, /) -> int:
        """Write all of the buffer, unless a write has failed before."""
        view, begin, done = memoryview(buffer).cast("B"), self.tell(), 0
        try:
            while done < len(view) and self.error is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.error = error
        self._end = max(self._end, super().seek(begin + len(view)))
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Make the file as long as it is to be."""
        self._end = self.tell() if size is None else size
        try:
            if self.error is None:
                super().truncate(self._end)
        except OSError as error:
            self.error = error
        return self._end
