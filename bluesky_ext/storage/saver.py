"""Saving: a sink that puts runs into a catalogue, and loses nothing if that fails."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from event_model import DocumentNames

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.engine.documents.complaints import OnError, check_on_error
from bluesky_ext.engine.documents.live_documents import LiveDocuments
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS, PARENT, OpenRun, OpenRuns, plain_name
from bluesky_ext.engine.recording.recorder import Recorder
from bluesky_ext.engine.recording.records import pack_record
from bluesky_ext.storage.as_text import with_text
from bluesky_ext.storage.backups import backups_in, state_directory
from bluesky_ext.storage.catalog import expanded, open_catalog
from bluesky_ext.storage.destination import Destination
from bluesky_ext.storage.run_saver import RunSaver
from bluesky_ext.storage.stored import is_run

__all__ = ["Saver", "save"]

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Run(OpenRun):
    saver: RunSaver


class Saver:
    """A sink that saves every run in a catalogue of Tiled, from which `documents` and `read` give it back.

    Each document has reached a backup file, a recording, when the call returns; a thread for each run carries it from
    there into the catalogue, at most half a second and one batch later. At the stop, the call waits for that, and
    the backup is deleted.

    What no recording can hold (paths, sets, decimals, arrays of objects) is kept as text or lists, with one error for
    each place in the documents of a run.

    If the catalogue fails, that is logged as one error, and the rest of the run goes on into the backup file: it has
    all documents since the start, and stays. `bluesky_ext.Recording` and ``bluesky-ext replay`` read it. If instead
    the backup cannot be written, that is logged as one error, and each document waits until it is in the catalogue. If
    both fail, or the catalogue does not answer within `timeout`, the rest of the run is saved nowhere: that is one more
    error, and it is counted (see ``on_error``). The error says which disk is full, if one is. A process that is killed
    leaves its backup files: the next saver tells of them, and ``bluesky-ext recover`` saves them. After a failure, the
    next runs wait no more than two seconds each for a catalogue, until one was saved. No run waits for another one.

    Runs may be interleaved. Live ones (``purpose="live"``) are not saved. One without a stop is marked as incomplete by
    `close`. Documents of no open run are kept in the backup directory, as by `bluesky_ext.Recorder`.

    Parameters
    ----------
    catalog : client, path or str
        What `bluesky_ext.storage.open_catalog` takes.
    backup : path, optional
        The directory of the backup files; one below ``$XDG_STATE_HOME`` or ``~/.local/state`` by default. It should be
        on a local disk. On that of the files of images, these are written once, and linked to beside the backup files;
        on another one they are written twice, and it has them when that of the catalogue is full.
    images : path, optional
        For a server that reads files of this machine: the directory for those of images, which must be in its readable
        storage. Other servers are sent the images; an embedded catalogue has them in its directory.
    compression : str, optional
        Of these files, as h5py calls it: "lzf", "gzip". By default there is none.
    replace_incomplete : bool
        If there is a run of the same uid without a stop in the catalogue, as a failure leaves it, replace it. One that
        a process of this machine is writing with a backup is not replaced; of others, that cannot be known.
    timeout : float
        The longest that a call waits for the catalogue, in s: at the stop of a run until all of it is there, and with
        each document that has no backup.
    max_open_runs, stale_after
        How many runs may be open, and for how many seconds one may be silent: after that it is ended as incomplete;
        see `bluesky_ext.engine.documents.open_runs.OpenRuns`.
    on_error : {"log", "raise"}
        Whether a document that can be saved nowhere is logged and counted, so that the scan goes on, or raises OSError.

    Attributes
    ----------
    catalog : client
        The catalogue.
    backup : pathlib.Path
        The directory of the backup files.
    destination : Destination
        The catalogue, and where files of images go.
    backups : list of pathlib.Path
        Those that are there to stay: of the runs that are not whole in the catalogue.
    lost : int
        How many documents were saved nowhere.
    stats : Stats
        How many runs there were, and how many of them were ended as incomplete.
    """

    def __init__(
        self,
        catalog: object,
        *,
        backup: str | os.PathLike[str] | None = None,
        images: str | os.PathLike[str] | None = None,
        compression: Literal["lzf", "gzip"] | None = None,
        replace_incomplete: bool = False,
        timeout: float = 60.0,
        max_open_runs: int = MAX_OPEN_RUNS,
        stale_after: float = DAY,
        on_error: OnError = "log",
    ) -> None:
        if not timeout >= 0:
            raise ValueError(f"timeout {timeout!r} s: give a time of 0 or more")
        if is_run(catalog):
            raise TypeError(f"{type(catalog).__qualname__} is one run: give the catalogue that it is in")
        if compression not in (None, "lzf", "gzip"):
            raise ValueError(f"compression {compression!r}: choose 'lzf', 'gzip' or None")
        self.catalog = open_catalog(catalog)
        directory = None if images is None else expanded(images)
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        self.destination = Destination(self.catalog, directory, compression, replace_incomplete)
        self.backup = state_directory() if backup is None else expanded(backup)
        self.backups: list[Path] = []
        self.lost = 0
        self.down = False
        """Whether the catalogue failed when a run was last saved: the next one waits for two seconds at most."""
        self._timeout, self._on_error = timeout, check_on_error(on_error)
        self._runs: OpenRuns[_Run] = OpenRuns(
            self._close, name="the saver", log=logger, max_open_runs=max_open_runs, stale_after=stale_after
        )
        self.stats = self._runs.stats
        self._ending: list[RunSaver] = []
        self._live = LiveDocuments()
        self._orphans: Recorder | None = None
        self._process = os.getpid()
        if self._made_backup_directory() and (left := backups_in(self.backup)):
            logger.warning(
                "%d runs that earlier processes could not save: bring them into the catalogue with "
                "`bluesky-ext recover --catalog CATALOG --backup %s`",
                *(len(left), self.backup),
            )

    def __call__(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        """Save a document; what is none is logged and counted, as one that could be saved nowhere."""
        try:
            self._save(name, document)
        except (AttributeError, LookupError, TypeError) as error:
            logger.error("a document %r is saved nowhere: %s: %s", name, type(error).__name__, error)
            self._count_lost(plain_name(name), document, 1)

    def _save(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        name = plain_name(name)
        if name not in PARENT:
            raise ValueError(f"a document called {name!r}: the names are {', '.join(PARENT)}")
        if self._live.has(name, document):
            return
        self._check_process()
        if name == "event" and (stream := self._runs.streams.get(document["descriptor"])) is not None:
            document = stream.run.saver.place(document, stream)
        document, record, changed = _packed(name, document)
        backed_up = name == "start" and self._made_backup_directory(document["uid"])
        with self._runs.lock:
            if name == "start":
                self._open(document, backed_up)
            runs = [run.saver for run in self._runs.follow(name, document)]
            if name == "stop" and (stopped := self._runs.get(document["run_start"])) is not None:
                self._runs.drop(stopped)
            new = {where for run in runs or [None] for where in changed if run is None or run.is_new(name, where)}
        if new:
            logger.error(
                "%s of run %s has what no recording can hold, and is kept with text or lists for it: %s",
                *(name, runs[0].uid if runs else "?", ", ".join(f"{key} ({changed[key]})" for key in sorted(new))),
            )
        if name == "descriptor":
            for run in runs:
                run.check_room(document)
        saved = [run(name, document, record) for run in runs] or [self._keep_orphan(name, document)]
        if name == "stop":
            for run in runs:
                run.finish()
                run.wait(self._timeout)
        if not all(saved):
            self._count_lost(name, document, saved.count(False))

    def close(self) -> None:
        """End the runs that have no stop as incomplete, and wait until they are in the catalogue.

        It does not close the catalogue; calls after it begin anew.
        """
        self._check_process()
        self._runs.close_all("the sink was closed before the stop")
        until = time.monotonic() + self._timeout
        while self._ending:
            self._ending.pop().wait(max(0.0, until - time.monotonic()))
        if self._orphans is not None:
            self._orphans.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self, start: Mapping[str, Any], backed_up: bool) -> None:
        if self._runs.get(start["uid"]) is not None:
            raise ValueError(f"run {start['uid']} was started twice: its uid must be its own")
        self._runs.open(_Run(start, RunSaver(start, self, self._timeout, backed_up=backed_up)))

    def _close(self, run: _Run, reason: str) -> None:
        """End a run without a stop, and leave it to its thread: others wait for the lock."""
        run.saver.finish(reason)
        self._ending = [*(saver for saver in self._ending if not saver.over), run.saver]

    def _made_backup_directory(self, uid: str | None = None) -> bool:
        try:
            self.backup.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            if uid is None:
                logger.error("no run has a backup (%s): they go into the catalogue at once", error)
            elif not self._unsafe:
                logger.error("run %s has no backup (%s): it goes into the catalogue at once", uid, error)
            self._unsafe = True
        else:
            self._unsafe = False
        return not self._unsafe

    def _keep_orphan(self, name: str, document: Mapping[str, Any]) -> bool:
        """Keep a document of no open run in the directory of the backups; return whether that could be done."""
        try:
            with self._runs.lock:
                if self._orphans is None:
                    self._orphans = Recorder(self.backup, on_error="raise")
            before = len(self._orphans.artifacts)
            self._orphans(name, document)
            for path in self._orphans.artifacts[before:]:
                path.chmod(0o600)
        except OSError as error:
            log = logger.info if self.lost else logger.error
            log("a document (%s) of no open run is saved nowhere (%s)", name, error)
            return False
        return True

    def _count_lost(self, name: str, document: Mapping[str, Any], count: int) -> None:
        with self._runs.lock:
            self.lost += count
        if self._on_error == "raise":
            raise OSError(f"{name} {document.get('uid')} is saved nowhere, neither in the catalogue nor in a backup")

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this sink belongs to process {self._process}, whose threads are not in this fork of it: "
                "open the catalogue and call save() in the new process"
            )


save = Saver
"""``save(catalog)`` makes the `Saver` of a catalogue."""


def _packed(name: str, document: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Buffer], dict[str, str]]:
    """The document as it is kept, its record, and what was changed for that: the types, by place."""
    try:
        return document, pack_record(name, document), {}
    except (TypeError, ValueError, OverflowError, RecursionError):
        document, changed = with_text(document)
        return document, pack_record(name, document), changed
