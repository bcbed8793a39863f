"""Which files may be read: regular ones, below the directories that were given, whatever documents name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBER, _TEXT = re.compile(r"%[-+ #0-9.]*d"), re.compile(r"%[-+ #0-9.]*s")
_NO_DISKS = ("/proc", "/sys")


class Unreadable(ValueError):  # noqa: N818 - it names a state of the file
    """A file that may not be read, however long one waits for it."""


@dataclass(frozen=True, slots=True)
class Readable:
    """Where files may be read: below one of the directories of every set in ``roots``; anywhere if there is no set.

    It is picklable, so that the process that reads a frame knows it too.
    """

    roots: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def below(cls, roots: Iterable[str | os.PathLike[str]] | None) -> Readable:
        """Files below these directories; of no directory if they are empty, and all files if None."""
        if roots is None:
            return cls()
        if isinstance(roots, str | os.PathLike):
            raise TypeError(f"readable_roots={roots!r}: give a list of directories, as in [{os.fspath(roots)!r}]")
        real = tuple(dict.fromkeys(os.path.realpath(Path(root).expanduser()) for root in roots))
        for root in real:
            if root == "/" or _is_below(root, _NO_DISKS):
                raise ValueError(f"readable root {root}: give the directories that detectors write to")
        return cls((real,))

    def __and__(self, other: Readable) -> Readable:
        return Readable(tuple(dict.fromkeys((*self.roots, *other.roots))))

    @property
    def is_limited(self) -> bool:
        """Whether there are files that may not be read."""
        return bool(self.roots)

    def check(self, path: str) -> str:
        """Return the real path of a file, which need not be there yet; raise `Unreadable` if it may not be read."""
        real = self.check_place(path)
        if os.path.isdir(real):
            raise Unreadable(f"{path} is a directory and not a file")
        return self.check_kind(real)

    def check_kind(self, path: str) -> str:
        """Return a path, at which there may be nothing, a directory or a regular file; raise as `check` does."""
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return path
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Unreadable(f"{path} is a {_KINDS.get(stat.S_IFMT(mode), 'special file')} and not a regular file")
        return path

    def check_place(self, path: str) -> str:
        """Return the real path of what may be a directory, or the beginning of a path; raise as `check` does."""
        real = os.path.realpath(path)
        for roots in self.roots:
            if not _is_below(real, roots):
                leads = "" if real == os.path.abspath(path) else f" leads to {real}, which"
                known = f"only below {', '.join(roots)}" if roots else "no file is read"
                folder = os.path.dirname(real)
                raise Unreadable(
                    f"{path}{leads} may not be read ({known}): "
                    f"add --readable-root {folder}, or readable_roots=[{folder!r}], if it is data"
                )
        return real

    def check_texts(self, values: Any) -> None:
        """Raise `Unreadable` if a text in dicts and lists leaves the place that it is put behind, where it matters."""
        if not self.is_limited:
            return
        if isinstance(values, str):
            # A number can't be a dot; a text may be empty, or end a name.
            parts = _TEXT.sub("/", _NUMBER.sub("0", values)).split("/")
            if not {".", ".."}.isdisjoint(parts):
                raise Unreadable(f"{values!r:.200} may not be a part of a path: it leads to another directory")
            if values.startswith("/") and os.path.isfile(values):
                self.check_place(values)
        elif isinstance(values, Mapping):
            for value in values.values():
                self.check_texts(value)
        elif isinstance(values, list | tuple):
            for value in values:
                self.check_texts(value)


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFSOCK: "socket"}

ANYWHERE = Readable()

_present: ContextVar[Readable] = ContextVar("readable", default=ANYWHERE)


def present() -> Readable:
    """What may be read by the callbacks that this thread calls."""
    return _present.get()


@contextmanager
def reading(readable: Readable) -> Iterator[None]:
    """Let the callbacks that this thread calls read these files only, whoever made them."""
    token = _present.set(present() & readable)
    try:
        yield
    finally:
        _present.reset(token)
