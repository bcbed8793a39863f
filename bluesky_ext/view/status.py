"""The status of an analysis: how far it is, what was lost, and whether it keeps up."""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bluesky_ext._version import __version__
from bluesky_ext.engine import Map, Stage, frames_of
from bluesky_ext.engine.documents.live_runs import is_live, live_streams
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.documents.provenance import path_of, revision
from bluesky_ext.engine.stages.run import Progress
from bluesky_ext.live import LiveAnalysis
from bluesky_ext.view.log_lines import LogLines
from bluesky_ext.view.shown import Shown

#: Seconds over which a rate is measured; so many errors and streams are told, and so much of the texts of documents.
OVER, ERRORS, STREAMS, LONGEST = 5.0, 10, 100, 200


class Status:
    """What there is to say of some stages and of what feeds them.

    Parameters
    ----------
    shown : Shown
        How the stages are called.
    stages : sequence of Stage
        In the same order.
    others : sequence
        Dispatchers, recorders and all else that counts in ``stats``.
    lines : LogLines
        The log.
    takes_token : bool
        Whether changes take a token.
    """

    def __init__(
        self, shown: Shown, stages: Sequence[Stage], others: Sequence[Any], lines: LogLines, takes_token: bool
    ) -> None:
        self._takes_token = takes_token
        self._shown, self._names, self._stages, self._others = shown, shown.names, stages, others
        self._lines = lines
        self._history: deque[tuple[float, str, int]] = deque(maxlen=1000)  # when, of which scan, how many events
        self.versions = {"bluesky_ext": __version__, "revision": revision(), "code": _code_of(stages)}

    @property
    def state(self) -> str:
        """ON before the first run, RUNNING while one is open, CLOSE after it."""
        if self._shown.is_running():
            return "RUNNING"
        return "CLOSE" if any(stage.ended for stage in self._stages) else "ON"

    def whole(self) -> dict[str, Any]:
        """All that is known, as JSON has it."""
        said = [list(stage.progress()) for stage in self._stages]
        scan, of_scan = _latest_scan(said)
        start = next((one.start for one in of_scan if one is not None), {})
        ended = [one.exit_status for one in of_scan if one is not None]
        about = {key: _told(start.get(key)) for key in ("scan_id", "plan_name", "purpose")}
        return {
            "state": self.state,
            "run": {"uid": scan, **about, "exit_status": None if None in ended else next(iter(ended), None)},
            "live": self.live(said),
            "progress": self.progress(scan, of_scan),
            "stages": [
                {
                    "name": name,
                    "kind": "map" if isinstance(stage, Map) else "reduce",
                    "class": stage.path,
                    "parameters_sha256": stage.parameters_sha256,
                    **_work_of(stage),
                    "lag": round(stage.lag, 3),
                    "age": _age(runs[-1].touched if runs else None),
                    "open_runs": len(stage.open_runs),
                    "streams": {} if one is None else _streams_of(one),
                    "counts": asdict(stage.stats),
                }
                for name, stage, one, runs in zip(self._names, self._stages, of_scan, said, strict=True)
            ],
            "sources": [{"name": getattr(one, "name", str(one)), "counts": asdict(one.stats)} for one in self._others],
            "deployedVersions": self.versions,
            "access": {"token": self._takes_token},
            "errors": self._errors(),
        }

    def _errors(self) -> list[dict[str, Any]]:
        """The last warnings and errors; what the server says of odd requests is none."""
        lines = self._lines.after(0, logging.WARNING)
        return [line for line in lines if not line["logger"].startswith("uvicorn")][-ERRORS:]

    def progress(self, scan: str | None = None, of_scan: Sequence[Progress | None] | None = None) -> dict[str, Any]:
        """How far the analysis is with the scan that was heard of last."""
        if of_scan is None:
            scan, of_scan = _latest_scan([list(stage.progress()) for stage in self._stages])
        pairs = [(stage, one) for stage, one in zip(self._stages, of_scan, strict=True) if one is not None]
        # Events that the first stages lack were lost; those that later ones lack may have failed before.
        first = [one for _, one in pairs if "original_run_uid" not in one.start] or [one for _, one in pairs]
        completed = min((_frames(one.done) for one in of_scan if one is not None), default=0)
        taken = max((_frames(one.received) for one in first), default=0)
        failed = sum(sum(one.failed.values()) for _, one in pairs)
        touched = max((one.touched for _, one in pairs), default=None)
        total = next(filter(None, (_total(one.start) for one in first)), None)
        is_open = any(one.exit_status is None for _, one in pairs)
        is_alignment = any(is_live(one.start) for _, one in pairs)  # nothing piles up then
        return {
            "completedEvents": completed,
            "totalEvents": total,
            "lost": max((sum(one.lost.values()) for one in first), default=0),
            "failed": failed,
            "rate": (rate := self._rate(scan or "", completed)),
            "remaining": round((total - completed) / rate, 1) if total and rate and is_open else None,
            "skipped": max((sum(one.skipped.values()) for _, one in pairs), default=0),
            "lag": 0 if is_alignment else max(0, taken - completed),
            "lagSeconds": round(max((stage.lag for stage in self._stages), default=0.0), 3),
            "age": _age(touched),
        }

    def live(self, said: Sequence[Sequence[Progress]] | None = None) -> list[dict[str, Any]]:
        """The streams of live runs: which are on, and what was looked at in the latest of these runs."""
        if said is None:
            said = [list(stage.progress()) for stage in self._stages]
        runs = [one for some in said for one in some if is_live(one.start)]
        return [{"stream": printable(name, LONGEST), **_of_live(name, runs)} for name in live_streams]

    def last_events(self) -> dict[str, Any]:
        """The last events of each worker of live analyses, by stage and worker."""
        pairs = zip(self._names, self._stages, strict=True)
        return {name: stage.last_events for name, stage in pairs if isinstance(stage, LiveAnalysis)}

    def load(self) -> dict[str, Any]:
        """How busy the workers of live analyses are, by stage and worker."""
        pairs = zip(self._names, self._stages, strict=True)
        return {name: stage.load for name, stage in pairs if isinstance(stage, LiveAnalysis)}

    def _rate(self, scan: str, completed: int) -> float:
        """Events per second, lately."""
        now = time.monotonic()
        history = self._history
        if history and (history[-1][1] != scan or history[-1][2] > completed):
            history.clear()
        if not history or now - history[-1][0] >= 0.1:
            history.append((now, scan, completed))
        while len(history) > 1 and now - history[1][0] > OVER:  # one that is older stays, to compare with
            history.popleft()
        then, _, before = history[0]
        return round((completed - before) / (now - then), 2) if now - then >= 0.1 else 0.0


