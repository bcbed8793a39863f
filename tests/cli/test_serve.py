from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan
from processes import sha256_of, stops_in
from runs import feed
from zmq.auth import create_certificates

from bluesky_ext import Recording
from bluesky_ext.cli import main
from bluesky_ext.sim import beamline
from bluesky_ext.transport import Proxy, Publisher, ServerCurve


def serve(start, proxy: Proxy, directory: str, *more: object):
    server = start("serve", "totals:Totals", "--address", proxy.out_address, "--record", directory, *more)
    server.wait_for("connected")
    return server


def test_interleaved_runs_are_analysed_and_recorded_and_sigterm_ends_it_well(start, proxy, run_of, tmp_path):
    server, a, b = serve(start, proxy, "out", "--executor", "threads:2"), run_of(seed=1), run_of(seed=2)
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, [pair for both in zip(a, b, strict=True) for pair in both])
        server.wait_for("stop")
        server.wait_for("stop")
    assert server.end(signal.SIGTERM) == 0
    assert server.said[-1].endswith("stopped: 18 documents of 2 runs came; nothing was lost")
    stops = stops_in(tmp_path / "out")
    for docs in (a, b):
        (stop,) = stops[docs[0][1]["uid"]]
        assert (stop["sha256"], stop["num_events"]) == (sha256_of(docs), {"primary": 6})


def test_sigterm_under_load_works_on_what_came_and_flags_the_run(start, proxy, run_of, tmp_path):
    server, docs = serve(start, proxy, "out", "--executor", "processes:1"), run_of(50)
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, docs[:-1])
        server.wait_for("seen 1 of")
        assert server.end(signal.SIGTERM) == 0
    assert "1 runs were not over" in server.said[-1]
    (recording,) = Recording.find(tmp_path / "out")
    assert recording.stop is not None
    assert recording.stop["exit_status"] == "abort"
    assert "the dispatcher was stopped" in recording.stop["incomplete"]
    seen = max(int(line.split()[1]) for line in server.said if line.startswith("seen"))
    assert recording.stop["num_events"]["primary"] == seen > 0


def test_a_server_that_was_killed_costs_nothing_that_a_replay_does_not_bring_back(start, proxy, run_of, tmp_path):
    docs = run_of(20)
    uid = docs[0][1]["uid"]
    recorder = start("record", "--address", proxy.out_address, "--directory", "raw")
    recorder.wait_for("connected")
    with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:  # the recorder hears it
        first = serve(start, proxy, "out")
        first.hears(publisher, lambda: run_of(1))
        feed(publisher, docs[:12])
        first.wait_for(f"seen 5 of {uid}")
        first.process.kill()
        first.process.wait()
        # Another one starts in the middle of the run, of which it can't make anything alone.
        second = serve(start, proxy, "out", "--store", "raw")
        second.hears(publisher, lambda: run_of(1))
        feed(publisher, docs[12:])
        # The run is joined, and taken from the recording when that is whole.
        second.wait_for(f"stop success of {uid}")
    assert recorder.end(signal.SIGINT) == 0
    assert second.end(signal.SIGINT) == 0
    (recording,) = [line for line in recorder.output if uid in line]
    assert [name for name, _ in Recording(recording)] == [name for name, _ in docs]
    (by_store,) = [stop for stop in stops_in(tmp_path / "out")[uid] if "incomplete" not in stop]
    again = start("replay", recording, "--pipeline", "totals:Totals", "--record", "again")
    assert again.end() == 0
    (by_replay,) = stops_in(tmp_path / "again")[uid]
    assert "incomplete" not in by_replay
    assert by_store["sha256"] == by_replay["sha256"] == sha256_of(docs)


HOSTILE = "a\n2026 ERROR forged\x1b[2J\u202e"


def test_no_text_of_a_document_looks_like_a_line_of_the_log(start, proxy, run_of, tmp_path):
    """What a stranger calls runs and streams, also where a traceback tells it, is escaped."""
    (tmp_path / "loud.py").write_text(
        "import bluesky_ext.engine as engine\n"
        "def fail(data, seq_num):\n"
        "    raise RuntimeError(data['camera'])\n"
        "def stage():\n"
        "    return engine.Map(fail, parameters={}, data_keys=('camera',))\n"
    )
    server = start("-v", "serve", "loud:stage", "--address", proxy.out_address)
    server.wait_for("connected")
    (_, begin), (_, descriptor), (_, event), *_, (_, stop) = run_of()
    begin |= {"uid": HOSTILE}
    descriptor |= {"run_start": HOSTILE, "name": HOSTILE}
    event |= {"data": {"camera": HOSTILE}, "seq_num": 3}
    stop |= {"run_start": HOSTILE, "reason": HOSTILE, "num_events": {HOSTILE: 5}}
    docs = [("start", begin), ("descriptor", descriptor), ("event", event), ("event", {**event, "descriptor": HOSTILE})]
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, [*docs, ("stop", stop), ("descriptor", {**descriptor, "uid": HOSTILE}), ("stop", stop)])
        feed(publisher, [("start", begin), ("stop", {**stop, "run_start": f"{HOSTILE}?"})])
    server.wait_for("joined in the middle")
    assert server.end(signal.SIGTERM) == 0
    said = "\n".join(server.said)
    assert said.count(r"a\n2026 ERROR forged\x1b[2J\u202e") > 10
    assert not any(line.startswith("2026") for line in server.said)
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_nor_does_it_where_a_suitcase_tells_it(start, proxy, run_of):
    server = start("serve", "nxstxm", "--address", proxy.out_address)
    server.wait_for("connected")
    (_, begin), (_, descriptor), *_, (_, stop) = run_of()
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        publisher("start", begin | {"uid": HOSTILE, "plan_name": "count", "num_points": 3})
        publisher("descriptor", descriptor | {"run_start": HOSTILE})
        publisher("stop", stop | {"run_start": HOSTILE, "num_events": {HOSTILE: 5}})
    server.wait_for("ERROR forged")
    server.end(signal.SIGTERM)
    assert not any(line.startswith("2026") for line in server.said)
    assert "\x1b" not in "\n".join(server.said)


