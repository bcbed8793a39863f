from __future__ import annotations

import signal
import time

import pytest
from runs import feed

from bluesky_ext import Recording, replay
from bluesky_ext.cli import main
from bluesky_ext.transport import Publisher


def test_what_is_recorded_is_what_was_published_and_replay_reads_it(start, proxy, run_of, tmp_path):
    recorder = start("record", "--address", proxy.out_address, "--directory", "raw", "--file-prefix", "scan-{scan_id}")
    recorder.wait_for("connected")
    a, b = run_of(seed=1), run_of(seed=2)
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, a)
        feed(publisher, b[:-1])
    path = tmp_path / "raw" / "scan-2.bsrec"
    # What was sent before the signal is on its way, and may be too late for it: so ask the file.
    deadline = time.monotonic() + 60
    while not (path.exists() and len(list(Recording(path))) == len(b) - 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert recorder.end(signal.SIGTERM) == 0
    assert recorder.output == [str(tmp_path / "raw" / "scan-1.bsrec"), str(path)]
    assert "1 runs were not over" in recorder.said[-1]
    whole, cut = Recording.find(tmp_path / "raw")
    assert whole.complete
    # Nobody sent a stop, and there is none in the file.
    assert cut.stop is None
    got: list = []
    replay(tmp_path / "raw", got, progress=False)
    assert [name for name, _ in got] == [name for name, _ in [*a, *b[:-1]]]
    for (_, doc), (_, sent) in zip(got, [*a, *b[:-1]], strict=True):
        if "data" in sent:
            assert doc["data"]["camera"].tobytes() == sent["data"]["camera"].tobytes()
            assert doc["data"]["camera"].dtype == sent["data"]["camera"].dtype


def test_what_can_not_be_written_is_a_failure(start, proxy, run_of):
    docs = run_of()
    recorder = start("record", "--address", proxy.out_address, "--directory", "raw", "--file-prefix", "scan")
    recorder.wait_for("connected")
    with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
        feed(publisher, docs)
        feed(publisher, run_of(seed=1)[:1])  # of the same name: a recording is never written over
    recorder.wait_for("never written over")
    assert recorder.end(signal.SIGTERM) == 1


def test_a_directory_must_be_given(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["record"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "--directory" in line
