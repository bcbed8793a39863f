"""What was measured at each point of a scan, and which pixel of a map it is, as a page asks for it."""

from __future__ import annotations

import json
from urllib.parse import quote

import bluesky.plans as bp
import numpy as np
import pytest

from bluesky_ext import (
    AzimuthalIntegrator,
    CrystalMap,
    Diffractograms,
    FluorescenceFit,
    FluorescenceMap,
    PeakTracker,
)
from bluesky_ext.sim import beamline, powder_beamline
from bluesky_ext.sim.fluorescence import fluorescence_beamline

KEY = "dexela_image"
SNAKE = [[1, 2, 3, 4], [8, 7, 6, 5], [9, 10, 11, 12]]


def grid(b, **options):
    return bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4, snake_axes=True, **options)


def crystal():
    pt, cm = PeakTracker(KEY, 11, minmass=700), CrystalMap(search_range=3, memory=100)
    pt.subscribe(cm)
    return cm, pt


def map_path(one, **query):
    return f"/api/v1/map?id={quote(one['id'], safe='')}" + "".join(f"&{name}={text}" for name, text in query.items())


@pytest.mark.parametrize("in_files", [False, True], ids=["images in events", "images in files"])
def test_a_pixel_of_a_map_leads_to_its_image_its_peaks_and_its_readings(run_engine, served, tmp_path, in_files):
    b = beamline(1, (128, 128), n_grains=3, directory=tmp_path if in_files else None)
    cm, pt = crystal()
    client = served(cm, pt, keep=5 * 2 * 128 * 128)  # room for five images, if they are not in files
    empty = client.get("/api/v1/maps")
    assert (empty["run"], empty["maps"]) == (None, [])
    seen = {}

    def look(name, doc):
        number = doc["seq_num"]
        header, arrays = client.arrays("/api/v1/point/latest/image?stage=PeakTracker")
        assert header["seq_num"] == number
        assert client.get("/api/v1/point/latest")["seq_num"] == number
        seen[number] = arrays["image"], pt.latest[1].columns

    run_engine.subscribe(pt)
    run_engine.subscribe(look, "event")
    (uid,) = run_engine(grid(b))

    said = client.get("/api/v1/maps")
    assert (said["run"], said["truncated"]) == (uid, 0)
    first, *others = said["maps"]
    assert (first["kind"], first["shape"], first["stage"], first["default"]) == ("grid", [3, 4], "CrystalMap", True)
    assert first["axes"] == [{"name": "sample_y", "unit": "mm"}, {"name": "sample_x", "unit": "mm"}]
    assert not any(one["default"] for one in others)
    particles = cm.dataset["particle"].values
    for at, one in enumerate(said["maps"][: len(particles)]):
        header, arrays = client.arrays(map_path(one))
        assert (header["run"], header["label"].split(",")[0]) == (uid, f"peak {particles[at]}")
        np.testing.assert_allclose(arrays["values"], cm.dataset["maps"].values[at], rtol=1e-6)
        np.testing.assert_array_equal(arrays["seq_num"], SNAKE)
        np.testing.assert_allclose(arrays["x"], np.linspace(-0.5, 0.5, 4))

    header, arrays = client.arrays("/api/v1/scan")
    assert header["planned"] == {
        **{"kind": "grid", "shape": [3, 4], "extents": [[-0.5, 0.5], [-0.5, 0.5]]},
        **{"snaked": [False, True], "relative": False},
    }
    np.testing.assert_array_equal(arrays["seq_num"], np.arange(1, 13))
    np.testing.assert_allclose(arrays["x"][:8], [*np.linspace(-0.5, 0.5, 4), *np.linspace(0.5, -0.5, 4)])
    _, arrays = client.arrays("/api/v1/scalars?name=n_rows&name=sample_y&after=8")
    assert arrays["n_rows"].tolist() == [len(seen[number][1]["mass"]) for number in (9, 10, 11, 12)]
    assert client("GET", "/api/v1/scalars?name=nothing")[0] == 404

    point = client.get("/api/v1/point/7")
    assert point["position"] == {"sample_y": 0.0, "sample_x": pytest.approx(-1 / 6)}
    values = {one["name"]: (one["value"], one["unit"]) for one in point["row"]}
    assert values["sample_y"] == (0.0, "mm")
    linked = point["peaks"]["CrystalMap"]["columns"]
    at = cm.tracks["frame"] == 7
    np.testing.assert_allclose(sorted(linked["mass"]), sorted(seen[7][1]["mass"]))
    assert sorted(linked["particle"]) == sorted(cm.tracks["particle"][at])
    for number in (2, 7, 12):
        (image,) = client.get(f"/api/v1/point/{number}")["images"]
        path = f"/api/v1/point/{number}/image?stage=PeakTracker"
        if in_files or number > 7:
            np.testing.assert_array_equal(client.arrays(path)[1]["image"], seen[number][0])
            assert image["available"] is True
        else:
            assert client("GET", path)[0] == 410
            assert "keep=" in image["available"]
    for path in ("point/13", "point/nothing", "point/7/image?stage=nobody", "point/7/curve?id=x", "map?id=/x"):
        assert client("GET", f"/api/v1/{path}")[0] == 404


