from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from runs import Docs, assert_same, feed, images, run_of, uid_of

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


def flushed(sink: Any, docs: Docs) -> None:
    """Wait until the catalogue has these documents; the test has a time limit."""
    uid = uid_of(docs)
    while uid not in sink.catalog or len(list(documents(sink.catalog[uid]))) < len(docs):
        pass


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
    with save(second, backup=tmp_path / "backup", replace_incomplete=True) as sink:
        feed(sink, list(Recording(path)))
    assert sink.backups == []
    assert_same(docs, list(documents(second[uid_of(docs)])))
    close_catalog(second)


def test_a_locked_database_loses_no_event(docs, tmp_path, caplog) -> None:
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
    with save(client, backup=tmp_path / "backup") as sink:
        feed(sink, docs)
    assert sink.backups == []
    assert_same(docs, list(documents(client[uid_of(docs)])))
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
    flushed(sink, docs)
    sink.close()
    close_catalog(client)


def test_without_a_backup_the_run_goes_into_the_catalogue(docs, tmp_path, caplog, embedded) -> None:
    sink = save(embedded, backup=tmp_path / "backup")
    (tmp_path / "backup").rmdir()
    feed(sink, docs)
    sink.close()
    assert sink.backups == []
    assert_same(docs, list(documents(embedded[uid_of(docs)])))
    message = one_error(caplog)
    assert f"run {uid_of(docs)} has no backup any more" in message
    assert str(tmp_path / "backup") in message


def test_with_neither_the_caller_is_told(docs, tmp_path) -> None:
    client = open_catalog(tmp_path / "catalog")
    sink = save(client, backup=tmp_path / "backup")
    (tmp_path / "backup").rmdir()
    close_catalog(client)
    with pytest.raises(OSError, match=f"run {uid_of(docs)}: this start is saved nowhere") as error:
        sink(*docs[0])
    assert "\n" not in str(error.value)


FULL = """
    import json, logging, resource, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from runs import run_of, images, feed, uid_of, assert_same
    from bluesky_ext import Recording
    from bluesky_ext.storage import documents, open_catalog, save

    docs = run_of([{"camera": images("u2", n, (512, 512))} for n in range(6)])
    logging.basicConfig(stream=sys.stdout, level=logging.ERROR)
    client = open_catalog(sys.argv[2])
    sink = save(client, backup=sys.argv[3])
    feed(sink, docs[:3])
    # No file may be longer than this: to those who write, as if the disk were full.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, resource.RLIM_INFINITY))
    feed(sink, docs[3:])
    sink.close()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert_same(docs, list(documents(client[uid_of(docs)])))
    assert sink.backups == [] and not list(Path(sys.argv[3]).iterdir())
"""


def test_a_backup_that_meets_a_full_disk(tmp_path) -> None:
    program = textwrap.dedent(FULL)
    arguments = [str(Path(__file__).parent), str(tmp_path / "catalog"), str(tmp_path / "backup")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "bluesky_ext" in line]
    assert "File too large" in line
    assert "it goes into the catalogue at once" in line


KILLED = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    from runs import run_of, images, feed
    from bluesky_ext.storage import open_catalog, save

    sink = save(open_catalog(sys.argv[2]), backup=sys.argv[3])
    feed(sink, run_of([{"camera": images("u2", n, (64, 64))} for n in range(3)])[:-1])
    os.kill(os.getpid(), 9)
"""


def test_a_process_that_is_killed_leaves_all_that_it_was_given(tmp_path) -> None:
    program = textwrap.dedent(KILLED)
    arguments = [str(Path(__file__).parent), str(tmp_path / "catalog"), str(tmp_path / "backup")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert done.returncode == -9, done.stderr
    (path,) = (tmp_path / "backup").iterdir()
    back = list(Recording(path))
    assert [name for name, _ in back] == ["start", "descriptor", "event", "event", "event"]
    for n, (_, event) in enumerate(back[2:]):
        assert event["data"]["camera"].tobytes() == images("u2", n, (64, 64)).tobytes()
    client = open_catalog(tmp_path / "catalog")
    with save(client, backup=tmp_path / "again", replace_incomplete=True) as sink:
        feed(sink, back)
    assert_same(back, list(documents(client[uid_of(back)])))
    close_catalog(client)


def test_backups_are_for_their_owner_alone(docs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sink = save(tmp_path / "catalog")
    assert sink.backup == tmp_path / "state" / "bluesky-ext" / "backup"
    assert sink.backup.stat().st_mode & 0o777 == 0o700
    close_catalog(sink.catalog)


def test_a_document_that_cannot_be_saved_says_so(embedded, docs, tmp_path) -> None:
    with save(embedded, backup=tmp_path) as sink:
        feed(sink, docs[:2])
        with pytest.raises(TypeError, match=r"document\['data'\]\['x'\]"):
            sink("event", {**docs[2][1], "data": {"x": {1, 2}}})
        with pytest.raises(ValueError, match="was started twice"):
            sink(*docs[0])
        with pytest.raises(ValueError, match="a document called 'evnt'"):
            sink("evnt", docs[2][1])
        feed(sink, docs[2:-1])
        with pytest.raises(TypeError, match="set has no order"):
            sink("stop", {**docs[-1][1], "reason": {1}})
        with pytest.raises(TypeError, match="set has no order"):
            sink("start", {"uid": "other", "time": 1.0, "sample": {1}})
    run = embedded[uid_of(docs)]
    assert_same(docs[:-1], list(documents(run)))
    assert run.metadata["incomplete"] == "its stop could not be saved"
    assert "other" not in embedded
    assert list(tmp_path.iterdir()) == []