def _work_of(stage: Stage) -> dict[str, Any]:
    """Where a stage works; of a live analysis its classes too."""
    if isinstance(stage, LiveAnalysis):
        pair = stage.pair
        classes = {"worker": path_of(pair.worker), "reducer": path_of(pair.reducer)}
        return {**classes, "workers": pair.lanes}
    executor = getattr(stage, "executor", None)
    return {"executor": None if executor is None else repr(executor)}


def _latest_scan(said: Sequence[Sequence[Progress]]) -> tuple[str | None, list[Progress | None]]:
    """The uid of the scan that was heard of last, and how far each stage is with it."""
    last = max((one[-1] for one in said if one), key=lambda one: one.touched, default=None)
    if last is None:
        return None, [None] * len(said)
    scan = _scan_of(last)
    return scan, [next((one for one in reversed(some) if _scan_of(one) == scan), None) for some in said]


def _scan_of(progress: Progress) -> str:
    return str(progress.start.get("original_run_uid", progress.start["uid"]))


def _told(value: Any) -> str | int | None:
    """What a document says, which may be anything: a number, or the beginning of a text."""
    return value if value is None or (isinstance(value, int) and abs(value) < 2**53) else printable(value, LONGEST)


def _streams_of(one: Progress) -> dict[str, Any]:
    names = {*one.received, *one.failed, *one.lost}
    kinds = {"received": one.received, "failed": one.failed, "lost": one.lost, "skipped": one.skipped}
    return {
        printable(name, LONGEST): {kind: counts.get(name, 0) for kind, counts in kinds.items()}
        for name in sorted(names, key=str)[:STREAMS]
    }


def _of_live(stream: str, runs: Sequence[Progress]) -> dict[str, Any]:
    """Whether a stream is on, and what became of its events: in the stage that has skipped most of them."""
    last = max((one.touched for one in runs), default=0.0)
    here = [one for one in runs if stream in one.received and (one.exit_status is None or one.touched == last)]
    counts = max(((one.skipped.get(stream, 0), one.received[stream]) for one in here), default=(0, 0))
    is_running = any(one.exit_status is None for one in here)
    is_on = live_streams.is_on(stream)
    return {"on": is_on, "running": is_running, "received": counts[1], "skipped": counts[0]}


def _age(touched: float | None) -> float | None:
    """The seconds since something came, on the monotonic clock."""
    return None if touched is None else round(time.monotonic() - touched, 3)


def _frames(counts: Mapping[str, int]) -> int:
    """How many events of the scan these are, by stream: where there are rows beside them, they are not counted."""
    for name in (frames_of("primary"), "primary"):
        if name in counts:
            return counts[name]
    return max(counts.values(), default=0)


def _total(start: Mapping[str, Any]) -> int | None:
    """How many events a plan announces."""
    total = start.get("num_points")
    return total if isinstance(total, int) and 0 < total < 2**53 else None


def _code_of(stages: Sequence[Stage]) -> dict[str, Any]:
    """The sha256 of the files with the classes that are not of this package, and the commit, if it is known."""
    said: dict[str, Any] = {}
    for stage in stages:
        pair = stage.pair if isinstance(stage, LiveAnalysis) else None
        for user in (type(stage),) if pair is None else (pair.worker, pair.reducer):
            if user.__module__.startswith("bluesky_ext."):
                continue
            try:
                file = Path(inspect.getsourcefile(user) or "")
            except TypeError:  # it was typed in
                continue
            if file.is_file():
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                said[path_of(user)] = {"sha256": sha256, **({} if pair is None else pair.versions)}
    return said
