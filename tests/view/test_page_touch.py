"""Fingers on the curves of the page, and what a scan that begins leaves on it."""

from __future__ import annotations

import pytest
from pages import Scan, until

pytestmark = pytest.mark.browser


def fingers(page, *ways):
    """Move fingers along the curve of the trend, each from one part of its width to another."""
    box = page.get_by_test_id("tile trend").locator(".u-over").bounding_box()
    devtools = page.context.new_cdp_session(page)
    y = box["y"] + box["height"] / 2
    for step in range(7):
        points = [{"x": box["x"] + box["width"] * (a + (b - a) * min(step, 5) / 5), "y": y} for a, b in ways]
        kind = "touchStart" if step == 0 else "touchMove" if step < 6 else "touchEnd"
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if step < 6 else []})


def test_two_fingers_stretch_the_axis_of_a_curve_and_one_moves_it(documents_of, served, browser):
    scan = Scan(documents_of)
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    tile = page.get_by_test_id("tile trend")
    tile.get_by_role("combobox", name="against").select_option("frame")
    page.expect(tile.get_by_role("heading")).to_contain_text("against frame")
    over = tile.locator(".u-over")

    def under(part):
        """The number of the frame that is read at a part of the width."""
        box = over.bounding_box()
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        return tile.locator(".readout b").first.inner_text()

    until(page, lambda: (under(0.01), under(0.99)) == ("1", "12"), "all of it is seen")
    fingers(page, (0.4, 0.2), (0.6, 0.8))  # three times as long: the middle third is seen
    page.expect(tile.get_by_role("button", name="Show all")).to_be_visible()
    assert (under(0.01), under(0.99)) == ("5", "8")
    fingers(page, (0.2, 0.5))  # by less than a third of what is seen
    assert (under(0.01), under(0.99)) == ("4", "7")


def test_the_next_scan_begins_where_the_one_before_was(documents_of, served, browser):
    scan, second = Scan(documents_of), Scan(documents_of)
    second.pt, second.cm = scan.pt, scan.cm
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    tile = page.get_by_test_id("tile map")
    page.expect(tile.get_by_test_id("map")).to_have_attribute("data-number", "12")
    page.expect(tile.get_by_role("heading")).to_contain_text("peak")
    tile.evaluate(
        """tile => {
          window.titles = [];
          const note = () => window.titles.push(tile.querySelector("h2").textContent);
          new MutationObserver(note).observe(tile, { subtree: true, childList: true, characterData: true });
        }"""
    )
    while second.docs[0][0] != "event":
        name, doc = second.docs.pop(0)
        second.pt(name, doc)
    page.expect(tile).to_contain_text("the scan before")
    second.feed()
    page.expect(tile).not_to_contain_text("the scan before")
    page.expect(tile.get_by_test_id("map")).to_have_attribute("data-number", "12")
    assert all("peak" in title for title in page.evaluate("window.titles"))