def test_maps_without_positions_lie_along_the_numbers_of_their_points(run_engine, served):
    b = beamline(1, (128, 128), n_grains=3)
    cm, pt = crystal()
    run_engine(bp.count([b.detector], 3), pt)
    one = served(cm, pt).get("/api/v1/maps")["maps"][0]  # of a server that is started after the scan
    _, arrays = served(cm, pt).arrays(map_path(one))
    assert (one["kind"], one["axes"]) == ("line", [{"name": "seq_num", "unit": ""}])
    assert arrays["x"].tolist() == arrays["seq_num"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", ["line", "points"])
def test_lines_and_scattered_points_have_their_positions(run_engine, served, kind):
    b = beamline(1, (128, 128), n_grains=3)
    cm, pt = crystal()
    client = served(cm, pt)
    line = bp.scan([b.detector], b.x, -0.5, 0.5, 5)
    spiral = bp.spiral([b.detector], b.x, b.y, 0, 0, 1.0, 1.0, 0.3, 5)
    where = []
    run_engine.subscribe(pt)
    run_engine(line if kind == "line" else spiral, lambda n, d: where.append(d["data"]) if n == "event" else None)
    one = client.get("/api/v1/maps")["maps"][0]
    header, arrays = client.arrays(map_path(one))
    assert (one["kind"], header["kind"], one["shape"]) == (kind, kind, [len(where)])
    np.testing.assert_allclose(arrays["x"], [data["sample_x"] for data in where], atol=1e-9)
    if kind == "points":
        np.testing.assert_allclose(arrays["y"], [data["sample_y"] for data in where], atol=1e-9)
    np.testing.assert_array_equal(arrays["seq_num"], np.arange(1, len(where) + 1))


def test_a_spectrum_comes_with_its_fit_and_the_lines_of_that(run_engine, served):
    b = fluorescence_beamline(seed=1, n_channels=1200)
    fit, maps = (one("xspress3_spectra", b.sample.cfg) for one in (FluorescenceFit, FluorescenceMap))
    fit.subscribe(maps)
    client = served(maps, fit)
    run_engine(bp.scan([b.detector], b.x, -0.05, 0.05, 3), fit)
    assert [one["kind"] for one in client.get("/api/v1/maps")["maps"]] == ["line"] * 3 * len(maps.dataset["line"])
    (curve,) = client.get("/api/v1/point/2")["curves"]
    header, arrays = client.arrays(f"/api/v1/point/2/curve?id={curve['id']}")
    assert (header["x_label"], header["x_unit"], header["log"]) == ("energy", "keV", True)
    expected = maps.curve(2)
    for name, values in zip(("x", "measured", "background", "fit"), expected, strict=True):
        np.testing.assert_allclose(arrays[name], values)
    lines = [name for name in arrays if name not in ("x", "measured", "background", "fit")]
    assert lines == list(fit.lines)
    np.testing.assert_allclose(sum(arrays[name] for name in lines) + arrays["background"], arrays["fit"])


def test_a_diffractogram_comes_with_its_axis_and_its_errors(run_engine, served):
    b = powder_beamline(shape=(64, 64))
    ai = AzimuthalIntegrator(KEY, b.powder.poni, 100, "2th_deg", error_model="poisson")
    dg = Diffractograms(KEY)
    ai.subscribe(dg)
    client = served(dg, ai)
    run_engine(bp.scan([b.detector], b.x, -0.5, 0.5, 3), ai)
    (curve,) = client.get("/api/v1/point/3")["curves"]
    header, arrays = client.arrays(f"/api/v1/point/3/curve?id={curve['id']}")
    assert (header["x_label"], header["x_unit"]) == ("2theta", "deg")
    np.testing.assert_allclose(arrays["x"], ai.integrator.radial)
    tree = dg.publish().tree["data"]
    np.testing.assert_allclose(arrays["intensity"], tree["I"][2])
    np.testing.assert_allclose(arrays["error"], tree["I_errors"][2])


def test_the_scan_before_this_one_is_still_there(run_engine, served):
    b = beamline(1, (128, 128), n_grains=3)
    cm, pt = crystal()
    client = served(cm, pt)
    run_engine.subscribe(pt)
    (first,) = run_engine(grid(b))
    before = client.get("/api/v1/maps")["maps"]
    shown = [client.arrays(map_path(one))[1]["values"] for one in before]

    def look(name, doc):
        if doc["seq_num"] == 2:  # the run is replaced between two requests
            assert client.get("/api/v1/maps")["run"] == doc["run"] != first
            again = client.get(f"/api/v1/maps?of={first}")
            assert [one["id"] for one in again["maps"]] == [one["id"] for one in before]

    begun = []
    run_engine.subscribe(lambda name, doc: begun.append(doc["uid"]), "start")
    run_engine.subscribe(lambda name, doc: look(name, {**doc, "run": begun[-1]}), "event")
    (second,) = run_engine(grid(b))
    for one, values in zip(before, shown, strict=True):
        header, arrays = client.arrays(map_path(one, of=first))
        assert header["run"] == first
        np.testing.assert_array_equal(arrays["values"], values)
        np.testing.assert_array_equal(arrays["seq_num"], SNAKE)
    assert client.get(f"/api/v1/point/3?of={first}")["uid"] == first
    assert client.get("/api/v1/point/3")["uid"] == second
    runs = client.get("/api/v1/runs")
    assert [(one["uid"], one["state"], one["num_points"]) for one in runs] == [
        (second, "ended", 12),
        (first, "ended", 12),
    ]
    for path in ("maps", "scan", "point/1", "scalars?name=a"):
        assert client("GET", f"/api/v1/{path}{'&' if '?' in path else '?'}of=nobody")[0] == 404


def test_a_map_is_sent_again_only_when_it_is_another_one(run_engine, served):
    b = beamline(1, (128, 128), n_grains=3)
    cm, pt = crystal()
    client = served(cm, pt)
    run_engine(grid(b), pt)
    path = map_path(client.get("/api/v1/maps")["maps"][0])
    client.connection.request("GET", path)
    answer = client.connection.getresponse()
    answer.read()
    tag = answer.headers["etag"]
    assert client("GET", path, if_none_match=tag) == (304, b"")
    assert client("HEAD", path) == (200, b"")
    assert client("HEAD", "/api/v1/changes") == (200, b"")
    run_engine(grid(b), pt)
    assert client("GET", path, if_none_match=tag)[0] == 200


NAME = "<b>a'\"/b</b>"


def test_maps_that_others_publish_are_found_whatever_they_are_called(shows, served):
    """With axes or without, of NaN, with odd names, without positions, and among a tree of 10 000 paths."""
    shape = {"motors": ["a"], "shape": [2, 3], "plan_pattern_args": {}, "extents": [[0, 1], [0, 2]]}
    data = {"NX_class": "NXdata", "signal": "values"}
    stage = shows(
        lambda n: {
            NAME: {"_attrs": data, "values": np.full((2, 3), np.nan)},
            "along": {"_attrs": {**data, "axes": ["a"]}, "a": np.array([0.0, 1.0]), "values": np.array([5, 1e-40])},
            "points": {"_attrs": {**data, "axes": ["x", "y"]}, "values": np.ones(4), "x": np.ones(4), "y": np.ones(4)},
            "image": {"_attrs": {**data, "axes": ["row", "column"]}, "values": np.ones((9, 9))},
            "stack": {"_attrs": {**data, "axes": [".", ".", "."]}, "values": np.ones((10_000, 2, 3))},
        },
        **shape,
    )
    client = served(stage)
    stage.feed(1, 2, 3, 4)
    said = client.get("/api/v1/maps")
    assert (len(said["maps"]), said["truncated"]) == (10_000, 3)
    maps = {one["label"]: one for one in said["maps"]}
    header, arrays = client.arrays(map_path(maps[NAME.replace("/", "\N{DIVISION SLASH}")]))
    assert header["kind"] == "grid"
    assert np.isnan(arrays["values"]).all()
    np.testing.assert_array_equal(arrays["seq_num"], [[1, 2, 3], [4, -1, -1]])  # as it was planned
    _, arrays = client.arrays(map_path(maps["along"]))
    assert arrays["values"].dtype == "<f8"  # float32 would lose the second
    assert arrays["seq_num"].tolist() == [-1, 4]  # all were at 1
    assert maps["points"]["kind"] == "points"
    assert "image" not in maps
    assert maps["stack 9"]["index"] == [9]


def events_of(answer, *kinds):
    """What is told of some kinds, one after another."""
    kind = ""
    for line in answer:
        word, _, rest = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            kind = rest
        elif word == "data" and kind in kinds:
            yield kind, json.loads(rest)


def test_who_listens_hears_of_every_revision_and_of_what_others_change(served, shows):
    stage = shows(lambda n: {"n": n}, scan_id=7)
    client = served(stage)
    other = type(client)(client.url)
    client.connection.request("GET", "/api/v1/changes")
    told = events_of(client.connection.getresponse(), "revision", "layout", "notification")
    kind, said = next(told)
    assert kind == "revision"  # what there was to notice before it listened is read at its own path
    assert (said["run"], said["latest"]) == ("run", None)  # which began before the server
    stage.feed(1)
    _, later = next(told)
    assert later["revision"] != said["revision"]
    assert other.put("/api/v1/layouts/mine", {"tiles": []}) == (200, {"name": "mine", "revision": 1})
    assert next(told) == ("layout", {"name": "mine", "revision": 1})
    stage.end(primary=3)
    heard = {}
    while {"run ended", "loss"} - heard.keys():
        kind, said = next(told)
        if kind == "notification":
            heard[said["kind"]] = said["text"]
    assert heard["loss"] == "scan 7: 2 events lost"
    assert [one["kind"] for one in other.get("/api/v1/notifications")][-1] == "loss"
    other.close()


def test_what_fails_beside_a_stage_harms_neither_the_stage_nor_the_server(shows, served, caplog):
    class Broken:
        def event(self, *about):
            raise RuntimeError("a broken watcher")

        def begin(self, *about):
            pass

        end = begin

    stage = shows(lambda n: {"n": n})
    stage.add_watcher(Broken())
    client = served(stage)
    stage.feed(1, 2)
    assert client.get("/api/v1/point/latest")["seq_num"] == 2
    said = [one.getMessage() for one in caplog.records if "a broken watcher" in one.getMessage()]
    assert (stage.stats.failed, len(said)) == (0, 1)


def test_a_page_of_events_gives_the_points_that_its_events_do(shows, served):
    numbers, times = [1, 2, 3, 2], [1.0, 2.0, 3.0, 4.0]
    columns = {"a": [1, 2.5, None, True], "text": ["1", "2", "3", "4"], "large": [1, 10**400, 3, 4]}
    columns |= {"array": np.arange(4.0), "curve": np.arange(20.0).reshape(4, 5)}
    found = []
    for is_page in (True, False):
        stage = shows(lambda n: {"n": n}, is_open=False)
        stage.reduce_page = lambda state, stream, page: True
        client = served(stage)
        stage.open()
        client("GET", "/api/v1/scalars?name=a")
        about = {"descriptor": "d", "uid": ["e"] * 4, "seq_num": numbers, "time": times, "data": columns}
        if is_page:
            stage("event_page", {**about, "timestamps": dict.fromkeys(columns, times), "filled": {}})
        for row in range(0 if is_page else 4):
            data = {name: column[row] for name, column in columns.items()}
            about = {"descriptor": "d", "uid": f"e{row}", "seq_num": numbers[row], "time": times[row], "data": data}
            stage("event", {**about, "timestamps": dict.fromkeys(data, 1.0)})
        _, arrays = client.arrays("/api/v1/scalars?name=a&name=large&name=array")
        (curve,) = client.get("/api/v1/point/2")["curves"]
        measured = client.arrays(f"/api/v1/point/2/curve?id={curve['id']}")[1]["value"]
        found.append({**arrays, "curve": measured})
    paged, single = found
    expected = {"seq_num": [1, 2, 3], "time": [1, 4, 3], "a": [1, 1, np.nan], "large": [1, 4, 3], "array": [0, 3, 2]}
    for name, values in {**expected, "curve": [15, 16, 17, 18, 19]}.items():
        np.testing.assert_array_equal(paged[name], values)
        np.testing.assert_array_equal(single[name], values)


def test_what_is_not_measured_yet_is_no_error(shows, served):
    stage = shows(lambda n: {"n": n}, is_open=False)
    client = served(stage)
    ways = ("scalars?name=a", "point/latest", "point/latest/curve?id=x", "point/latest/image?stage=shows")
    for begin in (lambda: None, stage.open):
        begin()
        assert [client("GET", f"/api/v1/{way}") for way in ways] == [(204, b"")] * 4
    assert client("GET", "/api/v1/map?id=/x") == (204, b"")  # it may come
    stage.feed(1)
    assert client.get("/api/v1/point/latest")["seq_num"] == 1
    stage.end(primary=1)
    assert client("GET", "/api/v1/map?id=/x")[0] == 404
