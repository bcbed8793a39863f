from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_ext import Recorder
from bluesky_ext.cli import main
from bluesky_ext.plans.stxm import Endstation, sample_image, sample_image_stack
from bluesky_ext.sim import stxm

IMAGE = (-1, 1, 3, -1, 1, 4)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, dict[str, list[Any]]]:
    """A directory with the recordings of a stack, and their documents by the uids of the runs."""
    directory = tmp_path_factory.mktemp("recordings")
    with Recorder(directory) as recorder:
        return directory, stack(280.0, recorder)


def stack(first: float, *sinks: Any) -> dict[str, list[Any]]:
    """The documents of a stack by the uids of its runs; they go to the sinks as well."""
    s = stxm(2)
    runs: dict[str, list[Any]] = {}

    def keep(name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            runs[doc["uid"]] = []
        runs[next(reversed(runs))].append([name, doc])

    engine = RunEngine({})
    for sink in (*sinks, keep):
        engine.subscribe(sink)
    engine(sample_image_stack([s.counter], Endstation(s.devices), [IMAGE], [first, first + 10]))
    return runs


def counts(runs: dict[str, list[Any]]) -> list[float]:
    key = "counter0_single_value_rbv"
    return [doc["data"][key] for run in runs.values() for name, doc in run if name == "event" and key in doc["data"]]


def check(path: Path, runs: dict[str, list[Any]]) -> None:
    with h5py.File(path) as file:
        data = file["entry0"][file["entry0"].attrs["default"]]["data"][()]
    np.testing.assert_array_equal(data, np.reshape(counts(runs), (2, 3, 4)))


def test_a_directory_of_recordings_becomes_a_file(recorded, tmp_path, capsys, monkeypatch):
    source, runs = recorded
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # the bar is for terminals
    assert main(["export", "nxstxm", str(source), "--directory", str(tmp_path), "--prefix", "stack"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(tmp_path / "stack.hdf5")]
    # The bar went to its end: 24 points and two baselines.
    assert "26.0/26.0" in said.err
    check(tmp_path / "stack.hdf5", runs)
    assert not list(tmp_path.glob("*.tmp"))


def test_recordings_come_in_any_order(recorded, tmp_path):
    source, runs = recorded
    paths = [next(source.glob(f"*{uid}*")) for uid in runs]
    assert main(["export", "nxstxm", *map(str, reversed(paths)), "-d", str(tmp_path), "-p", "stack"]) == 0
    check(tmp_path / "stack.hdf5", runs)


@pytest.mark.parametrize("wrapped", [True, False])
def test_documents_by_uid_in_a_json_file(recorded, tmp_path, wrapped):
    _, runs = recorded
    text = json.dumps(runs)
    (tmp_path / "dump.json").write_text(json.dumps(text) if wrapped else text)
    out = tmp_path / "out"
    assert main(["export", "nxstxm", str(tmp_path / "dump.json"), "-d", str(out), "-p", "stack"]) == 0
    check(out / "stack.hdf5", runs)


def test_two_scans_become_two_files(recorded, tmp_path, capsys):
    source, runs = recorded
    s = stxm(2)
    other = tmp_path / "other"
    engine = RunEngine({}, call_returns_result=False)
    with Recorder(other) as recorder:
        engine.subscribe(recorder)
        (uid,) = engine(sample_image([s.counter], Endstation(s.devices), *IMAGE))
    assert main(["export", "nxstxm", str(source), str(other), "-d", str(tmp_path), "--source-name", "SLS"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert set(said) == {str(tmp_path / f"{first}.hdf5") for first in (next(iter(runs)), uid)}
    with h5py.File(tmp_path / f"{uid}.hdf5") as file:
        assert np.ravel(file["entry0/instrument/source/name"].asstr()[()])[0] == "SLS"


def test_a_file_is_not_written_over_unless_told(recorded, tmp_path, capsys):
    source, runs = recorded
    (tmp_path / "stack.hdf5").write_bytes(b"precious")
    arguments = ["export", "nxstxm", str(source), "-d", str(tmp_path), "-p", "stack"]
    assert main(arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bluesky-ext export:")]
    assert "stack.hdf5" in line
    assert (tmp_path / "stack.hdf5").read_bytes() == b"precious"
    for left in tmp_path.glob("*.tmp*"):
        left.unlink()
    assert main([*arguments, "--overwrite"]) == 0
    check(tmp_path / "stack.hdf5", runs)


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "there is no recording"), (b"no recording", "is not a recording"), ("directory", "no recording in")],
)
def test_what_is_no_source_is_an_error_of_one_line(tmp_path, capsys, content, word):
    path = tmp_path / "source.json"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert main(["export", "nxstxm", str(path), "-d", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bluesky-ext export:")]
    assert word in line
    assert str(path) in line


def test_an_unknown_format_is_an_error_of_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "spec", "file"])
    assert stopped.value.code == 2
    assert "nxstxm" in capsys.readouterr().err


def test_help_says_what_can_be_given(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "nxstxm", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    for word in ("SOURCE", "--directory", "--prefix", "--overwrite", "Exit codes"):
        assert word in said


def test_a_stack_of_a_catalogue(recorded, tmp_path):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext import replay
    from bluesky_ext.storage import close_catalog, open_catalog, save

    source, runs = recorded
    catalog = open_catalog(tmp_path / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        replay(source, sink, fill=False)
    close_catalog(catalog)
    command = ["export", "nxstxm", "--catalog", str(tmp_path / "catalog"), *reversed(runs)]
    assert main([*command, "-d", str(tmp_path), "-p", "stored"]) == 0
    check(tmp_path / "stored.hdf5", runs)


def dumped(path: Path, *runs: tuple[str, list[Any]]) -> str:
    path.write_text(json.dumps(dict(runs)))
    return str(path)


def test_runs_of_several_scans_in_any_order_become_a_file_for_each(tmp_path, capsys):
    one, two = stack(280.0), stack(285.0)
    (a, b), (c, d) = one.items(), two.items()
    source = dumped(tmp_path / "mixed.json", d, b, c, a)
    assert main(["export", "nxstxm", source, "-d", str(tmp_path)]) == 0
    assert set(capsys.readouterr().out.splitlines()) == {
        str(tmp_path / f"{next(iter(runs))}.hdf5") for runs in (one, two)
    }
    for runs in (one, two):
        check(tmp_path / f"{next(iter(runs))}.hdf5", runs)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_scan_that_lacks_a_run_is_said(tmp_path, capsys):
    runs = stack(280.0)
    first = next(iter(runs))
    source = dumped(tmp_path / "short.json", (first, runs[first]))
    assert main(["export", "nxstxm", source, "-d", str(tmp_path)]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("bluesky-ext export:")]
    assert f"{first}.hdf5" in line
    assert "isn't complete" in line


def test_a_bad_run_does_not_keep_the_others_from_being_written(recorded, tmp_path, capsys):
    _, runs = recorded
    bad = stack(300.0)
    first, documents = next(iter(bad.items()))
    start = {**documents[0][1], "time": 0.0, "metadata": '{"scan_type": 99}'}
    endless = {uid: docs[:-1] for uid, docs in stack(310.0).items()}
    source = dumped(
        tmp_path / "some.json", (first, [["start", start], *documents[1:]]), *runs.items(), *endless.items()
    )
    assert main(["export", "nxstxm", source, "-d", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(tmp_path / f"{next(iter(runs))}.hdf5")]
    check(tmp_path / f"{next(iter(runs))}.hdf5", runs)
    lines = [line for line in said.err.splitlines() if line.startswith("bluesky-ext export:")]
    assert len(lines) == 2
    assert first in lines[0]
    assert all(uid in lines[1] for uid in endless)


def test_a_run_whose_images_are_gone_stays_under_construction(tmp_path, capsys):
    runs = stack(280.0)
    uid, documents = next(iter(runs.items()))
    key = "counter0_single_value_rbv"
    lost: list[Any] = []
    for name, doc in documents:
        if name == "descriptor" and key in doc["data_keys"]:
            keys = {**doc["data_keys"], key: {**doc["data_keys"][key], "external": "FILESTORE:"}}
            resource = {"uid": "r", "run_start": uid, "spec": "NPY_SEQ", "root": str(tmp_path)}
            resource |= {"resource_path": "gone", "resource_kwargs": {}, "path_semantics": "posix"}
            lost += [[name, {**doc, "data_keys": keys}], ["resource", resource]]
            lost.append(["datum", {"datum_id": "r/0", "resource": "r", "datum_kwargs": {"index": 0}}])
        elif name == "event" and key in doc["data"]:
            lost.append([name, {**doc, "data": {**doc["data"], key: "r/0"}, "filled": {key: False}}])
        else:
            lost.append([name, doc])
    source = dumped(tmp_path / "lost.json", (uid, lost))
    assert main(["export", "nxstxm", source, "-d", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"images of run {uid} can't be read, so its file stays under construction" in said
    assert [path.name for path in tmp_path.glob("*.tmp")] == [f"{uid}-{uid}.hdf5.tmp"]
