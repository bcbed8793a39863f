"""The name of a file: who may write to what has it, and giving it to another file, never over one that is there."""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path

from suitcase_nxstxm.errors import BusyError, FinalFileExistsError, NothingToFinishError

__all__ = ["locked", "move"]

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

_FAR = 1 << 40  # where Windows locks a byte that nothing else is at


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


def locked(path: Path, create: bool = True) -> int:
    """A descriptor of the file at a path, which no one else has locked; the file is made if there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT if create else 0), 0o666)
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
        status = os.fstat(descriptor)
        try:
            same = os.path.samestat(status, os.stat(path))
        except FileNotFoundError:
            same = False
        if not same:  # renamed by who had it locked
            os.close(descriptor)
        else:
            return descriptor


def move(source: Path, target: Path) -> None:
    """Rename a file, never over another one: of two that do this at once with one target, one gets an error."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise FinalFileExistsError(f"{target} exists: give another file_prefix, or overwrite=True") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links: the name is claimed first, so that it is still one who gets it.
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            raise FinalFileExistsError(f"{target} exists: give another file_prefix, or overwrite=True") from None
        os.replace(source, target)
    else:
        source.unlink()
