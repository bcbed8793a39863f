from __future__ import annotations

import copy
import logging
import os
import signal
import sqlite3
import threading
import uuid
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from bluesky_tiled_plugins import TiledWriter
from ophyd.sim import hw
from programs import save_and_be_killed, save_to_a_server_that_hangs
from runs import Docs, assert_same, feed, flushed, images, run_of, saved, uid_of
from servers import run

from bluesky_ext import Recording
from bluesky_ext.storage import close_catalog, documents, open_catalog, save


@pytest.fixture
def docs() -> Docs:
    return run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(6)])


def one_error(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged: one error, of one line."""
    (record,) = [
        record
        for record in caplog.records
        if record.name.startswith("bluesky_ext") and record.levelno >= logging.WARNING
    ]
    assert record.levelno == logging.ERROR
    assert "\n" not in record.getMessage()
    return record.getMessage()


def saver_without_backup(catalog: Any, backup: Path, **options: Any) -> Any:
    """What saves runs, but can't write into the directory of its backups any more."""
    sink = save(catalog, backup=backup, **options)
    backup.rmdir()
    backup.touch()
    return sink


def test_a_server_that_goes_in_the_middle_of_a_run_loses_no_event(server, docs, tmp_path, caplog) -> None:
    client = server.client()
    backup = tmp_path / "backup"
    with save(client, backup=backup) as sink:
        feed(sink, docs[:4])
        flushed(sink, docs[:4])
        server.stop()
        feed(sink, docs[4:])
    (path,) = sink.backups
    assert [*backup.iterdir()] == [path]
    assert Recording(path).complete
    assert_same(docs, list(Recording(path)))
    assert str(path) in one_error(caplog)
    close_catalog(client)


def test_what_was_left_by_a_failure_is_saved_again_from_its_backup(docs, tmp_path, caplog) -> None:
    first = open_catalog(tmp_path / "catalog")
    sink = save(first, backup=tmp_path / "backup")
    feed(sink, docs[:4])
    flushed(sink, docs[:4])
    close_catalog(first)
    feed(sink, docs[4:])
    (path,) = sink.backups
    assert uid_of(docs) in one_error(caplog)
    second = open_catalog(tmp_path / "catalog")
    assert_same(docs[:4], list(documents(second[uid_of(docs)])))
    # Not without being asked: the run may be on its way still, from somewhere else.
    with save(second, backup=tmp_path / "refused") as sink:
        feed(sink, list(Recording(path)))
    (refused,) = sink.backups
    assert_same(docs, list(Recording(refused)))
    assert "replace_incomplete=True) replaces it" in caplog.records[-1].getMessage()
    again = saved(second, list(Recording(path)), tmp_path / "again", replace_incomplete=True)
    assert_same(docs, list(documents(again)))
    close_catalog(second)


def test_a_locked_database_loses_no_event(docs, tmp_path, caplog, impatient) -> None:
    client = open_catalog(tmp_path / "catalog")
    lock = sqlite3.connect(tmp_path / "catalog" / "catalog.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with save(client, backup=tmp_path / "backup") as sink:
        feed(sink, docs)
    lock.close()
    (path,) = sink.backups
    assert_same(docs, list(Recording(path)))
    assert "could not be saved in the catalogue" in one_error(caplog)
    # The next run is saved as if nothing had been.
    docs = run_of([{"x": 1.0}])
    assert_same(docs, list(documents(saved(client, docs, tmp_path / "again"))))
    close_catalog(client)


def test_a_slow_catalogue_does_not_hold_up_the_run_for_ever(docs, tmp_path, caplog) -> None:
    client = open_catalog(tmp_path / "catalog")
    lock = sqlite3.connect(tmp_path / "catalog" / "catalog.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    sink = save(client, backup=tmp_path / "backup", timeout=0)
    feed(sink, docs)
    (path,) = sink.backups
    assert_same(docs, list(Recording(path)))
    assert f"run {uid_of(docs)} is not whole in the catalogue after 0 s" in one_error(caplog)
    lock.close()
    for thread in threading.enumerate():
        if thread.name.startswith("save "):
            thread.join()
    assert_same(docs, list(documents(client[uid_of(docs)])))
    one_error(caplog)
    sink.close()
    close_catalog(client)


def test_without_a_backup_the_run_goes_into_the_catalogue(docs, tmp_path, caplog, embedded) -> None:
    sink = saver_without_backup(embedded, tmp_path / "backup")
    feed(sink, docs)
    sink.close()
    assert sink.backups == []
    assert_same(docs, list(documents(embedded[uid_of(docs)])))
    message = one_error(caplog)
    assert f"run {uid_of(docs)} has no backup" in message
    assert str(tmp_path / "backup") in message


def test_with_neither_what_is_lost_is_counted_and_the_scan_goes_on(tmp_path, caplog) -> None:
    client = open_catalog(tmp_path / "catalog")
    sink = saver_without_backup(client, tmp_path / "backup")
    close_catalog(client)
    run_engine = RunEngine(call_returns_result=False)
    run_engine.subscribe(sink)
    (uid,) = run_engine(count([hw().det], 3))
    assert sink.lost == 6
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"run {uid} has no backup" in lines[0]
    assert f"run {uid} could not be saved in the catalogue" in lines[1]
    assert "has no backup: what comes of it is saved nowhere" in lines[1]
    assert lines[2:] == [f"of run {uid}, 6 documents are saved nowhere"]


def test_with_neither_the_caller_is_told_on_request(docs, tmp_path) -> None:
    client = open_catalog(tmp_path / "catalog")
    sink = saver_without_backup(client, tmp_path / "backup", on_error="raise")
    close_catalog(client)
    with pytest.raises(OSError, match=f"start {uid_of(docs)} is saved nowhere") as error:
        sink(*docs[0])
    assert "\n" not in str(error.value)


def test_a_backup_that_meets_a_full_disk(embedded, small_disk, caplog) -> None:
    docs = run_of([{"camera": images("u2", n, (512, 512))} for n in range(12)])
    with save(embedded, backup=small_disk) as sink:
        feed(sink, docs)
    assert_same(docs, list(documents(embedded[uid_of(docs)])))
    assert sink.backups == []
    assert not list(small_disk.iterdir())
    message = one_error(caplog)
    assert "No space left on device" in message
    assert "it goes into the catalogue at once" in message


@pytest.mark.timeout(150)
def test_a_full_disk_and_a_server_that_hangs_hold_up_neither_the_scan_nor_other_runs(server, tmp_path) -> None:
    arguments = (server.process.pid, server.address, tmp_path / "backup")
    code, said = run(save_to_a_server_that_hangs, *arguments, log=tmp_path / "log")
    assert code == 0, said
    said, ended, _ = said.partition("went on")
    assert ended
    lines = [line for line in said.splitlines() if "bluesky_ext" in line]
    assert len(lines) == 3, lines
    assert "File too large" in lines[0]
    assert "could not be saved in the catalogue (no answer in 1 s)" in lines[1]
    assert "4 documents are saved nowhere" in lines[2]


def test_a_process_that_is_killed_leaves_all_that_it_was_given(tmp_path) -> None:
    code, said = run(save_and_be_killed, tmp_path / "catalog", tmp_path / "backup", log=tmp_path / "log")
    assert code == -signal.SIGKILL, said
    (path,) = (tmp_path / "backup").iterdir()
    back = list(Recording(path))
    assert [name for name, _ in back] == ["start", "descriptor", "event", "event", "event"]
    for n, (_, event) in enumerate(back[2:]):
        assert event["data"]["camera"].tobytes() == images("u2", n, (64, 64)).tobytes()
    client = open_catalog(tmp_path / "catalog")
    assert_same(back, list(documents(saved(client, back, tmp_path / "again", replace_incomplete=True))))
    close_catalog(client)


def test_a_server_that_is_late_and_then_fails_is_one_error(server, docs, tmp_path, caplog) -> None:
    client = server.client()
    sink = save(client, backup=tmp_path, timeout=0)
    feed(sink, docs[:-1])
    server.stop()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("save ")]
    feed(sink, docs[-1:])
    for thread in threads:
        thread.join()
    (path,) = sink.backups
    assert_same(docs, list(Recording(path)))
    one_error(caplog)
    close_catalog(client)


def test_after_a_failure_a_frozen_server_holds_up_no_run(server, tmp_path, caplog, monkeypatch) -> None:
    client = server.client()
    sink = save(client, backup=tmp_path, timeout=0)
    os.kill(server.process.pid, signal.SIGSTOP)
    first, second, third = (run_of([{"x": float(n)}]) for n in range(3))
    feed(sink, first)
    assert sink.down
    monkeypatch.setattr(sink, "_timeout", 1000)  # the time limit of the test is shorter
    feed(sink, second)
    assert f"run {uid_of(second)} could not be saved in the catalogue" in caplog.records[-1].getMessage()
    assert_same(second, list(Recording(sink.backups[-1])))
    os.kill(server.process.pid, signal.SIGCONT)
    feed(sink, third)
    while sink.down:
        pass  # until its thread is through; the test has a time limit
    assert_same(third, list(documents(client[uid_of(third)])))
    while uid_of(first) not in client or not client[uid_of(first)].metadata.get("stop"):
        pass  # the first one goes on in its thread; the test has a time limit
    close_catalog(client)


def test_a_run_that_is_being_written_is_not_replaced(embedded, docs, tmp_path, caplog) -> None:
    with save(embedded, backup=tmp_path / "a") as sink:
        feed(sink, docs[:4])
        flushed(sink, docs[:4])
        with save(embedded, backup=tmp_path / "b", replace_incomplete=True) as other:
            feed(other, docs)
        assert f"run {uid_of(docs)} is being written to this catalogue" in one_error(caplog)
        assert len(other.backups) == 1
        feed(sink, docs[4:])
    assert sink.backups == []
    assert_same(docs, list(documents(embedded[uid_of(docs)])))


def test_a_log_of_a_run_that_was_deleted_is_not_of_its_successor(embedded, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(3)])
    saved(embedded, docs, tmp_path).delete(recursive=True, external_only=False)
    for name, document in docs:
        if name == "event":
            document["data"] = {"camera": document["data"]["camera"] // 2, "x": 7.0}
    writer = TiledWriter(embedded, max_array_size=0)
    feed(writer, copy.deepcopy(docs))
    back = [document["data"] for name, document in documents(embedded[uid_of(docs)]) if name == "event"]
    assert [data["x"] for data in back] == [7.0] * 3
    for n, data in enumerate(back):
        assert np.array_equal(data["camera"], images("u2", n, (64, 64)) // 2)


def test_backups_are_for_their_owner_alone(docs, tmp_path, monkeypatch, mask) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sink = save(tmp_path / "catalog")
    assert sink.backup == tmp_path / "state" / "bluesky-ext" / "backup"
    assert sink.backup.stat().st_mode & 0o777 == 0o700
    # The files are, whatever the directory is.
    sink.backup.chmod(0o755)
    feed(sink, docs[:-1])
    sink("event", {**docs[2][1], "descriptor": "of no run"})
    assert [path.stat().st_mode & 0o777 for path in sink.backup.iterdir()] == [0o600, 0o600]
    feed(sink, docs[-1:])
    sink.close()
    close_catalog(sink.catalog)


def test_a_directory_for_backups_that_cannot_be_made(embedded, docs, tmp_path, caplog) -> None:
    (tmp_path / "file").touch()
    with save(embedded, backup=tmp_path / "file" / "backup") as sink:
        feed(sink, docs)
        assert_same(docs, list(documents(embedded[uid_of(docs)])))
        message = one_error(caplog)
        assert "no run has a backup" in message
        assert str(tmp_path / "file" / "backup") in message
        sink("event", docs[2][1])
        assert "a document (event) of no open run is saved nowhere" in caplog.records[-1].getMessage()
        assert sink.lost == 1
    with pytest.raises(ValueError, match="there is no user of that name"):
        save(embedded, backup="~nosuchuser/backup")


def test_a_fork_of_the_process_is_told(embedded, docs, tmp_path, monkeypatch) -> None:
    sink = save(embedded, backup=tmp_path)
    monkeypatch.setattr("os.getpid", lambda: -1)  # as it is another one in a fork
    with pytest.raises(RuntimeError, match="belongs to process"):
        feed(sink, docs)
    with pytest.raises(RuntimeError, match="in the new process"):
        sink.close()
    assert uid_of(docs) not in embedded


def test_what_no_recording_can_hold_is_kept_as_text(embedded, tmp_path, caplog) -> None:
    color = Enum("color", "red")
    masked = np.ma.MaskedArray([1, 2], [False, True])
    odd = {
        "path": Path("/x"),
        "sample": {3, 1, 2},
        "nested": {"a": [Decimal("1.1")], "b": (uuid.UUID(int=5),)},
        "color": color.red,
        "table": np.array([(1, 2.5)], "i4,f8"),
        Path("/k"): 1,
    }
    docs = run_of([{"x": 1.0, "y": 2.0} for _ in range(3)])
    docs[0][1].update(odd)
    for n, value in enumerate((np.array(["a", None], object), np.array([{1}, 2.5], object), masked)):
        docs[2 + n][1]["data"]["x"] = value
    docs[-1][1]["reason"] = Path("/y")
    before = copy.deepcopy(docs)
    with save(embedded, backup=tmp_path) as sink:
        feed(sink, docs)
    assert repr(docs) == repr(before)
    assert sink.backups == []
    back = list(documents(embedded[uid_of(docs)]))
    kept = {
        "path": "/x",
        "sample": [1, 2, 3],
        "nested": {"a": ["1.1"], "b": ("00000000-0000-0000-0000-000000000005",)},
        "color": "color.red",
        "table": {"f0": np.array([1]), "f1": np.array([2.5])},
        "/k": 1,
    }
    assert {key: back[0][1][key] for key in kept} == kept
    values = [document["data"] for name, document in back if name == "event"]
    assert [data["y"] for data in values] == [2.0] * 3
    assert [data["x"] for data in values[:2]] == [["a", None], [[1], 2.5]]
    assert values[2]["x"]["data"].tolist() == [1, 2]
    assert values[2]["x"]["mask"].tolist() == [False, True]
    assert back[-1][1] == {**docs[-1][1], "reason": "/y"}
    start, *others = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"start of run {uid_of(docs)}" in start
    for told in ("path (PosixPath)", "sample (set)", "nested.a[] (Decimal)", "nested.b[] (UUID)", "color (color)"):
        assert told in start
    # One for each place, though there be thousands of events.
    assert len([message for message in others if message.startswith("event")]) == 2
    assert len(others) == 3


@pytest.mark.parametrize(
    "value",
    [np.longdouble(1.5), np.clongdouble(1), 10**400, 10**1000, "a\udc80", {"a\udc80": [1]}, np.float128("nan")],
    ids=["longdouble", "clongdouble", "10**400", "10**1000", "surrogate", "key", "nan"],
)
def test_metadata_and_table_never_fail_the_log(embedded, value, tmp_path) -> None:
    docs = run_of([{"x": 1.0, "name": "a"} for _ in range(2)], value=value)
    docs[2][1]["data"] = {"x": value, "name": value}
    docs[1][1]["data_keys"]["b\udc80"] = {"source": "sim"}
    back = list(documents(saved(embedded, docs, tmp_path)))
    assert_same(docs, back)


def test_a_table_that_cannot_be_made_is_left_out(embedded, docs, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert_same(docs, list(documents(saved(embedded, docs, tmp_path / "backup"))))
    assert [*embedded[uid_of(docs)]["primary"].base] == ["camera"]
    assert "the table of a stream is left out" in caplog.text


def test_what_is_no_document_says_so(embedded, docs, tmp_path) -> None:
    with save(embedded, backup=tmp_path) as sink:
        feed(sink, docs[:2])
        with pytest.raises(ValueError, match="was started twice"):
            sink(*docs[0])
        with pytest.raises(ValueError, match="a document called 'evnt'"):
            sink("evnt", docs[2][1])
        feed(sink, docs[2:])
    assert_same(docs, list(documents(embedded[uid_of(docs)])))
    assert list(tmp_path.iterdir()) == []
