"""How soon the page of a live server shows an event, and whether it stays quick and small, in Chromium."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from typing import Any

import numpy as np

from bluesky_ext import CrystalMap, LiveServer, PeakTracker
from bluesky_ext.engine import Reduce
from bluesky_ext.sim import beamline
from bluesky_ext.view.app import BUILT

#: For so long the page is watched at each rate, in s; so many clicks; and the events of an hour at 20 a second.
SECONDS = float(os.environ.get("PAGE_SECONDS", "60"))
RATES, CLICKS, EVENTS = (20, 200), 40, int(os.environ.get("PAGE_EVENTS", "72000"))
SHAPE, MOTORS = (100, 150), ("sample_y", "sample_x")

#: When the map has shown how many points, two frames after the page was told to draw them; and the frames.
WATCH = """
() => {
  window.seen = [];
  window.longest = 0;
  let last = performance.now();
  const frame = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
  const map = document.querySelector("[data-testid=map]");
  new MutationObserver(() => {
    const number = Number(map.dataset.number);
    requestAnimationFrame(() => requestAnimationFrame(() => window.seen.push([number, Date.now() / 1000])));
  }).observe(map, { attributes: true, attributeFilter: ["data-number"] });
}
"""
#: The time from a click to the number of the point in the foot of the page, in ms.
CLICK = """
() => {
  window.took = [];
  let began = 0;
  addEventListener("pointerup", () => { began = performance.now(); }, true);
  new MutationObserver(() => {
    if (began) { window.took.push(performance.now() - began); began = 0; }
  }).observe(document.querySelector("[data-testid=footer]"), { subtree: true, childList: true, characterData: true });
}
"""


class Large(Reduce):
    """A map that is filled point by point, and 500 small ones."""

    def __init__(self, side: tuple[int, int], others: int) -> None:
        super().__init__(parameters={}, name="Large")
        self._side, self._others = side, others

    def begin(self, start: Any) -> np.ndarray:
        return np.full(self._side, np.nan)

    def reduce(self, state: np.ndarray, stream: str, event: Any) -> None:
        state.flat[(event["seq_num"] - 1) % state.size] = event["data"]["a"]

    def tree(self, state: np.ndarray) -> dict[str, Any]:
        data = {"NX_class": "NXdata", "signal": "values", "axes": list(MOTORS)}
        axes = {motor: np.arange(n) for motor, n in zip(MOTORS, self._side, strict=True)}
        small = {"NX_class": "NXdata", "signal": "values", "axes": ["n", *MOTORS]}
        stack = {"_attrs": small, "values": np.zeros((self._others, 5, 5)), **dict.fromkeys(MOTORS, np.arange(5.0))}
        return {"_attrs": {"default": "map"}, "map": {"_attrs": data, "values": state.copy(), **axes}, "others": stack}


def begin(stage: Any, shape: tuple[int, int], **more: Any) -> None:
    """Begin a grid scan."""
    number = {"source": "s", "dtype": "number", "shape": []}
    about = {"motors": list(MOTORS), "shape": list(shape), "extents": [[0, n - 1] for n in shape]}
    stage("start", {"uid": "run", "time": time.time(), "scan_id": 1, "num_points": shape[0] * shape[1], **about})
    keys = {**dict.fromkeys(("a", *MOTORS), number), **more}
    about = {"name": "primary", "data_keys": keys, "object_keys": {name: [name] for name in MOTORS}, "hints": {}}
    stage("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, **about})


def give(stage: Any, number: int, shape: tuple[int, int], **more: Any) -> None:
    """Measure a point."""
    y, x = divmod((number - 1) % (shape[0] * shape[1]), shape[1])
    data = {"a": float(np.sin(number / 50)), MOTORS[0]: float(y), MOTORS[1]: float(x), **more}
    about = {"descriptor": "d", "seq_num": number, "uid": str(number), "time": time.time(), "filled": {}}
    stage("event", {**about, "data": data, "timestamps": dict.fromkeys(data, 1.0)})


class Crystal:
    """Images of a simulated crystal through peaks to a crystal map, so many a second, in a thread."""

    def __init__(self, rate: int) -> None:
        crystal = beamline(1, (256, 256), n_grains=5).crystal
        positions = np.random.default_rng(1).uniform(-0.5, 0.5, (50, 2))
        self._images = [crystal.frame(y, x, number) for number, (y, x) in enumerate(positions)]
        self.pt, self.cm = PeakTracker("image", 11, minmass=700), CrystalMap(search_range=3, memory=10_000)
        self.pt.subscribe(self.cm)
        #: When each event came.
        self.times: dict[int, float] = {}
        self._period, self._over = 1 / rate, threading.Event()
        self.thread = threading.Thread(target=self._scan)
        begin(self.pt, SHAPE, image={"source": "s", "dtype": "array", "shape": list(self._images[0].shape)})
        self._give(1)

    def end(self) -> None:
        self._over.set()
        self.thread.join()
        self.pt.close()

    def _give(self, number: int) -> None:
        self.times[number] = time.time()
        give(self.pt, number, SHAPE, image=self._images[number % len(self._images)])

    def _scan(self) -> None:
        number, due = 1, time.monotonic()
        while not self._over.is_set():
            number += 1
            due += self._period
            time.sleep(max(0.0, due - time.monotonic()))
            self._give(number)


def opened(browser: Any, url: str) -> Any:
    """A page that shows a map."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(url)
    page.wait_for_selector("[data-testid=map][data-number]")
    return page


