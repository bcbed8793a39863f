"""What crystal maps cost while a scan grows: an event early and late, the dataset, the layout of the points."""

from __future__ import annotations

import time
from statistics import median

import event_model
import numpy as np

from bluesky_ext import CrystalMap
from bluesky_ext.positions import Planned, lay_out

COLUMNS = ("y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep")


class Scan:
    """A crystal map of a snaked scan with so many spots, which is given a frame at a time.

    The encoders of the motors are off by up to a tenth of a step.
    """

    def __init__(self, side: int, spots: int) -> None:
        self.side, self.spots, self.frame = side, spots, 0
        self.rng = np.random.default_rng(1)
        self.y, self.x = np.arange(spots) * 37.0 % 2000, np.arange(spots) * 91.0 % 2000
        self.map = CrystalMap(search_range=5, memory=3, max_maps=spots)
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
            self.map(name, doc)

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
                self.map(name, doc)
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


def main() -> bool:
    scan = Scan(101, 10)
    scan.take(100)
    early = median(scan.take(200))
    scan.take(9700)
    late = median(scan.take(200))
    print(f"an event with 10 peaks: {early * 1e6:.0f} us at 100 points, {late / early:.2f} times that at 10 000")
    scan = Scan(60, 30)
    scan.take(3599)

    def changed() -> None:
        scan.take(1)
        _ = scan.map.dataset

    dataset = seconds(changed, 1) + seconds(lambda: scan.map.dataset)
    print(f"the dataset of 3600 points x 30 spots: {dataset * 1e3:.1f} ms (target 40)")
    rng = np.random.default_rng(0)
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(100.0), np.arange(100.0), indexing="ij"))
    shaking = {"y": y + rng.uniform(-0.2, 0.2, y.size), "x": x + rng.uniform(-0.2, 0.2, y.size)}
    numbers = np.arange(1, 10_001)
    planned = seconds(lambda: lay_out(numbers, shaking, Planned((100, 100))))
    found = seconds(lambda: lay_out(numbers, shaking))
    scattered = {"y": rng.random(10_000), "x": rng.random(10_000)}
    none = seconds(lambda: lay_out(numbers, scattered))
    print(
        f"the layout of 10 000 points: a planned grid {planned * 1e3:.1f} ms, one that nobody planned "
        f"{found * 1e3:.1f} ms, no grid {none * 1e3:.1f} ms"
    )
    return dataset < 0.04 and late < 1.2 * early
