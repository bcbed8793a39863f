"""The picture of a scan that goes on: on a screen, in a file, and nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from queue import Queue

import bluesky.plans as bp
import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ext import CrystalMap, LiveMap, PeakTracker
from bluesky_ext.engine import image_of
from bluesky_ext.sim import beamline

matplotlib.use("Agg")

KEY = "dexela_image"


def chain(run_engine):
    pt, cm = PeakTracker(KEY, 11, minmass=700), CrystalMap(search_range=3, memory=100)
    pt.subscribe(cm)
    run_engine.subscribe(pt)
    return cm, pt


def scan(b):
    return bp.grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4)


@pytest.mark.parametrize("in_files", [False, True])
def test_the_picture_has_the_latest_image_its_peaks_and_the_maps(run_engine, tmp_path, in_files):
    b = beamline(1, (128, 128), n_grains=3, directory=tmp_path / "images" if in_files else None)
    cm, pt = chain(run_engine)
    live = LiveMap(cm, pt, directory=tmp_path / "pictures")
    (uid,) = run_engine(scan(b))

    event, rows = pt.latest
    assert event["seq_num"] == 12
    image, count, *maps = live.figure.axes
    np.testing.assert_array_equal(image.images[0].get_array(), image_of(event["data"], KEY).mean(axis=0))
    peaks = np.column_stack([rows.columns["x"], rows.columns["y"]])
    np.testing.assert_array_equal(image.collections[0].get_offsets(), peaks)
    np.testing.assert_array_equal(count.images[0].get_array(), cm.dataset["n_peaks"])
    assert len(maps) == min(7, cm.dataset.sizes["reflection"])
    live.close()
    assert imread(tmp_path / "pictures" / f"{uid}.png").std() > 0

    run_engine(scan(b))
    assert live.figure.get_suptitle() == "scan 1, frame 12"
    assert repr(live) == "<LiveMap of CrystalMap and PeakTracker, closed>"


def test_a_run_begins_without_the_image_of_the_one_before(run_engine):
    b = beamline(1, (128, 128), n_grains=3)
    _, pt = chain(run_engine)
    latest = {}
    pt.subscribe(lambda name, doc: latest.setdefault(doc["run_start"], pt.latest), "descriptor")
    run_engine(scan(b))
    run_engine(scan(b))
    assert list(latest.values()) == [None, None]


def test_the_scan_outlives_its_picture(run_engine, tmp_path, caplog):
    b = beamline(1, (128, 128), n_grains=3)
    (tmp_path / "file").touch()
    live = LiveMap(*chain(run_engine), directory=tmp_path / "file")
    for _ in range(2):
        run_engine(scan(b))
    live.close()
    assert run_engine.state == "idle"
    (said,) = [record.getMessage() for record in caplog.records if "can't draw" in record.getMessage()]
    assert "FileExistsError" in said


def test_the_stages_are_given_in_their_order(run_engine, shows):
    cm, pt = chain(run_engine)
    with pytest.raises(TypeError, match="give a reduce"):
        LiveMap(pt, cm)
    with pytest.raises(TypeError, match="give a CrystalMap, then the PeakTracker"):
        LiveMap(cm, cm)
    with pytest.raises(TypeError, match="give a CrystalMap, then the PeakTracker"):
        LiveMap(shows(dict), pt)


def test_every_reduce_has_its_default_plot_which_keeps_what_is_zoomed_into(shows, tmp_path, caplog):
    def tree(n):
        if n == 4:
            raise RuntimeError("no map")
        data = {"_attrs": {"signal": "map", "axes": ["y", "x"]}, "y": np.arange(3.0), "x": np.arange(4.0) * 2}
        return {"_attrs": {"default": "data"}, "data": {**data, "map": np.full((3, 4), n) + np.eye(3, 4)}, "text": "a"}

    stage = shows(tree)
    stage.end()
    live = LiveMap(stage, directory=tmp_path / "pictures")
    stage.open(scan_id=7)
    stage.feed(1, 2)
    ax = live.figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), 2 + np.eye(3, 4))
    assert list(ax.images[0].get_extent()) == [-1.0, 7.0, -0.5, 2.5]
    ax.set(xlim=(1, 3), ylim=(0, 1))
    live.figure.set_size_inches(11, 7)  # as of a window
    stage.feed(3)
    ax = live.figure.axes[0]
    assert ax.images[0].get_array().max() == 4
    assert (ax.get_xlim(), ax.get_ylim()) == ((1, 3), (0, 1))
    assert tuple(live.figure.get_size_inches()) == (11, 7)
    stage.feed(4)
    assert live.figure.axes
    assert "can't draw: RuntimeError: no map" in caplog.text
    stage.feed(5)
    stage.end()
    live.close()
    assert imread(tmp_path / "pictures" / "run.png").std() > 0
    assert repr(live) == "<LiveMap of shows, closed>"


def test_a_notebook_has_a_picture_of_each_run_below_its_cell(shows, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    pictures = Queue()
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "kernel", object(), raising=False)
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, *more, **about: pictures.put((data, about)))
    stage = shows(lambda n: {"image": np.eye(3) + n})
    stage.end()
    live = LiveMap(stage)
    places = set()
    for _ in range(2):
        stage.open()
        stage.feed(1)
        before = set(places)
        while places == before:
            data, about = pictures.get(timeout=20)
            places |= {about["transient"]["display_id"]} if "image/png" in data else set()
        stage.end()
    stage.open()
    stage("start", {"uid": "another", "time": 1.0})  # while that goes on: it is not waited for
    stage.end()
    live.close()


WINDOW = """
from bluesky import RunEngine
from bluesky.plans import grid_scan
from matplotlib import pyplot
from bluesky_ext import CrystalMap, LiveMap, PeakTracker
from bluesky_ext.plots import plot_crystal_maps
from bluesky_ext.sim import beamline

b, RE = beamline(1, (128, 128), n_grains=3), RunEngine()
pt, cm = PeakTracker("dexela_image", 11, minmass=700), CrystalMap(search_range=3, memory=100)
pt.subscribe(cm)
RE.subscribe(pt)
live = LiveMap(cm, pt)
window = pyplot.figure(1)
RE(grid_scan([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 4))
while "frame 12" not in window.get_suptitle():
    pyplot.pause(0.1)
assert plot_crystal_maps(cm.dataset) is pyplot.figure(2)
pyplot.close(window)
assert "closed" in repr(live)
"""


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs a screen: apt-get install xvfb")
def test_a_window_is_drawn_by_its_own_thread():
    pytest.importorskip("tkinter")
    read, write = os.pipe()
    screen = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL)
    try:
        os.close(write)
        display = os.read(read, 10).decode().strip()
        environment = os.environ | {"DISPLAY": f":{display}", "MPLBACKEND": "tkagg"}
        subprocess.run([sys.executable, "-c", WINDOW], env=environment, check=True, timeout=60)
    finally:
        os.close(read)
        screen.terminate()
        screen.wait()
