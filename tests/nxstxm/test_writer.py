"""The callback: a file for every scan that passes, with all its runs, finished by itself."""

import numpy as np
import pytest
from suitcase.utils import MemoryBuffersManager, SuitcaseUtilsValueError

from suitcase_nxstxm import NXstxmWriter, export_scan
from suitcase_nxstxm.errors import FinalFileExistsError, UnfinishedError


def names(directory):
    """The files in a directory, without the journals of those under construction."""
    return sorted(path.name for path in directory.iterdir() if path.suffix != ".journal")


def first(case):
    return case.runs[0][0][1]["uid"]


def test_the_file_is_under_construction_while_the_scan_goes_on(stxm, tmp_path, read):
    case = stxm.make("stack")
    writer = NXstxmWriter(tmp_path, "C1")
    stxm.feed(writer, *case.runs[:-1])
    assert names(tmp_path) == [f"{first(case)}-C1.hdf5.tmp"]
    assert writer.artifacts == {}
    stxm.feed(writer, case.runs[-1])
    path = tmp_path / "C1.hdf5"
    assert names(tmp_path) == [path.name]
    assert writer.artifacts == {"all": [path]}
    assert writer.finish() == [path]
    np.testing.assert_array_equal(read(path)["entry1/counter0/data"], case.data["entry1"])


def test_runs_of_two_scans_at_once(stxm, tmp_path, read):
    one, two = stxm.make("osa image"), stxm.make("sample image")
    longest = max(len(one.runs[0]), len(two.runs[0]))
    writer = NXstxmWriter(tmp_path)
    for i in range(longest):
        for case in (one, two):
            if i < len(case.runs[0]):
                writer(*case.runs[0][i])
    assert len(writer.artifacts["all"]) == 2
    for case in (one, two):
        found = read(tmp_path / f"{first(case)}-.hdf5")
        np.testing.assert_array_equal(found["entry0/counter0/data"], case.data["entry0"])


def test_the_same_scan_again_is_another_file(stxm, tmp_path):
    one, two = stxm.make("stack"), stxm.make("stack")
    writer = NXstxmWriter(tmp_path)
    stxm.feed(writer, *one.runs, *two.runs)
    assert names(tmp_path) == sorted(f"{first(case)}-.hdf5" for case in (one, two))
    # Also if the first one was left before its end.
    three, four = stxm.make("stack"), stxm.make("stack")
    stxm.feed(writer, *three.runs[:2], *four.runs)
    assert {f"{first(case)}-.hdf5" for case in (three, four)} <= set(names(tmp_path))


def test_an_aborted_scan_is_finished(stxm, tmp_path, read):
    case = stxm.make("stack")
    docs = case.runs[1]
    aborted = [*docs[:-2], ("stop", {**docs[-1][1], "exit_status": "abort"})]
    writer = NXstxmWriter(tmp_path, "C1")
    stxm.feed(writer, case.runs[0], aborted)
    found = read(tmp_path / "C1.hdf5")
    np.testing.assert_array_equal(found["entry0/counter0/data"][0], case.data["entry0"][0])
    np.testing.assert_array_equal(found["entry0/counter0/data"][1, :-1], case.data["entry0"][1, :-1])
    assert np.isnan(found["entry0/counter0/data"][2]).all()
    assert "entry1" not in {name.split("/")[0] for name in found}


def test_a_scan_that_is_short_is_finished_at_the_end(stxm, tmp_path):
    short, other = stxm.make("stack"), stxm.make("osa image")
    writer = NXstxmWriter(tmp_path)
    stxm.feed(writer, *short.runs[:3])
    assert names(tmp_path) == [f"{first(short)}-{first(short)}-.hdf5.tmp"]
    stxm.feed(writer, *other.runs)
    assert f"{first(short)}-{first(short)}-.hdf5.tmp" in names(tmp_path)
    writer.finish()
    assert names(tmp_path) == sorted(f"{first(case)}-.hdf5" for case in (short, other))
    assert writer.incomplete == [tmp_path / f"{first(short)}-.hdf5"]
    with NXstxmWriter(tmp_path / "later", "C1") as later:
        stxm.feed(later, *stxm.make("stack").runs[:3])
    assert names(tmp_path / "later") == ["C1.hdf5"]


def test_a_run_without_an_end_stays_under_construction(stxm, tmp_path):
    case = stxm.make("stack")
    writer = NXstxmWriter(tmp_path, "C1")
    stxm.feed(writer, case.runs[0], case.runs[1][:-1])
    with pytest.raises(UnfinishedError, match=case.runs[1][0][1]["uid"]):
        writer.finish()
    assert names(tmp_path) == [f"{first(case)}-C1.hdf5.tmp"]
    assert writer.finish() == []
    export_scan(case.runs, tmp_path, "C1")  # which takes it up
    assert names(tmp_path) == ["C1.hdf5"]


def test_an_existing_file_is_not_overwritten(stxm, tmp_path):
    (tmp_path / "C1.hdf5").write_text("someone's")
    case = stxm.make("sample image")
    with pytest.raises(FinalFileExistsError):
        stxm.feed(NXstxmWriter(tmp_path, "C1", on_error="raise"), *case.runs)
    assert (tmp_path / "C1.hdf5").read_text() == "someone's"
    stxm.feed(NXstxmWriter(tmp_path, "C1", overwrite=True), *case.runs)
    assert (tmp_path / "C1.hdf5").stat().st_size > 100


