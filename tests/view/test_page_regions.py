"""Regions drawn on the page: they change the next result, every browser sees them, and they stay."""

from __future__ import annotations

import bluesky.plans as bp
import numpy as np
import pytest
from pages import until

from bluesky_ext import FluorescenceFit, RegionMaps
from bluesky_ext.sim import beamline
from bluesky_ext.sim.fluorescence import fluorescence_beamline

pytestmark = pytest.mark.browser
KEY, SPECTRA = "dexela_image", "xspress3_spectra"
NAME = """<b>"spot"</b>/'1'"""


class Fed:
    """A scan on the simulated beamline, fed to a stage event by event."""

    def __init__(self, b, documents_of, first):
        self.docs = documents_of(bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4))
        self.images = {doc["seq_num"]: doc["data"] for name, doc in self.docs if name == "event"}
        self.first = first

    def feed(self, n_events=None):
        while self.docs and n_events != 0:
            name, doc = self.docs.pop(0)
            self.first(name, doc)
            n_events = n_events - 1 if name == "event" and n_events else n_events


@pytest.fixture
def scan(documents_of):
    """Maps of regions of the images of a crystal."""
    maps = RegionMaps(KEY)
    fed = Fed(beamline(1, (128, 128), n_grains=3), documents_of, maps)
    fed.maps = maps
    return fed


def regions_of(maps):
    return {one.name: one for one in maps.settings["regions"].value}


def tool(page, name):
    page.locator(".region-bar .tool", has_text=name).first.click()
    page.locator(".regions .ground:focus").wait_for()


def on_screen(page, x, y):
    """Where a pixel of the image is on the screen: the image is as large as its square fits in."""
    box = page.locator(".image canvas").bounding_box()
    size = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - size) / 2, box["y"] + (box["height"] - size) / 2
    return left + (x + 0.5) / 128 * size, top + (y + 0.5) / 128 * size


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def shape(page, name):
    return page.locator(f'[data-region="{name}"] .body')


def test_a_rectangle_changes_the_next_result_and_the_polygon_after_it(scan, served, browser):
    url = served(scan.maps).url
    scan.feed(2)
    page = browser(url)
    page.locator(".image canvas").wait_for()
    tool(page, "Rectangle")
    drag(page, on_screen(page, 20, 30), on_screen(page, 60, 50))
    until(page, lambda: regions_of(scan.maps), "the region is a parameter")
    region = regions_of(scan.maps)["region 1"]
    assert region.type == "rectangle"
    assert np.allclose([*region.x, *region.y], [20, 60, 30, 50], atol=0.6)
    scan.feed(1)
    image = np.squeeze(scan.images[3][KEY]).astype(float)
    rows, columns = (slice(int(np.ceil(a)), int(b) + 1) for a, b in (region.y, region.x))
    values = np.asarray(scan.maps.dataset["sum"]).ravel()
    assert np.isfinite(values).sum() == 1
    assert np.nansum(values) == image[rows, columns].sum()

    tool(page, "Polygon")
    for corner in ((70, 70), (110, 70), (110, 110)):
        page.mouse.click(*on_screen(page, *corner))
    page.mouse.click(*on_screen(page, 70, 70))
    until(page, lambda: "region 2" in regions_of(scan.maps), "the polygon is a parameter")
    corners = regions_of(scan.maps)["region 2"]
    assert np.allclose(corners.x, [70, 110, 110], atol=0.6)
    assert np.allclose(corners.y, [70, 70, 110], atol=0.6)
    scan.feed(1)
    image = np.squeeze(scan.images[4][KEY]).astype(float)
    one = scan.maps.dataset["sum"].sel(region="region 2")
    assert np.nanmax(one) == image[corners.mask(image.shape)].sum()


def test_regions_are_moved_pulled_named_removed_and_brought_back(scan, served, browser):
    scan.maps.set_parameters({"regions": [{"name": "a", "type": "rectangle", "x": [20, 60], "y": [30, 50]}]})
    url = served(scan.maps).url
    scan.feed(1)
    page = browser(url)
    shape(page, "a").wait_for()
    drag(page, on_screen(page, 40, 40), on_screen(page, 50, 45))
    until(page, lambda: np.allclose(regions_of(scan.maps)["a"].x, [30, 70], atol=0.6), "it is moved")
    assert np.allclose(regions_of(scan.maps)["a"].y, [35, 55], atol=0.6)
    shape(page, "a").wait_for()
    drag(page, on_screen(page, 70, 55), on_screen(page, 90, 100))
    until(page, lambda: np.allclose(regions_of(scan.maps)["a"].y, [35, 100], atol=0.8), "a corner is pulled")
    assert np.allclose(regions_of(scan.maps)["a"].x, [30, 90], atol=0.8)
    page.get_by_label("name", exact=True).fill(NAME)
    page.keyboard.press("Enter")
    until(page, lambda: set(regions_of(scan.maps)) == {NAME}, "it has a name")
    page.expect(page.locator(".region text")).to_have_text(NAME)
    page.locator(".region-bar").get_by_role("button", name="Delete").click()
    until(page, lambda: not regions_of(scan.maps), "it is removed")
    page.get_by_role("button", name="Undo").click()
    until(page, lambda: set(regions_of(scan.maps)) == {NAME}, "it is back")


