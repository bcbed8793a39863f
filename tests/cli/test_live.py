"""What commands analyse, seen while they are at work."""

from __future__ import annotations

import json
import re
import signal
import urllib.request

import h5py
import h5pyd
import pytest
from runs import feed

from bluesky_ext import Recorder
from bluesky_ext.cli import main
from bluesky_ext.transport import Publisher

pytest.importorskip("uvicorn")


def status_of(command):
    (place,) = re.findall(r"shown at (http://\S+)", "\n".join(command.said))
    with urllib.request.urlopen(f"{place}api/v1/status") as answer:
        return json.load(answer)


def test_a_server_shows_what_it_analyses_and_where_that_comes_from(start, proxy, run_of):
    server = start("serve", "totals:Totals", "--address", proxy.out_address, "--live", "127.0.0.1")
    server.wait_for("connected")
    assert status_of(server)["state"] == "ON"
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, run_of(seed=1))
        server.wait_for("stop")
    said = status_of(server)
    assert (said["state"], said["progress"]["completedEvents"]) == ("CLOSE", 6)
    (source,) = said["sources"]
    assert proxy.out_address in source["name"]
    assert source["counts"]["runs"] == 1
    assert server.end(signal.SIGTERM) == 0


def test_a_replay_shows_its_result_until_it_is_told_to_end(start, run_of, tmp_path):
    with Recorder(tmp_path / "raw") as recorder:
        feed(recorder, run_of())
    replay = start("replay", "raw", "--pipeline", "totals:Totals", "--port", "0", "--keep-alive")
    replay.wait_for("1 runs were replayed")
    replay.wait_for("Ctrl-C ends it")
    assert status_of(replay)["progress"]["completedEvents"] == 6
    assert replay.end(signal.SIGINT) == 0


PAIR = """
class Worker:
    def process_event(self, event):
        return event.event_number

class Reducer:
    def __init__(self):
        self.publish = {"numbers": []}

    def process_result(self, result):
        self.publish["numbers"].append(result.payload)
"""


def test_an_analysis_of_ones_own_is_shown_and_saved(start, run_of, tmp_path):
    with Recorder(tmp_path / "raw") as recorder:
        feed(recorder, run_of())
    (tmp_path / "mine.py").write_text(PAIR)
    pair = ("-w", "mine:Worker", "-r", "mine:Reducer", "-f", str(recorder.artifacts[0]))
    replay = start("replay", *pair, "--live", "127.0.0.1", "--keep-alive", "--output-dir", "made", "--nworkers", "1")
    replay.wait_for("Ctrl-C ends it")
    (place,) = re.findall(r"shown at (http://\S+)", "\n".join(replay.said))
    with h5py.File(next((tmp_path / "made").iterdir())) as saved, h5pyd.File(place) as shown:
        assert shown["numbers"][:].tolist() == list(range(1, 7))
        assert saved["entry/process/status"].asstr()[()] == "success"
        found = []
        saved.visititems(lambda name, one: found.append(one[()].tolist()) if name.endswith("numbers") else None)
    assert found == [list(range(1, 7))]
    said = status_of(replay)
    assert (said["state"], said["progress"]["completedEvents"]) == ("CLOSE", 6)
    assert said["stages"][0]["worker"] == "mine:Worker"
    assert replay.end(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--live", "here:x"], "give a machine and a port"),
        (["--live", "127.0.0.1", "--port", "1"], "give one"),
        (["--keep-alive"], "give --live too"),
        (["--into", "runs", "--live", "127.0.0.1"], "are for a --pipeline"),
    ],
)
def test_what_makes_no_sense_is_refused(given, reason, run_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Recorder(tmp_path / "raw") as recorder:
        feed(recorder, run_of())
    where = [] if "--into" in given else ["--pipeline", "bluesky_ext:ImageProcessor", "--config", "settings.toml"]
    (tmp_path / "settings.toml").write_text('data_key = "camera"')
    assert main(["replay", "raw", *where, *given]) == 2
    assert reason in capsys.readouterr().err
