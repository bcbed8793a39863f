"""What it costs that images count in the sha256 of a run: the digest alone, and in the stage that makes them."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator

import event_model
import numpy as np
from xxhash import xxh3_128

from benchmarks.runner import Figure
from bluesky_ext import ImageProcessor, MaskApplier

SIDE, EVENTS, ROUNDS = 2048, 12, 9
KEY = "image"


def documents(dtype):
    """A run of images of 2048 x 2048."""
    bundle = event_model.compose_run(validate=False)
    about = {"source": "sim", "dtype": "array", "shape": [SIDE, SIDE], "dtype_numpy": np.dtype(dtype).str}
    stream = bundle.compose_descriptor(name="primary", data_keys={KEY: about}, validate=False)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 1000, (SIDE, SIDE)).astype(dtype) for _ in range(4)]
    docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    for number in range(EVENTS):
        data = {KEY: images[number % len(images)]}
        docs.append(("event", stream.compose_event(data=data, timestamps={KEY: 1.0}, validate=False)))
    return [*docs, ("stop", bundle.compose_stop(validate=False))]


def timed(stage, docs):
    """Wall and CPU time of a run, in seconds an event."""
    began = time.perf_counter(), time.process_time()
    for name, doc in docs:
        stage(name, doc)
    return (time.perf_counter() - began[0]) / EVENTS, (time.process_time() - began[1]) / EVENTS


def speeds() -> Iterator[Figure]:
    image = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    for name, digest in (("xxh3_128", xxh3_128), ("sha256", hashlib.sha256)):
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            digest(image.data).digest()
            times.append(time.perf_counter() - began)
        yield Figure(f"{name} of a float64 image", image.nbytes / statistics.median(times) / 1e9, "GB/s")


def main() -> Iterator[Figure]:
    yield from speeds()
    mask = np.random.default_rng(0).random((SIDE, SIDE)) > 0.1
    cases = {
        "ImageProcessor, a dark taken away, uint16": ("uint16", lambda **o: ImageProcessor(KEY, mask * 50.0, **o)),
        "ImageProcessor, uint16": ("uint16", lambda **o: ImageProcessor(KEY, **o)),
        "MaskApplier, uint16": ("uint16", lambda **o: MaskApplier(KEY, mask, **o)),
        "MaskApplier, uint32": ("uint32", lambda **o: MaskApplier(KEY, mask, **o)),
    }
    for name, (dtype, make) in cases.items():
        docs, with_hash, without = documents(dtype), make(hash_images=True), make(hash_images=False)
        rounds = [(timed(without, docs), timed(with_hash, docs)) for _ in range(ROUNDS)][1:]
        wall = statistics.median(on[0] / off[0] for off, on in rounds) - 1
        yield Figure(f"hash_images=True: {name}, longer by", wall * 100, "%")