def test_the_keyboard_does_all_of_that(scan, served, browser):
    url = served(scan.maps).url
    scan.feed(1)
    page = browser(url)
    page.locator(".region-bar .tool", has_text="Rectangle").focus()
    page.keyboard.press("Enter")
    page.locator(".regions .ground:focus").wait_for()
    page.keyboard.press("Enter")
    until(page, lambda: regions_of(scan.maps), "there is one in the middle")
    made = regions_of(scan.maps)["region 1"]
    shape(page, "region 1").focus()
    page.keyboard.press("Shift+ArrowLeft")
    until(page, lambda: regions_of(scan.maps)["region 1"] != made, "it is moved")
    moved = regions_of(scan.maps)["region 1"]
    assert np.allclose(np.subtract(moved.x, made.x), -10)
    assert moved.y == made.y
    page.keyboard.press("Alt+ArrowDown")
    until(page, lambda: regions_of(scan.maps)["region 1"] != moved, "it is pulled")
    assert np.allclose(np.subtract(regions_of(scan.maps)["region 1"].y, moved.y), [0, 1])
    page.keyboard.press("Delete")
    until(page, lambda: not regions_of(scan.maps), "it is removed")


@pytest.mark.parametrize("is_behind", [True, False], ids=["behind the fit", "beside it"])
def test_a_range_of_a_spectrum_is_summed_where_it_is_drawn(is_behind, served, browser, documents_of):
    """In keV behind the fit, which knows the energies, and in channels of the raw spectra; drawn in keV both times."""
    b = fluorescence_beamline(1)
    fit, maps = FluorescenceFit(SPECTRA, b.sample.cfg), RegionMaps(SPECTRA, kinds=("range",))
    if is_behind:
        fit.subscribe(maps)

    def first(name, doc):
        fit(name, doc)
        if not is_behind:
            maps(name, doc)

    scan = Fed(b, documents_of, first)
    url = served(maps, fit).url
    scan.feed(1)
    page = browser(url)
    over = page.get_by_test_id("tile curve").locator(".u-over")
    over.wait_for()
    tool(page, "Range")
    box = over.bounding_box()
    y = box["y"] + box["height"] / 2
    drag(page, (box["x"] + 0.4 * box["width"], y), (box["x"] + 0.6 * box["width"], y))
    until(page, lambda: regions_of(maps), "the range is a parameter")
    (region,) = regions_of(maps).values()
    spectrum = np.reshape(scan.images[2][SPECTRA], (-1, len(b.sample.expected(0, 0)))).sum(0)
    energies = fit.model.zero + fit.model.gain * np.arange(len(spectrum))
    shown = fit.model.curve(spectrum.astype(float)).energy
    ends = np.quantile([shown[0], shown[-1]], [0.4, 0.6])
    axis = energies if is_behind else np.arange(len(spectrum))
    drawn = np.interp(ends, energies, axis)
    assert np.allclose(region.x, drawn, atol=0.03 * (drawn[1] - drawn[0]))
    scan.feed(1)
    inside = (axis >= region.x[0]) & (axis <= region.x[1])
    assert np.nansum(maps.dataset["sum"]) == pytest.approx(spectrum[inside].sum())


def test_two_browsers_agree_and_a_server_that_starts_again_knows_the_regions(scan, served, browser, tmp_path):
    client = served(scan.maps, directory=tmp_path)
    scan.feed(1)
    here, there = browser(client.url), browser(client.url)
    for page in (here, there):
        page.locator(".image canvas").wait_for()
    here.bring_to_front()
    tool(here, "Rectangle")
    drag(here, on_screen(here, 20, 30), on_screen(here, 60, 50))
    here.get_by_role("button", name="region 1", exact=True).wait_for()
    there.bring_to_front()
    shape(there, "region 1").wait_for()
    assert shape(there, "region 1").get_attribute("aria-label") == shape(here, "region 1").get_attribute("aria-label")
    kept = scan.maps.settings["regions"].value
    served.close()
    again = RegionMaps(KEY)
    served(again, directory=tmp_path, address=client.url[7:-1])
    assert again.settings["regions"].value == kept


def test_what_the_server_refuses_is_said_and_shown_as_it_was(scan, served, browser):
    url = served(scan.maps).url
    scan.feed(1)
    page = browser(url)
    page.route(
        "**/api/v1/parameter/**",
        lambda route: route.fulfill(status=422, json={"detail": "regions: this can't be"}),
    )
    tool(page, "Rectangle")
    drag(page, on_screen(page, 20, 30), on_screen(page, 60, 50))
    page.expect(page.locator(".region-bar [role=alert]")).to_have_text("regions: this can't be")
    page.expect(page.locator(".region")).to_have_count(0)
    assert not regions_of(scan.maps)
