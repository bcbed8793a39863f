"""A file under construction: ``.tmp`` until it is complete, then under its own name, all at once."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from pathlib import Path

import h5py

from suitcase_nxstxm.content import begin, complete, failure, mark, unmark
from suitcase_nxstxm.disk import Disk
from suitcase_nxstxm.errors import (
    FinalFileExistsError,
    MetadataError,
    NothingToFinishError,
    UnfinishedError,
)
from suitcase_nxstxm.name import locked, move
from suitcase_nxstxm.prefix import file_name, prefix_of
from suitcase_nxstxm.runs import unfinished

__all__ = ["TmpFile", "find"]

logger = logging.getLogger(__name__)

_SUFFIX = ".hdf5"
_TEMPLATE = "file_prefix"  # in a file under construction only: the prefix before it was filled in


class TmpFile:
    """The file of a scan under construction, ``<first_uid>-<prefix>.hdf5.tmp`` beside what it will be.

    Only one export at a time has it open. One that an export left behind when it was killed is taken up again: the
    same documents put the same numbers to the same places.

    Parameters
    ----------
    directory
        Where the file goes.
    prefix
        Its name without the suffix, filled in.
    first_uid
        The uid of the first run of the scan.
    template
        The prefix before it was filled in.
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
        self._lock: int | None = None
        self._disk: Disk | None = None
        self._file: h5py.File | None = None

    @property
    def artifact(self) -> Path:
        """What there is of it now."""
        return self.path

    def open(self) -> h5py.File:
        """The file, open for writing: as it is, or empty if there is none that can be read.

        Raises
        ------
        BusyError
            If another export has it open.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._already_final():
            self.path.unlink()
        self._lock = locked(self.path)
        try:
            if os.fstat(self._lock).st_size:
                try:
                    self._file = self._opened("r+")
                except OSError as error:
                    moved = self._set_aside()
                    logger.warning("%s can't be read (%s) and is now %s", self.path, error, moved.name)
                    os.close(self._lock)
                    self._lock = locked(self.path)
            if self._file is None:
                file = self._file = self._opened("w")
                begin(file)
                file.attrs[_TEMPLATE] = self._template
                file.flush()
        except BaseException:
            self.close()
            raise
        return self._file

    def _opened(self, mode: str) -> h5py.File:
        if self._lock is None:
            raise ValueError(f"{self.path} isn't open")
        self._disk = Disk(self._lock, str(self.path))
        # Of the earliest version, because the later ones don't open again after a kill.
        return h5py.File(self._disk, mode, libver="earliest")

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self._disk is not None:
            self._disk.check()

    def close(self) -> None:
        """Write everything and close the file; others may have it then."""
        failed = self._close()
        if failed is not None:
            failed.check()

    def fail(self, error: BaseException, run: str) -> None:
        """Mark the file as one whose export failed, and close it: another export of the run lets it be finished."""
        mark(self._file, error, run)
        failed = self._close()
        if failed is not None and not isinstance(error, OSError):
            logger.warning("%s isn't written to its end: %s", self.path, failed.error)

    def _close(self) -> Disk | None:
        """Close the file; return its disk if a write has failed."""
        file, self._file = self._file, None
        disk, self._disk = self._disk, None
        lock, self._lock = self._lock, None
        try:
            if file is not None:
                file.close()
        finally:
            if lock is not None:
                os.close(lock)
        return disk if disk is not None and disk.error is not None else None

    def mended(self, run: str) -> None:
        """Take the mark of a failure away, if it is of a run that has been exported again, as a whole."""
        unmark(self._file, run)

    def finish(self, overwrite: bool = False) -> Path:
        """Give the file its final name, once it is complete and on the disk; return that name.

        Raises
        ------
        FinalFileExistsError
            If there is a file of that name and ``overwrite`` isn't set. The tmp file stays.
        NothingToFinishError
            If there is no tmp file.
        UnfinishedError
            If a run lacks its stop document, or an export failed.
        """
        self.close()
        if self._already_final():
            self.path.unlink()
            return self.final
        if not overwrite and self.final.exists() and self.path.exists():
            raise FinalFileExistsError(f"{self.final} exists: give another file_prefix, or overwrite=True")
        self._lock = locked(self.path, create=False)
        try:
            self._complete()
            self.check()
            os.fsync(self._lock)
            self._publish(overwrite)
        finally:
            self.close()
        return self.final

    def _already_final(self) -> bool:
        """Whether someone was killed between giving the file its final name and taking this one away."""
        try:
            return self.final.samefile(self.path)
        except FileNotFoundError:
            return False

    def set_aside(self) -> Path:
        """Move the tmp file out of the way of another export; return its new name."""
        self._lock = locked(self.path, create=False)
        try:
            return self._set_aside()
        finally:
            self.close()

    def _set_aside(self) -> Path:
        for number in itertools.count(1):
            aside = self.path.with_name(f"{self.path.name}.aside{number}")
            try:
                move(self.path, aside)
            except FileExistsError:
                continue
            return aside
        raise AssertionError

    def _complete(self) -> None:
        try:
            file = self._opened("r+")
        except OSError as error:
            raise UnfinishedError(f"{self.path} can't be read, so it stays what it is: {error}") from error
        with file:
            failed = failure(file)
            if failed is not None:
                raise UnfinishedError(f"{self.path} is of an export that failed ({failed}): export the run again")
            waiting = unfinished(file)
            if waiting:
                raise UnfinishedError(f"{self.path} has no stop document of run {', '.join(waiting)}")
            complete(file, str(self.path))
            if _TEMPLATE in file.attrs:
                del file.attrs[_TEMPLATE]
            file.attrs["file_name"] = self.final.name

    def _publish(self, overwrite: bool) -> None:
        if overwrite:
            os.replace(self.path, self.final)
        else:
            move(self.path, self.final)
        directory = os.open(self.final.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def find(directory: Path, template: str, first_uid: str) -> TmpFile:
    """The file under construction of a scan, whose prefix may still have ``{...}`` in it.

    Raises
    ------
    NothingToFinishError
        If there is none.
    """
    if "{" not in template:
        return TmpFile(directory, prefix_of(template, {}, first_uid), first_uid)
    # What filled it in is in documents that aren't here; the file remembers.
    begin = _begin(first_uid)
    filled = template.replace("{uid}", file_name(first_uid))
    listed = sorted(directory.rglob(f"{glob.escape(begin)}*{_SUFFIX}.tmp"))
    for path in dict.fromkeys([TmpFile(directory, filled, first_uid).path, *listed]):
        try:
            with h5py.File(path, "r", locking=False) as file:
                same = file.attrs.get(_TEMPLATE) == template
        except OSError:
            continue
        if same:
            name = path.name.removeprefix(begin).removesuffix(f"{_SUFFIX}.tmp")
            return TmpFile(directory, str(path.relative_to(directory).with_name(name)), first_uid, template)
    raise NothingToFinishError(f"there is nothing to finish: no {begin}{template}{_SUFFIX}.tmp in {directory}")


def _begin(first_uid: str) -> str:
    """What the name of a file under construction begins with."""
    return f"{file_name(first_uid, 80)}-"
