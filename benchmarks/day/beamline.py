"""The beamline of a day: it plays the runs, and the faults in between."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.day.documents import SIDE, SMALL, Day, long_run, short_run, spots
from benchmarks.day.servers import Servers
from bluesky_ext import Publisher
from bluesky_ext.storage import find_derived

#: Frames of the long run that the analysis may be behind, so that it goes as fast as this takes them.
BEHIND = 400


@dataclass
class Run:
    """A run that was played.

    Parameters
    ----------
    events : int
        How many it has.
    took : float
        How long it took, in s.
    fault : str
        What was going on: "killed", "full", "gone", "long", or nothing.
    unsent : int
        How many of its documents the publisher counted as unheard, dropped or failed.
    """

    events: int
    took: float
    fault: str
    unsent: int


@dataclass
class Beamline:
    """Plays the runs of a day: first they are saved, then published.

    Parameters
    ----------
    day : Day
        How many runs, and how long the faults are.
    saver : Saver
        Takes the documents first.
    publisher : Publisher
        Takes them then.
    servers : Servers
        What is killed and halted.
    frames : Path
        The file of the long run.
    """

    day: Day
    saver: Any
    publisher: Publisher
    servers: Servers
    frames: Path
    runs: dict[str, Run] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self._images = [spots(rng, SMALL, 3) for _ in range(8)]

    def play(self) -> None:
        """All runs: a fifth, a fault, and so on; the long one is in the middle."""
        self._fifth()
        self._run("killed", self.servers.kill)
        self._while(lambda: self.servers.progress() is None, "killed")
        self._fifth()
        with full_disk():
            self._through("full")
        self._fifth()
        self._run("long")
        self._fifth()
        self.servers.halt(True)
        self._through("gone")
        self.servers.halt(False)
        self._fifth()

    def _fifth(self) -> None:
        """Play runs to which nothing happens. There are minutes between the runs of a day: each is waited for."""
        for _ in range(max(1, self.day.runs // 5)):
            uid = self._run()
            if not self.runs[uid].unsent:
                self.servers.wait_for(partial(is_mapped, self.saver.catalog, uid), f"the maps of run {uid}")

    def _through(self, fault: str) -> None:
        """Play runs while there is a fault."""
        over = time.monotonic() + self.day.fault
        self._while(lambda: time.monotonic() < over, fault)

    def _while(self, goes_on: Callable[[], bool], fault: str) -> None:
        while goes_on():
            self._run(fault)
            time.sleep(self.day.pause)

    def _run(self, fault: str = "", in_the_middle: Callable[[], object] | None = None) -> str:
        number, is_long = len(self.runs), fault == "long"
        documents = long_run(self.frames, self.day, number) if is_long else short_run(self._images, number)
        before, began, events, uid = self._unsent(), time.perf_counter(), 0, ""
        for name, document in documents:
            self.saver(name, document)
            self.publisher(name, document)
            uid = uid or document["uid"]
            events += name == "event"
            if name == "event" and events == SIDE and in_the_middle is not None:
                in_the_middle()
            if name == "event" and is_long and events % 100 == 0:
                self._wait_until_done(events - BEHIND)
        self.runs[uid] = Run(events, time.perf_counter() - began, fault, self._unsent() - before)
        if number % max(1, self.day.runs // 50) == 0:
            self.memory.append(self.servers.memory())
        return uid

    def _unsent(self) -> int:
        stats = self.publisher.stats
        return stats.unheard + stats.dropped + stats.failed

    def _wait_until_done(self, events: int) -> None:
        """Wait until the live server says that so many events of the run are done with."""

        def is_done() -> bool:
            said = self.servers.progress() or {"completedEvents": 0, "failed": 0, "lost": 0}
            return said["completedEvents"] + said["failed"] + said["lost"] >= events

        if events > 0:
            self.servers.wait_for(is_done, f"frame {events}")


def is_mapped(catalog: Any, uid: str) -> bool:
    """Whether the peaks, tracks and maps of a run are in the catalogue."""
    return sum(bool(run.metadata.get("stop")) for run in find_derived(catalog, uid)) == 3


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 4 kB: an error for all that write files, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
