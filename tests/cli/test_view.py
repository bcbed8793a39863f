"""The command that looks at a live server, from another process or machine."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ext import LiveServer
from bluesky_ext.cli import main
from bluesky_ext.engine import Reduce

pytest.importorskip("uvicorn")

PATH = "map/massfractions/W L"


class Grows(Reduce):
    """A map whose value is the number of events."""

    def begin(self, start):
        return {"events": 0}

    def reduce(self, state, stream, event):
        state["events"] += 1

    def tree(self, state):
        values = np.full((20, 30), float(state["events"]))
        values[0, 0] = 0
        axes = {"_attrs": {"signal": "W L", "axes": ["y", "x"]}, "y": np.linspace(0, 1, 20), "x": np.arange(30.0)}
        maps = {"_attrs": {"default": "massfractions"}, "massfractions": {**axes, "W L": values}}
        others = {"text": "<b>", "stack": np.arange(240, dtype=">u2").reshape(20, 3, 4), "yes": np.array([True, False])}
        return {"_attrs": {"default": "map"}, "map": maps, **others}


@pytest.fixture
def server():
    stage = Grows(parameters={}, name="grows")
    stage("start", {"uid": "run", "time": 1.0})
    keys = {"a": {"source": "s", "dtype": "number", "shape": []}}
    stage("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, "name": "primary", "data_keys": keys})
    with LiveServer(stage) as server:
        server.feed = lambda n: stage(
            "event",
            {"uid": f"e{n}", "descriptor": "d", "seq_num": n, "time": 1.0, "data": {"a": 1.0}, "timestamps": {}},
        )
        yield server


@pytest.mark.parametrize("path", [PATH, "map/massfractions", None, "stack", "yes", "/map/massfractions/x"])
def test_a_picture_is_drawn_without_a_screen(server, tmp_path, path, capsys):
    picture = tmp_path / "a.png"
    assert main(["view", server.url.removeprefix("http://"), *filter(None, [path]), "--png", str(picture)]) == 0
    assert imread(picture).std() > 0.05
    assert capsys.readouterr().out == f"{picture}\n"


def test_what_cannot_be_shown_is_told_in_one_line(server, tmp_path, capsys, monkeypatch):
    to = ["--png", str(tmp_path / "a.png")]
    for arguments, code, reason in (
        ([server.url, "map/nothing", *to], 1, "there is no 'nothing' in 'map/nothing': there are massfractions"),
        ([server.url, f"{PATH}/more", *to], 1, "is a dataset"),
        ([server.url, "text", *to], 1, "'text' is nothing to draw"),
        ([server.url, PATH, "--png", str(tmp_path / "no" / "a.png")], 1, "give another file"),
        (["127.0.0.1:9", *to], 1, "no server answers at http://127.0.0.1:9/ (Connection refused)"),
        (["file:///etc/passwd", *to], 2, "is no address"),
        ([server.url, "--browser", *to], 2, "give one"),
    ):
        assert main(["view", *arguments]) == code
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert main(["view", server.url, PATH, "--browser"]) == 0
    assert opened == [f"{server.url}?path=map/massfractions/W%20L"]


def test_another_program_at_the_address_is_told(tmp_path, capsys):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *said):
            pass

    page = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever).start()
    assert main(["view", f"127.0.0.1:{page.server_port}", "--png", str(tmp_path / "a.png")]) == 1
    assert "is no server of HDF5 over HTTP" in capsys.readouterr().err
    page.shutdown()
    page.server_close()


def test_a_picture_that_is_watched_follows_the_scan(server, start, tmp_path):
    server.feed(1)
    watch = start("view", server.url, PATH, "--png", "a.png", "--watch")
    assert watch.process.stdout.readline() == "a.png\n"
    before = (tmp_path / "a.png").read_bytes()
    server.feed(2)
    assert watch.process.stdout.readline() == "a.png\n"
    assert not np.array_equal(imread(io.BytesIO(before)), imread(tmp_path / "a.png"))
    server.close()
    watch.wait_for("no server answers")
    assert watch.end(signal.SIGINT) == 130


WINDOW = """
import json, sys
from silx.gui import qt
from bluesky_ext.view import window
from bluesky_ext.view.remote import Remote

app, seen = qt.QApplication([]), []

def look():
    (plot,) = [one for one in app.topLevelWidgets() if hasattr(one, "getImage")]
    seen.append(plot.getImage().getData().max())
    print(json.dumps(seen[-1]), flush=True)
    if seen[-1] > 1:
        app.closeAllWindows()

timer = qt.QTimer()
timer.timeout.connect(look)
timer.start(200)
window.show(Remote(sys.argv[1]), sys.argv[2], 0.2, print)
"""


@pytest.mark.skipif(importlib.util.find_spec("PyQt5") is None, reason="PyQt5 is not installed")
def test_a_window_of_silx_follows_the_scan(server):
    server.feed(1)
    command = [sys.executable, "-c", WINDOW, server.url, PATH]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={"QT_QPA_PLATFORM": "offscreen", "PATH": ""})
    assert json.loads(process.stdout.readline()) == 1.0
    server.feed(2)
    assert json.loads(process.communicate(timeout=60)[0].split()[-1]) == 2.0
    assert process.returncode == 0