def test_workers_end_with_a_server_that_was_killed(start, proxy, run_of, tmp_path):
    server = serve(start, proxy, "out", "--executor", "processes:1")
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, run_of())
        server.wait_for("stop success")
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_keys(start, run_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ("proxy", "server", "stranger")
    keys = {name: tuple(map(Path, create_certificates(tmp_path, name))) for name in names}
    for _, secret in keys.values():
        secret.chmod(0o600)
    (tmp_path / "welcome").mkdir()
    shutil.copy(keys["server"][0], tmp_path / "welcome")
    with Proxy(out_curve=ServerCurve(keys["proxy"][1], tmp_path / "welcome", None), block=True) as proxy:
        common = ["serve", "nxstxm", "--address", proxy.out_address, "--curve-server", str(keys["proxy"][0])]
        assert main([*common, "--curve-secret", str(keys["stranger"][1])]) == 1
        assert "does not let in the client key" in capsys.readouterr().err.splitlines()[-1]
        assert main(["serve", "nxstxm", "--address", proxy.out_address]) == 1
        assert "CURVE keys" in capsys.readouterr().err.splitlines()[-1]
        secret = keys["server"][1]
        secret.chmod(0o640)
        assert main([*common, "--curve-secret", str(secret)]) == 1
        line = f"the secret key {secret} is open to others (mode 640): chmod 600 {secret}"
        assert capsys.readouterr().err.splitlines()[-1].endswith(line)
        secret.chmod(0o600)
        ours = ("--curve-server", keys["proxy"][0], "--curve-secret", keys["server"][1])
        server = serve(start, proxy, "out", *ours)
        with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
            feed(publisher, run_of())
            server.wait_for("stop success")
        assert server.end(signal.SIGTERM) == 0


def test_the_script_of_the_documentation(proxy, tmp_path):
    docs = Path(__file__).parents[2] / "docs" / "how-to" / "servers.md"
    (script,) = [
        block for block in re.findall("```python\n(.*?)```", docs.read_text(), re.DOTALL) if ">>>" not in block
    ]
    assert len(script.splitlines()) == 5
    (tmp_path / "server.py").write_text(script.replace('("localhost", 5568)', repr(proxy.out_address)))
    b = beamline(seed=1, shape=(128, 128), n_grains=2)
    process = subprocess.Popen([sys.executable, "server.py"], cwd=tmp_path)
    try:
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            (uid,) = RunEngine({})(grid_scan([b.detector], b.y, -1, 1, 2, b.x, -1, 1, 2), publisher)
        deadline = time.monotonic() + 60
        while not (tmp_path / "maps" / f"{uid}.nc").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert (tmp_path / "maps" / f"{uid}.nc").exists()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "crystal-maping"], "no pipeline 'crystal-maping': there are azimuthal, crystal-mapping, "),
        (["serve", "crystal-mapping"], "data_key is missing: The key of the image"),
        (["serve", "crystal-mapping", "--config", "bad.toml"], "bad.toml is no TOML: .*line 2"),
        (["serve", "masks", "--config", "masks.toml"], "masks.toml: .*give --catalog"),
        (["serve", "nxstxm", "--executor", "threads:2"], "nxstxm works on no executor"),
        (["serve", "nxstxm", "--executor", "gpu:2"], "give threads:N"),
        (["serve", "nxstxm", "--address", "localhost"], "no port"),
        (["serve", "nxstxm", "--prefix", "a b"], "may not contain"),
        (["serve", "nxstxm", "--readable-root", "/proc"], "give the directories that detectors write to"),
        (["serve", "nxstxm", "--limit", "keys=0"], "give NAME=NUMBER, with a name of objects"),
        (["serve", "nxstxm", "--curve-secret", "key"], "give both"),
        (["serve", "nxstxm", "--write-config", "bad.toml"], "bad.toml is there already"),
        (["serve", "os:nothing"], "no pipeline os:nothing"),
    ],
)
def test_an_error_of_usage_is_one_line_and_exit_code_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text('data_key = "a"\ndiameter = 1O\n')
    Path("masks.toml").write_text('data_key = "a"\nmasks = [["eiger", "beamstop"]]\n')
    try:
        code = main(arguments)
    except SystemExit as stopped:  # as argparse ends
        code = stopped.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


def test_settings_to_start_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "bluesky_ext:PeakTracker", "--write-config", "settings.toml"]) == 0
    assert capsys.readouterr().out == "settings.toml\n"
    assert tomllib.loads(Path("settings.toml").read_text()).keys() == {"data_key", "diameter"}
