"""The map on the page of a live server: how it grows, what is read, chosen and drawn on it, and compared."""

from __future__ import annotations

import csv
import io
import re

import bluesky.plans as bp
import numpy as np
import pytest
from matplotlib.image import imread
from pages import Scan, until

pytestmark = pytest.mark.browser


def published(scan):
    """The maps as the stage has them, the brightest peak first."""
    return scan.cm.publish().tree["maps"]


def shown_of(page, scan):
    """The map on the page, as the stage has it: its title says of which peak it is."""
    number = int(re.search(r"peak (\d+)", map_tile(page).get_by_role("heading").inner_text())[1])
    return published(scan)["maps"][list(published(scan)["particle"]).index(number)]


def map_tile(page):
    return page.get_by_test_id("tile map")


def at(page, column, row, shape=(3, 4)):
    """Where the middle of a pixel of the map is on the screen: the map is as large as its tile allows."""
    box = map_tile(page).locator("canvas").first.bounding_box()
    size = min(box["width"] / shape[1], box["height"] / shape[0] * WIDTH)  # pixels are higher than wide
    left = box["x"] + box["width"] / 2 - size * shape[1] / 2
    bottom = box["y"] + box["height"] / 2 + size / WIDTH * shape[0] / 2
    return left + size * (column + 0.5), bottom - size / WIDTH * (row + 0.5)


#: A column of the scan is 1/3 mm, a row 1/2 mm.
WIDTH = (1 / 3) / (1 / 2)


def reading(page):
    """What is read below the map: the position, the value and the number of the point."""
    text = map_tile(page).get_by_test_id("reading").first
    point = re.findall(r"point (\d+)", text.inner_text())
    return [float(one) for one in [*text.locator("b").all_inner_texts(), *point] if one != "none"]


def table(page):
    """The numbers of the map, as they are saved: what is seen."""
    with page.expect_download() as saved:
        map_tile(page).get_by_role("button", name="save the numbers").click()
    text = saved.value.path().read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def values(page):
    columns = table(page)
    return columns[list(columns)[-1]]


def compared(page, how):
    more = map_tile(page).get_by_test_id("more controls")
    if more.count() == 0:
        map_tile(page).get_by_role("button", name="Compare and colours").click()
    more.get_by_role("combobox", name="show", exact=True).select_option(how)


def measured(page, count):
    page.expect(map_tile(page).get_by_test_id("map")).to_have_attribute("data-number", str(count))


def chosen(page, name, label):
    """Choose the map with a label that begins so."""
    choice = map_tile(page).get_by_role("combobox", name=name, exact=True)
    option = choice.locator("option").filter(has_text=re.compile(f"^{label}"))
    choice.select_option(value=option.get_attribute("value"))


def titled(page, text):
    page.expect(map_tile(page).get_by_role("heading")).to_contain_text(text)


def still(page):
    """Wait until the map has kept its place for a while, as beside it there may be more or less now."""
    canvas, boxes = map_tile(page).locator("canvas").first, []

    def is_still():
        boxes.append(canvas.bounding_box())
        return len(boxes) > 4 and all(box == boxes[-1] for box in boxes[-4:])

    until(page, is_still, "the map keeps its place")


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def test_the_map_grows_and_is_read_and_a_pixel_is_chosen(documents_of, served, browser):
    scan = Scan(documents_of)
    page = browser(served(scan.cm, scan.pt).url)
    page.expect(map_tile(page)).to_contain_text("No scan yet")
    scan.feed(5)
    measured(page, 5)
    page.expect(page.get_by_test_id("tile image").locator("canvas")).to_be_visible()
    png = imread(io.BytesIO(map_tile(page).locator("canvas").first.screenshot()))
    assert png[..., :3].std() > 0.1
    for name in ("sample_x / mm", "sample_y / mm"):
        page.expect(map_tile(page).locator("svg text", has_text=name)).to_have_count(1)
    scan.feed()
    measured(page, 12)
    shown = shown_of(page, scan)

    page.mouse.move(*at(page, 2, 1))
    x, y, value, number = -0.5 + 2 / 3, 0.0, shown[1, 2], 7
    expected = [x, y, value, number]
    until(page, lambda: len(now := reading(page)) == 4 and np.allclose(now, expected, rtol=1e-4), "the pixel is read")
    page.mouse.click(*at(page, 2, 1))
    page.expect(page.get_by_test_id("footer")).to_contain_text("point 7")
    page.expect(page.get_by_test_id("tile image")).to_contain_text("point 7")
    assert "point=7" in page.url
    map_tile(page).get_by_test_id("map").focus()
    page.keyboard.press("ArrowUp")
    page.expect(page.get_by_test_id("footer")).to_contain_text("point 11")
    page.keyboard.press("ArrowLeft")
    page.expect(page.get_by_test_id("tile image")).to_contain_text("point 10")
    page.reload()
    page.expect(page.get_by_test_id("tile image")).to_contain_text("point 10")


