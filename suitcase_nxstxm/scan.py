"""A scan on its way into its file: one run or many, one after the other or at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from suitcase.utils import MultiFileManager

from suitcase_nxstxm.arrange import points_of
from suitcase_nxstxm.arranged import arranged, detectors, say_lost, with_planes
from suitcase_nxstxm.contents import write
from suitcase_nxstxm.errors import (
    DuplicateRunError,
    MetadataError,
    MisfitError,
    UnfilledError,
    UnfinishedError,
)
from suitcase_nxstxm.file import Buffer, TmpFile
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.journal import Journal, Run
from suitcase_nxstxm.layout import Image, images, planes_of
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.packing import Stored
from suitcase_nxstxm.prefix import prefix_of
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.stream import Stream

__all__ = ["LABEL", "Scan", "file_of"]

logger = logging.getLogger(__name__)

LABEL = "all"
"""The label of what this suitcase writes, among the artifacts of a Manager."""

_LARGE_FRAME = 1 << 16  # bytes: smaller arrays are in the journal


def file_of(directory: Any, file_prefix: str, start: Mapping[str, Any], first_uid: str) -> TmpFile | Buffer:
    """The file under construction in a directory, or in memory if a Manager of buffers stands for it."""
    prefix = prefix_of(file_prefix, start, first_uid)
    if isinstance(directory, (str, Path)):
        return TmpFile(Path(directory), prefix, first_uid, file_prefix)
    postfix = f"{prefix}.hdf5"
    known = {artifact["postfix"]: artifact for artifact in directory.get_artifacts(LABEL)}
    if isinstance(directory, MultiFileManager):
        name = Path(known[postfix]["name"]) if postfix in known else Path(directory.reserve_name(LABEL, postfix))
        return TmpFile(name.parent, name.name.removesuffix(".hdf5"), first_uid, file_prefix)
    return Buffer(known[postfix]["handle"] if postfix in known else directory.open(LABEL, postfix, "xb"))


class Scan:
    """The runs of a scan that go to one file.

    The journal is open while any of the runs is; a failure is noted in it and closes it. The options are those of runs
    to come: of runs that are in the journal they are there.
    """

    def __init__(self, file: TmpFile | Buffer, options: Options | None = None) -> None:
        self.file = file
        self.failed = False
        self.planes = 0
        self.running: dict[str, Request] = {}
        self.ended: dict[str, str] = {}
        self._options = options or Options()
        self._journal: Journal | None = None
        self._images: dict[str, list[Image]] = {}

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document, other than a start, of one of the runs."""
        match name:
            case "descriptor" | "event" | "event_page" | "stop":
                getattr(self, name)(doc)
            case "stream_datum":
                raise UnfilledError("data of a run")

    def start(self, doc: Mapping[str, Any], request: Request) -> None:
        """Begin a run."""
        with self._guarded(request.run):
            journal = self._opened()
            planes = planes_of(request)
            for run in journal.runs.values():
                both = set(run.planes) & set(planes)
                if both and run.uid != request.run:
                    raise DuplicateRunError(
                        f"run {request.run} is for plane {min(plane for _, plane in both)} of {request.entry}, and so "
                        f"is run {run.uid}: export only one of them"
                    )
            journal.start(doc, self._options.record(), planes)
            self.running[request.run] = request
            self._images[request.run] = images(request)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take the description of a stream of one of the runs."""
        uid = doc["run_start"]
        self._check_running(uid, "descriptor")
        with self._guarded(uid):
            run = self._opened().runs[uid]
            number = run.n_keys + 1 + len(doc["data_keys"])
            if number > self._options.max_keys:
                raise MisfitError(
                    f"run {uid} has {number} streams and data keys, and the most are {self._options.max_keys}: "
                    "give a larger max_keys="
                )
            journal = self._opened()
            journal.descriptor(doc)
            _, stream = journal.streams[doc["uid"]]
            if stream is run.streams.get("primary"):
                stream.scalers = detectors(run, self.running[uid], self._options.monitor)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Take an event of one of the runs."""
        self._row(doc["descriptor"], doc["seq_num"], doc.get("time", np.nan), doc["data"], doc.get("filled"))

    def event_page(self, doc: Mapping[str, Any]) -> None:
        """Take events of one of the runs."""
        filled = doc.get("filled") or {}
        times = doc.get("time") or [np.nan] * len(doc["seq_num"])
        for i, seq_num in enumerate(doc["seq_num"]):
            data = {key: column[i] for key, column in doc["data"].items()}
            self._row(doc["descriptor"], seq_num, times[i], data, {key: column[i] for key, column in filled.items()})

    def _row(
        self, descriptor: str, seq_num: int, time: float, data: Mapping[str, Any], filled: Mapping[str, Any] | None
    ) -> None:
        journal = self._journal
        if journal is None or descriptor not in journal.streams:
            raise MetadataError(f"an event came without its descriptor {descriptor}")
        if filled or not 0 < seq_num <= self._options.max_points:
            self._check_row(journal, descriptor, seq_num, data, filled or {})
        try:
            journal.row(descriptor, seq_num, time, data)
        except BaseException as error:
            self._fail(journal.streams[descriptor][0].uid, error)
            raise

    def _check_row(
        self, journal: Journal, descriptor: str, seq_num: int, data: Mapping[str, Any], filled: Mapping[str, Any]
    ) -> None:
        run, stream = journal.streams[descriptor]
        with self._guarded(run.uid):
            if not 0 < seq_num <= self._options.max_points:
                raise MisfitError(
                    f"event {seq_num} of run {run.uid}: they count from 1, and to max_points="
                    f"{self._options.max_points} at most"
                )
            unfilled = [key for key, is_filled in filled.items() if is_filled is False and key in data]
            if unfilled and stream is run.streams.get("primary"):
                raise UnfilledError(f"{unfilled[0]!r} of event {seq_num} of run {run.uid}")

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End a run, whose numbers have all their place; else say so."""
        uid = doc["run_start"]
        self._check_running(uid, "stop")
        with self._guarded(uid):
            journal = self._opened()
            run, request = journal.runs[uid], self.running[uid]
            run.stop = dict(doc)
            self.planes += arranged(run, request, self._options.monitor).planes
            say_lost(run)
            self.file.frames.flush()
            self.file.check()
            journal.stop(doc)
            self._forget(uid)
            self.ended[uid] = str(doc.get("exit_status"))

    def release(self) -> None:
        """Close the journal, if no run is open; it is opened again for the next one."""
        if not self.running:
            journal, self._journal = self._journal, None
            try:
                if journal is not None:
                    journal.write_index()
            finally:
                self.file.close()

    def close(self) -> None:
        """Close the journal, with what the open runs have so far."""
        self.running.clear()
        self._images.clear()
        self.release()

    def finish(self, overwrite: bool = False) -> Any:
        """Write the file, all of whose runs have ended, and give it its final name; return that, or the buffer."""
        if self.file.already_finished():
            return self.file.final
        with self._whole() as journal:
            runs, where = journal.runs.values(), self.file.artifact
            failed = next((run.failure for run in runs if run.failure is not None), None)
            if failed is not None:
                raise UnfinishedError(f"{where} is of an export that failed ({failed}): export the run again")
            waiting = [run.uid for run in runs if run.stop is None]
            if waiting:
                raise UnfinishedError(f"{where} has no stop document of run {', '.join(waiting)}")
            return self.file.finish(self._writes(journal), overwrite=overwrite)

    def set_aside(self) -> Path:
        """Write what there is of the runs, whether they have ended or not, and move it away; return its new name."""
        if not isinstance(self.file, TmpFile):
            raise TypeError("a buffer has no place to be set aside to")
        with self._whole() as journal:
            return self.file.set_aside(self._writes(journal))

    @contextmanager
    def _whole(self) -> Iterator[Journal]:
        """The journal of all runs, to be written to a file, which is closed then."""
        try:
            yield self._journal or self.file.open(self._store, create=False)
        finally:
            self._journal = None
            self.file.close()

    def _writes(self, journal: Journal) -> Any:
        """What writes the runs of a journal to a file."""
        runs = sorted(journal.runs.values(), key=lambda run: run.start["time"])

        def writes(file: h5py.File, name: str, frames: Frames) -> None:
            options = [Options.of_record(run.options) for run in runs]
            asked = [(run, mine.request(run.start), mine.monitor) for run, mine in zip(runs, options, strict=True)]
            planes = zip(with_planes(asked), options, strict=True)
            found = [arranged(run, request, mine.monitor, how) for (run, request, how), mine in planes]
            write(file, name, found, options[0].facts if options else self._options.facts, frames)

        return writes

    def _store(self, run: Run, stream: Stream, key: str, seq_num: int, array: np.ndarray) -> Stored | None:
        """Store a frame, or the plane of a stack, of which there may be many, where it can stay."""
        found = self._images.get(run.uid)
        if array.nbytes < _LARGE_FRAME or found is None or stream is not run.streams.get("primary"):
            return None
        if isinstance(self.file, Buffer):
            return None
        request, layout = self.running[run.uid], found[0].layout
        by_point = layout.grows or request.num_points in (layout.plane_size, layout.size)
        plane = layout.planes and array.size == layout.plane_size and not by_point
        plane &= request.scan_type is not scan_types.PTYCHOGRAPHY_SCAN or array.ndim == 1
        if not plane and (array.ndim < 2 and points_of(array.size, layout.shape or (1,)) is not None):
            return None
        if not plane and not layout.planes and array.size == layout.size:
            return None  # all of an image
        if plane:
            array = array.reshape(layout.shape[1:])
        begin = found[0].plane * (1 if plane else layout.plane_size)
        what = found[0].identity
        if len(found) > 1 or not request.placed:
            begin, what = 0, run.uid
        name = sha256(repr((what, key, array.dtype.str, array.shape)).encode()).hexdigest()[:16]
        row = begin + seq_num - 1
        self.file.frames.put(f"f{name}", row, array)
        self.file.check()
        return Stored(f"f{name}", row, np.nan if plane else float(array.sum(dtype=float)))

    def _opened(self) -> Journal:
        if self._journal is None:
            self._journal = self.file.open(self._store)
        return self._journal

    def _check_running(self, uid: str, what: str) -> None:
        if uid not in self.running:
            raise MetadataError(f"a {what} document of run {uid} came without its start document")

    def _forget(self, uid: str) -> None:
        self.running.pop(uid, None)
        self._images.pop(uid, None)

    @contextmanager
    def _guarded(self, uid: str) -> Iterator[None]:
        """Note a failure, so that no file looks whole which isn't."""
        try:
            yield
        except BaseException as error:
            self._fail(uid, error)
            raise

    def _fail(self, uid: str, error: BaseException) -> None:
        if isinstance(error, DuplicateRunError) and uid not in self.running:
            self.release()  # nothing of the run is in the journal, which is as good as it was
            return
        journal, self._journal = self._journal, None
        self.failed = True
        self.running.clear()
        self._images.clear()
        try:
            if journal is not None and uid in journal.runs and not isinstance(error, OSError):
                journal.fail(uid, " ".join(f"{type(error).__name__}: {error}".split())[:1000])
        finally:
            self.file.close()
