"""Where a map is best worked on: images a second by executor, for images in the events and for images in files."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import event_model
import h5py
import numpy as np

from benchmarks.runner import Figure, at_least
from bluesky_ext import ImageProcessor
from bluesky_ext.engine import compose

KEY, FRAMES, SHAPE, EVENTS = "image", 10, (2048, 2048), 12


def images_of(number):
    """The frames of an event."""
    return np.random.default_rng(number).integers(0, 1000, (FRAMES, *SHAPE), np.uint16)


def run_of(path=None):
    """A run whose images are in its events, or in an HDF5 file if there is a path."""
    run = event_model.compose_run(validate=False)
    array = {"source": "sim", "dtype": "array", "shape": [FRAMES, *SHAPE], "dtype_numpy": "<u2"}
    keys = {KEY: array if path is None else {**array, "external": "STREAM:"}}
    keys["x"] = {"source": "sim", "dtype": "number", "shape": []}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    if path is not None:
        with h5py.File(path, "w") as file:
            file["frames"] = np.concatenate([images_of(number) for number in range(EVENTS)])
        resource = run.compose_stream_resource(
            data_key=KEY,
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            parameters={"dataset": "frames"},
        )
        docs.append(("stream_resource", resource.stream_resource_doc))
        datum = resource.compose_stream_datum(
            indices={"start": 0, "stop": EVENTS}, seq_nums={"start": 1, "stop": EVENTS + 1}
        )
        docs.append(("stream_datum", datum | {"descriptor": stream.descriptor_doc["uid"]}))
    for number in range(EVENTS):
        data = {"x": float(number)} if path is not None else {"x": float(number), KEY: images_of(number)}
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0), validate=False)
        docs.append(("event", event))
    return [*docs, ("stop", run.compose_stop(validate=False))]


def rate(docs, executor):
    """Images a second from documents to mean images, by the clock."""
    stage = compose(ImageProcessor(KEY), executor=executor)
    began = time.perf_counter()
    for name, doc in docs:
        stage(name, doc)
    took = time.perf_counter() - began
    assert stage.stats.received == EVENTS, stage.stats  # noqa: S101
    assert stage.stats.failed == 0, stage.stats  # noqa: S101
    return EVENTS * FRAMES / took


def executors(stack):
    """Executors by name, of two workers each."""
    made = {
        "none": None,
        "threads": stack.enter_context(ThreadPoolExecutor(2)),
        "processes": stack.enter_context(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))),
    }
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return made
    cluster = stack.enter_context(LocalCluster(2, threads_per_worker=1, dashboard_address=None))
    return made | {"dask": stack.enter_context(Client(cluster)).get_executor(pure=False)}


def main() -> Iterator[Figure]:
    warnings.filterwarnings("ignore", message="Sending large graph")  # dask's, of what is measured here
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        made = executors(stack)
        for kind, docs, best in (
            ("in the events", run_of(), "threads"),
            ("in HDF5 files", run_of(Path(directory) / "frames.h5"), "processes"),
        ):
            rounds = [[rate(docs, executor) for executor in made.values()] for _ in range(4)][1:]
            rates = dict(zip(made, (statistics.median(column) for column in zip(*rounds, strict=True)), strict=True))
            column = list(made).index(best)
            ratio = statistics.median(row[column] / row[0] for row in rounds)
            for name, value in rates.items():
                yield Figure(f"images {kind}, executor: {name}", value, "images/s")
            yield at_least(f"images {kind}, {best} against none", ratio, "x", 1.3)
