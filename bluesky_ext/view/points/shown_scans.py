"""What is shown of a scan: of the present one the latest snapshot, of an earlier one what was made of it at its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from bluesky_ext.view.points.maps import MOST_MAPS, ShownMap, maps_of
from bluesky_ext.view.points.recorder import PointRecorder
from bluesky_ext.view.points.scan_record import ScanRecord
from bluesky_ext.view.shown import joined
from bluesky_ext.view.snapshot import Dataset, Snapshot
from bluesky_ext.view.snapshots import Snapshots


class ShownScan(NamedTuple):
    """The maps of a scan at one moment."""

    scan: ScanRecord | None
    snapshot: Snapshot
    maps: dict[str, ShownMap]
    #: How many there are beyond those that are listed.
    n_more: int

    @property
    def uid(self) -> str | None:
        """The uid of the scan; None before the first."""
        return None if self.scan is None else self.scan.uid

    @property
    def default(self) -> str | None:
        """The id of the map to show unless another is chosen: that which is to be plotted, or else the first."""
        plotted = self.snapshot.default
        return next((one.id for one in self.maps.values() if one.signal is plotted), next(iter(self.maps), None))

    @property
    def tag(self) -> str:
        """The revision of it as HTTP has it."""
        return f'"{self.snapshot.generation}-{self.uid or ""}"'


class ShownScans:
    """The maps of the scans that are kept.

    Parameters
    ----------
    snapshots : Snapshots
        What is shown now.
    recorder : PointRecorder
        The scans.
    names : sequence of str
        How the stages are called.
    """

    def __init__(self, snapshots: Snapshots, recorder: PointRecorder, names: Sequence[str]) -> None:
        self._snapshots, self._recorder, self._names = snapshots, recorder, names
        self._lock = threading.Lock()
        self._present: ShownScan | None = None
        self._final: dict[str, ShownScan] = {}

    def of(self, uid: str | None) -> ShownScan:
        """What is shown of a scan, the present one unless given; KeyError if it is not here."""
        present = self.present()
        if uid is None or uid == present.uid:
            return present
        scan = self._recorder.of(uid)
        if scan.open:  # a stage works on another one since
            raise KeyError(uid)
        with self._lock:
            self._final = {one.uid: self._final[one.uid] for one in self._recorder.scans if one.uid in self._final}
            found = self._final.get(uid)
            if found is None:
                self._recorder.keep_published()
                trees = {self._names[number]: one.tree for number, one in sorted(scan.published.items())}
                found = self._final[uid] = _with_maps(Snapshot(joined(self._names, trees), 0), scan)
            return found

    def is_running(self) -> bool:
        """Whether a run is open."""
        return any(scan.open for scan in self._recorder.scans[:2])

    def present(self) -> ShownScan:
        """What is shown now."""
        snapshot = self._snapshots.newest()
        with self._lock:
            present = self._present
            if present is None or present.snapshot is not snapshot:
                present = self._present = _with_maps(snapshot, self._scan_of(snapshot))
            return present

    def stage_of(self, path: str) -> str:
        """The name of the stage that shows what is at a path."""
        if len(self._names) == 1:
            return self._names[0]
        return path.split("/")[1]

    def _scan_of(self, snapshot: Snapshot) -> ScanRecord | None:
        """The scan that a snapshot is of: as it says itself, or else the latest."""
        places = ["/original_run_uid", *(f"/{name}/original_run_uid" for name in self._names)]
        for node in filter(None, map(snapshot.paths.get, places)):
            array = node.array if isinstance(node, Dataset) else None
            if array is not None and array.ndim == 0:
                try:
                    return self._recorder.of(str(array.item()))
                except KeyError:
                    continue
        return self._recorder.latest


def _with_maps(snapshot: Snapshot, scan: ScanRecord | None) -> ShownScan:
    found = maps_of(snapshot, scan)
    maps = {one.id: one for one in islice(found, MOST_MAPS)}
    return ShownScan(scan, snapshot, maps, sum(1 for _ in found))