@pytest.mark.parametrize("kind", ["line", "spiral"])
def test_lines_and_scattered_points(documents_of, served, browser, kind):
    plans = {
        "line": lambda b: bp.scan([b.detector], b.x, -0.5, 0.5, 6),
        "spiral": lambda b: bp.spiral([b.detector], b.x, b.y, 0, 0, 1, 1, 0.3, 5),
    }
    scan = Scan(documents_of, plans[kind])
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    page.expect(map_tile(page).get_by_test_id("map")).to_be_visible()
    measured(page, len(published(scan)["sample_x"]))
    columns, expected = {}, published(scan)

    def is_latest():
        columns.update(table(page))
        return any(np.allclose(list(columns.values())[-1], one, rtol=1e-6) for one in expected["maps"])

    until(page, is_latest, "the latest map is there")
    assert np.allclose(columns["sample_x (mm)"], expected["sample_x"])
    shown = columns[list(columns)[-1]]
    if kind == "spiral":
        assert np.allclose(columns["sample_y (mm)"], expected["sample_y"])
        page.mouse.move(*map_middle(page))
        until(page, lambda: len(reading(page)) == 4, "a point is read")
        x, y, value, number = reading(page)
        index = int(number) - 1
        assert np.allclose([x, y], [expected["sample_x"][index], expected["sample_y"][index]], rtol=1e-4)
        assert value == pytest.approx(shown[index], rel=1e-4)
        distances = np.hypot(expected["sample_x"], expected["sample_y"])
        assert distances[index] == pytest.approx(distances.min())


def map_middle(page):
    box = map_tile(page).locator("canvas").first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_line_gives_a_profile_and_a_rectangle_its_histogram_and_mean(documents_of, served, browser):
    scan = Scan(documents_of)
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    measured(page, 12)
    page.get_by_role("radio", name="profile along a line").click()
    drag(page, at(page, 0, 2), at(page, 3, 2))
    page.expect(page.get_by_role("region", name="profile along the line")).to_be_visible()
    drawn = page.get_by_role("figure", name="profile of").locator("canvas")
    until(page, lambda: np.ptp(imread(io.BytesIO(drawn.screenshot()))[..., :3], axis=-1).max() > 0.3, "it is drawn")
    page.get_by_role("button", name="close").click()
    page.get_by_role("radio", name="histogram and mean").click()
    still(page)
    drag(page, at(page, 0.6, 0.6), at(page, 3.4, 2.4))
    shown = shown_of(page, scan)[1:, 1:]
    statistics = page.get_by_test_id("statistics")
    page.expect(statistics).to_contain_text("pixels6")
    mean = float(re.search(r"mean\s*([-\d.e+]+)", statistics.inner_text())[1])
    assert mean == pytest.approx(shown.mean(), rel=1e-4)
    page.get_by_role("button", name="close").click()
    page.expect(statistics).to_have_count(0)