def test_a_name_that_is_taken_is_said_before_anything_is_measured(stxm, tmp_path):
    one, two = stxm.make("sample image"), stxm.make("stack")
    writer = NXstxmWriter(tmp_path, "scan", on_error="raise")
    stxm.feed(writer, *one.runs)
    start, *others = two.runs[0]
    with pytest.raises(FinalFileExistsError, match=r"scan\.hdf5 exists: give a file_prefix with \{uid\}"):
        writer(*start)
    stxm.feed(writer, others)  # which are of no scan of the writer
    assert names(tmp_path) == ["scan.hdf5"]


def test_a_name_that_a_scan_under_way_will_have_is_said(stxm, tmp_path):
    one, two = stxm.make("stack"), stxm.make("sample image")
    writer = NXstxmWriter(tmp_path, "scan", on_error="raise")
    stxm.feed(writer, *one.runs[:-1])
    with pytest.raises(FinalFileExistsError, match=r"scan\.hdf5 is to be the file of another scan"):
        writer(*two.runs[0][0])
    stxm.feed(writer, one.runs[-1])
    assert names(tmp_path) == ["scan.hdf5"]


def test_a_name_that_is_taken_costs_no_data_where_errors_go_to_the_log(stxm, tmp_path, caplog):
    (tmp_path / "scan.hdf5").write_text("someone's")
    case = stxm.make("sample image")
    stxm.feed(NXstxmWriter(tmp_path, "scan"), *case.runs)
    assert names(tmp_path) == sorted(["scan.hdf5", f"{first(case)}-scan.hdf5.tmp"])
    assert "will stay under construction" in caplog.records[0].message


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_scans_do_not_go_to_one_buffer(stxm, read, overwrite):
    one, two = stxm.make("sample image"), stxm.make("osa image")
    manager = MemoryBuffersManager()
    writer = NXstxmWriter(manager, "scan", overwrite=overwrite, on_error="raise")
    stxm.feed(writer, *one.runs)
    with pytest.raises(SuitcaseUtilsValueError, match=r"'scan\.hdf5' has already been used"):
        writer(*two.runs[0][0])
    (buffer,) = writer.artifacts["all"]
    np.testing.assert_array_equal(read(buffer)["entry0/counter0/data"], one.data["entry0"])
    manager.close()


def test_a_failure_is_raised_once_and_the_next_scan_is_written(stxm, tmp_path):
    case, good = stxm.make("sample image"), stxm.make("osa image")
    docs = [(name, dict(doc)) for name, doc in case.runs[0]]
    docs[4][1]["data"] = {"counter0_wave": "no numbers"}
    writer = NXstxmWriter(tmp_path, on_error="raise")
    with pytest.raises(ValueError, match="not numbers"):
        stxm.feed(writer, docs)
    stxm.feed(writer, docs[5:], *good.runs)
    assert names(tmp_path) == sorted([f"{first(case)}-{first(case)}-.hdf5.tmp", f"{first(good)}-.hdf5"])


def test_failures_can_go_to_the_log(stxm, tmp_path, caplog):
    case = stxm.make("sample image")
    docs = [(name, dict(doc)) for name, doc in case.runs[0]]
    docs[4][1]["data"] = {"counter0_wave": "no numbers"}
    stxm.feed(NXstxmWriter(tmp_path), docs)
    assert "not numbers" in caplog.text
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="'ignore'"):
        NXstxmWriter(tmp_path, on_error="ignore")


def test_several_images_of_one_kind_go_beside_each_other(stxm, tmp_path, read):
    cases = [stxm.make("sample image") for _ in range(3)]
    found = read(export_scan([case.runs[0] for case in cases], tmp_path, "C1"))
    assert {name.split("/")[0] for name in found if not name.startswith("@")} >= {"entry0", "entry1", "entry2"}


def test_runs_from_a_database(stxm, tmp_path, read):
    """A databroker header and a Tiled run: whatever has `documents`."""
    case = stxm.make("stack")

    class Header:
        def __init__(self, docs):
            self.docs = docs

        def documents(self, stream_name=None, fill=False):
            assert fill
            yield from self.docs

    class Run(Header):
        def documents(self):
            yield from self.docs

    class Shim(Header):
        def documents(self, fill=False):
            if fill:
                raise NotImplementedError
            return iter(self.docs)

    for kind in (Header, Run, Shim):
        found = read(export_scan([kind(docs) for docs in case.runs], tmp_path, kind.__name__))
        np.testing.assert_array_equal(found["entry1/counter0/data"], case.data["entry1"])
    found = read(export_scan({docs[0][1]["uid"]: docs for docs in case.runs}, tmp_path, "dictionary"))
    np.testing.assert_array_equal(found["entry1/counter0/data"], case.data["entry1"])


def test_scans_that_never_stop_keep_no_other_from_its_file(stxm, tmp_path, read, caplog):
    writer = NXstxmWriter(tmp_path)
    case = stxm.make("sample image")
    for _ in range(34):
        for name, doc in stxm.make("sample image").runs[0][:-1]:
            writer(name, doc)
    for name, doc in case.runs[0]:
        writer(name, doc)
    (path,) = writer.artifacts["all"]
    np.testing.assert_array_equal(read(path)["entry0/counter0/data"], case.data["entry0"])
    assert "33 scans have no stop document" in caplog.text
    stack = stxm.make("stack")
    lost = [stack.runs[0][:-1], *stack.runs[1:]]
    for docs in (*lost, *stxm.make("stack").runs):
        for name, doc in docs:
            writer(name, doc)
    np.testing.assert_array_equal(read(writer.artifacts["all"][1])["entry1/counter0/data"], stack.data["entry1"])
    with pytest.raises(UnfinishedError):
        writer.finish()
