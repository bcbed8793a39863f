"""The saver of one run: its documents into a backup file, and from there into the catalogue."""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.recording.journal import Journal
from bluesky_ext.engine.recording.records import MAGIC, SUFFIX
from bluesky_ext.storage.backups import delete
from bluesky_ext.storage.catalog import probe
from bluesky_ext.storage.follower import Follower
from bluesky_ext.storage.images_ahead import ImagesAhead
from bluesky_ext.storage.lock import Lock
from bluesky_ext.storage.room import expected_bytes, room_of
from bluesky_ext.storage.writer import RunExistsError, RunWriter

if TYPE_CHECKING:
    from bluesky_ext.storage.saver import Saver

__all__ = ["RunSaver"]

logger = logging.getLogger(__name__)

_INTERVAL = 0.5  # s
_PATIENCE, _PROBE = 2.0, 1.0  # s, with a catalogue that failed before
_MOST_KNOWN = 100
_NOWHERE = "what comes of it is saved nowhere"


class RunSaver:
    """An open run on its way into the backup file, and from there, in a thread of its own, into the catalogue.

    Where the backup file cannot be written, each document waits until that thread has put it into the catalogue, for
    at most `timeout` seconds. After that, and after an error of the catalogue, what comes is saved nowhere, without
    waiting again.

    Parameters
    ----------
    start : dict
        The start of the run.
    saver : Saver
        Its ``destination`` and ``backup`` are written to; its ``backups`` and ``down`` are told how that ends.
    timeout : float
        The longest that a call waits for the catalogue, in s; if that failed before, two seconds at most.
    backed_up : bool
        Whether there is a directory for the backup file.
    """

    def __init__(self, start: Mapping[str, Any], saver: Saver, timeout: float, *, backed_up: bool) -> None:
        self.uid: str = start["uid"]
        self.lost = 0
        """How many documents are saved nowhere."""
        self._saver, self._start = saver, start
        self._timeout = min(timeout, _PATIENCE) if saver.down else timeout
        # A name of its own: a backup that is left of this run may be what is saved again.
        self._path = saver.backup / f"{file_name(self.uid)}-{secrets.token_hex(4)}{SUFFIX}"
        backup = self._path if backed_up else None
        writer = RunWriter(saver.destination, self.uid, backup=backup)
        self._images = ImagesAhead(writer.file, self._path) if backed_up and writer.file is not None else None
        self._follower = Follower(self._path, writer, self._began, self._ended, _INTERVAL)
        self._journal: Journal | None = None
        self._written: Lock | None = None
        self._alone = not backed_up
        self._late = self._finished = self._over = self._kept = self._reported = False
        self._error: Exception | None = None
        self._ending = threading.RLock()
        self._order = threading.Lock()
        self._known: set[tuple[str, str]] = set()

    def is_new(self, name: str, where: str) -> bool:
        """Whether this is the first time that such a document has something there that cannot be kept as it is."""
        there = (name, where)
        new = there not in self._known and len(self._known) < _MOST_KNOWN
        if new:
            self._known.add(there)
        return new

    def __call__(self, name: str, document: Mapping[str, Any], record: list[Buffer]) -> bool:
        """Save a document; return whether it is saved somewhere."""
        with self._order:
            if name == "event_page":  # its arrays come to their file later, and those after them must not be before
                self._images = None
            if not self._alone:
                try:
                    self._back_up(record)
                except OSError as error:
                    self._alone = True
                    then = "it goes into the catalogue at once" if self._follower.error is None else _NOWHERE
                    logger.error("run %s has no backup any more (%s): %s", self.uid, error, then)
                else:
                    return True
            if not self.lost and self._follower.give(name, document, self._timeout):
                return True
            if not self.lost and self._follower.error is None:
                self._late = self._saver.down = True
                self._report(f"could not be saved in the catalogue (no answer in {self._timeout:g} s)")
            self.lost += 1
            return False

    def place(self, event: Mapping[str, Any], stream: OpenStream) -> Mapping[str, Any]:
        """Write images of an event where the run will have them, if that is on the disk of the backup.

        Return the event with a `Frame` in the place of each of these; it is to be saved next.
        """
        return event if self._alone or self._images is None else self._images(event, stream)

    def finish(self, incomplete: str = "") -> None:
        """Let the run end with what there is, as incomplete if a reason is given; this does not wait for it."""
        if self.lost:
            incomplete = incomplete or f"{self.lost} of its documents were saved nowhere"
            where = f"; {self._path} has those before" if self._journal is not None else ""
            logger.warning("of run %s, %d documents are saved nowhere%s", self.uid, self.lost, where)
        self._follower.finish(incomplete)
        with self._ending:
            self._finished = True
            self._settle()

    def check_room(self, descriptor: Mapping[str, Any]) -> None:
        """Warn if the images that a stream will have, as far as that is known, need more room than there is."""
        needed = expected_bytes(self._start, descriptor)
        for path, what in room_of(self._saver.backup, self._saver.destination.directory):
            free = shutil.disk_usage(path).free
            if needed * len(what) > free:
                logger.warning(
                    "run %s is about to take %.1f GB of the disk of the %s, and %s has %.1f GB left",
                    *(self.uid, needed * len(what) / 1e9, " and the ".join(what), path, free / 1e9),
                )

    def wait(self, timeout: float) -> None:
        """Wait until all of a run that is finished is in the catalogue, so many seconds at most."""
        timeout = min(timeout, self._timeout)
        if not self._follower.wait(0 if self._late else timeout):
            self._late = self._saver.down = True
            self._report(f"is not whole in the catalogue after {timeout:g} s")
            with self._ending:
                self._settle()

    @property
    def over(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self._over

    def _settle(self) -> None:
        """Delete the backup when all of it is in the catalogue; of a run that is not, or not in time, it stays."""
        if self._journal is None or not self._finished:
            return
        if self._over and self._error is None:
            self._journal.close()
            delete(self._path)
            if self._path in self._saver.backups:
                self._saver.backups.remove(self._path)
        elif (self._over or self._late) and not self._kept:
            self._kept = True
            self._keep()
            try:
                with closing(self._journal) as journal:
                    if self._images is not None:
                        self._images.sync()
                    journal.sync()
            except OSError as error:
                logger.error("the backup of run %s would not survive a loss of power (%s)", self.uid, error)

    def _back_up(self, record: list[Buffer]) -> None:
        if self._journal is None:
            self._journal = self._begun(record)
        else:
            self._journal.append(record)
        self._follower.grown()

    def _begun(self, record: list[Buffer]) -> Journal:
        journal = Journal(self._path)
        try:
            self._path.chmod(0o600)
            journal.append([MAGIC, *record])
            self._written = Lock(self._path)
        except BaseException:
            journal.close()
            self._path.unlink()
            raise
        return journal

    def _began(self) -> None:
        """Ask a catalogue that failed before if it is there now, for a short time: or each run would wait for it."""
        if self._saver.down:
            probe(self._saver.destination.catalog, _PROBE)

    def _ended(self, error: Exception | None) -> None:
        if error is None:
            self._saver.down = False
        else:
            if self._journal is not None:
                self._keep()
            self._saver.down = not isinstance(error, RunExistsError)
            self._report(f"could not be saved in the catalogue ({_said(self._cause(error))})")
        if self._written is not None:
            self._written.open()
        with self._ending:
            self._over, self._error = True, error
            self._settle()

    def _cause(self, error: Exception) -> Exception:
        """What made the catalogue fail: of a disk that is full, Tiled says that its server is broken."""
        try:
            if not isinstance(error, RunExistsError):
                self._saver.destination.check_disk()
        except OSError as full:
            return full
        return error

    def _report(self, what: str) -> None:
        """Log an error: one for a run, though a catalogue be late and fail after that."""
        with self._ending:
            told, self._reported = self._reported, True
        log = logger.info if told else logger.error
        if self._alone:
            log("run %s %s, and has no backup: %s", self.uid, what, _NOWHERE)
            return
        log(
            "run %s %s: all of its documents are in %s, bring them there with `bluesky-ext recover --catalog CATALOG "
            "--backup %s`",
            *(self.uid, what, self._path, self._saver.backup),
        )

    def _keep(self) -> None:
        if self._path not in self._saver.backups:
            self._saver.backups.append(self._path)


def _said(error: Exception) -> str:
    """What the error says, in a line; Tiled's and httpx's have several."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"its disk is full: {error.filename}"
    return " ".join(str(error).split())[:300] or type(error).__name__
