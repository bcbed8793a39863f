"""The runs of a scan as they come from wherever they are kept: a database, Tiled, a list of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from suitcase_nxstxm.errors import FinalFileExistsError, MetadataError, NothingToFinishError
from suitcase_nxstxm.file import TmpFile
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.scan import Scan, file_of

__all__ = ["documents", "export_scan"]


def documents(run: Any) -> Iterator[tuple[str, Any]]:
    """The documents of a run, with their data filled in where the run can do that itself.

    Parameters
    ----------
    run
        A databroker header, a run of a Tiled catalog, or an iterable of (name, document).
    """
    found = getattr(run, "documents", None)
    if found is None:
        if isinstance(run, (str, bytes, Mapping)) or not isinstance(run, Iterable):
            raise TypeError(f"a run is a databroker header, a Tiled run or a list of documents, not {str(run)[:80]!r}")
        yield from run
        return
    try:
        stream = found(fill=True)
    except NotImplementedError:  # databroker 2's version of its old interface
        stream = found()
    except TypeError as error:
        if "fill" not in str(error):
            raise
        stream = found()
    yield from stream


def export_scan(
    runs: Iterable[Any],
    directory: Any,
    file_prefix: str = "{uid}-",
    *,
    first_uid: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Any:
    """Export a scan, all its runs, into one finished NXstxm file; return its path.

    Parameters
    ----------
    runs : iterable
        The runs of the scan in any order: databroker headers, Tiled runs or lists of documents. A dictionary of
        them by uid will do as well. They are read one after the other and never held in memory.
    directory : str, Path or Manager
        Where the file goes. With a ``suitcase.utils.MemoryBuffersManager`` the buffer is returned.
    file_prefix : str
        The name of the file without ``.hdf5``. ``{...}`` are taken from the start document of the first run.
    first_uid : str, optional
        The uid that the file has in its name while it is under construction. By default that of the first run.
    overwrite : bool
        Replace an existing file of that name.
    **options
        The options of `Serializer`.

    Raises
    ------
    FinalFileExistsError
        If there is a file of that name already.
    DuplicateRunError
        If two runs are for the same plane of the same entry.
    MetadataError
        If the runs are of different scan types.
    UnfinishedError
        If a run has no stop document.
    """
    given = Options(**options)
    scan: Scan | None = None
    kind = None
    try:
        for run in runs.values() if isinstance(runs, Mapping) else runs:
            for name, doc in documents(run):
                if name == "start":
                    request = given.request(doc)
                    if kind not in (None, request.scan_type):
                        raise MetadataError(
                            f"run {request.run} is {request.scan_type.name} in a scan that is {kind.name}"
                        )
                    kind = request.scan_type
                    if scan is None:
                        scan = _begun(directory, file_prefix, doc, first_uid or doc["uid"], given, overwrite)
                    scan.start(doc, request)
                elif scan is None:
                    raise MetadataError(f"a document {name!r} came before any start document")
                elif name == "bulk_events":
                    raise MetadataError("'bulk_events' are no longer documents of Bluesky: make them event pages")
                else:
                    scan.take(name, doc)
    except BaseException:
        if scan is not None:
            scan.close()
        raise
    if scan is None:
        raise NothingToFinishError("there is nothing to export: no run was given")
    scan.running.clear()
    return scan.finish(overwrite)


def _begun(
    directory: Any, file_prefix: str, start: Mapping[str, Any], first_uid: str, options: Options, overwrite: bool
) -> Scan:
    file = file_of(directory, file_prefix, start, first_uid)
    if isinstance(file, TmpFile) and file.final.exists() and not overwrite:
        raise FinalFileExistsError(f"{file.final} exists: give another file_prefix, or overwrite=True")
    return Scan(file, options)