def shown(browser: Any, rate: int) -> bool:
    """From event to changed pixel, and the longest frame."""
    crystal = Crystal(rate)
    with LiveServer(crystal.cm, crystal.pt) as server:
        page = opened(browser, server.url)
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        crystal.thread.start()
        page.wait_for_timeout(2000)
        page.evaluate(WATCH)
        page.wait_for_timeout(1000 * SECONDS)
        seen, longest = page.evaluate("[window.seen, window.longest]")
        page.close()
        crystal.end()
    seen = sorted(seen)
    numbers, times = np.array(seen).T
    wanted = [n for n in crystal.times if numbers[0] < n <= numbers[-1]]
    late = [times[np.searchsorted(numbers, n)] - crystal.times[n] for n in wanted]
    median, worst = 1000 * np.percentile(late, [50, 99])
    real = len(wanted) / (crystal.times[wanted[-1]] - crystal.times[wanted[0]])
    print(f"{real:.0f} events/s: from event to pixel {median:.0f} ms (median; target 300), {worst:.0f} ms (99 %; 600)")
    print(f"  longest frame in {SECONDS:.0f} s {longest:.0f} ms (target 100), first paint {paint:.0f} ms (target 1000)")
    return bool(median < 300 and worst < 600 and longest < 100 and paint < 1000)


def clicked(browser: Any) -> bool:
    """Clicks on a map of 1000 x 1000 with 500 others in the list."""
    shape = (1000, 1000)
    stage = Large(shape, 500)
    with LiveServer(stage) as server:
        begin(stage, shape)
        for number in range(1, 20_001):
            give(stage, number, shape)
        page = opened(browser, server.url)
        page.wait_for_timeout(2000)
        page.evaluate(CLICK)
        box = page.locator("[data-testid=map] canvas").first.bounding_box()
        side = min(box["width"], box["height"])
        left, bottom = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] + side) / 2
        for number in range(CLICKS):
            page.mouse.click(left + side * (0.1 + 0.8 * number / CLICKS), bottom - side * 0.01)
            page.wait_for_timeout(300)
        took = page.evaluate("window.took")
        page.close()
    late = float(np.percentile(took, 95)) if took else float("nan")
    print(f"{len(took)} of {CLICKS} clicks on 1000 x 1000 points with 500 maps: {late:.0f} ms (95 %; target 200)")
    return bool(len(took) > CLICKS / 2 and late < 200)


def hour(browser: Any) -> bool:
    """The memory of the browser over an hour's scan, replayed fast."""
    shape = (240, EVENTS // 240)
    stage = Large(shape, 20)
    heaps = []
    with LiveServer(stage) as server:
        begin(stage, shape)
        give(stage, 1, shape)
        page = opened(browser, server.url)
        session = page.context.new_cdp_session(page)
        for number in range(2, EVENTS + 1):
            give(stage, number, shape)
            if number % 500 == 0:
                page.wait_for_timeout(100)
            if number in (EVENTS // 4, EVENTS):
                page.wait_for_timeout(1000)
                session.send("HeapProfiler.collectGarbage")
                heaps.append(page.evaluate("performance.memory.usedJSHeapSize") / 2**20)
        page.close()
    print(f"{EVENTS} events: heap of the page {heaps[0]:.0f} MB after a quarter of them, {heaps[1]:.0f} MB at the end")
    return heaps[1] < heaps[0] + 20


def small() -> bool:
    """The page's code, compressed."""
    code = [path for path in BUILT.iterdir() if path.suffix in (".js", ".css", ".html")]
    size = sum(len(gzip.compress(path.read_bytes())) for path in code) / 1000
    print(f"the page's code: {size:.0f} kB compressed (target 1000)")
    return size < 1000


def main() -> bool:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    options = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        good = [small(), *(shown(browser, rate) for rate in RATES), clicked(browser), hour(browser)]
        browser.close()
    return all(good)
