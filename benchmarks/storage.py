"""Saving and replaying runs with images, against `TiledWriter`, Tiled's ``run.documents()`` and plain h5py."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import event_model
import h5py
import numpy as np
from bluesky_tiled_plugins import TiledWriter

from benchmarks.runner import Figure, at_most, is_so, ratio
from bluesky_ext.storage import close_catalog, documents, open_catalog, save

N_EVENTS = 500
N_TILED = 100  # of TiledWriter, which takes about 20 ms for each
N_JSON = 25  # of Tiled's documents(), which takes about 0.2 s for each: its time is scaled up
SHAPE = (1024, 1024)
ROUNDS = 3
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


def with_memory(directory: Path, frames: list[np.ndarray], measure: Callable[[], float]) -> float:
    """What is measured when the system has memory at hand for the cache of the disk.

    Of a virtual machine, memory that was not used for seconds costs ten times the copy of an image into it, whoever
    asks for it: here, a file that is deleted again does.
    """
    path = directory / "memory"
    with path.open("wb", buffering=0) as file:
        for n in range(N_EVENTS + N_EVENTS // 5):
            file.write(frames[n % len(frames)])
    path.unlink()
    return measure()


def write_plainly(path: Path, frames: list[np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (0, *SHAPE), "u2", maxshape=(None, *SHAPE), chunks=(1, *SHAPE))
        for n in range(N_EVENTS):
            images.resize(n + 1, 0)
            images[n] = frames[n % len(frames)]


def read_plainly(path: Path) -> None:
    with h5py.File(path) as file:
        for n in range(0, N_EVENTS, 32):
            file["images"][n : n + 32]  # pyright: ignore


def held_up(sink: Callable, frames: list[np.ndarray]) -> float:
    """The CPU time, in s, that the events of a run take of the thread that gives them to a sink."""
    took = [0.0]

    def given(name: str, document: dict) -> None:
        began = time.thread_time()
        sink(name, document)
        if name == "event":
            took[0] += time.thread_time() - began

    feed(given, frames, N_TILED)
    return took[0]


def copied(frames: list[np.ndarray], path: Path) -> float:
    """The CPU time of as many copies of which a process that is killed leaves something: into a file."""
    began = time.thread_time()
    with path.open("xb", buffering=0) as file:
        for n in range(N_TILED):
            file.write(frames[n % len(frames)])
    return time.thread_time() - began


def small(sink: Callable) -> float:
    """The CPU time of a run of five scalar events, in s: the least of several."""
    return min(timed(lambda: feed(sink, [np.zeros(())] * 5, 5))[0] for _ in range(9))


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


def main() -> Iterator[Figure]:
    """Saving and replaying by the CPU time of all threads."""
    frames = images()
    with tempfile.TemporaryDirectory() as directory:
        catalog = open_catalog(Path(directory) / "catalog")
        measured = partial(with_memory, Path(directory), frames)
        with save(catalog, backup=Path(directory) / "backup") as sink:
            writer = TiledWriter(catalog, max_array_size=0)
            for each in (sink, writer):  # imports, first tables
                feed(each, frames, 2)
            theirs, _ = timed(lambda: feed(writer, frames, N_TILED))
            plain, uids = Path(directory) / "plain.h5", []
            ours = plainly = math.inf
            for _ in range(ROUNDS):
                plain.unlink(missing_ok=True)
                plainly = min(plainly, measured(lambda: timed(lambda: write_plainly(plain, frames))[0]))
                ours = min(ours, measured(lambda: timed(lambda: uids.append(feed(sink, frames, N_EVENTS)))[0]))
            yield ratio(f"save {N_EVENTS} images of 2 MiB, against TiledWriter", ours, theirs * N_EVENTS / N_TILED, 8.0)
            yield ratio("  against plain h5py, which writes them once and has no backup", ours, plainly, 0.4)
            copies = min(
                measured(lambda n=n: copied(frames, Path(directory) / f"copies{n}")) for n in range(2 * ROUNDS)
            )
            held = min(measured(lambda: held_up(sink, frames)) for _ in range(2 * ROUNDS))
            yield ratio("  in the caller's thread, against copies of the images in a file", held, copies, 1 / 1.2)
            yield at_most("save a run of five numbers", small(sink) * 1e3, "ms", 100)

            run = catalog[uids[-1]]
            _, same = timed(lambda: _is_same(run, frames))
            yield is_so("images come back bit-identical, with their dtype", bool(same))

            ours, _ = timed(lambda: sum(1 for _ in documents(run)))
            plainly, _ = timed(lambda: read_plainly(plain))
            yield ratio(f"read {N_EVENTS} images of 2 MiB back, against plain h5py", ours, plainly, 0.7)
            short = catalog[feed(writer, frames, N_JSON)]
            theirs, _ = timed(lambda: sum(1 for _ in short.documents()))
            yield ratio(
                f"replay {N_EVENTS} images of 2 MiB, against Tiled's run.documents()",
                ours,
                theirs * N_EVENTS / N_JSON,
                5.0,
            )
            ours, _ = timed(lambda: sum(1 for _ in documents(short)))
            yield ratio(
                f"replay {N_JSON} images that TiledWriter saved, against Tiled's run.documents()", ours, theirs, 5.0
            )

            for where, longest in zip(("the backup file", "the catalogue"), delays(catalog, sink, frames), strict=True):
                yield at_most(f"the longest time until an event is in {where}", longest, "s", MOST_DELAY)
        close_catalog(catalog)


def _is_same(run, frames: list[np.ndarray]) -> bool:
    back = (document["data"]["image"] for name, document in documents(run) if name == "event")
    checks = [
        image.dtype == np.uint16 and np.array_equal(image, frames[n % len(frames)]) for n, image in enumerate(back)
    ]
    return len(checks) == N_EVENTS and all(checks)
