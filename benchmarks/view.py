"""What a live server costs an analysis, how fast what it shows is read, and that no read is torn."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.maps import Scan
from benchmarks.runner import Figure, at_most
from bluesky_ext import LiveServer
from bluesky_ext.engine import Reduce
from bluesky_ext.view.shown import Shown
from bluesky_ext.view.snapshots import Snapshots

CLIENTS, RATE, ROUND, ROUNDS = 10, 200, 3.0, 5
#: How often a large image is read.
TIMES = 20
#: Reads under growth and replacement, by so many processes; and snapshots: two a second for an hour.
READS, READERS, SNAPSHOTS = 100_000, 3, 7200


class Shows(Reduce):
    """Shows arrays of which all tell the same number, that of its events."""

    def begin(self, start: Any) -> dict[str, int]:
        return {"events": 0}

    def reduce(self, state: dict[str, int], stream: str, event: Any) -> None:
        state["events"] += 1

    def tree(self, state: dict[str, int]) -> dict[str, Any]:
        number = state["events"]
        return {"n": number, "map": np.full((100, 200), number), "grows": np.full(number, number)}


class Source:
    """The documents of a run of single numbers."""

    def __init__(self, stage: Reduce) -> None:
        self.stage, self.number = stage, 0
        stage("start", {"uid": "run", "time": 1.0})
        keys = {"a": {"source": "s", "dtype": "number", "shape": []}}
        stage("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, "name": "primary", "data_keys": keys})

    def event(self) -> None:
        self.number += 1
        about = {"uid": "e", "time": 1.0, "data": {"a": 1.0}, "timestamps": {"a": 1.0}}
        self.stage("event", {"descriptor": "d", "seq_num": self.number, **about})


class Reader:
    """Reads as h5pyd does, over one connection."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, path: str, binary: bool = False) -> bytes:
        self.connection.request("GET", path, headers={"accept": "application/octet-stream" if binary else "*/*"})
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body  # noqa: S101
        return body

    def open(self) -> dict[str, str]:
        """The datasets: their ids by path."""
        self.get("/about")
        domain = json.loads(self.get("/?getobjs=1&domain=/"))
        objects, ids = domain["domain_objs"], {}
        groups = [("", domain["root"])]
        while groups:
            path, group = groups.pop()
            for name, link in objects[group]["links"].items():
                if link["collection"] == "groups":
                    groups.append((f"{path}{name}/", link["id"]))
                else:
                    ids[f"{path}{name}"] = link["id"]
        return ids

    def value(self, id_: str, dtype: str = "<i8") -> np.ndarray:
        return np.frombuffer(self.get(f"/datasets/{id_}/value", binary=True), dtype)


def watch(url: str, is_on: Any, is_over: Any) -> None:
    """Several clients that open what is shown twice a second and read its maps, while that is wanted."""

    def client(number: int) -> None:
        reader = Reader(url)
        while not is_over.wait(0.5):
            if is_on.is_set():
                ids = reader.open()
                for name in ("maps/maps", "n_peaks/n_peaks"):
                    reader.value(ids[name], "<f8")
                reader.get("/api/v1/status")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def slowed() -> Iterator[Figure]:
    """An analysis at a rate, with the clients and without, in turn."""
    context = multiprocessing.get_context("spawn")
    is_on, is_over = context.Event(), context.Event()
    scan = Scan(60, 10)
    scan.take(200)
    with LiveServer(scan.map) as server:
        process = context.Process(target=watch, args=(server.url, is_on, is_over))
        process.start()
        alone, watched, behind = [], [], 0.0
        for number in range(2 * ROUNDS):
            is_on.set() if number % 2 else is_on.clear()
            time.sleep(1.0)  # until the clients have begun, or ended
            took = []
            began = time.perf_counter()
            for event in range(int(ROUND * RATE)):
                time.sleep(max(0.0, began + event / RATE - time.perf_counter()))
                documents = scan.documents()
                at = time.perf_counter()
                for name, doc in documents:
                    scan.map(name, doc)
                took.append(time.perf_counter() - at)
            behind = max(behind, time.perf_counter() - began - ROUND)
            (watched if number % 2 else alone).append(sum(took) / len(took))
        is_over.set()
        process.join()
    without, with_them = median(alone), median(watched)
    share = (with_them - without) * RATE
    yield Figure("an event of an analysis alone", without * 1e6, "us")
    yield Figure(f"  with {CLIENTS} clients that open and read the maps twice a second", with_them * 1e6, "us")
    yield at_most(f"  what they take of its time at {RATE} events/s", max(share, 0.0) * 100, "%", 10)
    yield Figure(f"  how late it is after {ROUND:g} s", max(behind, 0.0) * 1e3, "ms")


