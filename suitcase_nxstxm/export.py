"""Runs into NXstxm files: what every suitcase has, and a scan at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from suitcase_nxstxm.errors import MetadataError, NothingToFinishError, SecondStartError
from suitcase_nxstxm.file import LABEL, BufferFile, file_of, find
from suitcase_nxstxm.options import Options, check_target
from suitcase_nxstxm.scan import Scan

logger = logging.getLogger(__name__)


class Serializer:
    """A callback that writes the documents of one run into the NXstxm file of its scan, as they come.

    Nothing is written of a live run (``purpose="live"``), which is for alignment.

    Parameters
    ----------
    directory : str, Path or Manager
        Where the file goes. A ``suitcase.utils.MemoryBuffersManager`` makes it a buffer, which is finished at the stop
        document.
    file_prefix : str
        The name of the file without ``.hdf5``. ``{...}`` are taken from the start document.
    first_uid : str, optional
        The uid of the first run of the scan. By default that of this run.
    **options
        What the documents don't say: the fields of `suitcase_nxstxm.options.Options`.
    """

    def __init__(self, directory: Any, file_prefix: str = "{uid}-", first_uid: str | None = None, **options: Any):
        check_target(directory, file_prefix)
        self._directory, self._file_prefix, self._first_uid = directory, file_prefix, first_uid
        self._options = Options(**options)
        self._run: str | None = None
        self._scan: Scan | None = None

    def __call__(self, name: str, doc: Any) -> None:
        """Take a document of the run."""
        if name == "start":
            if self._run is not None:
                was, new = self._run, doc["uid"]
                raise SecondStartError(f"a Serializer takes the documents of one run: {new} came after {was}")
            if doc.get("purpose") != "live":
                request = self._options.request(doc)
                file = file_of(self._directory, self._file_prefix, doc, self._first_uid or doc["uid"])
                scan = Scan(file, self._options)
                scan.start(doc, request)
                self._scan = scan
            self._run = doc["uid"]
        elif self._run is None:
            raise MetadataError(f"a document {name!r} came before any start document")
        elif self._scan is not None:
            self._scan.take(name, doc)
            if name == "stop":
                if isinstance(self._scan.file, BufferFile):
                    self._scan.finish()
                self._scan.release()

    @property
    def artifacts(self) -> dict[str, list[Any]]:
        """What has been written, by label: the path under construction, or the buffer."""
        return {} if self._scan is None else {LABEL: [self._scan.file.artifact]}

    def close(self) -> None:
        """Close the file. Without a stop document it stays under construction, with its data."""
        if self._scan is not None:
            if self._scan.running:
                logger.warning("run %s has no stop document: %s stays", self._run, self._scan.file.artifact)
            self._scan.close()

    def __enter__(self) -> Serializer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def export(
    gen: Iterable[tuple[str, Any]],
    directory: Any,
    file_prefix: str = "{uid}-",
    first_uid: str | None = None,
    **options: Any,
) -> dict[str, list[Any]]:
    """Export the documents of one run into the file of its scan, under construction until `finish_export`.

    For a scan of several runs call it for each of them, in any order, with the uid of the first one. The other
    arguments are those of `Serializer`. It returns what has been written, by label.
    """
    with Serializer(directory, file_prefix, first_uid, **options) as serializer:
        for name, doc in gen:
            serializer(name, doc)
    return serializer.artifacts


def finish_export(
    directory: str | Path, file_prefix: str, first_uid: str, *, overwrite: bool = False, set_aside: bool = False
) -> Path:
    """Give the file of a scan its final name, ``<file_prefix>.hdf5``, all at once, when it is safely on the disk.

    Parameters
    ----------
    directory, file_prefix, first_uid
        As they were given to `export`; the uid is that of the first run of the scan.
    overwrite : bool
        Replace an existing file of the final name; else that is a FinalFileExistsError.
    set_aside : bool
        Instead of finishing the file write what there is of it, of runs without a stop document as well, to
        ``....tmp.aside1``; the next export begins anew. Without this the next export takes up what a crash has left.

    Returns
    -------
    Path
        Where the file is now.

    Raises
    ------
    NothingToFinishError
        If there is no file under construction.
    UnfinishedError
        If a run has no stop document, or an export failed.
    """
    scan = Scan(find(Path(directory), file_prefix, first_uid))
    return scan.set_aside() if set_aside else scan.finish(overwrite)


def export_scan(
    runs: Iterable[Any],
    directory: Any,
    file_prefix: str = "{uid}-",
    *,
    first_uid: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Any:
    """Export a scan, all its runs, into one finished NXstxm file; return its path, or the buffer of a Manager.

    Parameters
    ----------
    runs : iterable
        The runs of the scan, of one scan type, in any order: databroker headers, Tiled runs or lists of documents. A
        dictionary of them by uid will do as well. They are read one after the other and never held in memory.
    directory, file_prefix, first_uid, overwrite, **options
        As for `Serializer` and `finish_export`, whose errors it raises.
    """
    given, kind = Options(**options), None
    scan: Scan | None = None
    try:
        for run in runs.values() if isinstance(runs, Mapping) else runs:
            for name, doc in _documents(run):
                if name == "start":
                    request = given.request(doc)
                    if kind not in (None, request.scan_type):
                        what = f"run {request.run} is {request.scan_type.name}"
                        raise MetadataError(f"{what} in a scan that is {kind.name}")
                    kind = request.scan_type
                    if scan is None:
                        file = file_of(directory, file_prefix, doc, first_uid or doc["uid"])
                        file.check_final(overwrite)
                        scan = Scan(file, given)
                    scan.start(doc, request)
                elif scan is None:
                    raise MetadataError(f"a document {name!r} came before any start document")
                else:
                    scan.take(name, doc)
    except BaseException:
        if scan is not None:
            scan.close()
        raise
    if scan is None:
        raise NothingToFinishError("there is nothing to export: no run was given")
    return scan.finish(overwrite)


def _documents(run: Any) -> Iterator[tuple[str, Any]]:
    """The documents of a databroker header, a Tiled run or a list of them, filled in if the run can do that itself."""
    found = getattr(run, "documents", None)
    if found is None:
        if isinstance(run, (str, bytes, Mapping)) or not isinstance(run, Iterable):
            raise TypeError(f"a run is a databroker header, a Tiled run or a list of documents, not {str(run)[:80]!r}")
        return iter(run)
    try:
        return iter(found(fill=True))
    except NotImplementedError:  # databroker 2's version of its old interface
        return iter(found())
    except TypeError as error:
        if "fill" not in str(error):
            raise
        return iter(found())
