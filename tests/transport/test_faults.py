"""Killing anything at any time costs nothing that a replay does not bring back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs import feed

from bluesky_ext import Recording
from bluesky_ext.transport import Proxy, Publisher

SERVER = """
import sys
from bluesky_ext import Recorder
from bluesky_ext.engine import Map
from bluesky_ext.transport import RemoteDispatcher

def double(data, seq_num):
    return {"x": data["x"] * 2}

stage = Map(double, parameters={}, data_keys=("x",))
recorder = Recorder(sys.argv[2])
stage.subscribe(recorder)
rd = RemoteDispatcher(sys.argv[1], prefix=b"raw", name="server")
rd.subscribe(stage)
rd.start()
recorder.close()
"""


@contextmanager
def process(program: list[str]):
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as one:
        try:
            yield one
        finally:
            one.kill()


def server(address: str, directory: Path):
    return process([sys.executable, "-c", SERVER, address, str(directory)])


def proxy_at(into: int, out: int):
    program = [sys.executable, "-m", "bluesky_ext", "proxy", "--block"]
    return process([*program, "--in-address", str(into), "--out-address", str(out)])


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def publish(address, documents, **options) -> None:
    with Publisher(address, prefix=b"raw", block=True, wait=60.0, patience=60.0, **options) as publisher:
        feed(publisher, documents)


def results(directory: Path) -> list[list[float]]:
    """What each recorded run that is whole has found."""
    runs = [list(Recording(path)) for path in sorted(directory.glob("*.bsrec"))]
    return [
        [doc["data"]["x"] for name, doc in run if name == "event"]
        for run in runs
        if run and run[-1][0] == "stop" and "incomplete" not in run[-1][1] and "lost" not in run[-1][1]
    ]


def has_events(directory: Path) -> bool:
    return any(path.stat().st_size > 5000 for path in directory.glob("*.bsrec"))


EVENTS = 50
EXPECTED = [2.0 * n for n in range(EVENTS)]


def test_a_proxy_that_is_killed_in_the_middle(tmp_path, run_of, until) -> None:
    documents = run_of(events=EVENTS)
    into, out = free_ports()
    with server(f"127.0.0.1:{out}", tmp_path):
        with proxy_at(into, out) as dying:
            assert dying.stdout.readline()
            with Publisher(into, prefix=b"raw", block=True, wait=60.0) as publisher:
                feed(publisher, documents[:-1])
                until(lambda: has_events(tmp_path))
                os.kill(dying.pid, signal.SIGKILL)

                def go_on() -> None:
                    while True:
                        publisher(*documents[-2])

                with pytest.raises(ConnectionError, match="the connection was lost in the middle of run run: replay"):
                    go_on()
        with proxy_at(into, out) as fresh:
            assert fresh.stdout.readline()
            publish(into, documents)
            until(lambda: results(tmp_path))
    assert results(tmp_path) == [EXPECTED]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_a_server_cleanly(number, tmp_path, run_of, until) -> None:
    with Proxy() as proxy, server(proxy.out_address, tmp_path) as dying:
        done = threading.Event()

        def load() -> None:
            with Publisher(proxy.in_address, prefix=b"raw", wait=60.0) as publisher:
                start, descriptor, (_, event), _ = run_of(events=1)
                publisher(*start)
                publisher(*descriptor)
                event = dict(event)
                while not done.is_set():
                    event["seq_num"] += 1
                    publisher("event", dict(event))

        thread = threading.Thread(target=load)
        thread.start()
        until(lambda: has_events(tmp_path))
        dying.send_signal(number)
        _, said = dying.communicate(timeout=60)
        done.set()
        thread.join(60)
        assert dying.returncode == 0, said
    assert "Traceback" not in said
    (path,) = tmp_path.glob("*.bsrec")
    *_, (name, stop) = Recording(path)
    assert name == "stop"
    assert "stopped before the run was over" in stop["incomplete"]