def by_h5pyd(url: str) -> list[float]:
    """How long h5pyd takes to read an image, each time, in s."""
    import h5pyd

    image, took = h5pyd.File(url)["image"], []
    for _ in range(TIMES):
        began = time.perf_counter()
        image[()]
        took.append(time.perf_counter() - began)
    return took


def in_browser(url: str, id_: str) -> list[float]:
    """How long a page of the server takes in Chromium to have an image as numbers, each time, in s."""
    from playwright.sync_api import sync_playwright

    script = """async ([path, times]) => {
        const took = [];
        for (let n = 0; n < times; n++) {
            const began = performance.now();
            const answer = await fetch(path, { headers: { accept: "application/octet-stream" } });
            new Float32Array(await answer.arrayBuffer());
            took.push((performance.now() - began) / 1000);
        }
        return took;
    }"""
    with sync_playwright() as started:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{url}api")  # which does nothing else meanwhile
        return page.evaluate(script, [f"/datasets/{id_}/value", TIMES])


def speed() -> Iterator[Figure]:
    """Opening, and an image of 2048 x 2048: by a client that does little, by h5pyd and in a browser."""
    image = np.ones((2048, 2048), np.float32)

    class Image(Shows):
        def tree(self, state: dict[str, int]) -> dict[str, Any]:
            return {"image": image, "n": state["events"]}

    stage = Image(parameters={})
    source = Source(stage)
    opening, reading = [], []
    with LiveServer(stage) as server, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        reader = Reader(server.url)
        for _ in range(TIMES):
            source.event()
            began = time.perf_counter()
            ids = reader.open()
            opened = time.perf_counter()
            assert reader.value(ids["image"], "<f4").size == image.size  # noqa: S101
            opening.append(opened - began)
            reading.append(time.perf_counter() - opened)
        took = {"a plain client": reading}
        took["h5pyd"] = other.submit(by_h5pyd, server.url).result()
        took["a browser"] = other.submit(in_browser, server.url, ids["image"]).result()
    yield at_most("a file is opened", median(opening) * 1e3, "ms", 100)
    for who, times in took.items():
        yield at_most(f"2048 x 2048 float32 read by {who}", median(times) * 1e3, "ms", 150)


def read(url: str, count: int, answer: Any) -> None:
    """Read so many times; how many different states were seen, and how many reads were torn."""
    reader, seen, torn, reads = Reader(url), set(), 0, 0
    while reads < count:
        ids = reader.open()
        (n,) = reader.value(ids["n"])
        for name in ("map", "grows") * 5:
            values = reader.value(ids[name])
            torn += bool((values != n).any()) or (name == "grows" and len(values) != n)
            reads += 1
        seen.add(int(n))
    answer.put((len(seen), torn))


def whole() -> Iterator[Figure]:
    """Reads while what is shown grows and is replaced."""
    context = multiprocessing.get_context("spawn")
    stage = Shows(parameters={})
    source = Source(stage)
    answer = context.Queue()
    with LiveServer(stage) as server:
        arguments = (server.url, READS // READERS + 1, answer)
        processes = [context.Process(target=read, args=arguments) for _ in range(READERS)]
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            source.event()
            time.sleep(1 / RATE)
    told = [answer.get() for _ in processes]
    states, torn = sum(seen for seen, _ in told), sum(torn for _, torn in told)
    yield at_most(f"of {READS} reads of {states} states that grow and are replaced, torn", torn, "reads", 0)


def memory() -> Iterator[Figure]:
    """The memory of an hour in which what is shown is opened twice a second, each time in another state.

    What is kept for readers has its room. Beyond that the peak rises slowly, as an array that grows fits into none of
    the holes that smaller ones have left: the allocator gives these back when it is told to (``malloc_trim``), and
    with maps of one size, or ``MALLOC_MMAP_THRESHOLD_=65536``, there are none.
    """
    stage = Shows(parameters={})
    source, snapshots = Source(stage), Snapshots(Shown((stage,)), lambda: False)
    peaks, kept = [], []
    for number in range(1, SNAPSHOTS + 1):
        source.event()
        snapshots.newest(opened=True)
        if number in (SNAPSHOTS // 4, SNAPSHOTS):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            kept.append(snapshots.n_bytes / 2**20)
    yield Figure(f"the peak memory of {SNAPSHOTS} snapshots", peaks[1], "MB")
    yield Figure("  of which are kept for readers", kept[1], "MB")
    yield at_most("  by how much it grew in the last three quarters of them", peaks[1] - peaks[0], "MB", 30)


def main() -> Iterator[Figure]:
    for part in (memory, speed, slowed, whole):
        yield from part()
