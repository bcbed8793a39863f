"""What a page shows, as a test asks for it."""

from __future__ import annotations

import io
import time

import bluesky.plans as bp
from matplotlib.colors import rgb_to_hsv
from matplotlib.image import imread

from bluesky_ext import CrystalMap, PeakTracker
from bluesky_ext.sim import beamline

KEY = "dexela_image"


class Scan:
    """A scan on the simulated beamline, document by document, through the analysis."""

    def __init__(self, documents_of, plan=None):
        b = beamline(1, (128, 128), n_grains=3)
        grid = bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4)
        self.docs = documents_of(plan(b) if plan else grid)
        self.pt, self.cm = PeakTracker(KEY, 11, minmass=700), CrystalMap(search_range=3, memory=100)
        self.pt.subscribe(self.cm)

    def feed(self, n_events=None):
        """Feed so many events, or the rest with the stop."""
        while self.docs and n_events != 0:
            name, doc = self.docs.pop(0)
            self.pt(name, doc)
            n_events = n_events - 1 if name == "event" and n_events else n_events


def coloured(page):
    """The share of the picture that has a colour: what was not measured is white, axes are grey."""
    png = page.locator("figure canvas").first.screenshot()
    return float((rgb_to_hsv(imread(io.BytesIO(png))[..., :3])[..., 1] > 0.3).mean())


def until(page, condition, what):
    """Wait until something is so, while the page goes on."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        page.wait_for_timeout(50)


def selected(page):
    return page.locator("[role=treeitem][aria-selected=true]").get_attribute("data-path")


def ticks(page):
    return page.locator("figure svg text").all_text_contents()
