"""A scan's file under construction: ``.tmp`` and journal until it is complete, then its own name, all at once."""

from __future__ import annotations

import glob
import io
import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import h5py

from suitcase_nxstxm.disk import Disk, locked, move
from suitcase_nxstxm.errors import FinalFileExistsError, MetadataError, NothingToFinishError, UnfinishedError
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.journal import Journal, first_document
from suitcase_nxstxm.prefix import file_name, prefix_of

logger = logging.getLogger(__name__)

_SUFFIX = ".hdf5"


class TmpFile:
    """The file of a scan under construction, ``<first_uid>-<prefix>.hdf5.tmp`` beside what it will be, and its journal.

    Frames are in the ``.tmp``, all else is in ``<first_uid>-<prefix>.hdf5.journal`` until the scan is finished. Only
    one export at a time has them open. What an export left behind when it was killed is taken up again. The template is
    the prefix before it was filled in.
    """

    def __init__(self, directory: Path, prefix: str, first_uid: str, template: str | None = None) -> None:
        self._template = template or prefix
        relative = Path(f"{prefix}{_SUFFIX}")
        self.final = directory / relative
        out = relative.is_absolute() or ".." in relative.parts
        if "{" in str(Path(self._template).parent):  # a document says which directory: it may be a link to elsewhere
            out = out or not self.final.parent.resolve().is_relative_to(directory.resolve())
        if out:
            raise MetadataError(f"file_prefix {prefix!r} leads out of the directory {str(directory)!r}")
        self.path = self.final.with_name(f"{_begin(first_uid)}{self.final.name}.tmp")
        self.journal_path = self.path.with_suffix(".journal")
        self.frames = Frames(self._hdf5)
        self._lock: int | None = None
        self._disk: Disk | None = None
        self._file: h5py.File | None = None
        self._journal: io.FileIO | None = None
        self._has_frames = False

    @property
    def artifact(self) -> Path:
        """What there is of it now."""
        return self.path

    def open(self, store: Callable[..., Any], *, create: bool = True) -> Journal:
        """The journal, open for writing: as it is, or empty if there is none; without `create` one must be there.

        What can't be read is moved aside, or, without `create`, an error.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._already_final():
            self.path.unlink()
        if not self.path.exists() and self.final.exists() and create:
            self.journal_path.unlink(missing_ok=True)  # left behind by a kill after the file had got its name
        self._lock = locked(self.path, create)
        try:
            begun = os.fstat(self._lock).st_size > 0
            try:
                return self._taken_up(store, begun)
            except OSError as error:
                if not begun:
                    raise
                if not create:
                    raise UnfinishedError(f"{self.path} can't be read, so it stays what it is: {error}") from error
                why = str(error)
            moved = self._set_aside()
            self.close()
            if self.journal_path.exists():
                move(self.journal_path, moved.with_name(f"{moved.name}.journal"))
            logger.warning("%s can't be read (%s) and is now %s", self.path, why, moved.name)
            self._lock = locked(self.path)
            return self._taken_up(store, False)
        except BaseException:
            self.close()
            raise

    def _taken_up(self, store: Callable[..., Any], begun: bool) -> Journal:
        if begun and not self.journal_path.exists():
            raise FileNotFoundError("it has no journal")
        descriptor = os.open(self.journal_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._journal = io.FileIO(descriptor, "rb+", closefd=False)
        journal = Journal(self._journal, str(self.journal_path), store, {"file_prefix": self._template})
        self._has_frames = journal.has_frames
        if begun and self._has_frames:
            self._hdf5()
        return journal

    def _hdf5(self) -> h5py.File:
        """The HDF5 file, which is made when the first frame comes, or when it is written."""
        if self._file is None:
            if self._lock is None:
                raise ValueError(f"{self.path} isn't open")
            mode = "r+" if self._has_frames else "w"
            self._has_frames = True
            self._disk = Disk(self._lock, str(self.path))
            # Of the earliest version, because the later ones don't open again after a kill.
            self._file = h5py.File(self._disk, mode, libver="earliest")
        return self._file

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self._disk is not None:
            self._disk.check()

    def close(self) -> None:
        """Close the file; others may have it then."""
        file, self._file = self._file, None
        disk, self._disk = self._disk, None
        lock, self._lock = self._lock, None
        journal, self._journal = self._journal, None
        self.frames = Frames(self._hdf5)
        try:
            if file is not None:
                file.close()
        finally:
            if journal is not None:
                os.close(journal.fileno())
            if lock is not None:
                os.close(lock)
        if disk is not None:
            disk.check()

    def finish(self, write: Callable[[h5py.File, str, Frames], None], *, overwrite: bool = False) -> Path:
        """Write the file, and give it its final name when it is on the disk; return that name."""
        if not overwrite and self.final.exists():
            raise FinalFileExistsError(f"{self.final} exists: give another file_prefix, or overwrite=True")
        self._write(write)
        if overwrite:
            os.replace(self.path, self.final)
        else:
            move(self.path, self.final)
        self._forget()
        return self.final

    def _write(self, write: Callable[[h5py.File, str, Frames], None]) -> None:
        """Write the file, and bring it to the disk."""
        file = self._hdf5()
        write(file, str(self.path), self.frames)
        file.attrs["file_name"] = self.final.name
        file.close()
        self._file = None
        self.check()
        if self._lock is not None:
            os.fsync(self._lock)

    def _forget(self) -> None:
        """Take the journal away, and bring to the disk that the file has another name."""
        self.close()
        self.journal_path.unlink(missing_ok=True)
        if os.name != "nt":
            directory = os.open(self.final.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def set_aside(self, write: Callable[[h5py.File, str, Frames], None]) -> Path:
        """Write what there is, and move it out of the way of another export; return its new name."""
        self._write(write)
        aside = self._set_aside()
        self._forget()
        return aside

    def _set_aside(self) -> Path:
        for number in itertools.count(1):
            aside = self.path.with_name(f"{self.path.name}.aside{number}")
            try:
                move(self.path, aside)
            except FileExistsError:
                continue
            return aside
        raise AssertionError

    def _already_final(self) -> bool:
        """Whether someone was killed between giving the file its final name and taking this one away."""
        try:
            return self.final.samefile(self.path)
        except FileNotFoundError:
            return False

    def already_finished(self) -> bool:
        """Take the name of construction away from a file that has its final name already; whether it had."""
        found = self._already_final()
        if found:
            self.path.unlink()
            self.journal_path.unlink(missing_ok=True)
        return found


class Buffer:
    """The file of a scan in memory: there is no other name for it, and nothing of it survives the process."""

    _journals: ClassVar[WeakKeyDictionary[io.BytesIO, io.BytesIO]] = WeakKeyDictionary()

    def __init__(self, handle: io.BytesIO) -> None:
        self.artifact = self.final = handle
        self.frames = Frames(self._no_file)

    def _no_file(self) -> h5py.File:
        raise TypeError("a buffer stores no frames beside its journal")

    def open(self, store: Callable[..., Any], *, create: bool = True) -> Journal:
        """The journal: as it is, or empty if there is none."""
        journal = self._journals.setdefault(self.artifact, io.BytesIO())
        return Journal(journal, "the buffer", store, {})

    def check(self) -> None:
        """Nothing goes wrong in memory."""

    def close(self) -> None:
        """There is nothing to close."""

    def already_finished(self) -> bool:
        """A buffer has one name."""
        return False

    def finish(self, write: Callable[[h5py.File, str, Frames], None], *, overwrite: bool = False) -> io.BytesIO:
        """Write the file to the buffer, from its beginning; return the buffer."""
        self.artifact.seek(0)
        self.artifact.truncate()
        with h5py.File(self.artifact, "w", libver="earliest") as file:
            write(file, "the buffer", self.frames)
        return self.artifact


def find(directory: Path, template: str, first_uid: str) -> TmpFile:
    """The file under construction of a scan, whose prefix may still have ``{...}`` in it; an error if there is none."""
    if "{" not in template:
        return TmpFile(directory, prefix_of(template, {}, first_uid), first_uid)
    # What filled it in is in documents that aren't here; the journal remembers.
    begin = _begin(first_uid)
    filled = template.replace("{uid}", file_name(first_uid))
    listed = sorted(directory.rglob(f"{glob.escape(begin)}*{_SUFFIX}.tmp"))
    for path in dict.fromkeys([TmpFile(directory, filled, first_uid).path, *listed]):
        if first_document(path.with_suffix(".journal")).get("file_prefix") == template:
            name = path.name.removeprefix(begin).removesuffix(f"{_SUFFIX}.tmp")
            return TmpFile(directory, str(path.relative_to(directory).with_name(name)), first_uid, template)
    raise NothingToFinishError(f"there is nothing to finish: no {begin}{template}{_SUFFIX}.tmp in {directory}")


def _begin(first_uid: str) -> str:
    """What the name of a file under construction begins with."""
    return f"{file_name(first_uid, 80)}-"
