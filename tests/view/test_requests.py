"""Requests that a live server refuses, and what it says of names that were made to harm."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import bluesky.plans as bp
import pytest
from ophyd.sim import det

from bluesky_ext import LiveAnalysis
from bluesky_ext.live import BinaryParameter, FloatParameter, IntParameter, StrParameter
from bluesky_ext.view import server

STOP = ("POST", "/api/v1/stop")


class Worker:
    @staticmethod
    def describe_parameters():
        return [
            IntParameter("till_x", 2, "the last column", "px", limits=(0, 10)),
            FloatParameter("scale", 1.0),
            StrParameter("how", choices=("sum", "mean")),
            BinaryParameter("poni", b"\x00\xff"),
            StrParameter("<b>ab<b>", "<script>"),
        ]

    def process_event(self, event, parameters):
        return event.data["det"] * parameters["scale"].value


class Reducer:
    def __init__(self):
        self.publish = {"values": []}

    def process_result(self, result):
        self.publish["values"].append(result.payload)


@pytest.fixture
def tuned():
    with LiveAnalysis(Worker, Reducer) as analysis:
        yield analysis


def test_parameters_are_described_read_and_set(tuned, served):
    client = served(tuned)
    said = {one["name"]: one for one in client.get("/api/v1/parameters")}
    first = said["till_x"]
    assert (first["value"], first["kind"], first["limits"], first["unit"]) == (2, "whole number", [0, 10], "px")
    assert said["how"]["choices"] == ["sum", "mean"]
    assert said["poni"]["size"] == 2
    for body, kind in ((b"3", "application/json"), (b"3", "text/plain"), (b"3", "application/octet-stream")):
        tuned.set_parameters({"till_x": 0})
        status, answer = client("PUT", "/api/v1/parameter/till_x", body, content_type=kind)
        assert (status, json.loads(answer)["value"], tuned.settings["till_x"].value) == (200, 3, 3)
    file = bytes(range(256)) * 60_000  # 15 MB
    assert client("PUT", "/api/v1/parameter/poni", file, content_type="application/octet-stream")[0] == 200
    assert client("GET", "/api/v1/parameter/poni", accept="application/octet-stream")[1] == file
    assert client.get("/api/v1/parameter/%3Cb%3Eab%3Cb%3E")["value"] == "<script>"


def test_a_parameter_that_is_set_is_seen_in_the_next_results(tuned, served, run_engine):
    client = served(tuned)

    def turn(name, doc):
        if doc["seq_num"] == 3:
            assert client("PUT", "/api/v1/parameter/scale", b"10", content_type="application/json")[0] == 200

    run_engine.subscribe(tuned)
    run_engine.subscribe(turn, "event")
    run_engine(bp.count([det], 5))
    assert tuned.publish().tree["values"] == [1.0, 1.0, 1.0, 10.0, 10.0]
    root = client.get("/")["root"]
    (link,) = client.get(f"/groups/{root}/links")["links"]
    assert client.get(f"/datasets/{link['id']}/value")["value"] == [1.0, 1.0, 1.0, 10.0, 10.0]
    status = client.get("/api/v1/status")
    assert status["progress"]["completedEvents"] == status["progress"]["totalEvents"] == 5
    (load,) = client.get("/api/v1/load")["LiveAnalysis"].values()
    assert load.keys() == {"1", "10", "scan"}
    assert load["scan"]["rate"] > 0
    assert 0 < load["scan"]["busy"] <= 1
    code = status["deployedVersions"]["code"]
    assert {name.partition(":")[2] for name in code} == {"Worker", "Reducer"}
    assert all(len(said["sha256"]) == 64 for said in code.values())


def test_parameters_that_cannot_be_are_refused_with_the_reason(tuned, served):
    client = served(tuned)
    for body, kind, status, reason in (
        (b"11", "application/json", 422, "limits"),
        (b"rubbish", "text/plain", 422, "whole number"),
        (b"{", "application/json", 400, "no JSON"),
        (b"[" * 100_000, "application/json", 400, "no JSON"),
        (b"[1]", "application/json", 422, "no list"),
        (b'"\\ud800"', "application/json", 422, "half of a character"),
        (b"[" + b"1," * 600_000 + b"1]", "application/json", 413, "octets"),
        (b"\xff", "text/plain", 400, "UTF-8"),
        (b"3", "application/x-www-form-urlencoded", 415, "send"),
        (b"3", "", 415, "send"),
    ):
        code, said = client("PUT", "/api/v1/parameter/till_x", body, content_type=kind)
        assert (code, reason in json.loads(said)["detail"]) == (status, True), said
    assert client("PUT", "/api/v1/parameter/nothing", b"1", content_type="text/plain")[0] == 404
    assert tuned.settings["till_x"].value == 2


def test_a_parameter_of_several_stages_is_set_where_it_is_said(served):
    stages = [LiveAnalysis(Worker, Reducer, name=name) for name in ("one", "two")]
    client = served(*stages)
    assert client("PUT", "/api/v1/parameter/scale", b"2", content_type="text/plain")[0] == 409
    assert client("PUT", "/api/v1/parameter/scale?stage=two", b"2", content_type="text/plain")[0] == 200
    assert [stage.settings["scale"].value for stage in stages] == [1.0, 2.0]


def test_pages_of_other_sites_change_nothing(shows, served):
    stage = shows(lambda n: {"n": n})
    client = served(stage)
    port = urlsplit(client.url).port
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{port + 1}"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"host": f"evil.example:{port}"},  # a name of a stranger that leads here
        {"host": ""},
        {"host": "[::1"},
    ):
        assert client(*STOP, b"", **headers)[0] in (400, 403), headers
    assert client("GET", "/", host="evil.example")[0] == 403
    assert stage.open_runs == ["run"]
    own = {"host": f"localhost:{port}", "origin": f"http://localhost:{port}", "sec_fetch_site": "same-origin"}
    assert client(*STOP, b"", **own)[0] == 200


def test_who_changes_something_from_elsewhere_needs_the_token(shows, served):
    stage = shows(lambda n: {"n": n})
    for options, authorizations in (({}, ["", "Bearer None"]), ({"token": "sesame"}, ["", "sesame", "Bearer open"])):
        client = served(stage, address="0.0.0.0", hosts=["live.beamline"], **options)
        client.connection = http.client.HTTPConnection("127.0.0.1", urlsplit(client.url).port, timeout=20)
        for authorization in authorizations:
            assert client(*STOP, b"", authorization=authorization)[0] == 403
        assert client("GET", "/api/v1/status", host="live.beamline")[0] == 200
        assert client("GET", "/api/v1/status", host="evil.example")[0] == 403
    assert client(*STOP, b"", authorization="Bearer sesame")[0] == 200


def test_bodies_and_heads_without_end_are_cut_off(tuned, served):
    client = served(tuned)
    place = urlsplit(client.url)
    put = ("PUT", "/api/v1/parameter/poni")
    assert client(*put, b"", content_type="application/octet-stream", content_length=str(2**40))[0] == 413

    connection = http.client.HTTPConnection(place.netloc, timeout=20)
    block = b"0" * (1 << 20)
    with suppress(BrokenPipeError, ConnectionResetError):  # it does not listen to the end
        connection.request(*put, (block for _ in range(64)), {"content-type": "application/octet-stream"})
    assert connection.getresponse().status == 413
    connection.close()

    with socket.create_connection((place.hostname, place.port), 20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000)
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert tuned.settings["poni"].value == b"\x00\xff"


@pytest.mark.parametrize(("idle", "ended"), [(1, slice(None)), (60, slice(10, None))], ids=["silent", "too many"])
def test_connections_that_harm_the_process_are_ended(idle, ended, tuned, served, monkeypatch):
    monkeypatch.setattr(server, "_CONNECTIONS", 5)
    monkeypatch.setattr(server, "_IDLE", idle)
    place = urlsplit(served(tuned).url)
    with ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection((place.hostname, place.port), 20)) for _ in range(30)]
        silent[0].sendall(b"GET / HTTP/1.1\r\n")
        for one in silent[ended]:
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""


def test_clients_that_go_away_leave_no_word_in_the_log(tuned, served, caplog):
    client = served(tuned)
    place = urlsplit(client.url)
    head = f"PUT /api/v1/parameter/poni HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/octet-stream\r\n"
    for _ in range(3):
        with socket.create_connection((place.hostname, place.port), 20) as raw:
            raw.sendall(f"{head}Content-Length: 9\r\n\r\n123".encode())
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1000):
                pass
    assert client.get("/api/v1/status")["errors"] == []
    assert "Traceback" not in caplog.text


def test_names_with_html_in_them_are_text(served, shows):
    name = "<img src=x onerror=alert(1)>"
    half = "\ud800"  # of a character
    stage = shows(lambda n: {name: {"_attrs": {name: name, half: half}, name: n}, half: 1}, name, plan_name=name)
    client = served(stage)
    assert client.get("/api/v1/paths")["paths"] == ["/", f"/{name}", f"/{name}/{name}", "/?"]
    connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=20)
    for path in ("/", "/api", "/api/v1/status", f"/api/v1/picture?path={name.replace(' ', '%20')}", "/<script>"):
        connection.request("GET", path, headers={"accept": "text/html"})
        answer = connection.getresponse()
        body = answer.read()
        kind = answer.headers["content-type"]
        assert name.encode() not in body or kind == "application/json", path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    connection.close()
