"""What is shown of a scan: of the present one the latest snapshot, of an earlier one the maps it had at its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from bluesky_ext.view.points.maps import MOST_MAPS, ShownMap, maps_of
from bluesky_ext.view.points.recorder import SCAN_BYTES, PointRecorder
from bluesky_ext.view.points.scan_record import ScanRecord
from bluesky_ext.view.shown import joined
from bluesky_ext.view.snapshot import Dataset, Snapshot
from bluesky_ext.view.snapshots import Snapshots

log = logging.getLogger(__name__)


class ShownScan(NamedTuple):
    """The maps of a scan at one moment."""

    scan: ScanRecord | None
    #: Another one whenever something else is shown; of a scan that has ended it is 0.
    revision: int
    maps: dict[str, ShownMap]
    #: The id of the map to show unless another is chosen: that which is to be plotted, or else the first.
    default: str | None
    #: How many maps there are beyond those that are listed.
    n_more: int

    @property
    def uid(self) -> str | None:
        """The uid of the scan; None before the first."""
        return None if self.scan is None else self.scan.uid

    @property
    def tag(self) -> str:
        """The revision of it as HTTP has it."""
        return f'"{self.revision}-{self.uid or ""}"'

    @property
    def nbytes(self) -> int:
        """What its maps take, in bytes."""
        return sum(one.values.nbytes for one in self.maps.values())


class ShownScans:
    """The maps of the scans that are kept.

    Parameters
    ----------
    snapshots : Snapshots
        What is shown now.
    recorder : PointRecorder
        The scans.
    stages : sequence of Stage
        What publishes.
    names : sequence of str
        How the stages are called.
    """

    def __init__(
        self, snapshots: Snapshots, recorder: PointRecorder, stages: Sequence[Any], names: Sequence[str]
    ) -> None:
        self._snapshots, self._recorder = snapshots, recorder
        self._stages, self._names = stages, names
        self._lock = threading.Lock()
        self._present: tuple[Snapshot, ShownScan] | None = None
        recorder.settle = self.settle

    def of(self, uid: str | None) -> ShownScan:
        """What is shown of a scan, the present one unless given; KeyError if it is not here."""
        present = self.present()
        if uid is None or uid == present.uid:
            return present
        scan = self._recorder.of(uid)
        self.settle()
        if scan.final is None:  # a stage works on another one since
            raise KeyError(uid)
        return scan.final

    def is_running(self) -> bool:
        """Whether a run is open."""
        return any(scan.open for scan in self._recorder.scans[:2])

    def present(self) -> ShownScan:
        """What is shown now."""
        snapshot = self._snapshots.newest()
        with self._lock:
            if self._present is None or self._present[0] is not snapshot:
                self._present = snapshot, _with_maps(snapshot, self._scan_of(snapshot))
            return self._present[1]

    def settle(self) -> None:
        """Keep the maps of scans that ended, of what their stages have published; called in a thread of the server."""
        with self._lock:
            for scan, number, run in self._recorder.take_ended():
                try:
                    published = self._stages[number].published(run)
                except Exception as error:  # of the code that makes the tree
                    log.warning("the maps of scan %s are not kept: %s: %s", scan.uid, type(error).__name__, error)
                    continue
                if published is not None:
                    scan.published[number] = published.tree
                if scan.open or not scan.published:
                    continue
                trees = {self._names[at]: tree for at, tree in sorted(scan.published.items())}
                scan.published = {}
                scan.final = _kept(_with_maps(Snapshot(joined(self._names, trees), 0), scan))

    def stage_of(self, path: str) -> str:
        """The name of the stage that shows what is at a path."""
        return self._names[0] if len(self._names) == 1 else path.split("/")[1]

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
    plotted = snapshot.default
    first = next((one.id for one in maps.values() if plotted is not None and one.path == plotted.path), None)
    is_empty = plotted is not None and plotted.array is not None and plotted.array.ndim > 1 and not plotted.array.size
    default = None if is_empty else next(iter(maps), None) if first is None else first  # it may have maps soon
    return ShownScan(scan, snapshot.generation, maps, default, sum(1 for _ in found))


def _kept(shown: ShownScan) -> ShownScan:
    """The maps alone, without what else was published, as far as there is room."""
    kept: dict[str, ShownMap] = {}
    room = SCAN_BYTES // 2
    for one in shown.maps.values():
        room -= one.values.nbytes // 2
        if room < 0:
            break
        kept[one.id] = one.kept
    return shown._replace(maps=kept, n_more=shown.n_more + len(shown.maps) - len(kept))
