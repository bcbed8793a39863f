"""NXstxm files of whatever is measured, while it is measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suitcase.utils import MemoryBuffersManager, MultiFileManager

from suitcase_nxstxm.errors import UnfilledError, UnfinishedError
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan import LABEL, Options, Scan, place

__all__ = ["NXstxmWriter"]

logger = logging.getLogger(__name__)


class NXstxmWriter:
    """A callback that writes an NXstxm file for every scan that passes, and gathers the runs of a scan in one file.

    Subscribe it to a RunEngine or to a RemoteDispatcher. Events go to the disk as they come; the file gets its final
    name when the scan is complete: all of its runs have ended, or one of them was aborted. A scan that ends before
    all of its runs were begun is finished by the next one, or by `finish`.

    Parameters
    ----------
    directory : str, Path or Manager
        Where the files go.
    file_prefix : str
        The name of a file without ``.hdf5``. ``{...}`` are taken from the start document of the scan's first run.
    overwrite : bool
        Replace existing files.
    on_error : {"raise", "log"}
        Whether a failure to write goes to who sent the document, which aborts a scan of the RunEngine, or to the log.
        The file stays under construction in any case.
    **options
        The options of `Serializer`.
    """

    def __init__(
        self,
        directory: str | Path | MultiFileManager | MemoryBuffersManager,
        file_prefix: str = "{uid}-",
        *,
        overwrite: bool = False,
        on_error: str = "raise",
        **options: Any,
    ) -> None:
        if on_error not in ("raise", "log"):
            raise ValueError(f"on_error is {on_error!r}: it is 'raise' or 'log'")
        self._directory = directory
        self._file_prefix = file_prefix
        self._overwrite = overwrite
        self._on_error = on_error
        self._options = Options(**options)
        self._scans: dict[str, _Pending] = {}
        self._of_run: dict[str, _Pending] = {}
        self._of_descriptor: dict[str, str] = {}
        self._finished: list[Any] = []

    @property
    def artifacts(self) -> dict[str, list[Any]]:
        """What has been finished, by label: paths, or buffers."""
        return {LABEL: list(self._finished)} if self._finished else {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document of any run."""
        try:
            self._take(name, doc)
        except Exception:
            run = self._run_of(name, doc)
            pending = self._of_run.get(run)
            if pending is not None and pending.scan.failed:
                self._drop(pending)
            if self._on_error == "raise":
                raise
            logger.exception("run %s isn't exported", run)

    def finish(self) -> list[Any]:
        """Give their final names to the files of all scans that have ended; return those of all finished ones.

        Raises
        ------
        UnfinishedError
            If a run hasn't ended. Its file is closed and stays under construction.
        """
        waiting = []
        for pending in list(self._scans.values()):
            if pending.scan.running:
                waiting += list(pending.scan.running)
                self._drop(pending)
                pending.scan.close()
            else:
                self._finish(pending)
        if waiting:
            raise UnfinishedError(f"run {', '.join(waiting)} has no stop document: its file stays under construction")
        return list(self._finished)

    def __enter__(self) -> NXstxmWriter:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self.finish()
            return
        for pending in list(self._scans.values()):
            self._drop(pending)
            pending.scan.close()

    def _take(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._start(doc)
            return
        run = self._run_of(name, doc)
        pending = self._of_run.get(run)
        if pending is None:
            return  # of a run that failed, which has been said, or that began before this callback was there
        if name in ("stream_datum", "stream_resource"):
            raise UnfilledError(f"run {run} has data in a file beside the documents: fill them in before")
        if name == "descriptor":
            self._of_descriptor[doc["uid"]] = run
        pending.scan(name, doc)
        if name == "stop":
            del self._of_run[run]
            self._of_descriptor = {d: r for d, r in self._of_descriptor.items() if r != run}
            if pending.complete:
                self._finish(pending)

    def _start(self, doc: Mapping[str, Any]) -> None:
        request = self._options.request(doc)
        pending = self._scans.get(request.scan)
        if pending is not None and not pending.wants(request):
            self._finish(pending)
            pending = None
        if pending is None:
            for other in [p for p in self._scans.values() if not p.scan.running]:
                self._finish(other)
            file = place(self._directory, self._file_prefix, doc, doc["uid"])
            pending = self._scans[request.scan] = _Pending(Scan(file, self._options), request)
        self._of_run[request.run] = pending
        pending.places.add((request.entry, request.plane))
        pending.scan.start(doc, request)

    def _finish(self, pending: _Pending) -> None:
        self._drop(pending)
        pending.scan.close()
        self._finished.append(pending.scan.file.finish(self._overwrite))

    def _drop(self, pending: _Pending) -> None:
        self._scans = {key: other for key, other in self._scans.items() if other is not pending}
        gone = {run for run, other in self._of_run.items() if other is pending}
        self._of_run = {run: other for run, other in self._of_run.items() if run not in gone}
        self._of_descriptor = {d: run for d, run in self._of_descriptor.items() if run not in gone}

    def _run_of(self, name: str, doc: Mapping[str, Any]) -> str:
        if name == "start":
            return doc["uid"]
        if "run_start" in doc:
            return doc["run_start"]
        return self._of_descriptor.get(doc.get("descriptor", ""), "")


class _Pending:
    """A scan some of whose runs may still be to come."""

    def __init__(self, scan: Scan, request: Request) -> None:
        self.scan = scan
        self.planned = request.planned
        self.places: set[tuple[str, int]] = set()

    @property
    def complete(self) -> bool:
        if self.scan.running:
            return False
        stopped = any(status in ("abort", "fail") for status in self.scan.ended.values())
        return stopped or (self.planned is not None and self.scan.planes >= self.planned)

    def wants(self, request: Request) -> bool:
        """Whether a run is one that the scan still lacks, not the beginning of the same scan once more."""
        return (request.entry, request.plane) not in self.places
