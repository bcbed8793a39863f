"""The recorder of points: watches stages, and keeps what they are given and make, within bounds."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bluesky_ext.engine import Reduce, Rows, Stage, frames_of
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.view.points.kept import Kept
from bluesky_ext.view.points.scan_record import ScanRecord, scan_of

log = logging.getLogger(__name__)

#: So many scans are kept while their points and maps take no more bytes than this together, and two in any case.
SCANS, SCAN_BYTES = 20, 256 << 20
#: What most readings are.
_PLAIN = frozenset({float, int, bool, str, np.float64})
#: What no array is.
_SCALAR = int, float, str, np.generic, type(None)
#: What an array of two dimensions has at least along each of them, to be an image and not some curves.
LEAST = 9

#: What is kept of a point: images that a stage took or made, other arrays, and tables of peaks.
TAKEN, MADE, TABLE = "taken", "made", "table"


class PointRecorder:
    """The scans that stages work on, the latest last, and what was measured at their points.

    Parameters
    ----------
    stages : sequence of Stage
        What is watched.
    names : sequence of str
        How the stages are called.
    room : int
        Bytes for images; for curves and tables there is a quarter of that.
    on_change : callable
        ``on_change()`` is called in the thread of a stage when something came.
    on_run : callable
        ``on_run(what, scan)`` when a scan "started" or "ended", in the thread of a stage.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        names: Sequence[str],
        room: int,
        on_change: Callable[[], object],
        on_run: Callable[[str, ScanRecord], object],
    ) -> None:
        self.images, self.tables = Kept(room), Kept(room // 4)
        self._stages, self._names = stages, names
        self._numbers = {id(stage): number for number, stage in enumerate(stages)}
        self._on_change, self._on_run = on_change, on_run
        self._lock = threading.Lock()
        self._scans: OrderedDict[str, ScanRecord] = OrderedDict()
        self._streams: dict[int, set[str]] = {}  # which descriptors are known, by the id of the run
        self._ended: list[tuple[ScanRecord, int, StageRun]] = []
        self._settling = ThreadPoolExecutor(1, "LiveServer")
        #: Called in a thread of its own when runs have ended.
        self.settle: Callable[[], object] = self.take_ended

    def watch(self) -> None:
        """See what comes from now on."""
        for stage in self._stages:
            stage.add_watcher(self)

    def close(self) -> None:
        """See nothing more."""
        for stage in self._stages:
            stage.remove_watcher(self)
        self._settling.shutdown()

    @property
    def latest(self) -> ScanRecord | None:
        """The scan that began last; None before the first."""
        with self._lock:
            return next(reversed(self._scans.values()), None)

    @property
    def scans(self) -> list[ScanRecord]:
        """The scans that are kept, the latest first."""
        with self._lock:
            return [*self._scans.values()][::-1]

    def of(self, uid: str | None) -> ScanRecord:
        """The scan with a uid, the latest one unless given; KeyError if it is not here."""
        scan = self.latest if uid is None else self._scans.get(uid)
        if scan is None:
            raise KeyError(uid)
        return scan

    def take_ended(self) -> list[tuple[ScanRecord, int, StageRun]]:
        """The runs of reduces that ended since this was asked last: the scan, the number of the stage, and the run."""
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    # What stages call

    def begin(self, stage: Stage, run: StageRun) -> None:
        """See a run that a stage works on."""
        uid = scan_of(run.start)
        with self._lock:
            scan = self._scans.get(uid)
            if is_new := scan is None:
                scan = self._scans[uid] = ScanRecord(run.start)
            scan.open.add((self._numbers[id(stage)], run.uid))
            self._streams[id(run)] = set()
            for stream in run.streams.values():
                if stream.wanted and (_is_frames(stream.name) or "frame" not in stream.descriptor["data_keys"]):
                    self._describe(scan, stream)
        if is_new:
            self._forget_old()
            self._on_run("started", scan)
        self._on_change()

    def event(self, stage: Stage, stream: OpenStream, event: Mapping[str, Any], result: Any) -> None:
        """See an event and what a map made of it."""
        scan = self._scan(stream)
        data = event["data"]
        is_frame = "frame" in data and _is_frames(stream.name)  # of a map that made rows
        if scan is None or ("frame" in data and not is_frame and isinstance(stage, Reduce)):
            return  # a single row
        name = _points_of(stream.name) if is_frame else stream.name
        if scan.stream != name and not self._is_point(scan, name):
            return
        self._describe(scan, stream)
        seq_num, number = event["seq_num"], self._numbers[id(stage)]
        readings = data
        for key, value in data.items():
            if type(value) not in _PLAIN:
                self._keep(scan, seq_num, number, str(key), TAKEN, value)
        if isinstance(result, Rows):
            readings = {**data, **result.readings, "n_rows": len(next(iter(result.columns.values()), ()))}
            self.tables.put(scan.uid, seq_num, (number, "", TABLE), dict(result.columns))
        elif isinstance(result, Mapping):
            readings = {**data, **result}
            for key, value in result.items():
                if type(value) not in _PLAIN:
                    self._keep(scan, seq_num, number, str(key), MADE, value)
        scan.rows.put(seq_num, event["time"], readings)
        self._on_change()

    def page(self, stage: Stage, stream: OpenStream, page: Mapping[str, Any]) -> None:
        """See the rows of a frame, or a page of events."""
        scan, data = self._scan(stream), page["data"]
        if scan is None:
            return
        if "frame" not in data:
            self._points(stage, scan, stream, page)
        elif not _is_frames(stream.name):
            frames = data["frame"]
            if frames[0] == frames[-1]:  # all rows of a run at once are of many
                columns = {str(name): np.asarray(column) for name, column in data.items()}
                self.tables.put(scan.uid, int(frames[0]), (self._numbers[id(stage)], "", TABLE), columns)
        self._on_change()

    def end(self, stage: Stage, run: StageRun, stop: Mapping[str, Any], closed: bool) -> None:
        """See the end of a run."""
        number = self._numbers[id(stage)]
        with self._lock:
            self._streams.pop(id(run), None)
            scan = self._scans.get(scan_of(run.start))
            if scan is None:
                return
            scan.open.discard((number, run.uid))
            status = stop.get("exit_status", "success")
            scan.exit_status = status if isinstance(status, str) else "fail"
            scan.is_incomplete = scan.is_incomplete or closed or bool(stop.get("incomplete"))
            if stage.ended is not None:
                for how, counts in (("lost", stage.ended.lost), ("failed", stage.ended.failed)):
                    scan.missing[how] = max(scan.missing[how], sum(counts.values()))
            if isinstance(stage, Reduce):
                self._ended.append((scan, number, run))
        if not scan.open:
            self._on_run("ended", scan)
        self._settling.submit(self._settle)
        self._on_change()

    def _settle(self) -> None:
        try:
            self.settle()
        except Exception:  # which a thread would keep to itself
            log.exception("what was made of runs that ended is not kept")

    def _scan(self, stream: OpenStream) -> ScanRecord | None:
        return self._scans.get(scan_of(stream.run.start))

    def _is_point(self, scan: ScanRecord, name: str) -> bool:
        """Whether the events of a stream are points: those of the first one that is worked on, or of ``primary``."""
        if scan.stream is None or scan.is_live:
            scan.stream = name
        elif name == "primary" != scan.stream:  # the others came before it, as darks do
            self.images.drop(scan.uid)
            self.tables.drop(scan.uid)
            scan.begin_points(name)
        return scan.stream == name

    def _describe(self, scan: ScanRecord, stream: OpenStream) -> None:
        known = self._streams.setdefault(id(stream.run), set())
        uid = stream.descriptor["uid"]
        if uid not in known:
            known.add(uid)
            scan.describe(stream.descriptor)

    def _keep(self, scan: ScanRecord, seq_num: int, number: int, key: str, kind: str, value: Any) -> None:
        """Keep an array of a point."""
        if isinstance(value, np.ndarray) and not value.ndim:
            return
        if is_image(value):
            self.images.put(scan.uid, seq_num, (number, key, kind), value)
            scan.images.setdefault((self._names[number], key, kind), list(getattr(value, "shape", ())))
        elif isinstance(value, np.ndarray | list) and np.size(value[0:1]):
            self.tables.put(scan.uid, seq_num, (number, key, kind), value)

    def _points(self, stage: Stage, scan: ScanRecord, stream: OpenStream, page: Mapping[str, Any]) -> None:
        """Take a page of events, column by column."""
        if scan.stream != stream.name and not self._is_point(scan, stream.name):
            return
        self._describe(scan, stream)
        number, seq_nums = self._numbers[id(stage)], list(map(int, page["seq_num"]))
        readings: dict[str, Any] = {}
        for key, column in page["data"].items():
            if all(issubclass(kind, _SCALAR) for kind in {*map(type, column)}):
                readings[str(key)] = column
                continue
            for seq_num, value in zip(seq_nums, column, strict=True):
                self._keep(scan, seq_num, number, str(key), TAKEN, value)
        scan.rows.put_page(seq_nums, page["time"], readings)

    def _forget_old(self) -> None:
        with self._lock:
            old = [*self._scans.values()][:-2]
            n_bytes = sum(scan.nbytes for scan in self._scans.values())
            gone = []
            for scan in old:
                if scan.open or (len(self._scans) <= SCANS and n_bytes <= SCAN_BYTES):
                    continue
                n_bytes -= scan.nbytes
                gone.append(self._scans.pop(scan.uid).uid)
        for uid in gone:
            self.images.drop(uid)
            self.tables.drop(uid)


def is_image(value: Any) -> bool:
    """Whether a value of an event is an image, or a stack of frames, in memory or in a file."""
    if isinstance(value, np.ndarray):
        return value.ndim > 2 or (value.ndim == 2 and min(value.shape) >= LEAST)
    if isinstance(value, list):
        return len(value) >= LEAST and isinstance(value[0], list)
    return isinstance(value, FrameReference)


def _is_frames(stream: str) -> bool:
    """Whether a stream tells of the frames whose rows are in another one."""
    return stream == frames_of("primary") or stream.endswith("_frames")


def _points_of(stream: str) -> str:
    """The stream of the scan that a stream of frames tells of.

    Examples
    --------
    >>> _points_of("frames"), _points_of("dark_frames")
    ('primary', 'dark')
    """
    return "primary" if stream == frames_of("primary") else stream.removesuffix("_frames")
