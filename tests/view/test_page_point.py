"""What was measured at a point, on the page: its image with the peaks, its curves, its readings, and trends of them."""

from __future__ import annotations

import re

import bluesky.plans as bp
import numpy as np
import pytest
from pages import until

from bluesky_ext import AzimuthalIntegrator, CrystalMap, FluorescenceFit, FluorescenceMap, PeakTracker
from bluesky_ext.sim import beamline, powder_beamline
from bluesky_ext.sim.fluorescence import fluorescence_beamline

pytestmark = pytest.mark.browser
KEY, SPECTRA = "dexela_image", "xspress3_spectra"


def scan_of(b, documents_of, n_y=3, n_x=4):
    return documents_of(bp.grid_scan([b.detector], b.y, -0.5, 0.5, n_y, b.x, -0.5, 0.5, n_x))


def feed(stage, docs, n_events=None):
    """Feed so many events, or the rest."""
    while docs and n_events != 0:
        name, doc = docs.pop(0)
        stage(name, doc)
        n_events = n_events - 1 if name == "event" and n_events else n_events


@pytest.fixture
def crystal(documents_of):
    """A scan of a crystal: its documents, the stages, and the peaks found in each image."""
    docs = scan_of(beamline(1, (128, 128), n_grains=3), documents_of)
    pt, cm = PeakTracker(KEY, 11, minmass=700), CrystalMap(search_range=3, memory=100)
    pt.subscribe(cm)
    peaks = {}
    pt.subscribe(lambda _, page: peaks.setdefault(page["data"]["frame"][0], page["data"]), "event_page")
    images = {doc["seq_num"]: np.squeeze(doc["data"][KEY]) for name, doc in docs if name == "event"}
    return docs, pt, cm, peaks, images


def tile(page, kind):
    return page.get_by_test_id(f"tile {kind}")


def tooltip(page):
    """What is said beside the mouse above an image: the pixel, and its value."""
    text = page.locator(".image").inner_text()
    found = re.search(r"x (\d+), y (\d+)\s+([-\d.]+)", text)
    return found and (int(found[1]), int(found[2]), float(found[3]))


def circles(page):
    """Where the circles of the peaks are, in pixels of the screen."""
    path = tile(page, "image").locator(".peaks .circles").get_attribute("d")
    box = tile(page, "image").locator("canvas").bounding_box()
    found = re.findall(r"M([-\d.]+),([-\d.]+)a([\d.]+)", path)
    return [(box["x"] + float(x) + float(radius), box["y"] + float(y)) for x, y, radius in found]


def test_a_point_shows_its_image_with_each_peak_circled_where_it_is(crystal, served, browser):
    docs, pt, cm, peaks, images = crystal
    url = served(cm, pt).url
    feed(pt, docs)
    page = browser(f"{url}?point=6")
    shown = tile(page, "image")
    page.expect(shown.locator(".peaks")).to_have_attribute("data-count", str(len(peaks[6]["x"])))
    assert len(circles(page)) == len(peaks[6]["x"]) > 3
    for (left, top), x, y in zip(circles(page), peaks[6]["x"], peaks[6]["y"], strict=True):
        page.mouse.move(left, top)
        until(page, lambda: tooltip(page), "the value under the mouse")
        pixel = tooltip(page)
        assert np.allclose(pixel[:2], (x, y), atol=1)
        assert pixel[2] == pytest.approx(images[6][pixel[1], pixel[0]], rel=1e-4)
    numbers = set(shown.locator(".peaks text").all_text_contents())
    assert len(numbers) == len(peaks[6]["x"])  # those of the tracks: each one is another crystal map


def test_the_latest_point_is_followed_until_one_is_chosen(crystal, served, browser):
    docs, pt, cm, peaks, _ = crystal
    page = browser(served(cm, pt).url)
    page.expect(tile(page, "image")).to_contain_text("when a scan has begun")
    feed(pt, docs, 2)
    shown = tile(page, "image")
    page.expect(shown.locator("output")).to_have_text("point 2")
    feed(pt, docs, 3)
    page.expect(shown.locator("output")).to_have_text("point 5")
    page.expect(shown.locator(".peaks")).to_have_attribute("data-count", str(len(peaks[5]["x"])))
    shown.get_by_label("the point before").click()
    page.expect(shown.locator("output")).to_have_text("point 4")
    feed(pt, docs, 2)
    page.wait_for_timeout(500)
    assert shown.locator("output").inner_text() == "point 4"
    assert "point=4" in page.url
    shown.get_by_role("button", name="latest").click()
    page.expect(shown.locator("output")).to_have_text("point 7")


def test_a_large_image_is_there_at_full_resolution(served, browser):
    """Of 2048 x 2048 pixels each can be reached by zooming, and says its own value."""
    image = np.arange(2048 * 2048, dtype=np.uint32).reshape(2048, 2048) % 60_013
    pt = PeakTracker(KEY, 11, minmass=1e12)
    about = {"source": "s", "dtype": "array", "dtype_numpy": "<u4", "shape": [2048, 2048]}
    url = served(pt).url
    pt("start", {"uid": "run", "time": 1.0})
    pt("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, "name": "primary", "data_keys": {KEY: about}})
    one = {"uid": "e", "descriptor": "d", "seq_num": 1, "time": 1.0, "data": {KEY: image}, "timestamps": {KEY: 1.0}}
    pt("event", one)
    page = browser(url)
    canvas = tile(page, "image").locator("canvas")
    canvas.wait_for()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    for _ in range(60):
        page.mouse.wheel(0, -100)
    page.wait_for_timeout(300)
    seen = set()
    for step in range(0, 60, 10):
        page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + box["height"] / 2)
        until(page, lambda: tooltip(page), "the value under the mouse")
        x, y, value = tooltip(page)
        assert value == image[y, x]
        seen.add(x)
    assert len(seen) >= 2
    assert max(seen) - min(seen) <= 20


