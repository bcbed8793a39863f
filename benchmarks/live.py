"""What a user's worker and reducer cost beside their work, against dranspose's own replay where it is installed.

That needs ``pip install dranspose 'cbor2<5.8'``, since it reads captures with no later one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import event_model
import h5py
import numpy as np

from benchmarks.runner import Figure, at_least, at_most
from bluesky_ext import LiveAnalysis, Recorder
from bluesky_ext.live import run_pair

EVENTS = 20_000
SHAPE, IMAGES = (1024, 1024), 300
FRAME, FRAMES = (2048, 2048), 60


class Value:
    """A worker that does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def process_event(self, event, *args, **kwargs):
        return event.event_number


class Count:
    """A reducer that does nothing."""

    def __init__(self, *args, **kwargs):
        self.number = 0

    def process_result(self, result, parameters=None):
        self.number += 1


class Sum(Value):
    """A worker that looks at each pixel of an image, in the frames of a capture or in a document."""

    def process_event(self, event, *args, **kwargs):
        if "image" in event.streams:
            return int(np.sum(np.frombuffer(event.streams["image"].frames[1], np.uint16)))
        return int(np.sum(event.data["frame"]))


def documents(count, page=0):
    """A run of one scalar an event, in events or in pages of so many."""
    bundle = event_model.compose_run(validate=False)
    keys = {"x": {"source": "sim", "dtype": "number", "shape": []}}
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    events = [stream.compose_event(data={"x": 1.0}, timestamps={"x": 1.0}, validate=False) for _ in range(count)]
    size = page or count
    pages = [("event_page", event_model.pack_event_page(*events[at : at + size])) for at in range(0, count, size)]
    made = pages if page else [("event", one) for one in events]
    start, stop = ("start", bundle.start_doc), ("stop", bundle.compose_stop(validate=False))
    return [start, ("descriptor", stream.descriptor_doc), *made, stop]


def overhead(page):
    """The CPU time of an event in a stage, in us: of all threads, the best of five."""
    docs = documents(EVENTS, page)
    times = []
    for _ in range(5):
        analysis = LiveAnalysis(Value, Count)
        began = time.process_time()
        for name, doc in docs:
            analysis(name, doc)
        times.append((time.process_time() - began) / EVENTS * 1e6)
        check(analysis, EVENTS)
    return min(times)


def check(analysis, count):
    """Whether each event was reduced, once."""
    if analysis.latest.reducer.number != count:
        raise RuntimeError(f"{analysis.latest.reducer.number} of {count} events were reduced")


def capture_of(path, count, frames):
    """A capture as dranspose writes it, of this many events with these frames, after a first one without."""
    import cbor2

    with path.open("wb") as file:
        for number in range(count):
            message = cbor2.CBORTag(42878, ["STINS", frames])
            cbor2.dump(cbor2.CBORTag(42877, [number, {"image": message}]), file)
    return path


