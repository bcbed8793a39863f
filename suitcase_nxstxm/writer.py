"""NXstxm files of whatever is measured, while it is measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suitcase.utils import MemoryBuffersManager, MultiFileManager

from suitcase_nxstxm.errors import FinalFileExistsError, MetadataError, NXstxmError, UnfinishedError
from suitcase_nxstxm.file import Buffer, TmpFile
from suitcase_nxstxm.layout import planes_of
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.prefix import check_template
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan import LABEL, Scan, file_of

__all__ = ["NXstxmWriter"]

logger = logging.getLogger(__name__)

_MOST_WAITING = 32
"""How many scans may wait for runs, and how many may run. A scan that has been left never ends by itself."""


class NXstxmWriter:
    """A callback that writes an NXstxm file for every scan that passes, and gathers the runs of a scan in one file.

    Subscribe it to a RunEngine or to a RemoteDispatcher. Events go to the disk as they come; the file is written, and
    gets its final name, when the scan is complete: all of its runs have ended, or one of them was aborted. Runs of
    other scans may come in between. A scan some of whose runs never come is finished by the same scan when it begins
    once more, by `finish`, or, with a warning, when too many others wait for their runs.

    Live runs (``purpose="live"``, for alignment) are left out. Every other run is to be a scan that can be exported:
    one that isn't (no primary stream, metadata that can't be read, images that the documents only refer to) is an
    error; ``bluesky-ext export nxstxm`` fills such images in afterwards. That the name of a file is taken is
    said at the start of its scan, before anything is measured.

    Parameters
    ----------
    directory : str, Path or Manager
        Where the files go.
    file_prefix : str
        The name of a file without ``.hdf5``. ``{...}`` are taken from the start document of the scan's first run.
    overwrite : bool
        Replace existing files.
    on_error : {"log", "raise"}
        Whether a failure to write goes to the log, or to who sent the document, which aborts a scan of the RunEngine.
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
        on_error: str = "log",
        **options: Any,
    ) -> None:
        if on_error not in ("raise", "log"):
            raise ValueError(f"on_error is {on_error!r}: it is 'raise' or 'log'")
        check_template(file_prefix)
        self._directory, self._file_prefix = directory, file_prefix
        self._overwrite, self._on_error = overwrite, on_error
        self._options = Options(**options)
        self._scans: dict[str, _Pending] = {}  # that are not finished, the one longest without a document first
        self._of: dict[str, _Pending] = {}  # the scan of each run and of each descriptor
        self._finished: list[Any] = []
        self._incomplete: list[Any] = []

    @property
    def artifacts(self) -> dict[str, list[Any]]:
        """What has been finished, by label: paths, or buffers."""
        return {LABEL: list(self._finished)} if self._finished else {}

    @property
    def incomplete(self) -> list[Any]:
        """Those of the finished files that lack planes, though no run was aborted."""
        return list(self._incomplete)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document of any run."""
        key = "uid" if name == "start" else "run_start" if "run_start" in doc else "descriptor"
        uid = doc.get(key, "")
        try:
            if not isinstance(uid, str):
                raise MetadataError(f"a document {name!r} has {key} {uid!r:.60}: it is the uid of a run or of a stream")
            if name == "start":
                if doc.get("purpose") != "live":  # for alignment: of which nothing is kept
                    self._start(doc)
            elif uid in self._of:  # else of a run that failed, or that began before this callback was there
                self._take(self._of[uid], name, doc)
        except Exception:
            pending = self._of.get(uid) if isinstance(uid, str) else None
            if pending is not None and pending.scan.failed:
                # The other runs of its scan still go to its file, which stays under construction.
                self._forget(pending, whole=pending.planned == 1)
            if self._on_error == "raise":
                raise
            logger.exception("the run of a document %r with %s %.60r isn't exported", name, key, uid)

    def finish(self) -> list[Any]:
        """Give their final names to the files of all scans that have ended; return those of all finished ones.

        Raises
        ------
        UnfinishedError
            If a run hasn't ended. Its file is closed and stays under construction.
        """
        waiting, errors = [], []
        for pending in list(self._scans.values()):
            if pending.scan.running:
                waiting += list(pending.scan.running)
                self._close(pending)
            else:
                try:
                    self._finish(pending)
                except (NXstxmError, OSError) as error:
                    errors.append(error)  # after the others
        if errors:
            raise errors[0]
        if waiting:
            raise UnfinishedError(f"run {', '.join(waiting)} has no stop document: its file stays under construction")
        return list(self._finished)

    def __enter__(self) -> NXstxmWriter:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self.finish()
        for pending in list(self._scans.values()):
            self._close(pending)

    def _take(self, pending: _Pending, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor":
            self._of[doc["uid"]] = pending
        pending.scan.take(name, doc)
        if name == "stop":
            del self._of[doc["run_start"]]
            if pending.complete:
                self._finish(pending)
            self._bound()

    def _start(self, doc: Mapping[str, Any]) -> None:
        request = self._options.request(doc)
        # A run that is all of its scan is no part of another one like it, which may have lost its stop document.
        scan = request.scan if request.several_runs else request.run
        pending = self._scans.get(scan)
        if pending is not None and not pending.wants(request):
            try:
                self._finish(pending)
            except UnfinishedError as error:  # which is no reason to lose the scan that begins once more
                logger.warning("%s", error)
            pending = None
        for other in self._scans.values():
            if other is not pending:
                other.scan.release()  # only files that are being written are open
        if pending is None:
            file = file_of(self._directory, self._file_prefix, doc, doc["uid"])
            self._check_name(file)
            pending = self._scans[scan] = _Pending(Scan(file, self._options), request)
        self._scans[scan] = self._scans.pop(scan)
        self._of[request.run] = pending
        pending.add(request)
        pending.scan.start(doc, request)
        self._bound()

    def _check_name(self, file: TmpFile | Buffer) -> None:
        """Say at the start of a scan that its file can't get its name: before anything is measured."""
        others = [other.scan.file for other in self._scans.values() if not other.scan.failed]
        cure = "give a file_prefix with {uid} or {scan_id} in it"
        if isinstance(file, Buffer):
            # Two scans in one buffer would become one file, whatever may be overwritten.
            if any(file.artifact is other for other in (*self._finished, *(other.artifact for other in others))):
                raise FinalFileExistsError(f"the buffer of {self._file_prefix!r} is that of another scan: {cure}")
            return
        what = ""
        if file.final.exists():
            what = f"{file.final} exists"
        elif any(isinstance(other, TmpFile) and other.final == file.final for other in others):
            what = f"{file.final} is to be the file of another scan that isn't complete"
        if what and not self._overwrite:
            if self._on_error == "raise":
                raise FinalFileExistsError(f"{what}: {cure}, or overwrite=True")
            logger.warning("%s, so %s will stay under construction: %s, or overwrite=True", what, file.path, cure)

    def _bound(self) -> None:
        """Finish the scan that has waited longest for a run, if too many wait; give up the one that runs longest."""
        running = [pending for pending in self._scans.values() if pending.scan.running]
        if len(running) > _MOST_WAITING:
            logger.warning("%d scans have no stop document: %s stays", len(running), running[0].scan.file.artifact)
            self._close(running[0])
        idle = [pending for pending in self._scans.values() if not pending.scan.running]
        if len(idle) > _MOST_WAITING:
            logger.warning(
                "%d scans wait for their runs: %s is finished without", len(idle), idle[0].scan.file.artifact
            )
            self._finish(idle[0])

    def _finish(self, pending: _Pending) -> None:
        if pending.scan.failed:  # which has been said; what there is stays under construction
            self._close(pending)
            return
        self._forget(pending)
        finished = pending.scan.finish(self._overwrite)
        self._finished.append(finished)
        if not pending.stopped and pending.planned is not None and pending.scan.planes < pending.planned:
            logger.warning("%s has %d of %d planes", finished, pending.scan.planes, pending.planned)
            self._incomplete.append(finished)

    def _close(self, pending: _Pending) -> None:
        self._forget(pending)
        pending.scan.close()

    def _forget(self, pending: _Pending, *, whole: bool = True) -> None:
        """Take nothing more of the runs of a scan; nor, if it is the whole scan, of others that may come."""
        self._of = {uid: other for uid, other in self._of.items() if other is not pending}
        if whole:
            self._scans = {scan: other for scan, other in self._scans.items() if other is not pending}


class _Pending:
    """A scan some of whose runs may still be to come."""

    def __init__(self, scan: Scan, request: Request) -> None:
        self.scan = scan
        self.planned = request.planned
        self._taken: set[tuple[str, int]] = set()
        self._unplaced = 0

    def add(self, request: Request) -> None:
        """Count a run in."""
        self._taken |= set(planes_of(request))
        self._unplaced += not request.placed

    @property
    def stopped(self) -> bool:
        """Whether a run ended before its time."""
        return any(status in ("abort", "fail") for status in self.scan.ended.values())

    @property
    def complete(self) -> bool:
        """Whether no other run is to come."""
        all_there = self.planned is not None and self.scan.planes >= self.planned
        return not self.scan.running and (self.stopped or all_there)

    def wants(self, request: Request) -> bool:
        """Whether a run is one that the scan still lacks, not the beginning of the same scan once more."""
        if not request.placed:
            return self.planned is None or max(self._unplaced, self.scan.planes) < self.planned
        return self._taken.isdisjoint(planes_of(request))
