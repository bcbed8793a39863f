"""The beamline of a day: it plays the runs, and the faults in between."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.day.documents import SIDE, SMALL, Day, long_run, short_run, spots
from benchmarks.day.servers import Servers
from bluesky_ext import Publisher

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
        """All runs, one of which is long; the server is killed, the disk is full, the network is gone."""
        kill, full, long, gone = (int(self.day.runs * part) for part in (0.2, 0.4, 0.6, 0.8))
        number = 0
        while number < self.day.runs:
            if number == kill:
                self._run(number, "killed", self.servers.kill)
            elif number == full:
                with full_disk():
                    number += self._through(number, "full") - 1
            elif number == long:
                self._run(number, "long")
            elif number == gone:
                self.servers.halt(True)
                number += self._through(number, "gone") - 1
                self.servers.halt(False)
            else:
                self._run(number)
            number += 1

    def _through(self, number: int, fault: str) -> int:
        """Play runs while there is a fault; how many."""
        over, first = time.monotonic() + self.day.fault, number
        while time.monotonic() < over:
            self._run(number, fault)
            number += 1
            time.sleep(self.day.pause)
        return number - first

    def _run(self, number: int, fault: str = "", in_the_middle: Callable[[], object] | None = None) -> None:
        is_long = fault == "long"
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


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 4 kB: an error for all that write files, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