def timed(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def worked(function):
    """The CPU time of a function, of all threads."""
    began = time.process_time()
    function()
    return time.process_time() - began


def theirs(path, worker, taken=timed):
    """How long dranspose's replay of a capture takes, in s; None if it can't be asked."""
    try:
        from cbor2 import CBORDecodeError
        from dranspose import replay
    except ImportError:
        return None
    stop = threading.Event()
    stop.set()
    with contextlib.redirect_stdout(io.StringIO()):
        name = f"benchmarks.live:{worker.__name__}"
        try:
            return taken(lambda: replay.replay(name, "benchmarks.live:Count", [path], nworkers=1, stop_event=stop))
        except (TypeError, CBORDecodeError):  # its reader and this cbor2
            return None


def small(directory) -> Iterator[Figure]:
    """Scalar events of a recording, and of a capture, by CPU time."""
    with Recorder(directory) as recorder:
        for pair in documents(5 * EVENTS):
            recorder(*pair)
    path = recorder.artifacts[0]
    capture = capture_of(directory / "small.cbors", 5 * EVENTS, [b'{"value": 1.0}'])
    recorded, captured, their = [], [], []
    for _ in range(3):
        recorded.append(worked(lambda: run_pair(Value, Count, path, workers=1, progress=False)))
        captured.append(worked(lambda: run_pair(Value, Count, capture, workers=1, progress=False)))
        their.append(theirs(capture, Value, worked))
    ours = 5 * EVENTS / min(recorded)
    yield at_least("scalar events of a recording replayed", ours, "events/s", 100_000)
    yield Figure("small events of a capture replayed", 5 * EVENTS / min(captured), "events/s")
    if None not in their:  # dranspose is installed, and reads captures with this cbor2
        yield Figure("  the same capture, by dranspose's own replay", 5 * EVENTS / min(their), "events/s")
        yield at_least("  a recording by ours, against its capture by dranspose", min(their) / min(recorded), "x", 1.5)


def images(directory) -> Iterator[Figure]:
    """Images of a capture, summed."""
    image = np.random.default_rng(0).integers(0, 1000, SHAPE, np.uint16)
    capture = capture_of(directory / "images.cbors", IMAGES, [b"{}", image.tobytes()])
    size = IMAGES * image.nbytes / 1e9
    one, two, their = [], [], []
    for _ in range(3):
        one.append(timed(lambda: run_pair(Sum, Count, capture, workers=1, progress=False)))
        two.append(timed(lambda: run_pair(Sum, Count, capture, workers=2, progress=False)))
        their.append(theirs(capture, Sum))
    yield Figure("images of 1024 x 1024 of a capture summed, one worker", size / min(one), "GB/s")
    yield Figure("  two workers in threads", size / min(two), "GB/s")
    if None not in their:
        yield Figure("  by dranspose's own replay", size / min(their), "GB/s")
        yield at_least("  one worker, against dranspose", min(their) / min(one), "x", 1.0)
        yield at_least("  two workers, against dranspose", min(their) / min(two), "x", 1.5)


def run_with_files(path):
    """A run of frames in a file."""
    bundle = event_model.compose_run(validate=False)
    with h5py.File(path, "w") as file:
        file["frames"] = np.random.default_rng(0).integers(0, 1000, (FRAMES, *FRAME), np.uint16)
    key = {"source": "sim", "dtype": "array", "shape": [1, *FRAME], "dtype_numpy": "<u2", "external": "STREAM:"}
    stream = bundle.compose_descriptor(name="primary", data_keys={"frame": key}, validate=False)
    parameters = {"dataset": "frames", "chunk_shape": [1, *FRAME]}
    resource = bundle.compose_stream_resource(
        data_key="frame", mimetype="application/x-hdf5", uri=f"file://localhost{path}", parameters=parameters
    )
    docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    docs.append(("stream_resource", resource.stream_resource_doc))
    for number in range(FRAMES):
        datum = resource.compose_stream_datum(
            indices={"start": number, "stop": number + 1}, seq_nums={"start": number + 1, "stop": number + 2}
        )
        docs.append(("stream_datum", datum | {"descriptor": stream.descriptor_doc["uid"]}))
    return [*docs, ("stop", bundle.compose_stop(validate=False) | {"num_events": {"primary": FRAMES}})]


def cluster(directory) -> Iterator[Figure]:
    """Frames of 8 MiB by reference, on two workers of a dask cluster."""
    from distributed import Client, LocalCluster

    docs = run_with_files(directory / "frames.h5")
    times = []
    local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(directory))
    with local, Client(local) as client:
        for _ in range(4):  # the first meets cold workers
            with LiveAnalysis(Sum, Count, executor=client) as analysis:
                times.append(timed(lambda analysis=analysis: [analysis(*pair) for pair in docs]) / FRAMES * 1e3)
                check(analysis, FRAMES)
    yield at_most("a frame of 8 MiB by reference on two dask workers", min(times[1:]), "ms", 35)


def main() -> Iterator[Figure]:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    paged, single = overhead(100), overhead(0)
    yield at_most("an event in pages of 100, beside worker and reducer", paged, "us", 5)
    yield at_most("a single event, beside worker and reducer", single, "us", 25)
    with tempfile.TemporaryDirectory() as place:
        for part in (small, images, cluster):
            yield from part(Path(place))
