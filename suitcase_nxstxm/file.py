"""A scan's file under construction: ``.tmp`` and journal until it is complete, then its own name, all at once."""

from __future__ import annotations

import glob
import io
import itertools
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
from suitcase.utils import MultiFileManager

from suitcase_nxstxm.disk import Disk, locked, move, opened, sync_directory
from suitcase_nxstxm.errors import FinalFileExistsError, MetadataError, NothingToFinishError, UnfinishedError
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.journal import Journal
from suitcase_nxstxm.options import file_name, prefix_of

logger = logging.getLogger(__name__)

CLOSES_FIRST = os.name == "nt"
"""Whether a file is closed before it gets another name: Windows renames none that is open."""

LABEL = "all"
"""The label of what this suitcase writes, among the artifacts of a Manager."""

_SUFFIX = ".hdf5"

Write = Callable[[h5py.File, str, Frames], None]
"""What writes the runs to a file of a name, with the frames that are stored."""


class TmpFile:
    """The file of a scan under construction, ``<first_uid>-<prefix>.hdf5.tmp`` beside what it will be, and its journal.

    Frames are in the ``.tmp``, all else is in ``<first_uid>-<prefix>.hdf5.journal`` until the scan is finished. Only
    one export at a time has them open. What an export left behind when it was killed is taken up again. The template is
    the prefix before it was filled in; `artifact` is what there is of the file now.
    """

    def __init__(self, directory: Path, prefix: str, first_uid: str, template: str = "") -> None:
        relative = Path(f"{prefix}{_SUFFIX}")
        self.final = directory / relative
        out = bool(relative.anchor) or ".." in relative.parts
        if "{" in str(Path(template).parent):  # a document says which directory: it may be a link to elsewhere
            out = out or not self.final.parent.resolve().is_relative_to(directory.resolve())
        if out:
            raise MetadataError(f"file_prefix {prefix!r} leads out of the directory {str(directory)!r}")
        self.path = self.final.with_name(f"{_begin(first_uid)}{self.final.name}.tmp")
        self.artifact: Any = self.path
        self.journal_path = self.path.with_suffix(".journal")
        self.frames = Frames(self._hdf5, self._check)
        self._lock: int | None = None
        self._disk: Disk | None = None
        self._file: h5py.File | None = None
        self._journal: io.FileIO | None = None
        self._has_frames = False

    def check_final(self, overwrite: bool) -> None:
        """Refuse to finish a file whose final name is taken."""
        if self.final.exists() and not overwrite:
            raise FinalFileExistsError(f"{self.final} exists: give another file_prefix, or overwrite=True")

    def open(self, store: Callable[..., Any], options: Mapping[str, Any] | None = None) -> Journal:
        """The journal, open for writing: as it is, or new with these options; without them one must be there.

        What can't be read is moved aside where there are options, else it is an error.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.already_finished() and not self.path.exists() and self.final.exists() and options is not None:
            self.journal_path.unlink(missing_ok=True)  # left behind by a kill after the file had got its name
        self._lock = locked(self.path, options is not None)
        begun = os.fstat(self._lock).st_size > 0
        try:
            try:
                return self._taken_up(store, options, begun)
            except OSError as error:
                if not begun:
                    raise
                if options is None:
                    raise UnfinishedError(f"{self.path} can't be read, so it stays what it is: {error}") from error
                why = str(error)
            moved = self._rename_aside()
            if self.journal_path.exists():
                move(self.journal_path, moved.with_name(f"{moved.name}.journal"))
            logger.warning("%s can't be read (%s) and is now %s", self.path, why, moved.name)
            self._lock = locked(self.path)
            return self._taken_up(store, options, False)
        except BaseException:
            self.close()
            raise

    def _taken_up(self, store: Callable[..., Any], options: Mapping[str, Any] | None, begun: bool) -> Journal:
        if begun and not self.journal_path.exists():
            raise FileNotFoundError("it has no journal")
        self._journal = io.FileIO(opened(self.journal_path, create=True), "rb+", closefd=False)
        journal = Journal(self._journal, str(self.journal_path), store, {"options": options})
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

    def _check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self._disk is not None:
            self._disk.check()

    def close(self) -> None:
        """Close the file; others may have it then."""
        file, disk, journal, lock = self._file, self._disk, self._journal, self._lock
        self._file = self._disk = self._journal = self._lock = None
        self.frames = Frames(self._hdf5, self._check)
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

    def finish(self, write: Write, *, overwrite: bool = False) -> Any:
        """Write the file, and give it its final name when it is on the disk; return that name."""
        self.check_final(overwrite)
        self._write(write)
        self._rename(self.final, overwrite=overwrite)
        self._forget_journal()
        return self.final

    def set_aside(self, write: Write) -> Path:
        """Write what there is, and move it out of the way of another export; return its new name."""
        self._write(write)
        aside = self._rename_aside()
        self._forget_journal()
        return aside

    def _write(self, write: Write) -> None:
        """Write the file, and bring it to the disk."""
        file = self._hdf5()
        write(file, str(self.path), self.frames)
        file.attrs["file_name"] = self.final.name
        file.close()
        self._file = None
        self._check()
        if self._lock is not None:
            os.fsync(self._lock)

    def _rename(self, target: Path, *, overwrite: bool = False) -> None:
        """Give the file another name, and close it."""
        if CLOSES_FIRST:
            self.close()
        (os.replace if overwrite else move)(self.path, target)
        self.close()

    def _rename_aside(self) -> Path:
        for number in itertools.count(1):
            aside = self.path.with_name(f"{self.path.name}.aside{number}")
            try:
                self._rename(aside)
            except FileExistsError:
                continue
            return aside
        raise AssertionError

    def _forget_journal(self) -> None:
        self.journal_path.unlink(missing_ok=True)
        sync_directory(self.final.parent)

    def already_finished(self) -> bool:
        """Take the name of construction away from a file that has its final name already; whether it had.

        Someone was killed between giving it the one and taking the other one away.
        """
        if not (self.path.exists() and self.final.exists() and self.final.samefile(self.path)):
            return False
        self.path.unlink()
        self.journal_path.unlink(missing_ok=True)
        return True


class BufferFile(TmpFile):
    """A file that goes to a buffer when it is finished, and is in a directory for itself until then."""

    def __init__(self, buffer: io.BytesIO, prefix: str, first_uid: str) -> None:
        directory = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        super().__init__(Path(directory), prefix, first_uid)
        self.artifact = buffer

    def finish(self, write: Write, *, overwrite: bool = False) -> io.BytesIO:
        """Write the file to the buffer; return that."""
        self.artifact.write(super().finish(write, overwrite=overwrite).read_bytes())
        return self.artifact


def file_of(directory: Any, file_prefix: str, start: Mapping[str, Any], first_uid: str) -> TmpFile:
    """The file under construction of a scan in a directory, or in what a Manager has in its place."""
    prefix = prefix_of(file_prefix, start, first_uid)
    if isinstance(directory, (str, Path)):
        return TmpFile(Path(directory), prefix, first_uid, file_prefix)
    postfix = f"{prefix}{_SUFFIX}"
    if not isinstance(directory, MultiFileManager):
        return BufferFile(directory.open(LABEL, postfix, "xb"), prefix, first_uid)
    known = {artifact["postfix"]: artifact["name"] for artifact in directory.get_artifacts(LABEL)}
    path = Path(known[postfix] if postfix in known else directory.reserve_name(LABEL, postfix))
    return TmpFile(path.parent, path.name.removesuffix(_SUFFIX), first_uid, file_prefix)


def find(directory: Path, template: str, first_uid: str) -> TmpFile:
    """The file under construction of a scan, whose prefix may still have ``{...}`` in it; an error if there is none."""
    if "{" not in template.replace("{uid}", ""):
        return TmpFile(directory, prefix_of(template, {}, first_uid), first_uid)
    # What filled it in is in documents that aren't here; there is one file of the scan, unless it has several prefixes.
    begin = _begin(first_uid)
    found = sorted(directory.rglob(f"{glob.escape(begin)}*{_SUFFIX}.tmp"))
    if len(found) > 1:
        raise MetadataError(
            f"file_prefix {template!r} may be that of {', '.join(path.name for path in found)}: fill it in"
        )
    for path in found:
        name = path.name.removeprefix(begin).removesuffix(f"{_SUFFIX}.tmp")
        return TmpFile(directory, str(path.relative_to(directory).with_name(name)), first_uid)
    raise NothingToFinishError(f"there is nothing to finish: no {begin}{template}{_SUFFIX}.tmp in {directory}")


def _begin(first_uid: str) -> str:
    """What the name of a file under construction begins with."""
    return f"{file_name(first_uid, 80)}-"
