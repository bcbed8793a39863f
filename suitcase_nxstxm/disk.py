"""Files on disks: who may write to one, giving it another name, and disks that may be full."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from pathlib import Path
from typing import Any

from suitcase_nxstxm.errors import BusyError, FinalFileExistsError, NothingToFinishError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

_FAR = 1 << 40  # where Windows locks a byte that nothing else is at
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)


def _lock(descriptor: int) -> None:
    """Lock a file, or raise BlockingIOError at once."""
    if sys.platform == "win32":
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def opened(path: Path, *, create: bool) -> int:
    """A descriptor of the file at a path, for reading and writing; the file is made if there is none."""
    return os.open(path, _FLAGS | (os.O_CREAT if create else 0), 0o666)


def locked(path: Path, create: bool = True) -> int:
    """A descriptor of the file at a path, which no one else has locked; the file is made if there is none."""
    while True:
        try:
            descriptor = opened(path, create=create)
        except FileNotFoundError:
            if create:
                raise
            raise NothingToFinishError(f"there is nothing to finish: no {path}") from None
        try:
            _lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise BusyError(f"{path} is being written by another export") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                os.close(descriptor)
                raise
            logger.warning("%s is on a file system without locks: let only one export at a time write it", path)
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # renamed by who had it locked


def move(source: Path, target: Path) -> None:
    """Rename a file, never over another one: of two that do this at once with one target, one gets an error."""
    try:
        try:
            if sys.platform == "win32":
                os.rename(source, target)  # which is an error there if the target exists
                return
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            # A file system without links: the name is claimed first, so that it is still one who gets it.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(source, target)
        else:
            source.unlink()
    except FileExistsError:
        raise FinalFileExistsError(f"{target} exists: give another file_prefix, or overwrite=True") from None


def sync_directory(path: Path) -> None:
    """Bring to the disk that files of a directory have other names; Windows does so by itself."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
