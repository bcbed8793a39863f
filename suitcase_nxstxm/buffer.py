"""A file in memory, for a Manager of buffers."""

from __future__ import annotations

import io

import h5py

from suitcase_nxstxm.content import begin, complete, failure, mark, unmark
from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.runs import unfinished

__all__ = ["Buffer"]


class Buffer:
    """The file of a scan in memory: there is no other name for it, and nothing of it survives the process.

    Parameters
    ----------
    handle
        The buffer.
    """

    def __init__(self, handle: io.BytesIO) -> None:
        self.artifact = handle
        self._file: h5py.File | None = None

    def open(self) -> h5py.File:
        """The file, open for writing."""
        fresh = not self.artifact.getbuffer().nbytes
        self._file = h5py.File(self.artifact, "w" if fresh else "r+", libver="earliest")
        if fresh:
            begin(self._file)
        return self._file

    def check(self) -> None:
        """Nothing goes wrong in memory."""

    def close(self) -> None:
        """Write everything to the buffer, completing what is complete."""
        file, self._file = self._file, None
        if file is not None:
            with file:
                if failure(file) is None and not unfinished(file):
                    complete(file, "the buffer", final=False)

    def fail(self, error: BaseException, run: str) -> None:
        """Mark the file as one whose export failed, and close it."""
        mark(self._file, error, run)
        self.close()

    def mended(self, run: str) -> None:
        """Take the mark of a failure away, if it is of a run that has been exported again, as a whole."""
        unmark(self._file, run)

    def finish(self, overwrite: bool = False) -> io.BytesIO:
        """Complete the file; return the buffer.

        Raises
        ------
        UnfinishedError
            If a run lacks its stop document, or an export failed.
        """
        self.close()
        with h5py.File(self.artifact, "r+", libver="earliest") as file:
            failed = failure(file)
            if failed is not None:
                raise UnfinishedError(f"the buffer is of an export that failed ({failed}): export the run again")
            waiting = unfinished(file)
            if waiting:
                raise UnfinishedError(f"the buffer has no stop document of run {', '.join(waiting)}")
            complete(file, "the buffer")
        return self.artifact
