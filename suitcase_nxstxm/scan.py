"""A scan on its way into its file: one run or many, one after the other or at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np

from suitcase_nxstxm.arrange import is_of_a_point, points_of
from suitcase_nxstxm.arranged import Arranged, arranged, detectors, say_lost
from suitcase_nxstxm.entry import write
from suitcase_nxstxm.errors import DuplicateRunError, MetadataError, MisfitError, UnfinishedError
from suitcase_nxstxm.external import External
from suitcase_nxstxm.file import TmpFile
from suitcase_nxstxm.frames import Frames
from suitcase_nxstxm.journal import Journal, Run
from suitcase_nxstxm.options import Options
from suitcase_nxstxm.request import Identity, Image, Request, images, planes_of
from suitcase_nxstxm.stream import Stored, Stream

logger = logging.getLogger(__name__)

_LARGE_FRAME = 1 << 16  # bytes: smaller arrays are in the journal


class Scan:
    """The runs of a scan that go to one file.

    The journal is open while any of the runs is; a failure is noted in it and closes it. It has the options as well,
    for who finishes the scan.

    Attributes
    ----------
    running
        What the runs that haven't ended ask for, and the images that they fill.
    planned, planes
        How many planes the scan has, None if nobody says it; and how many its runs that have ended were for.
    failed, stopped
        Whether the export of a run failed, and whether a run ended before its time.
    """

    def __init__(self, file: TmpFile, options: Options | None = None) -> None:
        self.file = file
        self.running: dict[str, tuple[Request, list[Image]]] = {}
        self.planned: int | None = None
        self.planes = 0
        self.failed = self.stopped = False
        self._options = options or Options()
        self._external = External(self._options.readable_roots, self._options.handler_registry)
        self._journal: Journal | None = None
        self._arranged: dict[str, Arranged] = {}  # runs of the open journal that have ended
        self._taken: set[tuple[Identity, int]] = set()  # planes of entries

    @property
    def complete(self) -> bool:
        """Whether no other run is to come."""
        all_there = self.planned is not None and self.planes >= self.planned
        return not self.running and (self.stopped or all_there)

    def wants(self, request: Request) -> bool:
        """Whether a run is one that the scan still lacks, not the beginning of the same scan once more."""
        return self._taken.isdisjoint(planes_of(request))

    def has(self, uid: str) -> bool:
        """Whether this is the uid of a run, a stream or a resource of the scan of which more documents may come."""
        open_streams = self._journal is not None and uid in self._journal.streams
        return open_streams or uid in self.running or uid in self._external.resources

    def start(self, doc: Mapping[str, Any], request: Request) -> None:
        """Begin a run."""
        if not self._taken:
            self.planned = request.planned
        try:
            if self._journal is None:
                self._journal = self.file.open(self._store, self._options.record())
            journal, planes = self._journal, planes_of(request)
            for run in journal.runs.values():
                both = set(run.planes) & set(planes)
                if both and run.uid != request.run:
                    raise DuplicateRunError(
                        f"run {request.run} is for plane {min(plane for _, plane in both)} of {request.entry}, and so "
                        f"is run {run.uid}: export only one of them"
                    )
            self._arranged.pop(request.run, None)
            journal.document("start", {"doc": doc, "planes": planes})
        except DuplicateRunError:
            self.release()  # nothing of the run is in the journal, which is as good as it was
            raise
        except BaseException as error:
            self._fail(request.run, error)
            raise
        self._taken |= set(planes)
        self.running[request.run] = request, images(request)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document, other than a start, of one of the runs."""
        journal = self._journal
        if name in ("resource", "datum", "datum_page", "stream_resource"):
            self._external.take(name, doc)
            return
        if name in ("event", "event_page", "stream_datum"):
            if journal is None or doc["descriptor"] not in journal.streams:
                raise MetadataError(f"an event came without its descriptor {doc['descriptor']}")
            run, stream = journal.streams[doc["descriptor"]]
        elif name in ("descriptor", "stop"):
            if journal is None or doc["run_start"] not in self.running:
                raise MetadataError(f"a {name} document of run {doc['run_start']} came without its start document")
            run, stream = journal.runs[doc["run_start"]], None
        else:
            raise MetadataError(f"{name!r} are no documents of Bluesky today: make bulk_events event pages")
        try:
            if stream is None:
                (self._descriptor if name == "descriptor" else self._stop)(journal, run, doc)
            elif name == "event":
                self._event(journal, run, stream, doc)
            elif name == "event_page":
                for event in event_model.unpack_event_page(doc):  # pyright: ignore
                    self._event(journal, run, stream, event)
            elif stream is run.streams.get("primary"):
                self._external.expect(run.uid, doc)
            else:
                logger.warning("run %s: images that are in files are read of stream 'primary' only", run.uid)
        except BaseException as error:  # so that no file looks whole which isn't
            self._fail(run.uid, error)
            raise

    def _descriptor(self, journal: Journal, run: Run, doc: Mapping[str, Any]) -> None:
        number = run.n_keys + 1 + len(doc["data_keys"])
        if number > self._options.max_keys:
            raise MisfitError(
                f"run {run.uid} has {number} streams and data keys, and the most are {self._options.max_keys}: "
                "give a larger max_keys="
            )
        journal.document("descriptor", doc)
        _, stream = journal.streams[doc["uid"]]
        if stream is run.streams.get("primary"):
            stream.scalers = detectors(run, self.running[run.uid][0])

    def _event(self, journal: Journal, run: Run, stream: Stream, doc: Mapping[str, Any]) -> None:
        seq_num, data = doc["seq_num"], doc["data"]
        if not 0 < seq_num <= self._options.max_points:
            raise MisfitError(
                f"event {seq_num} of run {run.uid}: they count from 1, and to max_points={self._options.max_points} "
                "at most"
            )
        for key, is_filled in (doc.get("filled") or {}).items():
            if is_filled is False and key in data and stream is run.streams.get("primary"):
                what = f"{key!r} of event {seq_num} of run {run.uid}"
                data = {**data, key: self._external.image(data[key], what)}
        journal.row(doc["descriptor"], seq_num, doc.get("time", np.nan), data)

    def _stop(self, journal: Journal, run: Run, doc: Mapping[str, Any]) -> None:
        """End a run, whose numbers have all their place; else say so."""
        primary = run.streams.get("primary")
        if primary is not None:
            shapes = {key: info.get("shape") or () for key, info in primary.info.items()}
            for descriptor, seq_num, key, image in self._external.streamed(run.uid, shapes):
                event = {"descriptor": descriptor, "seq_num": seq_num, "data": {key: image}}
                self._event(journal, run, primary, event)
        self._external.forget(run.uid)
        run.stop = dict(doc)
        self._arranged[run.uid] = arranged(run, self.running[run.uid][0])
        self.planes += self._arranged[run.uid].planes
        say_lost(run)
        self.file.frames.flush()
        journal.document("stop", doc)
        del self.running[run.uid]
        self.stopped |= doc.get("exit_status") in ("abort", "fail")

    def release(self) -> None:
        """Close the journal, if no run is open; it is opened again for the next one."""
        if not self.running:
            self._forget()
            self.file.close()

    def close(self) -> None:
        """Close the journal, with what the open runs have so far."""
        self.running.clear()
        self.release()

    def _forget(self) -> None:
        """Take nothing more to the journal, nor read what is in it."""
        self._journal = None
        self._arranged.clear()

    def _fail(self, uid: str, error: BaseException) -> None:
        """Note that the export of a run failed."""
        journal, self.failed = self._journal, True
        self._forget()
        self.running.clear()
        try:
            if journal is not None and uid in journal.runs and not isinstance(error, OSError):
                why = " ".join(f"{type(error).__name__}: {error}".split())[:1000]
                journal.document("failure", {"run_start": uid, "why": why})
        finally:
            self.file.close()

    def finish(self, overwrite: bool = False) -> Any:
        """Write the file, all of whose runs have ended, and give it its final name; return that, or the buffer."""
        if self.file.already_finished():
            return self.file.final
        with self._whole() as journal:
            runs, where = journal.runs.values(), self.file.path
            failed = next((run.failure for run in runs if run.failure is not None), None)
            if failed is not None:
                raise UnfinishedError(f"{where} is of an export that failed ({failed}): export the run again")
            waiting = [run.uid for run in runs if run.stop is None]
            if waiting:
                raise UnfinishedError(f"{where} has no stop document of run {', '.join(waiting)}")
            return self.file.finish(functools.partial(self._write, journal), overwrite=overwrite)

    def set_aside(self) -> Path:
        """Write what there is of the runs, whether they have ended or not, and move it away; return its new name."""
        with self._whole() as journal:
            return self.file.set_aside(functools.partial(self._write, journal))

    @contextmanager
    def _whole(self) -> Iterator[Journal]:
        """The journal of all runs, to be written to a file, which is closed then."""
        try:
            yield self._journal or self.file.open(self._store)
        finally:
            self._forget()
            self.file.close()

    def _write(self, journal: Journal, file: h5py.File, name: str, frames: Frames) -> None:
        """Write the runs of a journal to a file of this name: those that aren't arranged yet are that now."""
        runs = sorted(journal.runs.values(), key=lambda run: run.start["time"])
        options = Options.of_record(journal.about["options"])
        found = [self._arranged.get(run.uid) or arranged(run, options.request(run.start)) for run in runs]
        write(file, name, found, options, frames)

    def _store(self, run: Run, stream: Stream, key: str, seq_num: int, array: np.ndarray) -> Stored | None:
        """Store a frame, or the plane of a stack, of which there may be many, where it can stay."""
        if array.nbytes < _LARGE_FRAME or stream is not run.streams.get("primary"):
            return None
        request, found = self.running[run.uid]
        layout = found[0].layout
        plane = layout.planes and array.size == layout.plane_size and not is_of_a_point(request, layout, array.ndim)
        if not plane and array.ndim < 2 and points_of(array.size, layout.shape or (1,)) is not None:
            return None  # lines
        if plane:
            array = array.reshape(layout.shape[1:])
        begin = found[0].plane * (1 if plane else layout.plane_size)
        what: Any = found[0].identity
        if len(found) > 1:
            begin, what = 0, run.uid
        name = sha256(repr((what, key, array.dtype.str, array.shape)).encode()).hexdigest()[:16]
        row = begin + seq_num - 1
        self.file.frames.put(f"f{name}", row, array)
        return Stored(f"f{name}", row, np.nan if plane else float(array.sum(dtype=float)))
