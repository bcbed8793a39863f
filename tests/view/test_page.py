"""The page of a live server, in a browser: what a scan shows, and how it grows."""

from __future__ import annotations

import io
import os
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from matplotlib.image import imread
from pages import Scan, coloured, selected, ticks, until

from bluesky_ext.view import app

pytestmark = pytest.mark.browser
WHITE, RED = "rgb(255, 255, 255)", "rgb(179, 38, 30)"
#: For so long maps grow before the page is compared with what it was: 60 s are promised.
SECONDS = float(os.environ.get("PAGE_SECONDS", "8"))


def test_a_scan_is_seen_as_it_grows_and_run_after_run(documents_of, served, browser):
    scan = Scan(documents_of)
    page = browser(f"{served(scan.cm, scan.pt).url}?path=")
    page.expect(page.get_by_test_id("state")).to_have_text("waiting for a scan")
    scan.feed(2)
    page.expect(page.get_by_test_id("state")).to_have_text("running")
    page.expect(page.get_by_test_id("count")).to_have_text("2 of 12 events")
    page.locator("figure canvas").wait_for()
    few = coloured(page)
    scan.feed(8)
    until(page, lambda: coloured(page) > 2 * few > 0, "the map grows")
    scan.feed()
    page.expect(page.get_by_test_id("state")).to_have_text("scan ended")
    page.expect(page.get_by_test_id("scan")).to_contain_text("success")
    page.expect(page.get_by_test_id("lost")).not_to_have_class("figure bad")

    page.locator('[role=treeitem][data-path="/PeakTracker"]').click()
    page.locator('[role=treeitem][data-path="/PeakTracker/taken"]').click()
    page.expect(page.locator("figure")).to_contain_text("image")
    whole = coloured(page)
    assert whole > 0.3
    first = page.get_by_test_id("scan").inner_text()
    scan.docs = Scan(documents_of).docs
    scan.feed(1)
    page.expect(page.get_by_test_id("count")).to_have_text("1 of 12 events")
    assert page.get_by_test_id("scan").inner_text() != first
    assert selected(page) == "/PeakTracker/taken"
    page.reload()
    page.locator("figure canvas").wait_for()
    assert selected(page) == "/PeakTracker/taken"


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_what_is_looked_at_stays_while_maps_grow(served, shows, browser):
    """No loader, no flicker; selection, slice, zoom, colours and their scale are kept while there are more maps."""
    y, x = np.mgrid[:30, :40]
    plot = {"NX_class": "NXdata", "signal": "maps", "axes": ["n", "y", "x"]}

    def tree(n):
        n_maps = n and 3 + n
        maps = np.sin(0.1 * np.arange(n_maps)[:, None, None] * x + 0.1 * n) + np.cos(0.2 * y)
        axes = {"n": np.arange(n_maps), "y": y[:, 0] * 0.5, "x": x[0] * 0.5}
        return {"map": {"maps": maps, **axes, "_attrs": plot}, "n": n}

    stage = shows(tree)
    page = browser(f"{served(stage).url}?path=map")
    page.expect(page.get_by_test_id("viewer")).to_contain_text("Nothing to display")
    stage.feed(1)
    canvas = page.locator("figure canvas").first
    canvas.wait_for()
    assert selected(page) == "/map"
    page.get_by_role("combobox", name="Viridis").click()
    page.get_by_role("option", name="Inferno").first.click()
    page.get_by_role("button", name="Edit domain").click()
    page.get_by_label("min", exact=True).fill("-1.5")
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider", name="D0")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    page.expect(slider).to_have_attribute("aria-valuenow", "3")
    page.wait_for_timeout(1000)  # h5web reads a slice that was chosen when nobody moves the slider any more
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    whole = ticks(page)
    for _ in range(4):
        page.mouse.wheel(0, -100)
    until(page, lambda: ticks(page) != whole, "it is zoomed")
    page.wait_for_timeout(500)
    page.evaluate(WATCH)
    kept = page.evaluate(KEPT)
    assert (slider.get_attribute("aria-valuenow"), slider.get_attribute("aria-valuemax")) == ("3", "3")
    before = ticks(page)
    revision = int(page.get_by_test_id("viewer").get_attribute("data-revision"))
    pictures, slices = set(), []
    page.on("request", lambda request: slices.extend(parse_qs(urlsplit(request.url).query).get("select", [])))
    began, number = time.monotonic(), 1
    while time.monotonic() - began < SECONDS:
        number += 1
        stage.feed(number)
        page.wait_for_timeout(200)
        png = canvas.screenshot()
        pictures.add(png)
        assert imread(io.BytesIO(png))[..., :3].std() > 0.1
    until(page, lambda: slider.get_attribute("aria-valuemax") == str(number + 2), "it shows all maps")
    assert int(page.get_by_test_id("viewer").get_attribute("data-revision")) - revision > SECONDS / 3
    assert len(pictures) > SECONDS / 3
    assert page.evaluate("window.watched.bad") == []
    assert page.evaluate("window.watched.frames") > 5 * SECONDS
    assert set(slices[2:]) == {"[3,:,:]"}  # with the first state that which was drawn before is read too
    assert slider.get_attribute("aria-valuenow") == "3"
    assert ticks(page) == before
    assert page.evaluate(KEPT) == kept
    assert "-1.5" in kept[1]
    assert selected(page) == "/map"
    page.expect(page.get_by_role("combobox", name="Inferno")).to_be_visible()