def test_a_spectrum_comes_with_its_fit_and_the_lines_of_the_elements(served, browser, documents_of):
    b = fluorescence_beamline(1)
    fit, maps = FluorescenceFit(SPECTRA, b.sample.cfg), FluorescenceMap(SPECTRA, b.sample.cfg)
    fit.subscribe(maps)
    spectra = {}
    fit.subscribe(lambda _, doc: spectra.setdefault(doc["seq_num"], doc["data"]), "event")
    url = served(maps, fit).url
    feed(fit, scan_of(b, documents_of, 2, 2))
    page = browser(f"{url}?point=3")
    shown = tile(page, "curve")
    lines = ["measured", "fit", "background", *fit.model.lines]
    page.expect(shown.locator(".legend button")).to_have_text(lines)
    page.expect(shown).to_contain_text("point 3")
    values = read_out(page, shown, 0.5)
    curve = fit.model.curve(spectra[3][SPECTRA])
    channel = int(np.argmin(abs(curve.energy - values["energy / keV"])))
    for name, wanted in (("measured", curve.spectrum), ("fit", curve.fit), ("background", curve.background)):
        assert values[name] == pytest.approx(wanted[channel], rel=5e-3, abs=1e-9), name
    shown.locator(".legend button", has_text="background").click()
    page.expect(shown.locator(".legend button", has_text="background")).to_have_attribute("aria-pressed", "false")
    assert "background" not in read_out(page, shown, 0.4)
    drag(page, shown, 0.5, 0.6)
    shown.get_by_role("button", name="Show all").click()
    page.expect(shown.get_by_role("button", name="Show all")).to_have_count(0)


def test_a_diffractogram_is_drawn_over_q_with_its_error(served, browser, documents_of):
    b = powder_beamline(1)
    ai = AzimuthalIntegrator(KEY, b.powder.poni, 200, error_model="poisson")
    made = {}
    ai.subscribe(lambda _, doc: made.setdefault(doc["seq_num"], doc["data"]), "event")
    url = served(ai).url
    feed(ai, scan_of(b, documents_of, 2, 2))
    page = browser(f"{url}?point=2")
    shown = tile(page, "curve")
    values = read_out(page, shown, 0.5)
    intensity = np.squeeze(made[2][f"{KEY}_intensity"])
    axis = next(value for name, value in values.items() if name.startswith("q"))
    at = int(np.argmin(abs(ai.radial[0] - axis)))
    (intensity_shown,) = (value for name, value in values.items() if name.startswith("intensity"))
    assert intensity_shown == pytest.approx(intensity[at], rel=5e-3)


def test_the_readings_of_a_point_are_a_table_and_trends_against_time_or_one_another(crystal, served, browser):
    docs, pt, cm, _, _ = crystal
    rows = {doc["seq_num"]: doc for name, doc in docs if name == "event"}
    url = served(cm, pt).url
    feed(pt, docs)
    page = browser(f"{url}?point=6")
    table = tile(page, "row")
    page.expect(table.get_by_role("row", name=re.compile("^sample_x "))).to_contain_text(
        f"{rows[6]['data']['sample_x']:.6g}"
    )
    trend = tile(page, "trend")
    trend.get_by_label("reading", exact=True).select_option("dexela_stats_total")
    values = read_out(page, trend, 1.0)
    assert values["time since start / s"] == pytest.approx(rows[12]["time"] - rows[1]["time"], rel=1e-3)
    assert values["dexela_stats_total"] == pytest.approx(rows[12]["data"]["dexela_stats_total"], rel=5e-3)
    trend.get_by_label("against", exact=True).select_option("sample_x")
    values = read_out(page, trend, 0.01)
    assert values["sample_x / mm"] == pytest.approx(-0.5)
    trend.get_by_label("against", exact=True).select_option("")
    trend.get_by_label("how much of the scan").select_option("last 10 s")
    box = trend.locator(".u-over").bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    page.expect(table.locator("output")).to_have_text("point 1")


def test_an_image_that_is_not_kept_says_so_and_why(crystal, served, browser):
    docs, pt, cm, _, _ = crystal
    url = served(cm, pt, keep=100_000).url
    feed(pt, docs)
    page = browser(f"{url}?point=1")
    page.expect(tile(page, "image")).to_contain_text("not kept")


def read_out(page, shown, part):
    """The values beside the cursor, at a part of the width of a plot."""
    over = shown.locator(".u-over")
    over.wait_for()
    box = over.bounding_box()
    page.mouse.move(box["x"] + max(1, min(part * box["width"], box["width"] - 1)), box["y"] + 0.6 * box["height"])
    readout = shown.locator(".readout")
    readout.wait_for()
    found = {}
    for line in readout.locator("> div").all():
        value = line.locator("b").inner_text()
        found[line.inner_text().removesuffix(value).strip()] = float(value)
    return found


def drag(page, shown, first, last):
    """Drag along a plot, between two parts of its width."""
    box = shown.locator(".u-over").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + first * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], y, steps=4)
    page.mouse.up()
