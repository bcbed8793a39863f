"""Layouts and parameters that are set on the page: shared, kept over restarts, and within bounds."""

from __future__ import annotations

import json

import bluesky.plans as bp
import numpy as np
import pytest

from bluesky_ext import LiveAnalysis, RegionMaps
from bluesky_ext.live import BinaryParameter, IntParameter, RegionsParameter
from bluesky_ext.sim import beamline

KEY = "dexela_image"
REGIONS = "/api/v1/parameter/regions"
BOX = {"name": "a box", "type": "rectangle", "x": [9.6, 30.4], "y": [40, 20]}
TRIANGLE = {"name": "<b>/'\"</b>", "type": "polygon", "x": [60, 100, 100], "y": [60, 60, 100]}


def test_regions_are_drawn_while_a_scan_runs_and_the_next_event_is_summed_with_them(run_engine, served, tmp_path):
    b = beamline(1, (128, 128), n_grains=3)
    rm = RegionMaps(KEY, [BOX])
    client = served(rm, directory=tmp_path)
    (said,) = client.get("/api/v1/parameters")
    assert (said["of"], said["kinds"], said["value"][0]["name"]) == (KEY, ["rectangle", "polygon"], "a box")
    images, docs = [], []

    def turn(name, doc):
        images.append(doc["data"][KEY].astype(float).mean(axis=0))
        if doc["seq_num"] == 5:
            assert client.put(REGIONS, [BOX, TRIANGLE], x_user="ada")[0] == 200

    rm.subscribe(lambda name, doc: docs.append((name, doc)))
    run_engine.subscribe(rm)
    run_engine.subscribe(turn, "event")
    run_engine(bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4))
    maps = rm.dataset["sum"]
    boxes = [image[20:41, 10:31].sum() for image in images]
    y, x = np.mgrid[:128, :128]
    inside = (x < 100) & (x >= y) & (y >= 60)  # the left and upper edges are in it
    triangles = [np.nan if number < 5 else image[inside].sum() for number, image in enumerate(images)]
    np.testing.assert_allclose(maps.sel(region="a box").values.ravel(), boxes)
    np.testing.assert_allclose(maps.sel(region=TRIANGLE["name"]).values.ravel(), triangles)
    used = [doc["data"] for name, doc in docs if name == "event" and "regions" in doc["data"]]
    assert [(one["from_seq_num"], len(json.loads(one["regions"]))) for one in used] == [(1, 1), (6, 2)]
    start = docs[0][1]["analysis"]["parameters"]
    assert [one["name"] for one in start["regions"]] == ["a box"]
    (told,) = [one for one in client.get("/api/v1/notifications") if one["kind"] == "parameter"]
    assert told["who"] == "ada"

    served.close()
    again = RegionMaps(KEY)
    client = served(again, directory=tmp_path)
    assert [one.name for one in again.settings["regions"].value] == ["a box", TRIANGLE["name"]]
    served.close()
    changed = RegionMaps(KEY, [BOX], kinds=("rectangle",))
    client = served(changed, directory=tmp_path)  # a polygon can't be any more: that is said, and forgotten
    assert [one.name for one in changed.settings["regions"].value] == ["a box"]
    assert any("not set to what it was before" in one["text"] for one in client.get("/api/v1/notifications"))
    assert json.loads((tmp_path / "parameters.json").read_text()) == {"RegionMaps": {}}


