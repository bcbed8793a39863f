"""A sink that writes a processed file for each run of an analysis."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bluesky_ext.engine import Reduce
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.documents.losses import mapping_of
from bluesky_ext.engine.documents.provenance import analysis_of
from bluesky_ext.engine.frames.readable import present
from bluesky_ext.engine.stages.reduce import Published
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.processed.nexus import iso_time
from bluesky_ext.live.processed.processed_file import PERIOD, ProcessedFile

log = logging.getLogger(__name__)

T = TypeVar("T")


class ProcessedFiles:
    """A processed file for each run of an analysis, beside the raw one: what the analysis publishes, while it grows.

    Making one is all there is to do: it subscribes itself to the analysis. The file is named by ``filename`` of the
    start document, else by the first file that the documents of the run name, with ``_processed`` before the suffix;
    see `ProcessedFile`. A run with an empty ``filename``, or with ``purpose="live"``, is live only. What can't be
    written is told in the log, and costs the scan and the analysis nothing.

    Parameters
    ----------
    analysis : LiveAnalysis, or another Reduce
        What is published.
    directory : path, optional
        Where all files go. In a server, where documents come from a network, there are none without it.
    period : float
        How often what has changed is written while a run goes, in s.

    Attributes
    ----------
    artifacts : list of pathlib.Path
        The files that are whole.
    """

    def __init__(
        self, analysis: Reduce, directory: str | os.PathLike[str] | None = None, *, period: float = PERIOD
    ) -> None:
        if not period > 0:
            raise ValueError(f"period={period!r}: give a time in seconds above 0")
        if not isinstance(analysis, Reduce):
            raise TypeError(f"{analysis!r:.100} publishes no tree: give a LiveAnalysis, or another stage that does")
        self.analysis, self.period = analysis, period
        self.directory = None if directory is None else Path(directory).absolute()
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.artifacts: list[Path] = []
        self._runs: dict[str, _Run] = {}
        analysis.subscribe(self)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document of a derived run."""
        if name == "start":
            if is_live(doc):
                return
            if self.directory is None and present().is_limited:
                log.warning("no processed files: in a server, documents don't say where files go: give directory=")
                return
            self._runs[doc["uid"]] = _Run(self, doc)
        elif name == "stop" and doc["run_start"] in self._runs:
            path = self._runs.pop(doc["run_start"]).finish(doc)
            if path is not None:
                self.artifacts.append(path)


class _State(NamedTuple):
    """What there is of a run at one moment, and what its file is to be called."""

    published: Published | None
    parameters: Mapping[str, Any]
    start: dict[str, Any]


class _Run:
    """The processed file of an open run, written now and then by a thread, and at the stop."""

    def __init__(self, files: ProcessedFiles, start: Mapping[str, Any]) -> None:
        self._files, self._start = files, start
        self._record = analysis_of(start)
        self._file: ProcessedFile | None = None
        self._revision = 0
        self._has_failed = False
        self._complaints = Complaints(log)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        threading.Thread(target=self._follow, name="processed file", daemon=True).start()

    def finish(self, stop: Mapping[str, Any]) -> Path | None:
        """Write what was published last, and how the run ended; return the path of the file."""
        self._is_over.set()
        about: dict[str, Any] = {key: stop[key] for key in ("reason", "incomplete") if stop.get(key)}
        for key in ("lost_counts", "failed_counts"):
            if counts := mapping_of(stop, key, int):
                about[key] = _collection(counts)
        with self._lock:
            if self._has_failed:  # perhaps there is room again: all of it once more
                self._drop()
            path = self._attempt(lambda: self._write(self._state()).close(stop["exit_status"], **about))
            self._drop()
        return path

    def _follow(self) -> None:
        while not self._is_over.wait(self._files.period) and not self._has_failed:
            # Asked for without the lock: the stop has that of the analysis, and waits for this one.
            state = self._attempt(self._state)
            if state is None or state.published is None or state.published.revision == self._revision:
                continue
            if "filename" not in state.start and self._files.directory is None:
                continue  # perhaps a file is named later
            with self._lock:
                if not self._is_over.is_set():
                    self._attempt(lambda state=state: self._write(state))
                if self._file is not None and self._file.path is None:
                    return

    def _state(self) -> _State:
        analysis, uid = self._files.analysis, self._record["parent_run_uid"]
        settings = getattr(analysis, "settings", None)
        parameters = settings if isinstance(settings, Parameters) else self._record["parameters"]
        try:
            published, (raw, path) = analysis.publish(uid), analysis.source(uid)
        except LookupError:  # it is over, or could not begin
            published, raw, path = None, {}, ""
        start = {"filename": path, **self._start} if path else dict(self._start)
        return _State(published, parameters, {**start, "time": raw.get("time", start["time"])})

    def _write(self, state: _State) -> ProcessedFile:
        if self._file is None:
            directory = self._files.directory
            self._file = ProcessedFile(state.start, state.parameters, directory=directory, about=self._about())
        if state.published is not None:
            self._file.replace(state.published.tree, state.parameters)
            self._revision = state.published.revision
        for problem in self._file.problems:
            self._complaints(problem, "left out of the processed file of run %s: %s", self._raw_uid, problem)
        return self._file

    @property
    def _raw_uid(self) -> str:
        return self._start["original_run_uid"]

    def _about(self) -> dict[str, Any]:
        """What the NXprocess says of the analysis."""
        record = self._record
        given, code = record["parameters"], record.get("code", {})
        program, version = [record["class"]], record["version"]
        if code:  # the user's
            program = [given[one]["object"] for one in ("worker", "reducer")]
            version = code.get("commit") or code.get(program[0].partition(":")[0].partition(".")[0], "")
        about = {
            "program": " and ".join(program),
            "version": version,
            "versions": _collection({**record["versions"], **code}),
            "start_time": iso_time(self._start["time"]),
        }
        if "parameters_sha256" in record:
            about["parameters_sha256_at_start"] = record["parameters_sha256"]
        return about

    def _attempt(self, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except Exception as error:  # the scan does not die of its files
            self._has_failed = True
            self._complaints(
                type(error).__name__,
                "the processed file of run %s is not written: %s: %s",
                *(self._raw_uid, type(error).__name__, " ".join(str(error).split())),
            )
            return None

    def _drop(self) -> None:
        """Leave the file as it is, if it is not whole."""
        if self._file is not None:
            self._file.abandon()
            self._file = None


def _collection(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "_attrs": {"NX_class": "NXcollection"}}
