"""What a page shows, as a test asks for it."""

from __future__ import annotations

import io
import time

from matplotlib.colors import rgb_to_hsv
from matplotlib.image import imread


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
