"""What the engine costs an event beside the kernels, in calls of Python; and how quickly a reduce shows what it has."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import event_model
import numpy as np

from benchmarks.runner import Figure, at_most
from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker
from bluesky_ext.engine import Rows

COLUMNS = ("y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep")


def chain():
    """ImageProcessor, PeakTracker and CrystalMap, with kernels that do nothing."""
    image, columns = np.zeros((8, 8)), {name: np.arange(3.0) for name in COLUMNS}
    numbers = np.zeros(3, np.int64)
    ip, pt, cm = ImageProcessor("image"), PeakTracker("image", 11), CrystalMap(search_range=5)
    ip.kernel = lambda data, seq_num, *inputs: {"image": image}
    pt.kernel = lambda data, seq_num, *inputs: Rows({**columns, "frame": numbers}, {"n_gaps": 0})
    cm.reduce_page = lambda state, stream, page: True
    cm.reduce = lambda state, stream, event: None
    ip.subscribe(pt)
    pt.subscribe(cm)
    return ip


def documents(count):
    bundle = event_model.compose_run(metadata={"shape": [count]}, validate=False)
    keys = {
        "image": {"source": "sim", "dtype": "array", "shape": [8, 8]},
        "motor": {"source": "sim", "dtype": "number", "shape": []},
    }
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    image = np.zeros((8, 8), np.uint16)
    events = [
        stream.compose_event(
            data={"image": image, "motor": 0.5 * number}, timestamps=dict.fromkeys(keys, 1.0), validate=False
        )
        for number in range(count)
    ]
    return bundle.start_doc, stream.descriptor_doc, events


def calls_of_an_event(counted=100, timed=2000):
    """How many functions of Python are called for an event, and how long it takes, in s."""
    start, descriptor, events = documents(2 * counted + timed)
    stage = chain()
    stage("start", start)
    stage("descriptor", descriptor)
    calls: Counter[str] = Counter()

    def note(frame, what, argument):
        if what == "call":
            calls[frame.f_code.co_qualname] += 1

    for event in events[:counted]:
        stage("event", event)
    sys.setprofile(note)
    for event in events[counted : 2 * counted]:
        stage("event", event)
    sys.setprofile(None)
    best = float("inf")
    for first in range(2 * counted, 2 * counted + timed, 200):
        began = time.thread_time()
        for event in events[first : first + 200]:
            stage("event", event)
        best = min(best, (time.thread_time() - began) / 200)
    return calls.total() / counted, best


def mapped(side=100, tracks=100):
    """A crystal map of so many tracks on a square scan, all of its frames linked but the last 2000; and these."""
    n = side * side
    rng = np.random.default_rng(1)
    y, x = (np.arange(tracks) * 37.0 % 2000, np.arange(tracks) * 91.0 % 2000)
    cm = CrystalMap(search_range=5, memory=3, max_maps=tracks)
    run = event_model.compose_run(metadata={"shape": [side, side], "extents": [[0, 1], [0, 1]]}, validate=False)
    number = {"source": "sim", "dtype": "number", "shape": []}
    rows = run.compose_descriptor(name="primary", data_keys=dict.fromkeys(("frame", *COLUMNS), number), validate=False)
    told = ("frame", "first_row", "n_rows")
    frames = run.compose_descriptor(name="frames", data_keys=dict.fromkeys(told, number), validate=False)
    for document in (rows, frames):
        if document is rows:
            cm("start", run.start_doc)
        cm("descriptor", document.descriptor_doc)

    def frame(seq_num):
        first = (seq_num - 1) * tracks + 1
        columns = {name: rng.random(tracks).tolist() for name in COLUMNS}
        columns |= {"y": (y + rng.random(tracks)).tolist(), "x": (x + rng.random(tracks)).tolist()}
        data = {"frame": [seq_num] * tracks, **columns}
        page = {
            "descriptor": rows.descriptor_doc["uid"],
            "seq_num": list(range(first, first + tracks)),
            "uid": ["u"] * tracks,
            "time": [1.0] * tracks,
            "data": data,
            "timestamps": {},
        }
        cm("event_page", page)
        about = dict(zip(told, (seq_num, first, tracks), strict=True))
        cm("event", frames.compose_event(data=about, timestamps={}, seq_num=seq_num, validate=False))

    for seq_num in range(1, n - 2000 + 1):
        frame(seq_num)
    return cm, frame, n - 2000 + 1


def publishing(rate=200.0, count=400):
    """The longest and the median time of ``publish()``, changed and unchanged, while events come in; in s."""
    cm, frame, first = mapped()
    cm.publish()
    stop = threading.Event()

    def scan():
        for seq_num in range(first, first + count):
            frame(seq_num)
            if stop.wait(1 / rate):
                return
        stop.set()

    changed, same = [], []
    thread = threading.Thread(target=scan)
    thread.start()
    last = None
    while not stop.is_set():
        began = time.perf_counter()
        published = cm.publish()
        took = time.perf_counter() - began
        (same if published is last else changed).append(took)
        last = published
        stop.wait(0.02)
    thread.join()
    cm.publish()
    for _ in range(100):
        began = time.perf_counter()
        cm.publish()
        same.append(time.perf_counter() - began)
    return np.median(changed), np.median(same), len(changed)


def main() -> Iterator[Figure]:
    calls, seconds = calls_of_an_event()
    yield at_most("calls of Python for an event through three stages", calls, "calls", 60)
    yield Figure("  their time", seconds * 1e6, "us")
    changed, same, _ = publishing()
    yield at_most("publish() of 100 maps of 100 x 100 while 200 events/s come in", changed * 1e3, "ms", 20)
    yield at_most("publish() when nothing has changed", same * 1e3, "ms", 1)
