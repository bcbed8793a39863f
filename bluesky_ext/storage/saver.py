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

from bluesky_ext.documents.framing import Buffer
from bluesky_ext.documents.journal import Journal
from bluesky_ext.documents.recorder import Recorder
from bluesky_ext.documents.records import MAGIC, SUFFIX, pack_record
from bluesky_ext.storage.catalog import open_catalog
from bluesky_ext.storage.follower import Follower
from bluesky_ext.storage.stored import is_run
from bluesky_ext.storage.writer import RunWriter, key_of

__all__ = ["Saver", "save"]

logger = logging.getLogger(__name__)

_INTERVAL = 0.5  # s

# Where each document names what it belongs to.
_PARENT = {
    "start": "uid",
    "descriptor": "run_start",
    "event": "descriptor",
    "event_page": "descriptor",
    "resource": "run_start",
    "datum": "resource",
    "datum_page": "resource",
    "stream_resource": "run_start",
    "stream_datum": "descriptor",
    "stop": "run_start",
}


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
        If there is a run of the same uid without a stop in the catalogue, as a failure leaves it, replace it.
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

    If the catalogue fails, that is logged as one error, and the rest of the run goes on into the backup file: it has
    all documents since the start, and stays. `bluesky_ext.Recording` and ``bluesky-ext replay`` read it. If instead
    the backup cannot be written, that is logged as one error, and the documents go into the catalogue at once. If both
    fail, OSError is raised. A process that is killed leaves its backup files.

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
        self.backup = _state_directory() if backup is None else Path(backup).expanduser().absolute()
        self.backup.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.backups: list[Path] = []
        self.replace_incomplete = replace_incomplete
        self._timeout, self._max_open = timeout, max_open
        self._runs: dict[str, _Run] = {}
        self._lost = Recorder(self.backup, compression=None)
        self._lock = threading.RLock()

    def __call__(self, name: str | DocumentNames, document: Mapping[str, Any]) -> None:
        """Save a document."""
        name = str(name.value if isinstance(name, Enum) else name)
        if name not in _PARENT:
            raise ValueError(f"a document called {name!r}: the names are {', '.join(_PARENT)}")
        with self._lock:
            if name == "start":
                self._open(document)
            runs = self._runs_of(name, document)
            if not runs:
                self._lost(name, document)
            for run in runs:
                self._runs[run.uid] = self._runs.pop(run.uid)  # the first is the one that was silent for longest
                if name in ("descriptor", "resource", "stream_resource"):
                    run.uids.add(document["uid"])
                try:
                    run(name, document)
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
        with self._lock:
            runs, self._runs = list(self._runs.values()), {}
        for run in runs:
            run.end("the sink was closed before the stop", self._timeout)
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
        self._runs[uid] = _Run(uid, self)

    def _runs_of(self, name: str, document: Mapping[str, Any]) -> list[_Run]:
        parent = document.get(_PARENT[name])
        if parent is None and name in ("resource", "stream_resource"):
            # Resources of old do not name their run. As event_model.RunRouter does: it may be any of them.
            return list(self._runs.values())
        return [run for run in self._runs.values() if parent in run.uids]


class _Run:
    """An open run: on its way into the backup file, and from there into the catalogue."""

    def __init__(self, uid: str, saver: Saver) -> None:
        self.uid = uid
        self.uids = {uid}
        self._saver = saver
        self._writer = RunWriter(saver.catalog, replace_incomplete=saver.replace_incomplete)
        # A name of its own: a backup that is left of this run may be what is saved again.
        self._path = saver.backup / f"{key_of(uid)}-{secrets.token_hex(4)}{SUFFIX}"
        self._journal: Journal | None = None
        self._follower: Follower | None = None
        self._alone = False

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        if not self._alone:
            try:
                self._back_up(pack_record(name, document, None))
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
            logger.error(
                "run %s is not whole in the catalogue after %g s: all of its documents are in %s",
                *(self.uid, timeout, self._path),
            )
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
            record = [MAGIC, *record]
        self._journal.append(record)
        if self._follower is None:
            self._follower = Follower(self._path, self._writer, self._failed, _INTERVAL)
        self._follower.grown()

    def _failed(self, error: Exception) -> None:
        self._keep()
        logger.error(
            "run %s could not be saved in the catalogue (%s): all of its documents are in %s, "
            "bring them there with `bluesky-ext replay %s --into CATALOG`",
            *(self.uid, _said(error), self._path, self._path),
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
        if self._follower is not None and self._follower.failed:
            raise OSError(f"run {self.uid} can be saved neither in the catalogue nor in {self._path} ({error})")
        self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        if self._path not in self._saver.backups:
            self._saver.backups.append(self._path)


def _state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "bluesky-ext" / "backup"


def _said(error: Exception) -> str:
    """What the error says, in a line; Tiled's and httpx's have several."""
    return " ".join(str(error).split())[:300] or type(error).__name__
