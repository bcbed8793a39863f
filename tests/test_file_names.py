"""Names of files that are made of documents: a run may be called anything, and writes in its directory only."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan

from bluesky_ext import CrystalMap, CrystalMapper, PeakTracker, Recorder, Recording
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.sim import beamline
from suitcase_nxstxm import export

Docs = list[tuple[str, dict[str, Any]]]

HOSTILE = ["../../x", "/outside/x", "..", ".", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "\udc80\ud800", "x" * 5000, ""]
KEY = "dexela_image"


@pytest.mark.parametrize("text", ["6f2a-4c", "scan 5, LiFePO4", "été", "x" * 200])
def test_a_harmless_text_is_its_own_name(text) -> None:
    assert file_name(text) == text


def test_other_texts_become_names_of_their_own(tmp_path) -> None:
    texts = [*HOSTILE, "a_b", "x" * 5001, "é" * 300, "é" * 301]
    names = [file_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    for name in names:
        assert name[0] != "."
        assert len(name.encode()) <= 200
        (tmp_path / name).touch(exist_ok=False)
        assert (tmp_path / name).parent == tmp_path
    assert len(list(tmp_path.iterdir())) == len(texts)


@pytest.fixture(scope="module")
def scan() -> Docs:
    b = beamline(1, (64, 64), n_grains=1)
    docs: Docs = []
    run_engine = RunEngine(call_returns_result=False)
    run_engine(grid_scan([b.detector], b.y, -1, 1, 2, b.x, -1, 1, 2), lambda *pair: docs.append(pair))
    return docs


def called(docs: Docs, uid: str) -> Docs:
    """The documents of the run, as if it had this uid."""
    renamed = copy.deepcopy(docs)
    for name, document in renamed:
        if name == "start":
            document["uid"], document["sample"] = uid, uid
        elif "run_start" in document:
            document["run_start"] = uid
    return renamed


def feed(sink: Any, docs: Docs) -> None:
    for name, document in docs:
        sink(name, document)


def recorded(docs: Docs, directory: Path) -> None:
    with (
        Recorder(directory, file_prefix="{sample}") if docs[0][1]["uid"] else Recorder(directory, file_prefix="_") as to
    ):
        feed(to, docs)
    assert Recording(to.artifacts[0]).complete


def mapped(docs: Docs, directory: Path) -> None:
    tracker, crystal_map = PeakTracker(KEY, 11, minmass=100), CrystalMap(search_range=5, directory=directory)
    tracker.subscribe(crystal_map)
    feed(tracker, docs)


def mapped_by_windows(docs: Docs, directory: Path) -> None:
    windows = {"y": [20], "x": [20], "dy": 3, "dx": 5}
    feed(CrystalMapper(KEY, 11, windows=windows, directory=directory, on_error="log"), docs)


def exported(docs: Docs, directory: Path) -> None:
    try:
        export(docs, directory)
    except (ValueError, OSError):
        assert file_name(docs[0][1]["uid"]) != docs[0][1]["uid"]


@pytest.mark.parametrize("write", [recorded, mapped, mapped_by_windows, exported])
# Without lone surrogates, which are in the log then, that pytest's own processes can't tell each other.
@pytest.mark.parametrize("uid", [uid for uid in HOSTILE if uid != "\udc80\ud800"], ids=lambda uid: ascii(uid)[:12])
def test_whatever_a_run_is_called_it_is_written_in_its_directory(scan, write, uid, tmp_path) -> None:
    directory = tmp_path / "over" / "there"
    directory.mkdir(parents=True)
    if uid.startswith("/"):
        uid = str(tmp_path) + uid
        Path(uid).parent.mkdir()
    before = set(tmp_path.rglob("*"))
    write(called(scan, uid), directory)
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(directory) for path in new)
    if write == exported:
        return
    if uid in ("a\0b", "\udc80\ud800") and write != recorded:  # HDF5 keeps these in no attribute: the log says so
        assert not new
        return
    (path,) = new
    assert path.suffix in (".bsrec", ".nc")


def test_whatever_a_run_is_called_its_backup_is_in_its_directory(scan, tmp_path) -> None:
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.storage import close_catalog, open_catalog, save

    catalog = open_catalog(tmp_path / "catalog")
    backup = tmp_path / "over" / "there"
    with save(catalog, backup=backup) as sink:
        for uid in ("../../x", str(tmp_path / "x"), "..", "x" * 5000):
            docs = called(scan, uid)
            feed(sink, docs[:2])
            (path,) = backup.iterdir()
            assert path.suffix == ".bsrec"
            feed(sink, docs[2:])
            assert not [*backup.iterdir()]
    assert {path.name for path in tmp_path.iterdir()} == {"catalog", "over"}
    close_catalog(catalog)
