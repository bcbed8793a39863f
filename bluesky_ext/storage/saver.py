"""Saving: a sink that puts runs into a catalogue, and loses nothing if that fails."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Any, Self

from event_model import DocumentNames

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.engine.documents.open_runs import PARENT
from bluesky_ext.engine.recording.journal import Journal
from bluesky_ext.engine.recording.recorder import Recorder
from bluesky_ext.engine.recording.records import MAGIC, SUFFIX, pack_record
from bluesky_ext.storage.catalog import expanded, open_catalog, probe
from bluesky_ext.storage.follower import Follower
from bluesky_ext.storage.lock import Lock
from bluesky_ext.storage.spelled import spelled
from bluesky_ext.storage.stored import is_run
from bluesky_ext.storage.writer import RunExistsError, RunWriter

__all__ = ["Saver", "save"]

logger = logging.getLogger(__name__)

_INTERVAL = 0.5  # s
_PROBE = 2.0  # s
_MOST_KNOWN = 100


def save(
    catalog: object,
    *,
    backup: str | os.PathLike[str] | None = None,
    replace_incomplete: bool = False,
    timeout: float = 60.0,
    max_open: int = 64,
) -> Saver:
    """Return a sink that saves every run, raw or derived, whole in a catalogue of Tiled: see `Saver`.

    Parameters
    ----------
    catalog : client, path or str
        What `bluesky_ext.storage.open_catalog` takes.
    backup : path, optional
        The directory of the backup files; one below ``$XDG_STATE_HOME`` or ``~/.local/state`` by default. It should be
        on a local disk, and on another one than the catalogue, which may be full.
    replace_incomplete : bool
        If there is a run of the same uid without a stop in the catalogue, as a failure leaves it, replace it. One that
        a process of this machine is writing with a backup is not replaced; of others, that cannot be known.
    timeout : float
        How long the stop of a run waits until all of it is in the catalogue, in s.
    max_open : int
        Most runs that may be open at once. The one that was silent for the longest time is closed as incomplete.
    """
    return Saver(catalog, backup=backup, replace_incomplete=replace_incomplete, timeout=timeout, max_open=max_open)


class Saver:
    """A sink that saves every run in a catalogue of Tiled, from which `documents` and `read` give it back.

    Each document has reached a backup file, a recording, when the call returns; a thread for each run carries it from
    there into the catalogue, at most half a second and one batch later. At the stop, the call waits for that, and
    the backup is deleted.

    What no recording can hold (paths, sets, decimals, arrays of objects) is kept as text or lists, with one error for
    each place in the documents of a run.

    If the catalogue fails, that is logged as one error, and the rest of the run goes on into the backup file: it has
    all documents since the start, and stays. `bluesky_ext.Recording` and ``bluesky-ext replay`` read it. If instead
    the backup cannot be written, that is logged as one error, and the documents go into the catalogue at once. If both
    fail, OSError is raised. A process that is killed leaves its backup files. After a failure, the next runs wait no
    more than two seconds each for a catalogue that is still gone.

    Runs may be interleaved. One without a stop is marked as incomplete by `close`. Documents of no open run are kept
    in the backup directory, as by `bluesky_ext.Recorder`.

    Attributes
    ----------
    catalog : client
        The catalogue.
    backup : pathlib.Path
        The directory of the backup files.
    replace_incomplete : bool
        Whether a run of the same uid without a stop is replaced.
    backups : list of pathlib.Path
        Those that are there to stay: of the runs that are not whole in the catalogue.
    """

    def __init__(
        self,
        catalog: object,
        *,
        backup: str | os.PathLike[str] | None = None,
        replace_incomplete: bool = False,
        timeout: float = 60.0,
        max_open: int = 64,
    ) -> None:
        if not timeout >= 0:
            raise ValueError(f"timeout {timeout!r} s: give a time of 0 or more")
        if max_open < 1:
            raise ValueError(f"max_open {max_open!r}: at least one run must be open to be saved")
        if is_run(catalog):
            raise TypeError(f"{type(catalog).__qualname__} is one run: give the catalogue that it is in")
        self.catalog = open_catalog(catalog)
        self.backup = _state_directory() if backup is None else expanded(backup)
        self.backups: list[Path] = []
        self.replace_incomplete = replace_incomplete
        self.down = False
        """Whether the catalogue failed when a run was last saved: the next one asks at first if it is there."""
        self._timeout, self._max_open = timeout, max_open
        self._runs: dict[str, _Run] = {}
        self._lost: Recorder | None = None
        self._lock = threading.RLock()
        self._process = os.getpid()
        error = self._make_backup_directory()
        self._unsafe = error is not None
        if error is not None:
            logger.error("no run has a backup (%s): they go into the catalogue at once", error)

    def __call__(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        """Save a document."""
        name = str(name.value if isinstance(name, Enum) else name)
        if name not in PARENT:
            raise ValueError(f"a document called {name!r}: the names are {', '.join(PARENT)}")
        self._check_process()
        document, record, changed = _packed(name, document)
        with self._lock:
            if name == "start":
                self._open(document)
            runs = self._runs_of(name, document)
            if not runs:
                self._keep_lost(name, document)
            new = {where for run in runs or [None] for where in changed if run is None or run.is_new(name, where)}
            if new:
                logger.error(
                    "%s of run %s has what no recording can hold, and is kept with text or lists for it: %s",
                    *(name, runs[0].uid if runs else "?", ", ".join(f"{key} ({changed[key]})" for key in sorted(new))),
                )
            for run in runs:
                self._runs[run.uid] = self._runs.pop(run.uid)  # the first is the one that was silent for longest
                if name in ("descriptor", "resource", "stream_resource"):
                    run.uids.add(document["uid"])
                try:
                    run(name, document, record)
                except BaseException:
                    if name in ("start", "stop"):
                        del self._runs[run.uid]
                        run.end(f"its {name} could not be saved", self._timeout)
                    raise
            if name == "stop":
                for run in runs:
                    del self._runs[run.uid]
        if name == "stop":
            for run in runs:
                run.end("", self._timeout)

    def close(self) -> None:
        """End the runs that have no stop as incomplete, and wait until they are in the catalogue.

        It does not close the catalogue; calls after it begin anew.
        """
        self._check_process()
        with self._lock:
            runs, self._runs = list(self._runs.values()), {}
        for run in runs:
            run.end("the sink was closed before the stop", self._timeout)
        if self._lost is not None:
            self._lost.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self, start: Mapping[str, Any]) -> None:
        uid = start["uid"]
        if uid in self._runs:
            raise ValueError(f"run {uid} was started twice: its uid must be its own")
        if len(self._runs) >= self._max_open:
            silent = self._runs.pop(next(iter(self._runs)))
            silent.end(f"{self._max_open} more runs were started before its stop", self._timeout)
        error = self._make_backup_directory()
        if error is not None and not self._unsafe:
            logger.error("run %s has no backup (%s): it goes into the catalogue at once", uid, error)
        self._unsafe = error is not None
        self._runs[uid] = _Run(uid, self, backed_up=error is None)

    def _make_backup_directory(self) -> OSError | None:
        try:
            self.backup.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            return error
        return None

    def _keep_lost(self, name: str, document: Mapping[str, Any]) -> None:
        if self._lost is None:
            self._lost = Recorder(self.backup, compression=None)
        before = len(self._lost.artifacts)
        self._lost(name, document)
        for path in self._lost.artifacts[before:]:
            path.chmod(0o600)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this sink belongs to process {self._process}, whose threads are not in this fork of it: "
                "open the catalogue and call save() in the new process"
            )

    def _runs_of(self, name: str, document: Mapping[str, Any]) -> list[_Run]:
        parent = document.get(PARENT[name])
        if parent is None and name in ("resource", "stream_resource"):
            # Resources of old do not name their run. As event_model.RunRouter does: it may be any of them.
            return list(self._runs.values())
        return [run for run in self._runs.values() if parent in run.uids]


class _Run:
    """An open run: on its way into the backup file, and from there into the catalogue."""

    def __init__(self, uid: str, saver: Saver, *, backed_up: bool) -> None:
        self.uid = uid
        self.uids = {uid}
        self._saver = saver
        # A name of its own: a backup that is left of this run may be what is saved again.
        self._path = saver.backup / f"{file_name(uid)}-{secrets.token_hex(4)}{SUFFIX}"
        self._writer = RunWriter(
            saver.catalog, replace_incomplete=saver.replace_incomplete, backup=self._path if backed_up else None
        )
        self._journal: Journal | None = None
        self._written: Lock | None = None
        self._follower: Follower | None = None
        self._alone = not backed_up
        self._reported = False
        self._reporting = threading.Lock()
        self._known: set[tuple[str, str]] = set()

    def is_new(self, name: str, where: str) -> bool:
        """Whether this is the first time that such a document has something there that cannot be kept as it is."""
        there = (name, where)
        new = there not in self._known and len(self._known) < _MOST_KNOWN
        if new:
            self._known.add(there)
        return new

    def __call__(self, name: str, document: Mapping[str, Any], record: list[Buffer]) -> None:
        if not self._alone:
            try:
                self._back_up(record)
            except OSError as error:
                self._go_alone(error)
            else:
                return
        try:
            self._writer(name, document)
            self._writer.flush()
        except Exception as error:
            self._writer.discard()
            raise OSError(f"run {self.uid}: this {name} is saved nowhere ({_said(error)})") from error

    def end(self, incomplete: str, timeout: float) -> None:
        """Wait until all is in the catalogue, then delete the backup; if it is not, the backup stays."""
        if incomplete:
            logger.warning("run %s has no stop, and %s: it is saved as incomplete", self.uid, incomplete)
        if self._follower is None or self._journal is None or self._alone:
            if incomplete:
                self._writer.close(incomplete)
            return
        self._follower.finish(incomplete)
        over = self._follower.wait(timeout)
        if not over:
            self._saver.down = True
            self._report(f"is not whole in the catalogue after {timeout:g} s")
        if over and not self._follower.failed:
            self._journal.close()
            self._path.unlink()
        else:
            self._keep()
            with closing(self._journal) as journal:
                journal.sync()
                journal.sync_name()

    def _back_up(self, record: list[Buffer]) -> None:
        if self._journal is None:
            self._journal = Journal(self._path)
            self._path.chmod(0o600)
            self._written = Lock(self._path)
            record = [MAGIC, *record]
        self._journal.append(record)
        if self._follower is None:
            self._follower = Follower(self._path, self._writer, self._began, self._ended, _INTERVAL)
        self._follower.grown()

    def _began(self) -> None:
        """Ask a catalogue that failed before if it is there now, for a short time: or each run would wait for it."""
        if self._saver.down:
            probe(self._saver.catalog, _PROBE)

    def _ended(self, error: Exception | None) -> None:
        if error is None:
            self._saver.down = False
        else:
            self._keep()
            self._saver.down = not isinstance(error, RunExistsError)
            self._report(f"could not be saved in the catalogue ({_said(error)})")
        if self._written is not None:
            self._written.open()

    def _report(self, what: str) -> None:
        """Log an error: one for a run, though a catalogue be late and fail after that."""
        with self._reporting:
            told, self._reported = self._reported, True
        log = logger.info if told else logger.error
        log(
            "run %s %s: all of its documents are in %s, bring them there with `bluesky-ext replay %s --into CATALOG`",
            *(self.uid, what, self._path, self._path),
        )

    def _go_alone(self, error: OSError) -> None:
        """Go on without the backup, if what it has can be brought into the catalogue."""
        self._alone = True
        logger.error("run %s has no backup any more (%s): it goes into the catalogue at once", self.uid, error)
        if self._follower is not None:
            self._follower.finish()
            self._follower.wait(None)
        if self._journal is not None:
            self._journal.close()
        if self._written is not None:
            self._written.open()
        if self._follower is not None and self._follower.failed:
            raise OSError(f"run {self.uid} can be saved neither in the catalogue nor in {self._path} ({error})")
        self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        if self._path not in self._saver.backups:
            self._saver.backups.append(self._path)


def _state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "bluesky-ext" / "backup"


def _packed(name: str, document: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Buffer], dict[str, str]]:
    """The document as it is kept, its record, and what was changed for that: the types, by place."""
    try:
        return document, pack_record(name, document, None), {}
    except (TypeError, ValueError, OverflowError, RecursionError):
        document, changed = spelled(document)
        return document, pack_record(name, document, None), changed


def _said(error: Exception) -> str:
    """What the error says, in a line; Tiled's and httpx's have several."""
    return " ".join(str(error).split())[:300] or type(error).__name__