def test_maps_are_compared_with_each_other_a_monitor_and_the_scan_before(documents_of, served, browser):
    scan = Scan(documents_of)
    totals = [doc["data"]["dexela_stats_total"] for name, doc in scan.docs if name == "event"]
    page = browser(served(scan.cm, scan.pt).url)
    scan.feed()
    measured(page, 12)
    first, second = published(scan)["maps"][:2].reshape(2, -1)
    particles = published(scan)["particle"]
    chosen(page, "map", f"peak {particles[0]},")
    compared(page, "difference")
    page.expect(map_tile(page)).to_contain_text("choose a second map")
    chosen(page, "with", f"peak {particles[1]},")
    titled(page, " \N{MINUS SIGN} peak")
    assert np.allclose(values(page), first - second, atol=0.01)  # of float32
    compared(page, "ratio")
    ratio = np.where(second == 0, np.nan, first / np.where(second == 0, 1, second))
    titled(page, " ÷ peak")
    assert np.allclose(values(page), ratio, rtol=1e-5, equal_nan=True)
    compared(page, "rgb")
    titled(page, "red peak")
    canvas = map_tile(page).locator("canvas").first
    coloured = imread(io.BytesIO(canvas.screenshot()))[..., :3]
    red, green = (coloured[..., channel].max() for channel in (0, 1))
    assert min(red, green) > 0.8
    assert coloured[..., 2].min() < 0.1
    compared(page, "one")
    map_tile(page).get_by_role("combobox", name="divided by", exact=True).select_option("dexela_stats_total")
    titled(page, "/ dexela_stats_total")
    assert np.allclose(values(page), first / totals, rtol=1e-5)
    map_tile(page).get_by_role("combobox", name="divided by", exact=True).select_option("")
    compared(page, "previous")
    page.expect(map_tile(page)).to_contain_text("no scan before this one")

    scan.docs = Scan(documents_of).docs
    scan.feed()
    titled(page, "\N{MINUS SIGN} scan before")
    measured(page, 12)
    assert np.allclose(values(page), 0)  # of one crystal
    compared(page, "beside")
    page.expect(map_tile(page).get_by_test_id("scan before").locator("canvas")).to_be_visible()
    page.get_by_role("combobox", name="scan", exact=True).select_option(index=1)
    page.expect(page.get_by_test_id("footer")).to_contain_text("an earlier scan")


def test_colours_span_percentiles_and_scales(shows, served, browser):
    image = np.arange(100.0).reshape(10, 10) ** 2
    image[0, 0], image[9, 9] = np.nan, 1e9  # one pixel that is hot
    stage = shows(lambda n: mapped(image), is_open=False)
    page = browser(served(stage).url)
    stage.open(motors=["y", "x"], shape=[10, 10])
    bar = map_tile(page).locator(".picture")
    page.expect(bar.get_by_label("Max:")).to_have_text("1000000000")
    map_tile(page).get_by_role("button", name="Compare and colours").click()
    map_tile(page).get_by_label("percentile to").fill("95")
    page.keyboard.press("Enter")
    page.expect(bar.get_by_label("Max:")).to_have_text(f"{np.nanpercentile(image, 95):.4g}")
    map_tile(page).get_by_role("combobox", name="scale", exact=True).select_option("log")
    page.expect(bar.get_by_label("Min:")).to_have_text("1")
    map_tile(page).get_by_role("combobox", name="scale", exact=True).select_option("symlog")
    map_tile(page).get_by_role("combobox", name="colours", exact=True).select_option("Cividis")
    png = imread(io.BytesIO(map_tile(page).locator("canvas").first.screenshot()))
    assert png[..., :3].std() > 0.1


def mapped(image, **more):
    """A map with its positions, as a stage publishes it."""
    ny, nx = image.shape
    names = {"NX_class": "NXdata", "signal": "values", "axes": ["y", "x"]}
    return {"map": {"values": image, "y": np.arange(ny) / 2, "x": np.arange(nx) / 4, "_attrs": names, **more}}


def test_what_can_be_wrong_with_a_map_is_said(shows, served, browser):
    trees = [
        {"n": 1},
        mapped(np.full((3, 4), np.nan)),
        {"map": {"<b>'\"/x": np.ones((3, 4)), "_attrs": {"NX_class": "NXdata", "signal": "<b>'\"/x"}}},
        {f"map {n}": mapped(np.full((3, 4), float(n)))["map"] for n in range(500)},
    ]
    shown = {"tree": trees[0]}
    stage = shows(lambda n: shown["tree"], is_open=False)

    def show(tree):
        shown["tree"] = tree
        stage.feed(stage.stats.received + 1)

    page = browser(served(stage).url)
    stage.open(motors=["y", "x"], shape=[3, 4], plan_name="<i>grid</i>")
    page.expect(map_tile(page)).to_contain_text("publishes no map yet")
    show(trees[1])
    page.expect(map_tile(page)).to_contain_text("all are NaN")
    show(trees[3])
    choice = map_tile(page).get_by_role("combobox", name="map", exact=True)
    page.expect(choice.locator("option")).to_have_count(500)
    map_tile(page).get_by_label("find a map").fill("map 499")
    choice.select_option(label="map 499")
    page.expect(map_tile(page).get_by_role("heading")).to_contain_text("map 499")
    show(trees[1])
    page.expect(map_tile(page)).to_contain_text("no map of that name any more")
    map_tile(page).get_by_role("button", name="Show the default map").click()
    page.expect(map_tile(page)).to_contain_text("all are NaN")
    assert page.locator("main b b, header i").count() == 0
