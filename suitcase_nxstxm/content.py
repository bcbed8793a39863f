"""What a file has beside its entries, from its beginning to its end."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import h5py

from suitcase_nxstxm.errors import UnfinishedError
from suitcase_nxstxm.nexus import group, text
from suitcase_nxstxm.places import settle
from suitcase_nxstxm.rows import settle_rows
from suitcase_nxstxm.runs import RunTable, entries

__all__ = ["begin", "complete", "failure", "mark", "unmark"]

logger = logging.getLogger(__name__)

# In a file under construction only: what went wrong, and with which run.
_FAILURE, _FAILED_RUN = "failure", "failed_run"


def failure(file: h5py.File) -> str | None:
    """What went wrong with the last export to the file, if something did and the run wasn't exported again."""
    return file.attrs.get(_FAILURE)


def mark(file: h5py.File | None, error: BaseException, run: str) -> None:
    """Write that the export of a run failed."""
    if file is not None:
        file.attrs[_FAILURE] = " ".join(f"{type(error).__name__}: {error}".split())[:1000]
        file.attrs[_FAILED_RUN] = run


def unmark(file: h5py.File | None, run: str) -> None:
    """Take the mark of a run away."""
    if file is not None and file.attrs.get(_FAILED_RUN) == run:
        del file.attrs[_FAILURE], file.attrs[_FAILED_RUN]


def begin(file: h5py.File) -> None:
    """Write what every NeXus file has at its root."""
    file.attrs["NX_class"] = "NXroot"
    file.attrs["creator"] = "suitcase-nxstxm"
    file.attrs["file_time"] = datetime.now(UTC).isoformat()
    file.attrs["HDF5_Version"] = h5py.version.hdf5_version
    file.attrs["h5py_version"] = h5py.version.version


def complete(file: h5py.File, name: str, *, final: bool = True) -> None:
    """Write what only all runs together tell, and the way to the default plot; drop entries without any data.

    Parameters
    ----------
    file
        The file.
    name
        What people call it.
    final
        Whether no run comes after this.

    Raises
    ------
    UnfinishedError
        If there is no other entry.
    """
    measured = {entry: _has_data(found) for entry, found in entries(file)}
    if not any(measured.values()):
        raise UnfinishedError(f"{name} has no data: nothing was measured in any of its runs")
    for entry, has_data in measured.items():
        if not has_data:
            logger.warning("%s of %s has no data: its run ended before anything was measured", entry, name)
            del file[entry]
    settle(file, final)
    if final:
        settle_rows(file)
    for _, entry in entries(file):
        collection = group(entry, "collection", "NXcollection")
        table = RunTable(collection)
        text(entry, "start_time", min(table.column("start_time")))
        text(entry, "end_time", max(table.column("end_time")))
        text(collection, "exit_status", table.exit_status)
    file.attrs["default"] = next(entry for entry, _ in entries(file))


def _has_data(entry: h5py.Group) -> bool:
    return any(item.attrs.get("NX_class") == "NXdata" for item in entry.values() if isinstance(item, h5py.Group))
