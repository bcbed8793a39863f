"""Backup files: what they are of, and how they come into a catalogue afterwards."""

from __future__ import annotations

import copy
import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import save_and_be_killed
from runs import Docs, assert_same, feed, images, run_of, saved, uid_of
from servers import run

from bluesky_ext import Recorder, Recording
from bluesky_ext.cli import main
from bluesky_ext.storage import close_catalog, documents, open_catalog, save


def large_run() -> Docs:
    return run_of([{"camera": images("u2", n, (512, 512))} for n in range(12)])


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    of_ours = [record for record in caplog.records if record.name.startswith("bluesky_ext")]
    return [record.getMessage() for record in of_ours if record.levelno >= logging.WARNING]


def recovered(capsys: Any, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["recover", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_full_disk_of_the_catalogue_is_told_at_once_and_costs_the_next_runs_nothing(
    small_disk, tmp_path, caplog, capsys
) -> None:
    """With a timeout that is longer than the time limit of the test."""
    first, second, third = large_run(), run_of([{"x": 1.0}]), run_of([{"x": 1.0}])
    catalog, backup = open_catalog(small_disk / "catalog"), tmp_path / "backup"
    with save(catalog, backup=backup, timeout=1000) as sink:
        (small_disk / "other").write_bytes(bytes(2**20))
        feed(sink, first)
        feed(sink, second)
        assert [Recording(path).start["uid"] for path in sink.backups] == [uid_of(first), uid_of(second)]
        for docs, line in zip((first, second), lines(caplog), strict=True):
            assert f"run {uid_of(docs)} could not be saved in the catalogue (its disk is full: {small_disk}" in line
            assert "\n" not in line
        for path in small_disk.glob("catalog/images/*"):
            path.unlink()
        feed(sink, third)
        assert_same(third, list(documents(catalog[uid_of(third)])))
    close_catalog(catalog)
    (small_disk / "other").unlink()
    catalog = tmp_path / "catalog"
    code, out, err = recovered(capsys, "--catalog", catalog, "--backup", backup)
    assert code == 0, err
    assert f"run {uid_of(first)} of 15 documents is saved" in out
    assert not list(backup.iterdir())
    client = open_catalog(catalog)
    assert_same(first, list(documents(client[uid_of(first)])))
    close_catalog(client)


def test_a_full_disk_of_both_is_told_of_both(small_disk, caplog) -> None:
    docs = large_run()
    catalog = open_catalog(small_disk / "catalog")
    with save(catalog, backup=small_disk / "backup") as sink:
        feed(sink, docs)
        assert sink.lost > 0
    of_backup, of_catalog, lost = sorted(
        lines(caplog), key=lambda line: "catalogue (" in line or "documents are" in line
    )
    assert "has no backup any more ([Errno 28] No space left on device" in of_backup
    assert f"its disk is full: {small_disk}" in of_catalog
    assert f"{sink.lost} documents are saved nowhere" in lost
    close_catalog(catalog)


def test_a_saver_tells_of_what_a_killed_process_left_and_recover_saves_it(tmp_path, caplog, capsys) -> None:
    catalog, backup = tmp_path / "catalog", tmp_path / "backup"
    code, said = run(save_and_be_killed, catalog, backup, log=tmp_path / "log")
    assert code == -signal.SIGKILL, said
    (path,) = backup.iterdir()
    docs = list(Recording(path))
    save(catalog, backup=backup).close()
    (line,) = lines(caplog)
    assert line.startswith("1 runs that earlier processes could not save")
    assert f"`bluesky-ext recover --catalog CATALOG --backup {backup}`" in line
    assert recovered(capsys, "--catalog", catalog, "--backup", backup)[0] == 0
    client = open_catalog(catalog)
    assert_same(docs, list(documents(client[uid_of(docs)])))
    assert client[uid_of(docs)].metadata["incomplete"].startswith("its backup has no stop document")
    close_catalog(client)
    code, out, _ = recovered(capsys, "--catalog", catalog, "--backup", backup)
    assert (code, out) == (0, f"no backup in {backup}\n")


def test_recover_leaves_what_is_not_safe(embedded, tmp_path, capsys) -> None:
    whole, other, open_run = (run_of([{"x": float(n)}]) for n in range(3))
    backup = tmp_path / "backup"
    for docs in (whole, other):
        saved(embedded, docs, tmp_path / "none")
    longer = copy.deepcopy(other)
    longer.insert(3, ("event", {**longer[2][1], "uid": "another", "seq_num": 2}))
    with Recorder(backup) as recorder:
        feed(recorder, whole)
        feed(recorder, longer)
    (backup / "torn.bsrec").write_bytes((backup / f"{uid_of(whole)}.bsrec").read_bytes()[:20] + bytes(range(100)))
    with save(embedded, backup=backup) as sink:
        feed(sink, open_run[:2])
        code, out, err = recovered(capsys, "--catalog", embedded_path(embedded), "--backup", backup)
        assert code == 1
        assert f"run {uid_of(whole)} of 4 documents was in the catalogue already" in out
        assert f"run {uid_of(other)} is in this catalogue already" in err
        assert "torn.bsrec stays" in err
        assert {path.name for path in backup.iterdir()} >= {f"{uid_of(other)}.bsrec", "torn.bsrec"}
        feed(sink, open_run[2:])
    assert_same(open_run, list(documents(embedded[uid_of(open_run)])))


def embedded_path(client: Any) -> Path:
    return client.context.http_client.send.directory


def test_a_run_that_will_not_fit_is_told_when_it_begins(small_disk, tmp_path, caplog) -> None:
    docs = run_of([{"camera": np.zeros((1000, 1000), "u2")} for _ in range(1)], num_points=10)
    catalog = open_catalog(small_disk / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, docs[:2])
        (line,) = lines(caplog)
        assert f"run {uid_of(docs)} is about to take 0.0 GB of the disk of the catalogue" in line
        feed(sink, docs[-1:])
    close_catalog(catalog)
