"""What is known of one scan: its points, how it goes, and at its end what was made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bluesky_ext.callbacks.scan import Scan, ScanPoints
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.positions import Planned
from bluesky_ext.view.points.rows import Rows

#: So many points are kept of a scan, and so many of a live run, which has no end.
MOST, MOST_LIVE = 1_000_000, 10_000


class ScanRecord:
    """One scan, known from the runs that the stages were given.

    Parameters
    ----------
    start : dict
        Its start document, or that of a run derived from it.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.start = start
        self.uid = scan_of(start)
        self.is_live = is_live(start)
        #: When it began: what the document says, which may be anything, or else now.
        told = start.get("time")
        self.time = float(told) if isinstance(told, int | float) else time.time()
        self.rows = Rows(MOST_LIVE if self.is_live else MOST)
        self.units: dict[str, str] = {}
        #: The stream whose events are the points; any of a live run.
        self.stream: str | None = None
        self.exit_status: str | None = None
        #: Whether a run of it was closed without its stop document, or lacks something.
        self.is_incomplete = False
        #: How many events were lost, and failed, as the stages say at its end.
        self.missing = {"lost": 0, "failed": 0}
        #: The runs of it that stages work on, as (number of the stage, uid of the run).
        self.open: set[tuple[int, str]] = set()
        #: The shapes of the images of points, by stage, key and kind.
        self.images: dict[tuple[str, str, str], list[int]] = {}
        #: What stages have published of it, by number, until all have; and the maps that are kept of that.
        self.published: dict[int, Mapping[str, Any]] = {}
        self.final: Any = None
        self._points = ScanPoints(Scan(), start)

    @property
    def state(self) -> str:
        """Whether it goes on, and else how it ended: running, ended or incomplete."""
        if self.open:
            return "running"
        return "incomplete" if self.is_incomplete else "ended"

    def begin_points(self, stream: str) -> None:
        """Take the events of this stream for the points, and of no other."""
        self.stream = stream
        self.rows = Rows(MOST_LIVE if self.is_live else MOST)
        self.images = {}

    def describe(self, descriptor: Mapping[str, Any]) -> None:
        """Learn the units of readings, and which of them are those of the motors."""
        for key, about in descriptor["data_keys"].items():
            if isinstance(about, Mapping) and isinstance(unit := about.get("units"), str) and unit:
                self.units[str(key)] = unit
        self._points.describe(descriptor)

    @property
    def motors(self) -> dict[str, str]:
        """The reading of each motor, the slowest first."""
        return dict(self._points.readings)

    @property
    def planned(self) -> Planned | None:
        """The grid that the start document describes, if it does."""
        return self._points.planned

    def unit_of(self, name: str) -> str:
        """The unit of a motor or a reading; empty if there is none."""
        return self.units.get(name) or self._points.units.get(name) or self.units.get(self.motors.get(name, ""), "")

    def positions(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The numbers of the points, (n,) int64, and where each motor was, (n,) float64, in the order of measuring."""
        motors = {name: key for name, key in self.motors.items() if key in self.rows.names}
        seq_nums, columns = self.rows.read([*motors.values()])
        return seq_nums, dict(zip(motors, columns, strict=True))

    def told(self) -> dict[str, Any]:
        """What a list of scans says of it."""
        about = {key: plain(self.start.get(key)) for key in ("scan_id", "plan_name", "purpose")}
        return {
            "uid": self.uid,
            **about,
            "state": self.state,
            "exit_status": self.exit_status,
            "time": self.time,
            "num_points": len(self.rows) + self.rows.n_gone,
            "planned_points": self._announced(),
        }

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        return self.rows.nbytes + (0 if self.final is None else self.final.nbytes)

    def _announced(self) -> int | None:
        told = self.start.get("num_points")
        return told if isinstance(told, int) and 0 < told < 2**53 else None


def scan_of(start: Mapping[str, Any]) -> str:
    """The uid of the scan that a run is, or is derived from."""
    return str(start.get("original_run_uid", start["uid"]))


def plain(value: Any) -> str | int | None:
    """What a document says, which may be anything: a number, or the beginning of a text."""
    return value if value is None or (isinstance(value, int) and abs(value) < 2**53) else printable(value, 200)
