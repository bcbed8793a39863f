from __future__ import annotations

import re
import signal
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zmq
from bluesky.callbacks.json_writer import JSONWriter
from processes import MODULE, sha256_of, stops_in
from runs import feed, run_of, streamed_run

from bluesky_ext import Recorder, Recording
from bluesky_ext.cli import main
from bluesky_ext.cli.sources import store_of
from bluesky_ext.transport import Proxy, RemoteDispatcher


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the module `totals`, forgotten afterwards."""
    (tmp_path / "totals.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path
    sys.modules.pop("totals", None)


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def record(directory: Path, *runs: list) -> Path:
    with Recorder(directory) as recorder:
        for docs in runs:
            feed(recorder, docs)
    return directory


def test_a_server_that_is_slow_gets_all_of_several_runs(start, run_of, address, tmp_path):
    (tmp_path / "slow.toml").write_text("slow = true")
    runs = [run_of(150, seed) for seed in range(3)]
    record(tmp_path / "raw", *runs)
    server = start("serve", "totals:Totals", "--config", "slow.toml", "--address", address, "--record", "out")
    server.wait_for("listening at")
    again = start("replay", "raw", "--at", address)
    for _ in runs:
        server.wait_for("stop success")
    assert again.end() == 0
    assert again.said[-1].endswith("3 runs were replayed")
    assert server.end(signal.SIGTERM) == 0
    assert server.said[-1].endswith("459 documents of 3 runs came; nothing was lost")
    stops = stops_in(tmp_path / "out")
    for docs in runs:
        (stop,) = stops[docs[0][1]["uid"]]
        assert stop["num_events"] == {"primary": 150}
        assert stop["sha256"] == sha256_of(docs)


def test_the_last_documents_of_a_replay_are_waited_for(here, address, run_of):
    docs = run_of(60)
    image = np.zeros((512, 512), np.uint16)
    docs = [(name, {**doc, "data": {"camera": image}} if name == "event" else doc) for name, doc in docs]
    record(here / "raw", docs)
    # One that takes a document when it is through with the one before: all others are on their way.
    dispatcher = RemoteDispatcher(address, prefix=b"raw", max_documents=1, high_water=1)
    got, over = [], threading.Event()

    def slow(name, doc):
        got.append(name)
        over.wait(0.03)
        if name == "stop":
            over.set()

    dispatcher.subscribe(slow)
    server = threading.Thread(target=dispatcher.start)
    server.start()
    # Patience is for a listener that takes nothing, not for all that it has to take.
    assert main(["replay", "raw", "--at", address, "--patience", "0.5"]) == 0
    assert over.wait(60)
    dispatcher.stop()
    server.join()
    assert got == [name for name, _ in docs]


def test_a_listener_that_goes_away_with_the_end_still_on_its_way_is_a_failure(start, address, run_of, tmp_path):
    # What the operating system takes on its way to the listener, and the ten documents for which there is room in 0MQ.
    image = np.zeros((4096, 4096), np.uint16)
    docs = [(name, {**doc, "data": {"camera": image}} if name == "event" else doc) for name, doc in run_of(6)]
    record(tmp_path / "raw", docs)
    with zmq.Context() as context, context.socket(zmq.SUB) as one, context.socket(zmq.SUB) as other:
        for listener in (one, other):
            listener.linger, listener.rcvhwm, listener.rcvtimeo = 0, 1, 60_000
            listener.subscribe(b"raw ")
        one.connect(f"tcp://{address}")
        replaying = start("replay", "raw", "--at", address)
        replaying.wait_for("the replay begins")
        one.recv()  # it begins with this one; had the other come first, all could be over before this one is there
        other.connect(f"tcp://{address}")
        with one.get_monitor_socket(zmq.EVENT_DISCONNECTED) as leaving:
            leaving.rcvtimeo = 60_000
            while not one.recv().startswith(b"raw stop "):
                pass
            leaving.recv_multipart()  # it has passed on all, and waits for the other
        other.close()
        assert replaying.end() == 1
    assert "1 listeners went away before they had all" in "".join(replaying.said)
    assert replaying.said[-1].endswith("1 runs were replayed, 1 failures (see above)")


def test_a_publisher_and_a_proxy_that_were_killed_cost_nothing_either(start, run_of, address, tmp_path):
    docs = run_of(40)
    record(tmp_path / "raw", docs)
    server = start("serve", "totals:Totals", "--address", address, "--record", "out")
    server.wait_for("listening at")
    # A run takes a fraction of a second; slowed down, it is killed in the middle.
    first = start("replay", "raw", "--at", address, "--speed", "0.001")
    server.wait_for("seen 2 of")
    first.process.kill()
    first.process.wait()
    assert start("replay", "raw", "--at", address).end() == 0
    server.wait_for("stop success")
    assert server.end(signal.SIGTERM) == 0
    cut, whole = stops_in(tmp_path / "out")[docs[0][1]["uid"]]
    assert "started again" in cut["incomplete"]
    assert "incomplete" not in whole
    assert whole["sha256"] == sha256_of(docs)


def test_runs_go_into_a_catalog_and_from_there_into_a_pipeline(here, run_of, capsys):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.storage import close_catalog, documents, open_catalog

    first, second = run_of(3, seed=1), run_of(3, seed=2)
    record(here / "raw", first, second[:4])  # the second is cut off
    assert main(["replay", "raw", "--into", "./runs"]) == 0
    # What is there already stays, and that is said; what was cut off is replaced by what is whole.
    record(here / "whole", second)
    assert main(["replay", "whole", "--into", "./runs"]) == 0
    assert main(["replay", "-1", "--catalog", "./runs", "--pipeline", "totals:Totals", "--record", "out"]) == 0
    assert "makes are saved in ./runs and recorded in out" in capsys.readouterr().err
    (stop,) = stops_in(here / "out")[second[0][1]["uid"]]
    assert stop["sha256"] == sha256_of(second)
    catalog = open_catalog("./runs")
    try:
        assert [name for name, _ in documents(catalog[second[0][1]["uid"]])] == [name for name, _ in second]
        (made,) = [run for run in catalog.values() if "original_run_uid" in run.metadata.get("start", {})]
        assert made.metadata["stop"]["sha256"] == stop["sha256"]
        with store_of("./runs") as store:
            assert list(store(first[0][1]["uid"]))[-1] == first[-1]
    finally:
        close_catalog(catalog)


def test_a_recording_of_blueskys_own(here):
    feed(JSONWriter(str(here)), run_of([{"camera": [1, 2]}]))
    (path,) = here.glob("*.json")
    assert main(["replay", str(path), "--pipeline", "totals:Totals", "--record", "out"]) == 0
    (recording,) = Recording.find(here / "out")
    assert [doc["data"]["total"] for name, doc in recording if name == "event"] == [3.0]


def test_images_that_are_gone_are_named_and_the_other_runs_go_on(here, run_of, capsys):
    docs = streamed_run(here / "f.h5", np.ones((1, 2, 3), np.uint16), said=2, key="camera")
    other = run_of(2)
    record(here / "raw", docs, other)
    assert main(["replay", "raw", "--pipeline", "totals:Totals", "--record", "out"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bluesky-ext replay: ")]
    assert re.search(r"\([12] of 2\): 1 events were left out", "".join(said))
    assert said[-1].endswith("2 runs were replayed, 1 failures (see above)")
    assert stops_in(here / "out")[other[0][1]["uid"]][0]["sha256"] == sha256_of(other)


def test_a_proxy_that_drops_is_refused_unless_that_is_wanted(here, run_of, capsys):
    record(here / "raw", run_of(2))
    with Proxy() as proxy:
        assert main(["replay", "raw", "--to", proxy.in_address]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "--block" in line
        assert main(["replay", "raw", "--to", proxy.in_address, "--no-block"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "nobody listens to prefix b'raw'" in said[0]
    assert said[-1].endswith("1 runs were replayed, 5 failures (see above)")


def test_nobody_who_listens_and_an_address_in_use(here, run_of, address, capsys):
    record(here / "raw", run_of(2))
    assert main(["replay", "raw", "--at", address, "--patience", "0.2"]) == 1
    assert "nobody listens to prefix b'raw'" in capsys.readouterr().err.splitlines()[-1]
    assert main(["replay", "raw", "--to", address, "--patience", "0.2"]) == 1
    assert f"nothing answers at tcp://{address}" in capsys.readouterr().err.splitlines()[-1]
    host, port = address.split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        assert main(["replay", "raw", "--at", address]) == 1
    assert f"tcp://{address} is in use" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "raw"], "does not say where to: give one of --at"),
        (["replay", "raw", "--at", "localhost:1234", "--into", "./x"], "--at and --into were given"),
        (["replay", "raw", "--at", "localhost"], "no port"),
        (["replay", "raw", "--at", "localhost:1234", "--record", "out"], "are for a --pipeline"),
        (["replay", "raw", "--at", "localhost:1234", "--no-block"], "--no-block is for"),
        (["replay", "raw", "--pipeline", "nothing"], "no pipeline 'nothing'"),
        (["replay", "raw", "--pipeline", "totals:Totals", "--speed", "-1"], "--speed -1: give a number"),
        (["replay", "raw", "--pipeline", "totals:Totals", "--speed", "fast"], "invalid float"),
        (["replay", "--pipeline", "totals:Totals"], "SOURCE"),
    ],
)
def test_an_error_of_usage_is_one_line_and_exit_code_2(arguments, said, here, run_of, capsys):
    record(here / "raw", run_of(1))
    try:
        code = main(arguments)
    except SystemExit as stopped:  # as argparse ends
        code = stopped.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "there is no recording nothing; for a run of a catalogue, give --catalog"),
        ("empty", "there is no recording in empty"),
        ("runs", "runs is a catalogue: give --catalog runs and a uid"),
        ("totals.py", "totals.py is not a recording"),
    ],
)
def test_a_source_that_is_none(name, said, here, capsys):
    (here / "empty").mkdir()
    (here / "runs").mkdir()
    (here / "runs" / "catalog.db").touch()
    assert main(["replay", name, "--pipeline", "totals:Totals"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match="give a directory of recordings"), store_of(str(missing)):
        pass
    assert not missing.exists()
