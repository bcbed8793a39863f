"""A file on a disk that may be full: HDF5 never learns of it, the caller does."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["Disk"]


class Disk(io.FileIO):
    """A file object for h5py that keeps the first error of writing to itself.

    When HDF5 itself is told that a write has failed it tries again whenever an object of the file is closed, prints
    what it thinks of it, and ends with a segmentation fault at the exit of the process (2.0). So it is told nothing:
    after the first error nothing more goes to the disk, as if the process had been killed there, and `check` raises
    the error.

    Parameters
    ----------
    descriptor
        Of the file, open for reading and writing. It stays open.
    path
        Its name, for the error.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "rb+", closefd=False)
        self.error: OSError | None = None
        self._path = path
        self._position = 0
        self._end = super().seek(0, io.SEEK_END)

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, self._path)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the file."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        """The place in the file."""
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read to the end of the buffer; what is beyond the end of the file is zero."""
        view = memoryview(buffer).cast("B")
        done = 0
        super().seek(self._position)
        while done < len(view):
            number = super().readinto(view[done:])
            if not number:
                view[done:] = bytes(len(view) - done)
                break
            done += number
        self._position += len(view)
        return len(view)

    def write(self, buffer: Any, /) -> int:
        """Write all of the buffer, unless a write has failed before."""
        view = memoryview(buffer).cast("B")
        done = 0
        try:
            if self.error is None:
                super().seek(self._position)
            while done < len(view) and self.error is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.error = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Make the file as long as it is to be."""
        self._end = self._position if size is None else size
        try:
            if self.error is None:
                super().truncate(self._end)
        except OSError as error:
            self.error = error
        return self._end
