"""The tiles of the page: their layouts, what is saved of them, whom the page may be trusted by, and who can use it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import bluesky.plans as bp
import numpy as np
import pytest
from matplotlib.image import imread
from pages import Scan, until

from bluesky_ext import CrystalMap, LiveAnalysis, PeakTracker
from bluesky_ext.live import FloatParameter
from bluesky_ext.sim import beamline

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"


class Worker:
    @staticmethod
    def describe_parameters():
        return [FloatParameter("scale", 1.0)]

    def process_event(self, event, parameters):
        return parameters["scale"].value


class Reducer:
    def __init__(self):
        self.publish = {"latest": 0.0}

    def process_result(self, result):
        self.publish["latest"] = result.payload


def tiles(page):
    """The kinds of the tiles, and where each is: left, top (however far it is scrolled), width and height."""
    top = page.get_by_test_id("tiles").evaluate("element => element.scrollTop")
    found = {}
    for one in page.locator("[data-testid^='tile ']").all():
        box = one.bounding_box()
        place = box["x"], box["y"] + top, box["width"], box["height"]
        found[one.get_attribute("data-testid")[5:]] = tuple(map(round, place))
    return found


def menu(page, kind, *names):
    page.get_by_test_id(f"tile {kind}").get_by_role("button", name="move, size or remove").click()
    for name in names:
        page.get_by_test_id(f"tile {kind}").get_by_role("button", name=name, exact=True).click()


def another(page, url):
    """The page as another person has it: in a browser of their own."""
    context = page.context.browser.new_context(viewport={"width": 1500, "height": 900})
    other = context.new_page()
    other.goto(url)
    other.expect = page.expect
    return other


def test_a_layout_is_arranged_kept_by_name_and_shared_at_once(documents_of, served, browser):
    scan = Scan(documents_of)
    client = served(scan.cm, scan.pt)
    page = browser(client.url)
    page.get_by_test_id("tile trend").wait_for()
    usual = tiles(page)
    assert set(usual) == {"map", "row", "image", "trend"}
    assert usual["map"][2] * usual["map"][3] == max(width * height for _, _, width, height in usual.values())

    grip = page.get_by_test_id("tile image").get_by_role("heading")
    box = grip.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 500, steps=8)
    page.mouse.up()
    until(page, lambda: tiles(page)["trend"][1] < tiles(page)["image"][1], "the image is below the trend")
    menu(page, "map", "narrower", "narrower")
    until(page, lambda: tiles(page)["map"][2] < usual["map"][2] - 100, "the map is narrower")
    page.keyboard.press("Escape")
    menu(page, "row", "remove")
    page.expect(page.get_by_test_id("tile row")).to_have_count(0)

    page.get_by_role("button", name="Layout:").click()
    page.get_by_role("group", name="add a tile").get_by_role("button", name="Notifications").click()
    page.expect(page.get_by_test_id("tile log")).to_be_visible()
    name = "<b>of 'us'/both"
    page.get_by_label("name of the layout").fill(name)
    page.get_by_role("button", name="Save for all").click()
    page.expect(page.get_by_role("button", name="Layout:")).to_contain_text(name)
    other = another(page, page.url)
    other.get_by_test_id("tile log").wait_for()
    until(page, lambda: tiles(other) == tiles(page), "both see one layout")
    menu(other, "trend", "remove")
    page.expect(page.get_by_test_id("tile trend")).to_have_count(0)
    page.reload()
    page.expect(page.get_by_test_id("tile log")).to_be_visible()
    assert list(client.get("/api/v1/layouts")) == [name]
    page.get_by_role("button", name="Layout:").click()
    page.get_by_role("button", name=f"remove the layout {name}").click()
    other.get_by_role("button", name="Layout:").click()
    other.expect(other.get_by_text("there is no layout")).to_be_visible()
    other.context.close()


def test_pictures_and_tables_have_the_run_on_them(documents_of, served, browser):
    scan = Scan(documents_of)
    uid = scan.docs[0][1]["uid"]
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    tile = page.get_by_test_id("tile map")
    page.expect(tile.get_by_test_id("map")).to_have_attribute("data-number", "12")
    with page.expect_download() as saved:
        tile.get_by_role("button", name="save the numbers").click()
    text = saved.value.path().read_text(encoding="utf-8")
    assert f"run {uid}" in text.splitlines()[1]
    assert len(text.splitlines()) == 4 + 12
    with page.expect_download() as saved:
        tile.get_by_role("button", name="save a picture").click()
    assert uid[:8] in saved.value.suggested_filename
    png = imread(io.BytesIO(saved.value.path().read_bytes()))[..., :3]
    map_, caption = png[:-44], png[-44:]
    assert map_.std() > 0.1
    colours = np.ptp(map_, axis=-1)
    assert (colours > 0.3).mean() > 0.05  # the pixels of the map, which WebGL drew
    assert (caption.min(axis=-1) < 0.6).mean() > 0.02  # the line with the run


def test_it_is_plain_what_is_shown_and_who_may_change_it(served, browser):
    with LiveAnalysis(Worker, Reducer) as analysis:
        url = served(analysis, address="0.0.0.0", token="sesame").url
        page = browser(f"http://127.0.0.1:{url.rsplit(':', 1)[1]}")
        footer = page.get_by_test_id("footer")
        page.expect(footer).to_contain_text("read-only")
        page.expect(footer).to_contain_text("bluesky-ext")
        analysis("start", {"uid": "0123-run", "time": 1.0, "scan_id": 7})
        page.expect(footer).to_contain_text("run 0123-run")
        hashed = footer.inner_text()
        page.get_by_text("Access", exact=True).click()
        page.get_by_label("token").fill("sesame")
        page.get_by_label("your name").fill("Ada Ł.")
        page.keyboard.press("Enter")
        page.expect(page.get_by_test_id("read-only")).to_have_count(0)
        scale = page.get_by_test_id("parameter scale")
        scale.get_by_role("textbox").fill("2.5")
        page.keyboard.press("Enter")
        page.expect(scale).to_contain_text("set")
        until(page, lambda: footer.inner_text() != hashed, "the hash of the parameters is another one")
        page.get_by_role("button", name="Notifications").first.click()
        notices = page.get_by_test_id("notices").first
        page.expect(notices).to_contain_text("run started")
        page.expect(notices).to_contain_text("scale")
        page.expect(notices).to_contain_text("by Ada Ł.")


def test_the_page_goes_on_when_the_server_is_back(documents_of, served, browser):
    scan = Scan(documents_of)
    scan.feed(4)
    client = served(scan.cm, scan.pt)
    page = browser(client.url)
    shown = page.get_by_test_id("tile map").get_by_test_id("map")
    page.expect(shown).to_have_attribute("data-number", "4")
    served.close()
    page.expect(page.get_by_role("alert")).to_have_text("the server is not there")
    page.expect(shown).to_be_visible()  # with what it was
    scan.feed(4)
    served(scan.cm, scan.pt, address=client.url[7:-1])
    page.expect(page.get_by_test_id("state")).to_have_text("running")
    page.expect(shown).to_have_attribute("data-number", "8")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1920, "dark"), (390, "light"), (390, "dark")])
def test_everybody_can_use_it(documents_of, served, browser, width, theme):
    if not AXE.is_file():
        pytest.skip("axe is not there: npm ci in page/")
    scan = Scan(documents_of)
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    page.set_viewport_size({"width": width, "height": 844 if width < 500 else 800})
    page.emulate_media(color_scheme=theme)
    page.expect(page.get_by_test_id("tile map").get_by_test_id("map")).to_have_attribute("data-number", "12")
    page.get_by_role("button", name="Compare and colours").click()
    page.get_by_role("button", name="Settings").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'] })")
    bad = [
        (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, json.dumps(bad, indent=1)


def test_the_map_is_first_below_each_other_on_a_phone(documents_of, served, browser):
    scan = Scan(documents_of)
    scan.feed(3)
    page = browser(served(scan.cm, scan.pt).url)
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_test_id("tile trend").wait_for()
    until(page, lambda: len({box[0] for box in tiles(page).values()}) == 1, "the tiles are in one column")
    assert min(tiles(page).items(), key=lambda item: item[1][1])[0] == "map"
    assert all(width > 350 for _, _, width, _ in tiles(page).values())


def test_dark_and_light_are_chosen_and_kept(served, shows, browser):
    page = browser(served(shows(lambda n: {"n": n})).url)
    ground = lambda: page.evaluate("getComputedStyle(document.documentElement).backgroundColor")  # noqa: E731
    light = ground()
    for _ in range(2):  # the system's, light, dark
        page.get_by_role("button", name="colours of the page").click()
    until(page, lambda: ground() != light, "it is dark")
    page.reload()
    page.get_by_test_id("tiles").wait_for()
    assert ground() != light


def test_picture_of_the_page(documents_of, served, browser, request):
    """That of the README and of the docs: ``pytest -m browser -k picture_of_the_page --pictures FOLDER``."""
    if not request.config.getoption("--pictures"):
        pytest.skip("only with --pictures")
    b = beamline(1, (256, 256), n_grains=5)
    docs = documents_of(bp.grid_scan([b.detector], b.y, -0.5, 0.5, 15, b.x, -0.5, 0.5, 20, snake_axes=True))
    pt, cm = PeakTracker("dexela_image", 11, minmass=700), CrystalMap(search_range=3, memory=10_000)
    pt.subscribe(cm)
    page = browser(f"{served(cm, pt).url}?point=96")
    page.set_viewport_size({"width": 1280, "height": 800})
    for name, doc in docs[:230]:
        pt(name, {**doc, "time": time.time()})
        page.wait_for_timeout(20 if name == "event" else 0)  # as a scan goes
    page.expect(page.get_by_test_id("tile image")).to_contain_text("point 96")
    page.wait_for_timeout(2000)
