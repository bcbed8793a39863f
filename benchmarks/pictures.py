"""How much slower a scan is when a picture of it is drawn while it goes on, as in a notebook."""

from __future__ import annotations

import contextlib
import io
import itertools
import statistics
import time
from collections.abc import Iterator

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky import RunEngine

from benchmarks.runner import Figure, at_most
from bluesky_ext import CrystalMap, LiveMap, PeakTracker
from bluesky_ext.sim import beamline

#: Seconds that a point takes beside its work, so that there are about 50 of them in a second; the points of a scan.
EXPOSURE, SIDE = 0.0125, 20


def point(detectors, step, pos_cache):
    yield from bps.one_nd_step(detectors, step, pos_cache)
    yield from bps.sleep(EXPOSURE)


class Page:
    """What a notebook is to a picture: a shell with a kernel."""

    def __init__(self):
        from IPython.core.interactiveshell import InteractiveShell

        self.shell = InteractiveShell.instance()
        self.shell.kernel = self
        self.pictures = 0
        self.shell.display_pub.publish = self.publish

    def publish(self, data, metadata=None, **about):
        self.pictures += "image/png" in data


def scan(with_picture):
    """The time of a scan, in s."""
    b, RE = beamline(1, (256, 256), n_grains=10), RunEngine()
    pt, cm = PeakTracker("dexela_image", 11, minmass=700), CrystalMap(search_range=3, memory=1000)
    pt.subscribe(cm)
    RE.subscribe(pt)
    live = LiveMap(cm, pt) if with_picture else contextlib.nullcontext()
    began = time.perf_counter()
    RE(bp.grid_scan([b.detector], b.y, -1, 1, SIDE, b.x, -1, 1, SIDE, per_step=point))
    took = time.perf_counter() - began
    if with_picture:
        live.close()
    return took


def main() -> Iterator[Figure]:
    page, times = Page(), {False: [], True: []}
    with contextlib.redirect_stdout(io.StringIO()):
        for turn, with_picture in itertools.product(range(4), (False, True)):
            took = scan(with_picture)
            if turn:
                times[with_picture].append(took)
    ratio = statistics.median(b / a for a, b in zip(times[False], times[True], strict=True))
    rate = SIDE**2 / statistics.median(times[False])
    yield Figure("a scan whose peaks and maps are made", rate, "points/s")
    yield at_most(f"  with {page.pictures / 4:.0f} pictures by a LiveMap in a notebook, longer by", ratio, "x", 1.1)
