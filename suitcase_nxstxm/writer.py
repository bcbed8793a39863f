"""NXstxm files of whatever is measured, while it is measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from suitcase_nxstxm.errors import FinalFileExistsError, MetadataError, NXstxmError, UnfinishedError
from suitcase_nxstxm.file import LABEL, TmpFile, file_of
from suitcase_nxstxm.options import Options, check_target
from suitcase_nxstxm.scan import Scan

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
    one that isn't (no primary stream, metadata that can't be read, images in files that may not be read) is an error.
    That the name of a file is taken is said at the start of its scan, before anything is measured.

    Parameters
    ----------
    directory, file_prefix, **options
        As for `Serializer`; ``{...}`` of the prefix are those of the scan's first run.
    overwrite : bool
        Replace existing files.
    on_error : {"log", "raise"}
        Whether a failure to write goes to the log, or to who sent the document, which aborts a scan of the RunEngine.
        The file stays under construction in any case.
    """

    def __init__(
        self,
        directory: Any,
        file_prefix: str = "{uid}-",
        *,
        overwrite: bool = False,
        on_error: str = "log",
        **options: Any,
    ) -> None:
        if on_error not in ("raise", "log"):
            raise ValueError(f"on_error is {on_error!r}: it is 'raise' or 'log'")
        check_target(directory, file_prefix)
        self._directory, self._file_prefix = directory, file_prefix
        self._overwrite, self._on_error = overwrite, on_error
        self._options = Options(**options)
        self._scans: dict[str, Scan] = {}  # that are not finished, the one longest without a start first
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
        key = "uid" if name == "start" else "descriptor"
        if key not in doc:
            key = "run_start" if "run_start" in doc else "resource"
        uid = doc.get(key, "")
        try:
            if not isinstance(uid, str):
                raise MetadataError(f"a document {name!r} has {key} {uid!r:.60}: it is the uid of a run or of a stream")
            if name == "start":
                if doc.get("purpose") != "live":  # for alignment: of which nothing is kept
                    self._start(doc)
                return
            for scan in self._scans.values():
                if scan.has(uid):  # else of a run that failed, or that began before this callback was there
                    scan.take(name, doc)
                    if name == "stop":
                        if scan.complete:
                            self._finish(scan)
                        self._bound()
                    return
        except Exception:
            # The other runs of a scan of several still go to its file, which stays under construction.
            self._scans = {name: scan for name, scan in self._scans.items() if not scan.failed or scan.planned != 1}
            if self._on_error == "raise":
                raise
            logger.exception("the run of a document %r with %s %.60r isn't exported", name, key, uid)

    def finish(self) -> list[Any]:
        """Give their final names to the files of all scans that have ended; return those of all finished ones.

        That a run hasn't ended is an UnfinishedError: its file is closed and stays under construction.
        """
        errors: list[Exception] = []  # which are raised when the other scans are finished
        for scan in list(self._scans.values()):
            waiting = ", ".join(scan.running)
            try:
                self._finish(scan)
                if waiting:
                    errors.append(UnfinishedError(f"run {waiting} has no stop document: its file stays unfinished"))
            except (NXstxmError, OSError) as error:
                errors.insert(0, error)
        if errors:
            raise errors[0]
        return list(self._finished)

    def __enter__(self) -> NXstxmWriter:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self.finish()
        for scan in self._scans.values():
            scan.close()
        self._scans.clear()

    def _start(self, doc: Mapping[str, Any]) -> None:
        request = self._options.request(doc)
        # A run that is all of its scan is no part of another one like it, which may have lost its stop document.
        name = request.scan if request.several_runs else request.run
        scan = self._scans.get(name)
        if scan is not None and not scan.wants(request):
            if scan.running:
                what = ", ".join(scan.running)
                logger.warning("%s stays: it has no stop document of run %s", scan.file.artifact, what)
            try:
                self._finish(scan)
            except UnfinishedError as error:  # which is no reason to lose the scan that begins once more
                logger.warning("%s", error)
            scan = None
        for other in self._scans.values():
            if other is not scan:
                other.release()  # only files that are being written are open
        if scan is None:
            file = file_of(self._directory, self._file_prefix, doc, doc["uid"])
            self._check_name(file)
            scan = Scan(file, self._options)
        self._scans.pop(name, None)
        self._scans[name] = scan
        scan.start(doc, request)
        self._bound()

    def _check_name(self, file: TmpFile) -> None:
        """Say at the start of a scan that its file can't get its name: before anything is measured."""
        what = f"{file.final} exists" if file.final.exists() else ""
        if any(scan.file.final == file.final and not scan.failed for scan in self._scans.values()):
            what = what or f"{file.final} is to be the file of another scan that isn't complete"
        if what and not self._overwrite:
            what += ": give a file_prefix with {uid} or {scan_id} in it, or overwrite=True"
            if self._on_error == "raise":
                raise FinalFileExistsError(what)
            logger.warning("%s will stay under construction: %s", file.path, what)

    def _bound(self) -> None:
        """Finish the scan that has waited longest for a run, if too many wait; give up the one that runs longest."""
        for what, why in ((True, "have no stop document: %s stays"), (False, "wait for their runs: %s is finished")):
            found = [scan for scan in self._scans.values() if bool(scan.running) == what]
            if len(found) > _MOST_WAITING:
                logger.warning(f"%d scans {why}", len(found), found[0].file.artifact)
                self._finish(found[0])

    def _finish(self, scan: Scan) -> None:
        """Finish a scan; one that runs, or that failed, which has been said, is closed and stays under construction."""
        self._forget(scan)
        if scan.failed or scan.running:
            scan.close()
            return
        finished = scan.finish(self._overwrite)
        self._finished.append(finished)
        if not scan.stopped and scan.planned is not None and scan.planes < scan.planned:
            logger.warning("%s has %d of %d planes", finished, scan.planes, scan.planned)
            self._incomplete.append(finished)

    def _forget(self, scan: Scan) -> None:
        """Take nothing more of a scan, neither of its runs nor of others that may come."""
        self._scans = {name: other for name, other in self._scans.items() if other is not scan}
