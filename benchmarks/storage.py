"""Saving and replaying runs with images, against `TiledWriter` and Tiled's ``run.documents()``."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import event_model
import numpy as np
from bluesky_tiled_plugins import TiledWriter

from benchmarks.runner import HEADER
from bluesky_ext.storage import close_catalog, documents, open_catalog, save

N_EVENTS = 500
N_JSON = 25  # of Tiled's documents(), which takes about 0.2 s for each: its time is scaled up
SHAPE = (1024, 1024)
MOST_DELAY = 2.0  # s


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.poisson(100, SHAPE).astype("u2") for _ in range(16)]


def feed(sink: Callable, frames: list[np.ndarray], count: int, pace: Callable[[int], object] | None = None) -> str:
    """A run of inline images into a sink; its uid."""
    keys = {
        "x": {"source": "sim", "dtype": "number", "shape": []},
        "image": {"source": "sim", "dtype": "array", "shape": [*SHAPE], "dtype_numpy": "<u2"},
    }
    bundle = event_model.compose_run(validate=False)
    sink("start", bundle.start_doc)
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    sink("descriptor", stream.descriptor_doc)
    for n in range(count):
        data = {"x": float(n), "image": frames[n % len(frames)]}
        sink("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, time.time()), validate=False))
        if pace is not None:
            pace(n)
    sink("stop", bundle.compose_stop(validate=False))
    return bundle.start_doc["uid"]


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """The CPU time of all threads of this process, in s, and the result."""
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def delays(catalog, sink, frames: list[np.ndarray]) -> tuple[float, float]:
    """The longest times, in s, until an event is in the backup file, and until it is found in the catalogue.

    Four events a second, looked for five times a second; times of the clock.
    """
    arrived: list[float] = []
    backed_up: list[float] = []
    found: list[float] = []
    uid: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() or len(found) < len(arrived):
            if uid and uid[0] in catalog:
                run = catalog[uid[0]].base
                there = run["primary/image"].shape[0] if "primary" in run and "image" in run["primary"].base else 0
                found.extend([time.perf_counter()] * (there - len(found)))
            time.sleep(0.2)

    def given(name: str, document: dict) -> None:
        if name == "start":
            uid.append(document["uid"])
        if name == "event":
            arrived.append(time.perf_counter())
        sink(name, document)
        if name == "event":
            backed_up.append(time.perf_counter())

    watcher = threading.Thread(target=watch)
    watcher.start()
    feed(given, frames, 20, lambda n: time.sleep(0.25))
    over.set()
    watcher.join()
    return tuple(max(b - a for a, b in zip(arrived, ends, strict=True)) for ends in (backed_up, found))


def main() -> bool:
    """Measure and print; whether every promise holds. Saving and replaying by the CPU time of all threads."""
    frames = images()
    print(HEADER)
    with tempfile.TemporaryDirectory() as directory:
        catalog = open_catalog(Path(directory) / "catalog")
        with save(catalog, backup=Path(directory) / "backup") as sink:
            writer = TiledWriter(catalog, max_array_size=0)
            for each in (sink, writer):  # imports, first tables
                feed(each, frames, 2)
            theirs, _ = timed(lambda: feed(writer, frames, N_EVENTS))
            ours, uid = timed(lambda: feed(sink, frames, N_EVENTS))
            good = _show(f"save {N_EVENTS} images of 2 MiB", ours, theirs, 1.0)

            run = catalog[uid]
            _, same = timed(lambda: _is_same(run, frames))
            print(f"{'bit-identical on return, with their dtype':<58} {'yes' if same else 'NO'}")
            good &= bool(same)

            ours, _ = timed(lambda: sum(1 for _ in documents(run)))
            short = catalog[feed(writer, frames, N_JSON)]
            theirs, _ = timed(lambda: sum(1 for _ in short.documents()))
            good &= _show(f"replay {N_EVENTS} images of 2 MiB", ours, theirs * N_EVENTS / N_JSON, 5.0)
            ours, _ = timed(lambda: sum(1 for _ in documents(short)))
            good &= _show(f"replay {N_JSON} images that TiledWriter saved", ours, theirs, 5.0)

            for where, longest in zip(("the backup file", "the catalogue"), delays(catalog, sink, frames), strict=True):
                held = longest <= MOST_DELAY
                good &= held
                name = f"longest time until an event is in {where}"
                print(f"{name:<58} {_time(longest)} {'':17} (target {MOST_DELAY:g} s: {_held(held)})")
        close_catalog(catalog)
    return good


def _is_same(run, frames: list[np.ndarray]) -> bool:
    back = (document["data"]["image"] for name, document in documents(run) if name == "event")
    checks = [
        image.dtype == np.uint16 and np.array_equal(image, frames[n % len(frames)]) for n, image in enumerate(back)
    ]
    return len(checks) == N_EVENTS and all(checks)


def _show(what: str, ours: float, theirs: float, target: float) -> bool:
    holds = theirs / ours >= target
    times = f"{_time(ours)} {_time(theirs)} {theirs / ours:8.2f}x"
    print(f"{what:<58} {times} (target {target:g}: {_held(holds)})", flush=True)
    return holds


def _time(seconds: float) -> str:
    return f"{seconds:7.3g} s" if seconds >= 1 else f"{1e3 * seconds:6.3g} ms"


def _held(holds: bool) -> str:
    return "holds" if holds else "MISSED"
