"""Crystal mapping: locating, averaging, linking, and the path from documents to peaks, against what people use."""

from __future__ import annotations

import functools
import gc
import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import event_model
import numpy as np
import pandas as pd
import trackpy
from bluesky.callbacks.stream import LiveDispatcher

from benchmarks.runner import Figure, Pair, at_least, at_most, run
from bluesky_ext import DataFrameDumper, ImageProcessor, PeakTracker, compose
from bluesky_ext._compile import compile_kernels
from bluesky_ext.images import reduce_frames
from bluesky_ext.peaks import StreamLinker, locate, locate_kernels

SIZES = [(512, 512), (1024, 1024), (2048, 2048), (3072, 3888)]
WIDE = {"diameter": 15, "percentile": 80, "separation": 100}
SMALL = {"diameter": 11}
FRAMES = 10


@functools.cache
def scene(shape, n_frames=FRAMES, seed=0):
    """Raw frames (k, ny, nx) uint16 as a detector makes them, and their background: offset, noise, spots."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    mean = 200 + 300 * np.exp(-(np.hypot(y - ny / 2, x - nx / 2) ** 2) / (ny * nx / 8))
    background = mean.copy()
    for cy, cx in rng.uniform(20, [ny - 20, nx - 20], (ny * nx // 10_000, 2)):
        part = np.s_[int(cy) - 10 : int(cy) + 11, int(cx) - 10 : int(cx) + 11]
        mean[part] += rng.uniform(500, 5000) * np.exp(-((y[part] - cy) ** 2 + (x[part] - cx) ** 2) / (2 * 2.0**2))
    frames = rng.normal(mean, np.sqrt(mean), (n_frames, ny, nx)).clip(0, 65535).astype(np.uint16)
    return frames, background


@functools.cache
def image(shape):
    """A processed image, float64."""
    frames, background = scene(shape)
    return reduce_frames(frames, background)


def locating():
    for shape in SIZES:
        for keywords in (WIDE, SMALL):
            given = image(shape)
            target = 5.0
            if keywords is WIDE:
                target = {512: 9.0, 2048: 25.0}.get(shape[0], 5.0)
            yield Pair(
                f"locate {shape[0]} x {shape[1]}, diameter {keywords['diameter']}",
                ours=lambda given=given, keywords=keywords: locate(given, **keywords),
                theirs=lambda given=given, keywords=keywords: trackpy.locate(given, **keywords),
                target=target,
                rounds=5,
            )


class LiveProcessor(LiveDispatcher):
    """Averaging and subtracting as a user of Bluesky writes it."""

    nested = False

    def __init__(self, data_key, background):
        super().__init__()
        self.data_key, self.background = data_key, background

    def event(self, doc):
        frames = np.asarray(doc["data"][self.data_key])
        result = np.clip(np.mean(frames, axis=0) - self.background, 0, None)
        data = {**doc["data"], self.data_key: result.tolist() if self.nested else result}
        self.process_event({"data": data, "descriptor": doc["descriptor"]})


class NestedProcessor(LiveProcessor):
    """The same with nested lists in the events, as crystalmapping has them."""

    nested = True


class LiveTracker(LiveDispatcher):
    """Peaks as crystalmapping emits them: an event each."""

    def __init__(self, data_key, **keywords):
        super().__init__()
        self.data_key, self.keywords = data_key, keywords

    def event(self, doc):
        table = trackpy.locate(np.asarray(doc["data"][self.data_key]), **self.keywords).assign(frame=doc["seq_num"])
        for row in table.to_dict("records"):
            self.process_event({"data": row, "descriptor": doc["descriptor"]})


def documents(shape, count, nested=False):
    bundle = event_model.compose_run(validate=False)
    frames, background = scene(shape)
    key = {"source": "sim", "dtype": "array", "shape": [*frames.shape], "dtype_numpy": "<u2"}
    stream = bundle.compose_descriptor(name="primary", data_keys={"image": key}, validate=False)
    given = frames.tolist() if nested else frames
    events = [
        stream.compose_event(data={"image": given}, timestamps={"image": 1.0}, validate=False) for _ in range(count)
    ]
    docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    return [*docs, *(("event", event) for event in events), ("stop", bundle.compose_stop(validate=False))], background


def our_chain(background, **options):
    if options:
        return compose(ImageProcessor("image", background), PeakTracker("image", **WIDE), **options)
    stage = ImageProcessor("image", background)
    stage.subscribe(PeakTracker("image", **WIDE))
    return stage


def their_chain(processor, background):
    stage = processor("image", background)
    stage.subscribe(LiveTracker("image", **WIDE))
    return stage


def feed(stage, docs):
    for name, doc in docs:
        if name == "descriptor":  # LiveDispatcher changes the one that it is given
            doc = {**doc, "data_keys": {key: dict(said) for key, said in doc["data_keys"].items()}}
        stage(name, doc)


def whole_path():
    for shape, count, plain, listed in (((512, 512), 20, 9, 30), ((2048, 2048), 4, 20, 45)):
        docs, background = documents(shape, count)
        for name, processor, target in (("ndarray", LiveProcessor, plain), ("crystalmapping", NestedProcessor, listed)):
            given, _ = documents(shape, count, nested=processor.nested) if processor.nested else (docs, None)
            yield Pair(
                f"documents to peaks {shape[0]} x {shape[1]}, {FRAMES} frames, against {name}",
                ours=partial(feed, our_chain(background), docs),
                theirs=partial(feed, their_chain(processor, background), given),
                target=target,
                per_call=count,
                rounds=3,
            )


def composed():
    """An image that is written over that of the event before, against a fresh one for each."""
    docs, background = documents((2048, 2048), 4)
    yield Pair(
        "documents to peaks 2048 x 2048, composed against chained",
        ours=partial(feed, compose(ImageProcessor("image", background), PeakTracker("image", **WIDE)), docs),
        theirs=partial(feed, our_chain(background), docs),
        target=1.05,
        per_call=4,
    )


def two_threads() -> Iterator[Figure]:
    """Wall time of the whole path with a pool of two threads, against one."""
    docs, background = documents((2048, 2048), 12)
    ratios = []
    with ThreadPoolExecutor(2) as pool:
        chains = [our_chain(background, executor=executor) for executor in (None, pool)]
        for _ in range(6):
            walls = []
            for chain in chains:
                began = time.perf_counter()
                feed(chain, docs)
                walls.append(time.perf_counter() - began)
            ratios.append(walls[0] / walls[1])
    ratio = statistics.median(ratios[1:])
    yield at_least("documents to peaks 2048 x 2048, two threads against one (wall)", ratio, "x", 1.6)


def bandwidth():
    """Seconds a byte to read and to write memory in long runs, the best of several."""
    source = np.full(128 << 20, 1, np.uint8)  # zeros that nobody has written are one page, read from the cache
    target = np.full_like(source, 2)
    words = source.view(np.uint64)
    reads, copies = [], []
    for _ in range(7):
        began = time.thread_time()
        words.max()
        reads.append(time.thread_time() - began)
        began = time.thread_time()
        target[:] = source
        copies.append(time.thread_time() - began)
    read = min(reads) / source.nbytes
    return read, max(min(copies) / source.nbytes - read, read / 2)


def reducing() -> Iterator[Figure]:
    for dtype in ("uint8", "uint16"):
        read, write = bandwidth()
        frames, background = scene((2048, 2048))
        frames = frames.astype(dtype)
        out = np.empty(background.shape)
        times = []
        for _ in range(9):
            began = time.thread_time()
            reduce_frames(frames, background, out)
            times.append(time.thread_time() - began)
        expected = np.clip(frames.mean(axis=0) - background, 0, None)
        assert np.array_equal(out, expected)  # noqa: S101
        limit = (frames.nbytes + background.nbytes) * read + out.nbytes * write
        took = statistics.median(times)
        yield Figure(f"mean of {FRAMES} frames of 2048 x 2048 {dtype}, less a background", took * 1e3, "ms")
        yield at_most("  against reading and writing them at the speed of the memory", took / limit, "x", 2.2)


def linking() -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    where = rng.uniform(0, 2000, (270, 2))
    linker = StreamLinker(10, memory=3)
    times = []
    gc.collect()  # what the benchmarks before this one have left is not the linker's
    for frame in range(1, 5001):
        where += rng.normal(0, 1, where.shape)
        table = pd.DataFrame({"y": where[:, 0], "x": where[:, 1], "mass": 1.0})
        began = time.perf_counter()
        linker.add(frame, table)
        times.append(time.perf_counter() - began)
    mean, worst = statistics.fmean(times) * 1e3, max(times) * 1e3
    yield at_most("linking a frame of 270 peaks, of 5000", mean, "ms", 1)
    yield at_most("  the longest", worst, "ms", 20)


def storing() -> Iterator[Figure]:
    """10 000 peaks into a Broker of databroker.v1: as pages, and event by event."""
    try:
        import databroker
        from databroker.v1 import temp
    except ImportError:
        return
    columns = ("y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep")
    table = pd.DataFrame(np.random.default_rng(0).random((10_000, len(columns))), columns=columns)
    documents: list = []
    DataFrameDumper(documents).dump_df(table)
    page = next(doc for name, doc in documents if name == "event_page")
    some = list(itertools.islice(event_model.unpack_event_page(page), 300))
    ratios = []
    for _ in range(3):
        broker = temp()
        began = time.process_time()  # a Broker over Tiled works in a thread of its own
        DataFrameDumper(broker).dump_df(table)
        pages = (time.process_time() - began) / len(table)
        broker = temp()
        for name, doc in documents[:2]:
            broker.insert(name, doc)
        began = time.process_time()
        for event in some:
            broker.insert("event", event)
        ratios.append((time.process_time() - began) / len(some) / pages)
    ratio = statistics.median(ratios)
    version = databroker.__version__.partition(".")[0]
    what = f"10 000 peaks into a Broker of databroker {version}, as pages against event by event"
    yield Figure(what, ratio, "x", 20.0 if version == "2" else None)


def main() -> Iterator[Figure]:
    trackpy.quiet()
    compile_kernels(*locate_kernels(("float64", "uint16")))
    yield from run([*locating(), *whole_path(), *composed()])
    for part in (two_threads, reducing, storing, linking):
        yield from part()
