"""A day at a beamline: many runs, one of them an hour long, the servers up all the time, and what fails meanwhile.

The beamline is a process that saves its runs in a catalogue and publishes them; a proxy passes them on, and a server
maps crystals, saves the maps in the same catalogue and shows them live. Meanwhile the server is killed and started
again, no file can grow for a while, as on a full disk, and the proxy stands still, as when the network is gone. At the
end each run is looked for: it is whole, or what is missing of it is counted somewhere, or it was lost in silence.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import event_model
import h5py
import numpy as np

from bluesky_ext import Publisher, Recording, open_catalog, save
from bluesky_ext.storage import close_catalog, find_derived

NUMBER = {"source": "sim", "dtype": "number", "shape": []}
SIDE, SMALL = 5, (128, 128)  # points along an axis of a run, and its images
#: Frames of the long run that are different, and frames that the analysis may be behind, so that nothing is dropped.
FRAMES, BEHIND = 50, 400
PATIENCE = 120.0  # s


@dataclass(frozen=True)
class Day:
    """How long it is.

    Parameters
    ----------
    runs : int
        How many runs, one of which is long.
    seconds, rate : int
        How long that would last, and frames in a second.
    shape : (int, int)
        Of its frames.
    fault : float
        For how long the disk is full, and the network gone, in s.
    pause : float
        What is between two runs then, in s.
    """

    runs: int = 1000
    seconds: int = 3600
    rate: int = 100
    shape: tuple[int, int] = (1024, 1024)
    fault: float = 60.0
    pause: float = 5.0


@dataclass
class Played:
    """What the beamline did: the events of each run, how long each took, and when there was a fault."""

    events: dict[str, int] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    during: dict[str, str] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)


def spots(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """An image of a few spots on a background, uint16."""
    rows, columns = np.indices(shape)
    image = rng.poisson(20.0, shape).astype(float)
    for number in range(count):
        y, x = (12 + (length - 24) * (number + 0.5) / count for length in shape)
        image += 2000 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
    return image.astype(np.uint16)


def write_frames(path: Path, day: Day) -> None:
    """The file of the long run: a few frames, again and again, so that it takes no more disk than these."""
    rng = np.random.default_rng(1)
    count = day.seconds * day.rate
    layout = h5py.VirtualLayout((count, *day.shape), "u2")
    with h5py.File(path, "w") as file:
        file["some"] = np.stack([spots(rng, day.shape, 4) for _ in range(FRAMES)])
        source = h5py.VirtualSource(file["some"])
        for first in range(0, count, FRAMES):
            last = min(first + FRAMES, count)
            layout[first:last] = source[: last - first]
        file.create_virtual_dataset("frames", layout)


def short_run(images: list[np.ndarray], number: int) -> Iterator[tuple[str, Any]]:
    """A grid of images in the events."""
    md = {"scan_id": number, "shape": [SIDE, SIDE], "motors": ["y", "x"], "num_points": SIDE * SIDE}
    run = event_model.compose_run(metadata=md, validate=False)
    yield "start", run.start_doc
    keys = {"y": NUMBER, "x": NUMBER, "image": {**NUMBER, "dtype": "array", "shape": [*SMALL], "dtype_numpy": "<u2"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    yield "descriptor", stream.descriptor_doc
    for point in range(SIDE * SIDE):
        data = {"y": float(point // SIDE), "x": float(point % SIDE), "image": images[point % len(images)]}
        yield "event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, time.time()), validate=False)
    yield "stop", run.compose_stop(validate=False)


def long_run(path: Path, day: Day, number: int) -> Iterator[tuple[str, Any]]:
    """A line of frames in the file of a detector, said once a second."""
    count = day.seconds * day.rate
    run = event_model.compose_run(metadata={"scan_id": number, "motors": ["x"], "num_points": count}, validate=False)
    yield "start", run.start_doc
    image = {**NUMBER, "dtype": "array", "shape": [1, *day.shape], "dtype_numpy": "<u2", "external": "STREAM:"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": NUMBER, "image": image}, validate=False)
    yield "descriptor", stream.descriptor_doc
    frames = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="image",
        parameters={"dataset": "frames", "chunk_shape": [1, *day.shape]},
        validate=False,
    )
    yield "stream_resource", frames.stream_resource_doc
    for second in range(day.seconds):
        first, last = second * day.rate, (second + 1) * day.rate
        yield (
            "stream_datum",
            frames.compose_stream_datum(
                indices={"start": first, "stop": last},
                seq_nums={"start": first + 1, "stop": last + 1},
                descriptor=stream.descriptor_doc,
                validate=False,
            ),
        )
        for frame in range(first, last):
            yield "event", stream.compose_event(data={"x": float(frame)}, timestamps={"x": time.time()}, validate=False)
    yield "stop", run.compose_stop(validate=False)


class Servers:
    """The proxy and the analysis server, as programs; their log is a file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._inward, self._outward, live = _free_ports(3)
        self.address = f"127.0.0.1:{self._inward}"
        self._live = f"127.0.0.1:{live}"
        config = directory / "pipeline.toml"
        config.write_text(f"data_key = 'image'\nmemory = 5\ndirectory = '{directory / 'maps'}'\n")
        self._processes = {"proxy": self._proxy(), "server": self._server()}
        self.wait_for(lambda: self.progress() is not None, "the live server")

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "bluesky_ext", *arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)

    def _proxy(self) -> subprocess.Popen[bytes]:
        ends = f"127.0.0.1:{self._inward}", f"127.0.0.1:{self._outward}"
        return self._start("proxy", "proxy", "--in-address", ends[0], "--out-address", ends[1])

    def _server(self) -> subprocess.Popen[bytes]:
        catalog = f"{self._directory / 'runs'}"
        told = ["--config", "pipeline.toml", "--address", f"127.0.0.1:{self._outward}", "--live", self._live]
        kept = ["--catalog", catalog, "--store", catalog, "--readable-root", str(self._directory)]
        return self._start("server", "serve", "crystal-mapping", *told, *kept)

    def kill(self) -> None:
        """Kill the server, and start it again, as systemd does."""
        self._processes["server"].kill()
        self._processes["server"].wait()
        self._processes["server"] = self._server()

    def halt(self, is_halted: bool) -> None:
        """Have the proxy stand still, or go on: nothing passes meanwhile, and nobody is told."""
        self._processes["proxy"].send_signal(signal.SIGSTOP if is_halted else signal.SIGCONT)

    def memory(self) -> tuple[float, float]:
        """What the beamline and the server have in memory, in MB."""
        return _memory(os.getpid()), _memory(self._processes["server"].pid)

    def progress(self) -> dict[str, Any] | None:
        """How far the analysis is, as the live server says; None if it doesn't answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://{self._live}/api/v1/progress", timeout=5) as answer:
            return json.load(answer)
        return None

    def log(self, name: str) -> str:
        """What a server said."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def wait_for(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something that a server does."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {PATIENCE:g} s:\n{self.log('server')[-3000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """End them, the server first."""
        for name in ("server", "proxy"):
            process = self._processes[name]
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _memory(process: int) -> float:
    with suppress(OSError):  # it is being started
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return float("nan")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 4 kB. It is an error that every writer of files gets."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def play(day: Day, servers: Servers, sinks: list[Callable[[str, Any], object]], frames: Path) -> Played:
    """All runs of the day, and the faults: in the first quarter, in the third, and in the last."""
    rng = np.random.default_rng(0)
    images = [spots(rng, SMALL, 3) for _ in range(8)]
    played = Played()
    kill, full, long, gone = (int(day.runs * part) for part in (0.2, 0.4, 0.6, 0.8))

    def run(number: int, fault: str = "", hook: Callable[[], object] | None = None, is_long: bool = False) -> None:
        documents = long_run(frames, day, number) if is_long else short_run(images, number)
        began, events, uid = time.perf_counter(), 0, ""
        for name, document in documents:
            for sink in sinks:
                sink(name, document)
            uid = uid or document["uid"]
            if name == "event":
                events += 1
                if hook is not None and events == SIDE:
                    hook()
                if is_long and events % 100 == 0:
                    servers.wait_for(lambda seen=events: seen - _done(servers) < BEHIND, f"frame {events - BEHIND}")
        played.events[uid], played.took[uid], played.during[uid] = events, time.perf_counter() - began, fault
        if is_long:
            played.during[uid] = "long"
        if number % max(1, day.runs // 50) == 0:
            played.memory.append(servers.memory())

    def through(number: int, fault: str) -> int:
        """Runs while there is a fault; how many."""
        over, first = time.monotonic() + day.fault, number
        while time.monotonic() < over:
            run(number, fault)
            number += 1
            time.sleep(day.pause)
        return number - first

    number = 0
    while number < day.runs:
        if number == kill:
            run(number, "killed", servers.kill)
        elif number == full:
            with full_disk():
                number += through(number, "full") - 1
        elif number == long:
            run(number, is_long=True)
        elif number == gone:
            servers.halt(True)
            number += through(number, "gone") - 1
            servers.halt(False)
        else:
            run(number)
        number += 1
    return played


def _done(servers: Servers) -> int:
    progress = servers.progress()
    return 0 if progress is None else progress["completedEvents"] + progress["failed"] + progress["lost"]


def looked_for(played: Played, catalog: Any, saver: Any, servers: Servers) -> dict[str, Any]:
    """Where the events of each run are, and which were lost without being counted."""
    backed_up: dict[str, int] = {}
    for path in saver.backups:
        recording = Recording(path)
        if recording.start is not None:
            backed_up[recording.start["uid"]] = sum(name == "event" for name, _ in recording)
    said = servers.log("server")
    saved = missing = whole = counted = told = silent = 0
    for uid, events in played.events.items():
        run = catalog[uid] if uid in catalog else None
        stored = (_stored(run) if run is not None else 0) or backed_up.get(uid, 0)
        saved += stored == events
        missing += max(0, events - stored)
        # Of its analysis there is a run that accounts for all events, or a line in the log of the server.
        peaks = [one for one in find_derived(catalog, uid) if "frames" in one] if run is not None else []
        accounts = [_accounted(one) for one in peaks]
        if any(frames == events for frames, _ in accounts):
            whole += 1
        elif any(frames + lost >= events for frames, lost in accounts):
            counted += 1
        elif re.search(rf"\b{uid}\b", said):
            told += 1
        else:
            silent += 1
            logging.getLogger(__name__).warning("run %s (%s): %s", uid, played.during[uid], accounts)
    return {
        "runs saved whole": saved,
        "events not saved": missing,
        "documents that the saver counted as lost": saver.lost,
        "runs analysed whole": whole,
        "runs analysed in part, the rest counted": counted,
        "runs not analysed, as the log says": told,
        "runs lost in silence": silent + (missing > saver.lost),
    }


def _stored(run: Any) -> int:
    stop = run.metadata.get("stop") or {}
    return stop.get("num_events", {}).get("primary", 0)


def _accounted(run: Any) -> tuple[int, int]:
    """How many frames a derived run has, and how many it says are lost or failed."""
    stop = run.metadata.get("stop") or {}
    missing = [stop.get(name, {}).get("primary", []) for name in ("lost", "failed")]
    return stop.get("num_events", {}).get("frames", 0), sum(map(len, missing))


def figures(day: Day, directory: Path) -> dict[str, Any]:
    """Play a day in a directory, and say what came of it."""
    frames = directory / "frames.h5"
    write_frames(frames, day)
    began = time.perf_counter()
    with ExitStack() as stack:
        catalog = open_catalog(directory / "runs")
        stack.callback(close_catalog, catalog)
        saver = stack.enter_context(save(catalog, backup=directory / "backup"))
        servers = Servers(directory)
        stack.callback(servers.close)
        publisher = stack.enter_context(Publisher(servers.address, prefix=b"raw", wait=PATIENCE))
        played = play(day, servers, [saver, publisher], frames)
        last = list(played.events)[-1]
        with suppress(TimeoutError):  # then it is among those that were lost
            servers.wait_for(lambda: last in catalog and len(find_derived(catalog, last)) == 3, "the last run")
        servers.close()  # what it has is saved, and what it misses said
        found = looked_for(played, catalog, saver, servers)
        sent = asdict(publisher.stats)
    short = [took for uid, took in played.took.items() if not played.during[uid]]
    tenth = max(1, len(short) // 10)
    (long,) = (uid for uid, what in played.during.items() if what == "long")
    memory = [point for point in played.memory if not np.isnan(point).any()]
    fifth = max(1, len(memory) // 5)
    parts = zip(("first", "last"), (memory[:fifth], memory[-fifth:]), strict=True)
    return {
        "day": asdict(day),
        "runs": len(played.events),
        "images": sum(played.events.values()),
        "seconds": round(time.perf_counter() - began, 1),
        "images/s in the long run": round(played.events[long] / played.took[long], 1),
        "ms a run, first tenth": round(1e3 * median(short[:tenth]), 1),
        "ms a run, last tenth": round(1e3 * median(short[-tenth:]), 1),
        **{
            f"MB of the {process}, {name} fifth": round(float(median(point[at] for point in part)), 1)
            for name, part in parts
            for at, process in enumerate(("beamline", "server"))
        },
        "published": sent,
        **found,
    }


def main(arguments: list[str] | None = None) -> bool:
    """Play a day and print its figures; whether nothing was lost in silence."""
    default = Day()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    for name in ("runs", "seconds", "rate"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("fault", "pause"):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args(arguments or [])
    day = Day(options.runs, options.seconds, options.rate, fault=options.fault, pause=options.pause)
    with tempfile.TemporaryDirectory() as directory:
        found = figures(day, Path(directory))
    for name, value in found.items():
        print(f"{name:<45} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return found["runs lost in silence"] == 0


if __name__ == "__main__":
    raise SystemExit(0 if main(sys.argv[1:]) else 1)
