"""The disk below a file that HDF5 writes: when it is full, the caller learns of it, and HDF5 does not."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from pathlib import Path
from typing import Any


class Disk(io.RawIOBase):
    """An empty file for h5py that one writer has at a time, and that keeps the first error of writing to itself.

    HDF5 (2.0) that is told of a write which failed tries again whenever an object of the file is closed, and may end
    the process with a segmentation fault. So after the first error nothing more goes to the disk, as if the process
    had been killed there, and `check` raises the error.

    Raises
    ------
    OSError
        If the file can't be made, is a symbolic link, or is being written by another process or thread.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._path = path
        try:
            self._descriptor = _locked(path)
        except OSError:
            super().close()  # there is nothing to close, and whoever collects this is not to try
            raise
        os.ftruncate(self._descriptor, 0)
        self._position = self._end = 0

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(self._path))

    def rename(self, path: Path) -> None:
        """Give the file its final name, in the place of what has it, once all of it is on the disk."""
        self.check()
        os.fsync(self._descriptor)
        self._path.replace(path)

    def close(self) -> None:
        """Close the file, which others may write then."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        """The place in the file."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read to the end of the buffer; what is not on the disk is zero."""
        view = memoryview(buffer).cast("B")
        done = os.preadv(self._descriptor, [view], self._position)
        view[done:] = bytes(len(view) - done)
        self._position += len(view)
        return len(view)

    def write(self, buffer: Any) -> int:
        """Write all of the buffer, unless a write has failed before."""
        view = memoryview(buffer).cast("B")
        done = 0
        try:
            while done < len(view) and self.error is None:
                done += os.pwrite(self._descriptor, view[done:], self._position + done)
        except OSError as error:
            self.error = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Make the file as long as it is to be."""
        self._end = self._position if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            self.error = error
        return self._end


def _locked(path: Path) -> int:
    """A descriptor of the file, which is made if it is not there, and which nobody else has locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(errno.EAGAIN, "it is being written by another", str(path)) from None
        except OSError as error:  # file systems without locks
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                os.close(descriptor)
                raise
        try:
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # it was renamed by the one that had it locked
