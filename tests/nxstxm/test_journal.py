"""The journal: what came before a kill, what can't be taken up, and what is left of it at the end."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from suitcase_nxstxm import Serializer, export, export_scan, finish_export
from suitcase_nxstxm.errors import BusyError, JournalError

PROGRAM = """
import json, sys, time
from suitcase_nxstxm import Serializer
docs = json.load(open(sys.argv[1]))
serializer = Serializer(sys.argv[2], "C1")
for name, doc in docs:
    if name != "stop":
        serializer(name, doc)
print("written", flush=True)
time.sleep(60)
"""


def test_every_event_before_a_kill_is_there(stxm, read, tmp_path):
    import json

    case = stxm.make("osa image")
    (docs,) = case.runs
    (tmp_path / "docs.json").write_text(json.dumps(docs))
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "docs.json"), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
    found = read(finish_export(tmp_path / "out", "C1", docs[0][1]["uid"], set_aside=True))
    np.testing.assert_array_equal(found["entry0/counter0/data"], case.data["entry0"])
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".aside1"]


def test_a_record_that_was_cut_off_is_left_out(stxm, read, tmp_path):
    case = stxm.make("osa image")
    (docs,) = case.runs
    export(docs[:-1], tmp_path, "C1")
    (journal,) = tmp_path.glob("*.journal")
    os.truncate(journal, journal.stat().st_size - 3)
    found = read(finish_export(tmp_path, "C1", docs[0][1]["uid"], set_aside=True))["entry0/counter0/data"]
    expected = case.data["entry0"].copy()
    expected[-1, -1] = np.nan
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("content", [b"NXstxm journal 99\n", b"something else\n"])
def test_a_journal_of_another_version_is_refused_and_stays(stxm, tmp_path, content):
    (docs,) = stxm.make("osa image").runs
    export(docs[:-1], tmp_path, "C1")
    (journal,) = tmp_path.glob("*.journal")
    journal.write_bytes(content)
    for refused in (
        lambda: finish_export(tmp_path, "C1", docs[0][1]["uid"]),
        lambda: export(docs, tmp_path, "C1"),
    ):
        with pytest.raises(JournalError, match=r"^[^\n]*journal of version 1[^\n]*$"):
            refused()
    assert journal.read_bytes() == content


def test_two_writers_do_not_share_a_journal(stxm, read, tmp_path):
    (docs,) = stxm.make("osa image").runs
    with Serializer(tmp_path, "C1") as one:
        stxm.feed(one, docs[:8])
        with pytest.raises(BusyError):
            export(docs, tmp_path, "C1")
        stxm.feed(one, docs[8:])
    finish_export(tmp_path, "C1", docs[0][1]["uid"])


def test_a_file_is_as_small_as_one_that_is_written_at_once(stxm, tmp_path):
    """Whatever came how slowly: 200 lines of 800 equal numbers are 1 280 000 bytes without compression."""
    x, y = np.arange(800.0), np.arange(200.0)
    keys = {"counter0_wave": stxm.key("counter0", "array", [800], "counts")}
    start = {"metadata": stxm.metadata(6, {"0": stxm.region(x, y, [700.0])}, {})}
    docs = stxm.run(start, keys, [{"counter0_wave": np.full(800, 7.0)}] * 200)
    assert export_scan([docs], tmp_path, "scan").stat().st_size < 150_000
