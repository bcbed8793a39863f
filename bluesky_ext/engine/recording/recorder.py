"""The recorder: a callback that writes each run to a file."""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from event_model import DocumentNames

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.engine.documents.complaints import OnError, check_on_error
from bluesky_ext.engine.documents.file_name import check_prefix, file_name, fill_prefix
from bluesky_ext.engine.documents.live_documents import LiveDocuments
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS, PARENT, OpenRun, OpenRuns, plain_name
from bluesky_ext.engine.recording.journal import Journal
from bluesky_ext.engine.recording.records import MAGIC, SUFFIX, pack_record

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Run(OpenRun):
    """An open run, and its journal."""

    journal: Journal

    def __str__(self) -> str:
        return f"{self.uid} ({self.journal.path})"


class Recorder:
    """A callback that writes each run to a file of its own, which `Recording` reads.

    Every document has reached the operating system when the call returns: a process that is killed loses none.
    At the stop the file is flushed to the disk. Runs may be interleaved. Documents of no open run (their start was
    lost, or they came after the stop) are kept in a file ``orphans-<unique>.bsrec``; the first is reported. Live runs
    (``purpose="live"``, for alignment) are not written.

    Parameters
    ----------
    directory : str or path
        Where the files go; it is made if it is not there.
    file_prefix : str
        Name of the file, without the suffix ``.bsrec``, with fields of the start document that are text or numbers:
        ``{uid}`` or ``{scan_id:05d}-{start[plan_name]}``. Where a name has a slash, a leading dot or what is not
        printable, that becomes an underscore, and a few digits of its sha256 are added.
    on_error : {"log", "raise"}
        Whether a document that can't be written is logged and counted, so that the scan goes on, or raises its error.
    max_open_runs, stale_after
        How many runs may be open, and for how many seconds one may be silent: after that it is closed as incomplete.

    Attributes
    ----------
    artifacts : list of pathlib.Path
        The files written so far, in the order in which they were opened.
    stats : Stats
        How many runs there were, how many were closed as incomplete, how many documents ``failed``, and how many were
        ``orphaned``: of no open run.

    Examples
    --------
    >>> import tempfile
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from bluesky_ext import Recorder, Recording
    >>> from ophyd.sim import det
    >>> RE = RunEngine()
    >>> with tempfile.TemporaryDirectory() as directory, Recorder(directory) as recorder:
    ...     _ = RE(count([det]), recorder)
    ...     [name for name, _ in Recording(recorder.artifacts[0])]
    ['start', 'descriptor', 'event', 'stop']
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        file_prefix: str = "{uid}",
        on_error: OnError = "log",
        max_open_runs: int = MAX_OPEN_RUNS,
        stale_after: float = DAY,
    ) -> None:
        if "/" in file_prefix:
            raise ValueError(f"file_prefix {file_prefix!r} has a slash: give the folder as directory")
        check_prefix(file_prefix)
        self._raises = check_on_error(on_error) == "raise"
        where = f"the recorder in {directory}"
        self._runs: OpenRuns[_Run] = OpenRuns(
            lambda run, reason: run.journal.close(),
            name=where,
            log=logger,
            max_open_runs=max_open_runs,
            stale_after=stale_after,
        )
        self.stats = self._runs.stats
        self.directory = Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.artifacts: list[Path] = []
        self._file_prefix = file_prefix
        self._live = LiveDocuments()
        self._orphanage: Journal | None = None

    def __call__(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        """Write a document."""
        try:
            name = plain_name(name)
            if name not in PARENT:
                raise ValueError(f"a document called {name!r}: the names are {', '.join(PARENT)}")
            with self._runs.lock:
                if self._live.has(name, document):
                    return
            record = pack_record(name, document)
            with self._runs.lock:
                self._write(name, document, record)
        except Exception as error:  # the scan does not die of its recorder
            if self._raises:
                raise
            self.stats.failed += 1
            self._runs.complaints(
                f"{name} {type(error).__name__}",
                "the recorder in %s could not write a document %r: %s: %s",
                *(self.directory, name, type(error).__name__, error),
            )

    def close(self) -> None:
        """Close the files; a run that has no stop yet is reported, and stays incomplete."""
        with self._runs.lock:
            self._runs.close_all("it has no stop, and the recorder was closed")
            if self._orphanage is not None:
                logger.warning("%d documents of no open run are in %s", self.stats.orphaned, self._orphanage.path)
                self._orphanage.close()
                self._orphanage = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, name: str, document: Mapping[str, Any], record: list[Buffer]) -> None:
        if name == "start":
            self._runs.close_again(document["uid"])  # also if what it is now has no file
            try:
                journal = self._create(self.directory / (self._stem(document) + SUFFIX), record)
            except (FileExistsError, ValueError):
                self._keep(name, record)
                raise
            self._runs.open(_Run(document, journal))
            return
        runs = self._runs.follow(name, document)
        for run in runs:
            if name == "stop":
                self._runs.drop(run)
                with closing(run.journal) as journal:
                    journal.append(record)
                    journal.sync()
            else:
                run.journal.append(record)
        if not runs:
            self._keep(name, record)

    def _stem(self, start: Mapping[str, Any]) -> str:
        try:
            stem = fill_prefix(self._file_prefix, start)
        except ValueError as error:
            raise ValueError(f"file_prefix {self._file_prefix!r} fails on run {start['uid']}: {error}") from error
        if not stem:
            raise ValueError(f"file_prefix {self._file_prefix!r} gives no name for run {start['uid']}: add {{uid}}")
        return file_name(stem)

    def _create(self, path: Path, record: list[Buffer]) -> Journal:
        try:
            journal = Journal(path)
        except FileExistsError as error:
            message = "a recording is never written over: choose another file_prefix"
            raise FileExistsError(errno.EEXIST, message, str(path)) from error
        try:
            journal.append([MAGIC, *record])
        except BaseException:
            journal.close()
            path.unlink()
            raise
        self.artifacts.append(path)
        return journal

    def _keep(self, name: str, record: list[Buffer]) -> None:
        self.stats.orphaned += 1
        if self._orphanage is not None:
            self._orphanage.append(record)
            return
        path = self.directory / f"orphans-{uuid.uuid4().hex}{SUFFIX}"
        self._orphanage = self._create(path, record)
        logger.warning("a document (%s) of no open run: it and all like it are kept in %s", name, path)
