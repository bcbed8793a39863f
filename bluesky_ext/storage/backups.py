"""Backup files that earlier processes left, of runs that are not whole in a catalogue."""

from __future__ import annotations

import os
from pathlib import Path

from bluesky_ext.engine.recording import frame_file
from bluesky_ext.engine.recording.recording import Recording
from bluesky_ext.engine.recording.records import SUFFIX
from bluesky_ext.storage.destination import Destination
from bluesky_ext.storage.lock import is_locked
from bluesky_ext.storage.stored import entries
from bluesky_ext.storage.writer import RunWriter, key_of

__all__ = ["backups_in", "delete", "recover", "state_directory"]


def state_directory() -> Path:
    """Return the directory in which backup files are by default."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "bluesky-ext" / "backup"


def backups_in(directory: Path) -> list[Path]:
    """Return the backup files of runs in a directory, the oldest first, without those that are being written."""
    found = [path for path in directory.glob(f"*{SUFFIX}") if not path.name.startswith("orphans-")]
    return sorted((path for path in found if not is_locked(str(path))), key=lambda path: path.stat().st_mtime)


def delete(path: Path) -> None:
    """Delete a backup file, and the file beside it that has its images, if there is one."""
    path.unlink(missing_ok=True)
    path.with_suffix(frame_file.SUFFIX).unlink(missing_ok=True)


def recover(path: Path, destination: Destination) -> tuple[str, int, bool]:
    """Bring the run of a backup file into a catalogue, and delete the file when all of its documents are there.

    A run without a stop is marked as incomplete; one that the catalogue has whole already is not written again.

    Returns
    -------
    str, int, bool
        The uid of the run, how many documents it has, and whether they were in the catalogue already.

    Raises
    ------
    ValueError
        If the file is no recording of a run, or is damaged.
    OSError, httpx.HTTPError
        If the catalogue cannot take the run: the file stays.
    """
    recording = Recording(path)
    if recording.start is None:
        raise ValueError(f"{path} has no start document: read it with bluesky_ext.Recording")
    uid, count = recording.start["uid"], sum(1 for _ in recording)
    there = _whole(uid, count, destination)
    if not there:
        writer = RunWriter(destination, uid)
        try:
            for name, document in recording:
                writer(name, document)
            if recording.stop is None:
                writer.close("its backup has no stop document: the process that saved it was ended")
        except BaseException:
            writer.discard()
            raise
    delete(path)
    return uid, count, there


def _whole(uid: str, count: int, destination: Destination) -> bool:
    key = key_of(uid)
    if key not in destination.catalog:
        return False
    run = destination.catalog[key]
    return bool(run.metadata.get("stop")) and sum(1 for _ in entries(run)) == count
