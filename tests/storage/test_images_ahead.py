"""Images that are written once, because the catalogue and the backups are on one disk."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from runs import Docs, assert_same, feed, flushed, images, run_of, saved, uid_of

from bluesky_ext import Recording
from bluesky_ext.cli import main
from bluesky_ext.storage import close_catalog, documents, open_catalog, save

SHAPE = (512, 512)
NBYTES = 2 * 512 * 512


def large_run(count: int = 4) -> Docs:
    return run_of([{"camera": images("u2", n, SHAPE), "x": float(n)} for n in range(count)])


def cameras(docs: Any) -> list[bytes]:
    return [doc["data"]["camera"].tobytes() for name, doc in docs if name == "event"]


def test_the_backup_and_the_catalogue_share_the_images(tmp_path) -> None:
    docs = large_run()
    catalog, backup = open_catalog(tmp_path / "catalog"), tmp_path / "backup"
    with save(catalog, backup=backup) as sink:
        feed(sink, docs[:5])
        (recording,) = backup.glob("*.bsrec")
        beside = recording.with_suffix(".h5")
        (file,) = (tmp_path / "catalog" / "images").iterdir()
        assert beside.samefile(file)
        assert recording.stat().st_size < NBYTES
        assert_same(docs[:5], list(Recording(recording)))
        flushed(sink, docs[:5])
        assert catalog[uid_of(docs)]["primary/camera"][:].compute().tobytes() == b"".join(cameras(docs[:5]))
        feed(sink, docs[5:])
    assert not list(backup.iterdir())
    assert_same(docs, list(documents(catalog[uid_of(docs)])))
    with h5py.File(file) as written:
        there: Any = written["streams/primary/camera"]
        assert (there.shape, there[:].tobytes()) == ((4, *SHAPE), b"".join(cameras(docs)))
    close_catalog(catalog)


def test_images_of_pages_and_events_stay_in_order(tmp_path) -> None:
    docs = large_run(9)
    page = {**docs[6][1], "seq_num": [5], "time": [0.0], "uid": ["page"]}
    page |= {"data": {"camera": [images("u2", 4, SHAPE)], "x": [4.0]}, "timestamps": {"camera": [0.0], "x": [0.0]}}
    page.pop("filled", None)
    docs[6] = "event_page", page
    catalog = open_catalog(tmp_path / "catalog")
    run = saved(catalog, docs, tmp_path / "backup")
    assert_same(docs, list(documents(run)))
    expected = np.stack([images("u2", n, SHAPE) for n in range(9)])
    assert run["primary/camera"][:].compute().tobytes() == expected.tobytes()
    close_catalog(catalog)


def test_images_before_and_after_the_catalogue_failed_are_recovered(tmp_path, caplog) -> None:
    docs = large_run(6)
    catalog, backup = open_catalog(tmp_path / "catalog"), tmp_path / "backup"
    sink = save(catalog, backup=backup)
    feed(sink, docs[:4])
    flushed(sink, docs[:4])
    close_catalog(catalog)
    feed(sink, docs[4:])
    (path,) = sink.backups
    assert_same(docs, list(Recording(path)))
    assert main(["recover", "--catalog", str(tmp_path / "catalog"), "--backup", str(backup)]) == 0
    assert not list(backup.iterdir())
    catalog = open_catalog(tmp_path / "catalog")
    assert_same(docs, list(documents(catalog[uid_of(docs)])))
    assert len(list((tmp_path / "catalog" / "images").iterdir())) == 1
    close_catalog(catalog)


def test_a_run_that_is_there_keeps_its_file_and_leaves_a_whole_backup(tmp_path, caplog) -> None:
    docs = large_run()
    catalog = open_catalog(tmp_path / "catalog")
    run = saved(catalog, docs, tmp_path / "backup")
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, docs)
    (path,) = sink.backups
    assert_same(docs, list(Recording(path)))
    assert_same(docs, list(documents(run)))
    assert len(list((tmp_path / "catalog" / "images").iterdir())) == 1
    close_catalog(catalog)


def test_an_image_that_the_disk_lost_is_not_read_as_zeros(tmp_path) -> None:
    docs = large_run()
    catalog, backup = open_catalog(tmp_path / "catalog"), tmp_path / "backup"
    sink = save(catalog, backup=backup)
    feed(sink, docs[:4])
    (recording,) = backup.glob("*.bsrec")
    with recording.with_suffix(".h5").open("r+b") as file:
        content = file.read()
        file.seek(content.index(docs[3][1]["data"]["camera"].tobytes()) + NBYTES // 2)
        file.write(bytes(4096))
    with pytest.raises(ValueError, match="has not the image that was written at byte"):
        list(Recording(recording))
    sink.close()
    close_catalog(catalog)


@pytest.mark.parametrize("moment", range(4))
def test_a_process_that_is_killed_leaves_each_image_that_it_was_given(tmp_path, moment, caplog) -> None:
    caplog.set_level(logging.INFO)
    catalog, backup = tmp_path / "catalog", tmp_path / "backup"
    program = f"from programs import *; save_until_killed(Path({str(catalog)!r}), Path({str(backup)!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        assert process.stdout is not None
        until, returned = random.Random(moment).randrange(1, 400), 0
        while returned < until:
            returned = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        returned = int((process.stdout.read().splitlines() or [returned])[-1])
    (path,) = backup.glob("*.bsrec")
    docs = list(Recording(path))
    expected = [images("u2", n, SHAPE).tobytes() for n in range(2)]
    found = cameras(docs)
    assert len(found) in (returned, returned + 1)
    assert all(image == expected[n % 2] for n, image in enumerate(found))
    for file in (catalog / "images").iterdir():
        with h5py.File(file) as written:
            there: Any = written["streams/primary/camera"]
            assert all(there[n].tobytes() == expected[n % 2] for n in range(min(len(there), len(found))))
    assert main(["recover", "--catalog", str(catalog), "--backup", str(backup)]) == 0
    client = open_catalog(catalog)
    assert_same(docs, list(documents(client[uid_of(docs)])))
    close_catalog(client)
