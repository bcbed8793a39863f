"""The life of a file: ``.tmp`` until it is complete, then its own name, and never anyone else's."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from suitcase.utils import MemoryBuffersManager, MultiFileManager

from suitcase_nxstxm import NXstxmWriter, Serializer, export, export_scan, file, finish_export
from suitcase_nxstxm.errors import BusyError, FinalFileExistsError, NothingToFinishError, UnfinishedError
from suitcase_nxstxm.options import file_name


def uid(docs):
    return docs[0][1]["uid"]


def names(directory):
    """The files in a directory, without the journals of those under construction."""
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.suffix != ".journal")


def test_the_tmp_file_is_beside_the_final_one(stxm, tmp_path):
    (docs,) = stxm.make("sample image").runs
    artifacts = export(docs, str(tmp_path), file_prefix="C1")
    assert artifacts == {"all": [tmp_path / f"{uid(docs)}-C1.hdf5.tmp"]}
    journal = tmp_path / f"{uid(docs)}-C1.hdf5.journal"
    assert set(tmp_path.iterdir()) == {*artifacts["all"], journal}
    assert finish_export(str(tmp_path), "C1", uid(docs)) == tmp_path / "C1.hdf5"
    assert not journal.exists()
    with pytest.raises(NothingToFinishError):
        finish_export(tmp_path, "C1", uid(docs))
    assert names(tmp_path) == ["C1.hdf5"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{uid}-", "{uid}-"),
        ("{plan_name}-{scan_id}", "fly-17"),
        ("{start[plan_name]}", "fly"),
        ("{time:.0f}", "1700000000"),
        ("under/{scan_id}", "under/17"),
    ],
)
def test_prefixes_are_filled_in(stxm, tmp_path, template, expected):
    (docs,) = stxm.make("sample image").runs
    docs[0] = ("start", {**docs[0][1], "plan_name": "fly", "scan_id": 17})
    export(docs, tmp_path, file_prefix=template)
    # finish_export has no documents to fill the prefix in from.
    path = finish_export(tmp_path, template, uid(docs))
    assert path == tmp_path / f"{expected.format(uid=uid(docs))}.hdf5"
    assert names(tmp_path) == [str(path.relative_to(tmp_path))]


def test_the_default_prefix_makes_one_file_of_all_runs(stxm, tmp_path, read):
    case = stxm.make("stack")
    first = uid(case.runs[0])
    for docs in case.runs:
        export(docs, tmp_path, first_uid=first)
    path = finish_export(tmp_path, "{uid}-", first)
    assert names(tmp_path) == [f"{first}-.hdf5"]
    np.testing.assert_array_equal(read(path)["entry1/counter0/data"], case.data["entry1"])


def test_a_final_file_is_never_overwritten_unless_told(stxm, tmp_path, read):
    (docs,) = stxm.make("sample image").runs
    final = tmp_path / "C1.hdf5"
    final.write_text("someone's")
    export(docs, tmp_path, file_prefix="C1")
    with pytest.raises(FinalFileExistsError, match=r"C1\.hdf5 exists") as error:
        finish_export(tmp_path, "C1", uid(docs))
    assert isinstance(error.value, FileExistsError)
    assert "\n" not in str(error.value)
    assert final.read_text() == "someone's"
    assert names(tmp_path) == sorted([f"{uid(docs)}-C1.hdf5.tmp", "C1.hdf5"])
    finish_export(tmp_path, "C1", uid(docs), overwrite=True)
    assert "entry0/counter0/data" in read(final)
    assert names(tmp_path) == ["C1.hdf5"]


def test_export_scan_does_not_begin_what_it_could_not_finish(stxm, tmp_path):
    (tmp_path / "C1.hdf5").write_text("someone's")
    with pytest.raises(FinalFileExistsError):
        export_scan(stxm.make("sample image").runs, tmp_path, "C1")
    assert names(tmp_path) == ["C1.hdf5"]
    export_scan(stxm.make("sample image").runs, tmp_path, "C1", overwrite=True)
    assert h5py.is_hdf5(tmp_path / "C1.hdf5")


@pytest.mark.parametrize("prefix", ["C1", "{uid}-", "{scan_id}"])
def test_nothing_to_finish_is_said(tmp_path, prefix):
    with pytest.raises(NothingToFinishError, match="nothing to finish") as error:
        finish_export(tmp_path, prefix, "d9ea70fb")
    assert isinstance(error.value, FileNotFoundError)
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_stop_stays_under_construction(stxm, tmp_path, read):
    case = stxm.make("sample image")
    (docs,) = case.runs
    export(docs[:-2], tmp_path, file_prefix="C1")  # nor the last line
    with pytest.raises(UnfinishedError, match=f"no stop document of run {uid(docs)}"):
        finish_export(tmp_path, "C1", uid(docs))
    assert names(tmp_path) == [f"{uid(docs)}-C1.hdf5.tmp"]
    found = read(finish_export(tmp_path, "C1", uid(docs), set_aside=True))
    expected = case.data["entry0"].copy()
    expected[-1] = np.nan
    np.testing.assert_array_equal(found["entry0/counter0/data"], expected)


def test_what_a_crash_left_behind_can_be_set_aside(stxm, tmp_path):
    (docs,) = stxm.make("sample image").runs
    tmp = f"{uid(docs)}-C1.hdf5.tmp"
    for i in (1, 2):
        export(docs[:5], tmp_path, file_prefix="C1")
        assert finish_export(tmp_path, "C1", uid(docs), set_aside=True) == tmp_path / f"{tmp}.aside{i}"
    assert {path.name for path in tmp_path.iterdir()} == {f"{tmp}.aside1", f"{tmp}.aside2"}
    with pytest.raises(NothingToFinishError):
        finish_export(tmp_path, "C1", uid(docs))


def test_an_unreadable_tmp_file_is_set_aside(stxm, tmp_path, read, caplog):
    case = stxm.make("sample image")
    (docs,) = case.runs
    tmp = tmp_path / f"{uid(docs)}-C1.hdf5.tmp"
    tmp.write_bytes(b"cut off before anything was flushed")
    with pytest.raises(UnfinishedError, match="can't be read"):
        finish_export(tmp_path, "C1", uid(docs))
    export(docs, tmp_path, file_prefix="C1")
    assert "can't be read" in caplog.text
    np.testing.assert_array_equal(
        read(finish_export(tmp_path, "C1", uid(docs)))["entry0/counter0/data"], case.data["entry0"]
    )
    assert set(names(tmp_path)) == {"C1.hdf5", f"{tmp.name}.aside1"}


def test_a_kill_between_the_two_names_does_no_harm(stxm, tmp_path, read):
    case = stxm.make("sample image")
    (docs,) = case.runs
    export(docs, tmp_path, file_prefix="C1")
    final = finish_export(tmp_path, "C1", uid(docs))
    before = final.read_bytes()
    tmp = tmp_path / f"{uid(docs)}-C1.hdf5.tmp"
    os.link(final, tmp)
    assert finish_export(tmp_path, "C1", uid(docs)) == final
    assert names(tmp_path) == ["C1.hdf5"]
    os.link(final, tmp)
    export(docs, tmp_path, file_prefix="C1")  # must not write into the final file
    assert final.read_bytes() == before
    with pytest.raises(FinalFileExistsError):
        finish_export(tmp_path, "C1", uid(docs))


def test_two_exports_of_one_process_do_not_share_a_file(stxm, tmp_path):
    (docs,) = stxm.make("sample image").runs
    with Serializer(tmp_path, "C1") as one, Serializer(tmp_path, "C1") as two:
        one(*docs[0])
        with pytest.raises(BusyError, match="written by another export"):
            two(*docs[0])
        with pytest.raises(BusyError):
            finish_export(tmp_path, "C1", uid(docs))
        stxm.feed(one, docs[1:])
    finish_export(tmp_path, "C1", uid(docs))


def test_a_failed_export_is_not_finished_until_the_run_is_exported_again(stxm, tmp_path, read):
    case = stxm.make("stack")
    first = uid(case.runs[0])
    bad = case.runs[1]
    broken = [*bad[:-1], ("event", {**bad[-2][1], "seq_num": 99}), bad[-1]]
    export(case.runs[0], tmp_path, file_prefix="C1", first_uid=first)
    with pytest.raises(ValueError, match="event 99"):
        export(broken, tmp_path, file_prefix="C1", first_uid=first)
    for docs in case.runs[2:]:
        export(docs, tmp_path, file_prefix="C1", first_uid=first)
    with pytest.raises(UnfinishedError, match="failed"):
        finish_export(tmp_path, "C1", first)
    export(bad, tmp_path, file_prefix="C1", first_uid=first)
    found = read(finish_export(tmp_path, "C1", first))
    for entry, expected in case.data.items():
        np.testing.assert_array_equal(found[f"{entry}/counter0/data"], expected)
    assert not [name for name in found if name.startswith("@fail") or name == "@file_prefix"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2026-12-01T10:30", "2026-12-01T10_30-"),
        ("con", "_con-"),
        ("LPT1.hdf5", "_LPT1.hdf5-"),
        ("end. ", "end__-"),
        ("a<b>|?*", "a_b____-"),
    ],
)
def test_names_that_windows_does_not_take(text, name):
    assert file_name(text, windows=True).startswith(name)
    assert file_name(text, windows=False) == text
    assert file_name("console", windows=True) == "console"


def test_windows_renames_no_file_that_is_open(stxm, tmp_path, monkeypatch):
    def move(source, target):
        held = {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
        assert not [path for path in held if path.startswith(str(tmp_path))]
        os.rename(source, target)

    monkeypatch.setattr(file, "move", move)
    monkeypatch.setattr(file, "CLOSES_FIRST", True)
    assert export_scan(stxm.make("osa image").runs, tmp_path, "scan").exists()


def test_a_prefix_does_not_lead_out_of_the_directory(stxm, tmp_path):
    (docs,) = stxm.make("sample image").runs
    for prefix in ("../C1", "/C1"):
        with pytest.raises(ValueError, match="leads out of the directory"):
            export(docs, tmp_path / "here", file_prefix=prefix)
    with pytest.raises(ValueError, match=r"file_prefix '\{sample\}' can't be filled in"):
        export(docs, tmp_path / "here", file_prefix="{sample}")
    assert not list(tmp_path.iterdir())


def test_buffers_are_finished_at_the_stop(stxm, read):
    (docs,) = stxm.make("osa image").runs
    manager = MemoryBuffersManager()
    assert export(docs, manager, file_prefix="C1") == manager.artifacts
    assert read(*manager.artifacts["all"])["@default"] == "entry0"
    case = stxm.make("stack")
    other = MemoryBuffersManager()
    assert export_scan(case.runs, other, "C1") is other.artifacts["all"][0]
    writer = NXstxmWriter(MemoryBuffersManager())
    for docs in case.runs:
        stxm.feed(writer, docs)
    for buffer in (*other.artifacts["all"], *writer.artifacts["all"]):
        found = read(buffer)
        for entry, expected in case.data.items():
            np.testing.assert_array_equal(found[f"{entry}/counter0/data"], expected)


def test_a_manager_of_files_is_a_directory(stxm, tmp_path, read):
    case = stxm.make("stack")
    first = uid(case.runs[0])
    manager = MultiFileManager(tmp_path)
    for docs in case.runs:
        export(docs, manager, file_prefix="C1", first_uid=first)
    assert manager.artifacts == {"all": [tmp_path / "C1.hdf5"]}
    path = finish_export(tmp_path, "C1", first)
    np.testing.assert_array_equal(read(path)["entry0/counter0/data"], case.data["entry0"])


def test_a_directory_is_something_to_write_to():
    with pytest.raises(TypeError, match="directory is 7"):
        Serializer(7)
    with pytest.raises(TypeError, match="colour"):
        Serializer(Path(), colour="red")


def test_files_are_of_the_earliest_version(stxm, tmp_path):
    path = export_scan(stxm.make("sample image").runs, tmp_path, "C1")
    # Superblock 0: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
    assert path.read_bytes()[8] == 0