#: In each frame of the screen: whether the canvas is the same one, and nothing says that it waits.
WATCH = """() => {
  const canvas = document.querySelector("figure canvas");
  const watched = (window.watched = { frames: 0, bad: [] });
  const look = () => {
    watched.frames++;
    if (!canvas.isConnected || !canvas.checkVisibility()) watched.bad.push("no canvas");
    const loader = document.querySelector('[data-testid^="Loading"]');
    if (loader) watched.bad.push(loader.dataset.testid);
    if (watched.bad.length < 10) requestAnimationFrame(look);
  };
  look();
}"""
#: The colours and their scale, as they are kept and as they are shown.
KEPT = """() => {
  const { colorMap, customDomain, scaleType } = JSON.parse(localStorage.getItem("h5web:heatmap")).state;
  return [colorMap, JSON.stringify(customDomain), scaleType];
}"""


def test_losses_and_failures_turn_red(served, shows, browser):
    stage = shows(lambda n: {"n": n}, num_points=6)
    page = browser(served(stage).url)
    for name in ("lost", "failed", "warnings"):
        page.expect(page.get_by_test_id(name)).to_have_css("background-color", WHITE)
    stage.feed(1, 4)
    stage.reduce = None
    stage.feed(5)
    for name, count in (("lost", "2"), ("failed", "1")):
        page.expect(page.get_by_test_id(name)).to_contain_text(count)
        page.expect(page.get_by_test_id(name)).to_have_css("background-color", RED)
    page.expect(page.get_by_test_id("warnings")).to_have_class("figure bad")
    page.get_by_test_id("warnings").click()
    page.expect(page.get_by_test_id("warnings")).to_have_class("figure")  # they were seen
    page.get_by_role("button", name="Settings").click()
    page.locator("summary", has_text="Log").click()
    page.expect(page.locator(".log")).to_contain_text("failed on run")


def test_a_server_that_is_gone_is_told_and_shown_again_when_it_is_back(served, shows, browser):
    def maps(value):
        return lambda n: {"maps": np.full((3, 4), value), "value": value, "_attrs": {"default": "value"}}

    client = served(shows(maps(11.5)))
    page = browser(f"{client.url}?path=value")
    page.evaluate("window.isTheSame = true")
    page.expect(page.get_by_test_id("viewer")).to_contain_text("11.5")
    served.close()
    page.expect(page.get_by_role("alert")).to_have_text("the server is not there")
    page.locator('[role=treeitem][data-path="/maps"]').click()  # which was never read
    served(shows(maps(22.5)), address=client.url[7:-1])
    page.expect(page.get_by_test_id("state")).to_have_text("running")
    page.locator("figure canvas").wait_for()
    page.locator('[role=treeitem][data-path="/value"]').click()
    page.expect(page.get_by_test_id("viewer")).to_contain_text("22.5")
    assert page.evaluate("window.isTheSame")


