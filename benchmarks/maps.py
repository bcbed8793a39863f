"""What crystal maps cost while a scan grows: an event early and late, the dataset, the layout of the points."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from statistics import median

import event_model
import numpy as np
from bluesky import RunEngine
from bluesky.plans import grid_scan

from benchmarks.runner import Figure, at_most
from bluesky_ext import CrystalMap, PeakTracker, TrackLinker
from bluesky_ext.positions import Planned, lay_out
from bluesky_ext.sim import beamline

LINK = {"search_range": 5, "memory": 3}
COLUMNS = ("y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep")


class Scan:
    """A crystal map of a snaked scan with so many spots, which is given a frame at a time, and other stages before it.

    The encoders of the motors are off by up to a tenth of a step.
    """

    def __init__(self, side: int, spots: int, *others: TrackLinker) -> None:
        self.side, self.spots, self.frame, self.others = side, spots, 0, others
        self.rng = np.random.default_rng(1)
        self.y, self.x = np.arange(spots) * 37.0 % 2000, np.arange(spots) * 91.0 % 2000
        self.map = CrystalMap(**LINK, max_maps=spots)
        number = {"source": "sim", "dtype": "number", "shape": []}
        metadata = {"shape": [side, side], "extents": [[0, 1], [0, 1]], "snaking": [False, True]}
        start = metadata | {"motors": ["sample_y", "sample_x"]}
        bundle = event_model.compose_run(metadata=start, validate=False)
        keys = dict.fromkeys(("frame", *COLUMNS), number)
        self.rows = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
        keys = dict.fromkeys(("frame", "first_row", "n_rows", "sample_y", "sample_x"), number)
        self.frames = bundle.compose_descriptor(name="frames", data_keys=keys, validate=False)
        for name, doc in (
            ("start", bundle.start_doc),
            *(("descriptor", stream.descriptor_doc) for stream in (self.rows, self.frames)),
        ):
            self.give(name, doc)

    def give(self, name: str, doc: dict) -> None:
        for stage in (*self.others, self.map):
            stage(name, doc)

    def documents(self) -> list:
        """Those of the next frame."""
        self.frame += 1
        first = (self.frame - 1) * self.spots + 1
        columns = {name: self.rng.random(self.spots).tolist() for name in COLUMNS}
        columns |= {"y": (self.y + self.rng.random(self.spots)).tolist()}
        columns |= {"x": (self.x + self.rng.random(self.spots)).tolist()}
        page = {
            "descriptor": self.rows.descriptor_doc["uid"],
            "seq_num": list(range(first, first + self.spots)),
            "uid": ["u"] * self.spots,
            "time": [1.0] * self.spots,
            "data": {"frame": [self.frame] * self.spots, **columns},
            "timestamps": {},
        }
        row, column = divmod(self.frame - 1, self.side)
        at = np.array([row, self.side - 1 - column if row % 2 else column]) / (self.side - 1)
        at += self.rng.uniform(-0.1, 0.1, 2) / (self.side - 1)
        data = {"frame": self.frame, "first_row": first, "n_rows": self.spots}
        data |= dict(zip(("sample_y", "sample_x"), at.tolist(), strict=True))
        event = self.frames.compose_event(data=data, timestamps={}, seq_num=self.frame, validate=False)
        return [("event_page", page), ("event", event)]

    def take(self, count: int) -> list[float]:
        """Give it so many frames; how long it took for each, in s."""
        took = []
        for _ in range(count):
            documents = self.documents()
            began = time.thread_time()
            for name, doc in documents:
                self.give(name, doc)
            took.append(time.thread_time() - began)
        return took


def seconds(function, count: int = 15) -> float:
    """The median time of a call, in s."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        function()
        took.append(time.perf_counter() - began)
    return median(took)


