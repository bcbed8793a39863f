"""A scan on the simulated beamline, seen from outside while it runs: its maps, images, progress and losses."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from contextlib import closing

import bluesky.plans as bp
import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ext import CrystalMap, LiveServer, PeakTracker
from bluesky_ext.engine import Map
from bluesky_ext.sim import beamline

KEY = "dexela_image"


def chain(run_engine):
    pt, cm = PeakTracker(KEY, 11, minmass=700), CrystalMap(search_range=3, memory=100)
    pt.subscribe(cm)
    run_engine.subscribe(pt)
    return cm, pt


def scan(b):
    return bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4)


@pytest.mark.parametrize("in_files", [False, True], ids=["images in events", "images in files"])
def test_a_scan_is_seen_while_it_runs_and_afterwards(run_engine, served, tmp_path, in_files):
    h5pyd = pytest.importorskip("h5pyd")
    b = beamline(1, (128, 128), n_grains=3, directory=tmp_path if in_files else None)
    cm, pt = chain(run_engine)
    client = served(cm, pt)
    assert client.get("/api/v1/status")["state"] == "ON"
    assert h5pyd.File(client.url)["PeakTracker"].attrs["NX_class"] == "NXentry"
    seen = []

    def look(name, doc):
        if doc["seq_num"] in (5, 12):
            status = client.get("/api/v1/status")
            file = h5pyd.File(client.url)
            image = file["PeakTracker/taken/image"][()]
            assert file["PeakTracker/seq_num"][()] == doc["seq_num"]
            assert len(file["PeakTracker/rows/mass"]) == len(pt.latest[1].columns["mass"])
            assert client("GET", "/api/v1/picture?path=PeakTracker/taken")[0] == 200
            seen.append((status, np.isfinite(file["CrystalMap/n_peaks/n_peaks"][()]).sum(), image.mean(axis=0)))

    run_engine.subscribe(look, "event")
    (uid,) = run_engine(scan(b))

    for (status, measured, image), number in zip(seen, (5, 12), strict=True):
        progress = status["progress"]
        assert status["state"] == "RUNNING"
        assert status["run"]["uid"] == uid
        assert (progress["completedEvents"], progress["totalEvents"], measured) == (number, 12, number)
        assert (progress["lost"], progress["failed"], progress["lag"]) == (0, 0, 0)
        assert image.shape == (128, 128)
        assert image.any()
    status = client.get("/api/v1/status")
    assert (status["state"], status["run"]["exit_status"]) == ("CLOSE", "success")
    assert status["progress"]["completedEvents"] == 12
    assert [stage["name"] for stage in status["stages"]] == ["CrystalMap", "PeakTracker"]
    np.testing.assert_array_equal(h5pyd.File(client.url)["CrystalMap/maps/maps"][()], cm.dataset["maps"])
    assert client.get("/api/v1/paths")["default"] == "/CrystalMap/maps/maps"
    picture = imread(io.BytesIO(client("GET", "/api/v1/picture")[1]))
    assert picture.std() > 0
    assert b"bluesky_ext_live_completed_events 12" in client("GET", "/metrics")[1]

    run_engine(scan(b))
    assert client.get("/api/v1/status")["run"]["uid"] != uid


def test_of_a_map_all_that_it_made_of_the_latest_event_is_shown(served):
    def integrate(data, seq_num):
        return {"image": None, "radial": data["image"].mean(axis=0), "total": float(data["image"].sum())}

    stage = Map(integrate, parameters={}, data_keys=("image",), name="integrate")
    client = served(stage)
    stage("start", {"uid": "run", "time": 1.0})
    keys = {"image": {"source": "s", "dtype": "array", "shape": [3, 4]}}
    stage("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, "name": "primary", "data_keys": keys})
    about = {"uid": "e", "time": 1.0, "data": {"image": np.ones((3, 4))}, "timestamps": {"image": 1.0}}
    stage("event", {"descriptor": "d", "seq_num": 1, **about})
    shown = client.get("/api/v1/paths")
    assert shown["default"] == "/made/radial"
    assert {"/taken/image", "/made/total"} <= set(shown["paths"])
    stage.close()


def test_a_stage_with_a_slash_in_its_name_is_plotted(served, shows):
    client = served(*(shows(lambda n: {"a": np.zeros((2, 2))}, name) for name in ("map/left", "map/right")))
    shown = client.get("/api/v1/paths")["default"]
    group = client.get(f"/groups/{client.get('/')['root']}/attributes/default")["value"]
    assert shown == f"/{group}/a" == "/map\N{DIVISION SLASH}left/a"


def test_what_was_lost_and_failed_is_told(served, shows, caplog):
    stage = shows(lambda n: {"n": n}, num_points=6)
    client = served(stage)
    stage.feed(1, 2, 5)
    assert client.get("/api/v1/progress")["lost"] == 2
    stage.reduce = None
    stage.feed(6)
    progress = client.get("/api/v1/progress")
    assert (progress["completedEvents"], progress["failed"], progress["lost"]) == (3, 1, 2)
    stage.end(primary=7)
    status = client.get("/api/v1/status")
    assert status["progress"]["lost"] == 3
    said = [line["message"] for line in status["errors"]]
    assert any("never came" in line for line in said)
    assert client.get(f"/api/v1/log?after={status['errors'][0]['number']}")[0]["message"] in said[1]


def test_a_tree_that_cannot_be_made_is_told_and_the_others_are_shown(served, shows):
    broken = shows(lambda n: 1 / 0, "broken")
    client = served(broken, shows(lambda n: {"n": n}, "sound"))
    root = client.get("/")["root"]
    links = {link["title"]: link["id"] for link in client.get(f"/groups/{root}/links")["links"]}
    assert "ZeroDivisionError" in client.get(f"/groups/{links['broken']}/attributes/error")["value"]
    assert client.get(f"/groups/{links['sound']}")["linkCount"] == 1
    assert "ZeroDivisionError" in client.get("/api/v1/status")["errors"][-1]["message"]


def test_the_status_is_told_while_a_stage_is_busy(served, shows):
    is_busy, go_on = threading.Event(), threading.Event()

    def tree(n):
        is_busy.set()
        go_on.wait()
        return {"n": n}

    client = served(shows(tree))

    def open_it():
        with closing(type(client)(client.url)) as other:
            other.get("/")

    openings = [threading.Thread(target=open_it) for _ in range(60)]
    for opening in openings:
        opening.start()
    is_busy.wait()
    assert client.get("/api/v1/status")["state"] == "RUNNING"
    assert client.get("/api/v1/parameters") == []
    go_on.set()
    for opening in openings:
        opening.join()


def test_a_run_that_was_cut_off_can_be_closed(served, shows):
    stage = shows(lambda n: {"n": n})
    stage.feed(1)
    client = served(stage)
    assert json.loads(client("POST", "/api/v1/stop", b"")[1]) == {"closed": 1}
    assert client.get("/api/v1/status")["run"]["exit_status"] == "abort"


def test_changes_are_told_to_who_listens_until_the_server_closes(served, shows):
    stage = shows(lambda n: {"n": n})
    client = served(stage)
    client.connection.request("GET", "/api/v1/changes")
    answer = client.connection.getresponse()
    assert answer.readline() == b"event: status\n"
    assert json.loads(answer.readline().removeprefix(b"data: "))["progress"]["completedEvents"] == 0
    stage.feed(1)
    logging.getLogger("bluesky_ext.view").warning("<b>%s</b>", "heard")
    rest = []
    while not all(any(text in line for line in rest) for text in (b"<b>heard</b>", b'"completedEvents": 1')):
        rest.append(answer.readline())
    served.close()
    answer.read()  # it is not cut off


def test_it_says_where_it_is_and_refuses_what_it_cannot_show():
    cm = CrystalMap(search_range=3)
    with LiveServer(cm) as server:
        assert repr(server) == f"<LiveServer of CrystalMap at {server.url}>"
        with pytest.raises(OSError, match=f"can't listen at {server.url[7:-1]}: .*; give another"):
            LiveServer(cm, address=server.url[7:-1])
    assert repr(server).endswith("closed>")
    threads = threading.active_count()
    for shown, address in (((), "127.0.0.1"), ((cm,), "127.0.0.1:x"), ((cm,), "127.0.0.1:70000"), ((cm,), ":80")):
        with pytest.raises(ValueError, match="give"):
            LiveServer(*shown, address=address)
    with pytest.raises(TypeError, match="give stages"):
        LiveServer(CrystalMap)
    assert threading.active_count() == threads


def test_it_ends_with_its_process():
    script = """
import logging
from bluesky_ext import LiveServer
from bluesky_ext.engine import Map
print(LiveServer(Map(dict, parameters={}, name="Nothing")), flush=True)
logging.getLogger("bluesky_ext").warning("heard")
input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], **pipes)
    assert b"LiveServer of Nothing at http://127.0.0.1:" in process.stdout.readline()
    _, said = process.communicate(b"\n", timeout=20)
    assert (process.returncode, said) == (0, b"heard\n")