def test_names_with_html_in_them_are_text(served, shows, browser):
    name = "<img src=x onerror=document.title=1>"
    tree = {name: {name: name, f"{name}_attrs": {name: name}}}
    stages = [shows(lambda n: tree, f"{name}{letter}", plan_name=name) for letter in "ab"]
    page = browser(f"{served(*stages).url}?path={name}a/{name}/{name}")
    page.expect(page.get_by_test_id("scan")).to_contain_text(name)
    page.expect(page.locator("[role=treeitem][aria-selected=true]")).to_have_text(name)
    page.expect(page.get_by_role("tabpanel").or_(page.get_by_test_id("viewer")).first).to_contain_text(name)
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Stages", exact=True).click()
    page.expect(page.locator("table")).to_contain_text(f"{name}b")
    assert page.locator("img").count() == 0


def test_many_windows_of_one_browser_are_all_told(served, shows, browser):
    """More than the six connections that a browser makes to a server."""
    stage = shows(lambda n: {"n": n})
    url = served(stage).url
    context = browser(url).context
    pages = [context.new_page() for _ in range(7)]
    for page in pages:
        page.goto(url)
    stage.feed(1)
    for page in pages:
        page.bring_to_front()
        page.wait_for_selector("text=1 events")


def test_a_function_is_computed_for_those_who_look_at_it(served, shows, browser):
    calls = []

    def tree(n):
        def image():
            calls.append(n)
            return np.full((3, 4 + n), 1.5) * np.arange(4 + n)

        taken = {"image": image, "_attrs": {"NX_class": "NXdata", "signal": "image"}}
        return {"n": n, "taken": taken, "_attrs": {"default": "n"}}

    stage = shows(tree)
    page = browser(f"{served(stage).url}?path=")
    page.expect(page.get_by_role("treeitem", name="taken (NeXus group)")).to_be_visible()
    for number in (1, 2):
        stage.feed(number)
        page.expect(page.locator("pre")).to_have_text(str(number))
    assert calls == [0]  # what it is was looked at once
    page.locator('[role=treeitem][data-path="/taken"]').click()
    page.locator("figure canvas").wait_for()
    stage.feed(3)
    until(page, lambda: calls[-1] == 3, "it is computed for what is new")
    page.expect(page.locator("figure")).to_contain_text("6")
    assert coloured(page) > 0.3


def test_what_cannot_be_drawn_is_told_and_drawn_as_soon_as_it_can(served, shows, browser):
    def tree(n):
        images = {"b": np.arange(12.0).reshape(3, 4)} if n else {}
        return {"n": n, "plot": {**images, "_attrs": {"NX_class": "NXdata", "signal": "b"}}}

    stage = shows(tree)
    page = browser(f"{served(stage).url}?path=plot")
    page.expect(page.get_by_test_id("viewer")).to_contain_text('Expected "b" signal entity to exist')
    page.locator('[role=treeitem][data-path="/n"]').click()
    page.expect(page.locator("pre")).to_have_text("0")
    page.locator('[role=treeitem][data-path="/plot"]').click()
    stage.feed(1)
    page.locator("figure canvas").wait_for()
    browser.complaints.clear()  # h5web tells it to the log too


def test_where_the_page_could_not_be_built_there_is_a_plain_one(documents_of, served, browser, monkeypatch, tmp_path):
    monkeypatch.setattr(app, "BUILT", tmp_path)
    scan = Scan(documents_of)
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    page.expect(page.locator("#state")).to_have_text("CLOSE")
    page.expect(page.locator("#numbers")).to_contain_text("12 of 12")
    width = "document.querySelector('img#picture')?.naturalWidth"
    until(page, lambda: (page.evaluate(width) or 0) > 100, "there is a picture")