@pytest.mark.parametrize(
    ("regions", "reason"),
    [
        ({}, "a list"),
        ([{"name": "a", "type": "rectangle", "x": [1], "y": [1, 2]}], "two corners"),
        ([{"name": "a", "type": "polygon", "x": [1, 2], "y": [1, 2]}], "three corners or more"),
        ([{"name": "a", "type": "rectangle", "x": [1, None], "y": [1, 2]}], "finite"),
        ([{"name": "a", "type": "range", "x": [1, 2]}], "rectangle or polygon"),
        ([{"name": "\n", "type": "rectangle", "x": [1, 2], "y": [1, 2]}], "printable"),
        ([{**BOX, "colour": "red"}], "no 'colour'"),
        ([BOX, BOX], "'a box'"),
        ([{**BOX, "name": str(number)} for number in range(101)], "100 at most"),
        ([{"name": "a", "type": "polygon", "x": [0] * 1001, "y": [0] * 1001}], "1000 at most"),
        ("[", "JSON"),
    ],
)
def test_regions_that_cannot_be_are_refused_with_the_reason(served, regions, reason):
    rm = RegionMaps(KEY, [BOX])
    status, said = served(rm).put(REGIONS, regions)
    assert (status, reason in said["detail"]) == (422, True), said
    assert [one.name for one in rm.settings["regions"].value] == ["a box"]


class Worker:
    @staticmethod
    def describe_parameters():
        return [IntParameter("till_x", 2), BinaryParameter("poni"), RegionsParameter("spots", of="det")]

    def process_event(self, event):
        return None


class Reducer:
    def process_result(self, result):
        pass


def test_parameters_of_every_kind_are_kept_for_the_next_server(served, tmp_path):
    client = served(LiveAnalysis(Worker, Reducer), directory=tmp_path)
    assert client.put("/api/v1/parameter/till_x", 7)[0] == 200
    assert client.put("/api/v1/parameter/spots", [{"name": "a", "type": "range", "x": [1, 2]}])[0] == 200
    kind = "application/octet-stream"
    assert client("PUT", "/api/v1/parameter/poni", b"\x00\xff", content_type=kind)[0] == 200
    assert client.put("/api/v1/layouts/day%2Fnight", {"tiles": [1]})[0] == 200
    served.close()
    analysis = LiveAnalysis(Worker, Reducer)
    client = served(analysis, directory=tmp_path)
    settings = analysis.settings
    assert (settings["till_x"].value, settings["poni"].value, len(settings["spots"].value)) == (7, b"\x00\xff", 1)
    assert client.get("/api/v1/layouts") == {"day/night": {"layout": {"tiles": [1]}, "revision": 1}}
    served.close()
    (tmp_path / "layouts.json").write_text("{")  # a disk that was full
    assert served(LiveAnalysis(Worker, Reducer), directory=tmp_path).get("/api/v1/layouts") == {}


def test_layouts_are_small_and_few(served, shows):
    client = served(shows(lambda n: {}))
    path = "/api/v1/layouts/"
    assert client.put(f"{path}a", [1])[0] == 422
    assert client.put(f"{path}{'a' * 101}", {})[0] == 422
    assert client.put(f"{path}a", {"a": "x" * 70_000})[0] == 413
    for number in range(100):
        assert client.put(f"{path}{number}", {})[0] == 200
    assert client.put(f"{path}a", {})[0] == 409
    assert client.put(f"{path}5", {"b": 1}) == (200, {"name": "5", "revision": 2})
    assert client("DELETE", f"{path}5")[0] == 200
    assert client("DELETE", f"{path}5")[0] == 404
    assert client("DELETE", f"{path}6", origin="http://evil.example")[0] == 403
    assert len(client.get("/api/v1/layouts")) == 99


def test_regions_that_somebody_else_changed_meanwhile_are_not_overwritten(served):
    client = served(RegionMaps(KEY, [BOX]))
    tag = f'"{client.get(REGIONS)["tag"]}"'
    status, said = client.put(REGIONS, [BOX, TRIANGLE], if_match=tag, x_user="ada")
    assert status == 200
    status, refused = client.put(REGIONS, [], if_match=tag, x_user="bob")
    assert status == 412
    assert "ada has set" in refused["detail"]
    assert client.get(REGIONS)["value"] == said["value"]
    assert client.put(REGIONS, [], if_match=f'"{said["tag"]}"')[0] == 200
    assert client.put(REGIONS, [BOX])[0] == 200  # without a tag the last one wins
