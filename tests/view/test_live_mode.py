"""Live mode over REST: what is shown of a live run, and detectors switched off and on."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from bluesky_ext import LiveAnalysis, PeakTracker
from bluesky_ext.engine import Map
from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.plans import live_view
from bluesky_ext.sim import beamline

JSON = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def switches(monkeypatch):
    """The switches, as in a new process."""
    monkeypatch.setattr(live_streams, "_is_on", {})


def test_a_detector_is_switched_off_and_on_while_it_is_seen(run_engine, served):
    b = beamline(1, (128, 128), n_grains=3)
    pt = PeakTracker("dexela_image", 11, minmass=700)
    run_engine.subscribe(pt)
    client = served(pt)
    assert client.get("/api/v1/live") == []
    measured, others = threading.Semaphore(0), threading.Semaphore(0)

    def count(name, doc):
        if name == "event":
            (measured if "dexela_image" in doc["data"] else others).release()

    class Clock:  # a device that goes on
        name, parent, hints = "clock", None, {}

        def read(self):
            return {"clock": {"value": 1.0, "timestamp": 1.0}}

        def describe(self):
            return {"clock": {"source": "c", "dtype": "number", "shape": []}}

        read_configuration = describe_configuration = dict

    run_engine.subscribe(count)
    seen = {}

    def look():
        for _ in range(3):
            measured.acquire()
        seen["running"] = client.get("/api/v1/status")
        seen["off"] = client("PUT", "/api/v1/live/dexela", b"false", **JSON)
        for _ in range(2):  # rounds: the first may have begun before
            others.acquire()
            others.acquire()
        while measured.acquire(blocking=False):
            pass
        for _ in range(3):
            others.acquire()
        seen["while it was off"] = measured.acquire(blocking=False)
        seen["on"] = client("PUT", "/api/v1/live/dexela", b"true", **JSON)
        seen["again"] = measured.acquire(timeout=20)
        run_engine.request_pause()

    looker = threading.Thread(target=look)
    looker.start()
    with pytest.raises(RunEngineInterrupted):
        run_engine(live_view([b.detector, Clock()], period=0.01))
    looker.join()
    run_engine.stop()

    status = seen["running"]
    assert (status["state"], status["run"]["purpose"], status["progress"]["totalEvents"]) == ("RUNNING", "live", None)
    assert (status["progress"]["lost"], status["progress"]["lag"]) == (0, 0)
    assert [(one["stream"], one["on"], one["running"]) for one in status["live"]] == [
        ("dexela", True, True),
        ("clock", True, True),
    ]
    assert status["live"][0]["received"] >= 2
    for key, is_on in (("off", False), ("on", True)):
        code, said = seen[key]
        assert (code, json.loads(said)["stream"], json.loads(said)["on"]) == (200, "dexela", is_on)
    assert (seen["while it was off"], seen["again"]) == (False, True)
    assert client.get("/api/v1/live")[0]["running"] is False
    for body, path, headers, code in (
        (b"false", "nothing", JSON, 404),
        (b"0", "dexela", JSON, 422),
        (b"{", "dexela", JSON, 400),
        (b"false", "dexela", {"content_type": "text/plain"}, 415),
        (b"false", "dexela", {**JSON, "origin": "http://evil.example"}, 403),
    ):
        assert client("PUT", f"/api/v1/live/{path}", body, **headers)[0] == code


def test_lag_and_age_are_told_of_every_stage_and_the_last_events_of_workers(served):
    gate = threading.Event()

    class Worker:
        def process_event(self, event):
            if event.event_number == 12:
                raise ValueError("no <b>beam</b>")

    class Reducer:
        def process_result(self, result):
            pass

    with ThreadPoolExecutor(1) as pool, LiveAnalysis(Worker, Reducer) as analysis:
        slow = Map(lambda data, number: gate.wait() and {}, parameters={}, data_keys=("a",), executor=pool, name="slow")
        client = served(slow, analysis)
        assert [stage["age"] for stage in client.get("/api/v1/status")["stages"]] == [None, None]
        keys = {"a": {"source": "s", "dtype": "array", "shape": [300, 300], "dtype_numpy": "<u2"}}
        image = np.zeros((300, 300), np.uint16)
        for stage in (slow, analysis):
            stage("start", {"uid": "run", "time": 1.0})
            stage("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, "name": "primary", "data_keys": keys})
            for number in range(1, 13):
                about = {"uid": f"e{number}", "time": 1.0, "data": {"a": image}, "timestamps": {"a": 1.0}}
                stage("event", {"descriptor": "d", "seq_num": number, **about})
        first, second = client.get("/api/v1/status")["stages"]
        assert first["lag"] > 0
        assert second["lag"] >= 0
        assert first["age"] >= second["age"] >= 0
        assert client.get("/api/v1/progress")["lagSeconds"] > 0
        events = client.get("/api/v1/events")["LiveAnalysis"]["worker-0"]
        assert [event["number"] for event in events] == list(range(3, 13))
        assert events[-1]["data"] == {"a": "uint16 (300, 300)"}
        assert (events[0]["failed"], "no <b>beam</b>" in events[-1]["failed"]) == (None, True)
        gate.set()
        slow.close()
