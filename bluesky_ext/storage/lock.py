"""Locks: which backup files are being written, by any process of this machine."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["Lock", "is_locked"]


class Lock:
    """A lock on a file that is there; the system opens it when the process ends, however it does.

    Where the file system knows no locks, this does nothing.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.open()

    def open(self) -> None:
        """Give up the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: str) -> bool:
    """Whether there is a `Lock` on a file of this name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
