"""A server ends within seconds of SIGTERM, whatever it waits for, and what it has is stored."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from processes import stops_in
from runs import feed, run_of, streamed_run

from bluesky_ext.transport import Publisher

STUCK = """
import sys
import time

import numpy as np

from bluesky_ext.engine import Map
from bluesky_ext.server import Filling, Pipeline


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def total(data, seq_num):
    return {"total": float(np.sum(data["camera"]))}


def sleep(data, seq_num):
    if seq_num == 1:
        return total(data, seq_num)
    say("asleep")
    time.sleep(600)


def never(path):
    raise FileNotFoundError(path)


def called(stage):
    def callback(name, doc):
        say("now", name)
        stage(name, doc)

    callback.close = stage.close
    return callback


class Sleeping(Pipeline):
    def build(self, site):
        stage = Map(sleep, parameters={}, name="Sleeping", data_keys=("camera",), executor=site.executor)
        site.keep(stage)
        return called(stage)


class Waiting(Pipeline):
    def build(self, site):
        options = {"data_keys": ("camera",), "patience": 600.0, "executor": site.executor}
        stage = Map(total, parameters={}, name="Waiting", **options)
        site.keep(stage)
        return called(stage)


class Filled(Pipeline):
    def build(self, site):
        filling = Filling({"NEVER": never})

        def callback(name, doc):
            say("now", name)
            for _ in filling(name, doc):
                pass

        return callback
"""


@pytest.fixture
def serve(start, proxy, tmp_path):
    """Starts a server of a pipeline, and sends it documents until it says some words."""
    (tmp_path / "stuck.py").write_text(STUCK)

    def serve(pipeline: str, docs, words: str, *more: str, verbose: bool = False):
        where = ("--address", proxy.out_address, "--record", "out", "--readable-root", tmp_path)
        server = start(*["-v"] * verbose, "serve", f"stuck:{pipeline}", *where, *more)
        server.wait_for("connected")
        with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
            feed(publisher, docs)
            server.wait_for(words)
        return server

    return serve


def ends(server) -> bool:
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(15)  # 5 s are promised; the machine of a test may be slow
    assert server.end() == code  # nor does a worker of its hold the pipe
    assert not [line for line in server.said if "refused" in line]  # else it did not wait for anything
    return code == 0


def frames_in_no_file(tmp_path, count: int):
    """A run whose frames are never there, each in a file of its own."""
    docs = streamed_run(tmp_path / "never.h5", np.zeros((1, 4, 4), np.uint16), key="camera")
    (tmp_path / "never.h5").unlink()
    start, descriptor, (_, resource), (_, datum), stop = docs
    yield from (start, descriptor)
    for n in range(count):
        uid = f"resource-{n}"
        yield "stream_resource", {**resource, "uid": uid}
        where = {"seq_nums": {"start": n + 1, "stop": n + 2}, "stream_resource": uid, "uid": f"{uid}/0"}
        yield "stream_datum", {**datum, **where}
    yield stop


@pytest.mark.parametrize("executor", ["threads:1", "processes:1"])
def test_a_task_that_does_not_end(executor, serve, tmp_path) -> None:
    docs = run_of([{"camera": np.ones((4, 4), np.uint16)}] * 3)
    server = serve("Sleeping", docs[:-1], "asleep", "--executor", executor)
    assert ends(server)
    ((stop,),) = stops_in(tmp_path / "out").values()
    assert "the dispatcher was stopped" in stop["incomplete"]
    assert (stop["num_events"], stop["failed"]) == ({"primary": 1}, {"primary": [2, 3]})
    assert any("in the middle of a task, and are ended" in line for line in server.said)


def test_a_file_that_never_comes(serve, tmp_path) -> None:
    server = serve("Waiting", list(frames_in_no_file(tmp_path, 2))[:-1], "now stream_datum")
    assert ends(server)
    ((stop,),) = stops_in(tmp_path / "out").values()
    assert "the dispatcher was stopped" in stop["incomplete"]
    assert stop["failed"] == {"primary": [1, 2]}
    assert "Traceback" not in "".join(server.said)


def test_a_document_of_many_frames(serve, tmp_path) -> None:
    n = 300
    (_, start), (_, descriptor), *_ = run_of([{"camera": np.ones((4, 4), np.uint16)}])
    descriptor["data_keys"]["camera"]["external"] = "FILESTORE:"
    docs = [("start", start), ("descriptor", descriptor)]
    for k in range(n):
        resource = {
            "spec": "NEVER",
            "root": str(tmp_path),
            "resource_path": f"{k}",
            "resource_kwargs": {},
            "path_semantics": "posix",
        }
        docs.append(("resource", {"uid": f"r{k}", "run_start": start["uid"], **resource}))
        docs.append(("datum", {"datum_id": f"r{k}/0", "resource": f"r{k}", "datum_kwargs": {}}))
    page = {
        "descriptor": descriptor["uid"],
        "uid": [f"event-{k}" for k in range(n)],
        "seq_num": list(range(1, n + 1)),
        "time": [1.0] * n,
        "data": {"camera": [f"r{k}/0" for k in range(n)]},
        "timestamps": {"camera": [1.0] * n},
        "filled": {"camera": [False] * n},
    }
    assert ends(serve("Filled", [*docs, ("event_page", page)], "now event_page"))


def test_a_second_signal_ends_it_at_once(serve, tmp_path) -> None:
    server = serve("Waiting", list(frames_in_no_file(tmp_path, 1))[:-1], "now stream_datum", verbose=True)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("stopping at SIGTERM; once more to stop at once")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) == -signal.SIGTERM