def linking_once() -> Iterator[Figure]:
    """What a crystal map costs behind the PeakTracker of a TrackLinker, in time and in memory."""
    alone, both = Scan(101, 30), Scan(101, 30, TrackLinker(**LINK))
    both.rng = np.random.default_rng(2)  # what is linked in one is not what is linked in the other
    took: dict[Scan, list[float]] = {alone: [], both: []}
    for scan in (alone, both) * 10:
        took[scan] += scan.take(50)
    times = median(took[both]) / median(took[alone])
    scan = Scan(101, 10, TrackLinker(search_range=5, memory=100))
    gc.collect()
    tracemalloc.start()
    scan.take(2000)
    _ = scan.map.dataset
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] / 20_000
    tracemalloc.stop()
    yield at_most("TrackLinker and CrystalMap behind one PeakTracker, against CrystalMap alone", times, "x", 1.7)
    yield at_most("  the rows of both, and the maps, a peak of 10 in a frame", size, "bytes", 400)


def growing() -> Iterator[Figure]:
    """The dataset after each event, early and late in a scan."""
    scan, taken = Scan(142, 30), 0
    times = []
    for count in (500, 5000, 20_000):
        scan.take(count - taken - 20)
        taken, some = count, []
        for _ in range(20):
            scan.take(1)
            began = time.thread_time()
            _ = scan.map.dataset
            some.append(time.thread_time() - began)
        times.append(median(some) * 1e3)
    yield Figure("the dataset of 30 spots after an event, at 500 points", times[0], "ms")
    yield Figure("  at 5000 points", times[1], "ms")
    yield at_most("  at 20 000 points", times[2], "ms", 15)


def holding() -> Iterator[Figure]:
    """The longest that linking holds an event, in a scan whose search range is above the separation of the spots."""
    b = beamline(seed=1, shape=(256, 256), n_grains=8, spots_per_grain=14)
    tracker, documents = PeakTracker("dexela_image", 9, minmass=300), []
    tracker.subscribe(lambda name, doc: documents.append((name, doc)))
    RunEngine()(grid_scan([b.detector], b.y, -1, 1, 8, b.x, -1, 1, 8), tracker)
    linker, longest = TrackLinker(search_range=100, memory=100), 0.0
    for name, doc in documents:
        began = time.thread_time()
        linker(name, doc)
        longest = max(longest, time.thread_time() - began)
    yield at_most("the longest that linking holds an event whose peaks are all within reach", longest * 1e3, "ms", 200)


def main() -> Iterator[Figure]:
    scan = Scan(101, 10)
    scan.take(100)
    early = median(scan.take(200))
    scan.take(9700)
    late = median(scan.take(200))
    yield Figure("a crystal map takes an event with 10 peaks, at 100 points", early * 1e6, "us")
    yield at_most("  at 10 000 points, against that", late / early, "x", 1.2)
    scan = Scan(60, 30)
    scan.take(3599)

    def changed() -> None:
        scan.take(1)
        _ = scan.map.dataset

    dataset = seconds(changed, 1) + seconds(lambda: scan.map.dataset)
    yield at_most("the dataset of 3600 points and 30 spots, when it is first asked for", dataset * 1e3, "ms", 40)
    rng = np.random.default_rng(0)
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(100.0), np.arange(100.0), indexing="ij"))
    shaking = {"y": y + rng.uniform(-0.2, 0.2, y.size), "x": x + rng.uniform(-0.2, 0.2, y.size)}
    numbers = np.arange(1, 10_001)
    planned = seconds(lambda: lay_out(numbers, shaking, Planned((100, 100))))
    found = seconds(lambda: lay_out(numbers, shaking))
    scattered = {"y": rng.random(10_000), "x": rng.random(10_000)}
    none = seconds(lambda: lay_out(numbers, scattered))
    yield Figure("where 10 000 points lie: on a grid that was planned", planned * 1e3, "ms")
    yield Figure("  on a grid that nobody planned", found * 1e3, "ms")
    yield Figure("  on no grid", none * 1e3, "ms")
    for part in (linking_once, growing, holding):
        yield from part()
