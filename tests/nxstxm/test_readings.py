"""Readings that are no images, of scans of several runs: all of them are kept, in the order of time."""

import itertools
import logging

import numpy as np
import pytest

from suitcase_nxstxm import NXstxmWriter, Serializer, export_scan, finish_export

X, Y, E = np.linspace(-1, 1, 4), np.linspace(0, 2, 3), np.array([700.0, 701.0, 702.0])
ORDERS = pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])


@pytest.fixture
def runs(stxm):
    """A stack of three runs with a temperature a line, of which the second one has a switch as well."""
    found = []
    keys = {"counter0_wave": stxm.key("counter0", "array", [4], "counts"), "temp": stxm.key("temp", units="K")}
    for e in range(3):
        place = {"sp_id": 0, "e_idx": e}
        start = {"metadata": stxm.metadata(7, {"0": stxm.region(X, Y, E)}, place), "detectors": ["counter0"]}
        events = [{"counter0_wave": np.arange(4.0) + 10 * i + 100 * e, "temp": 100.0 * e + i} for i in range(3)]
        own = keys
        if e == 1:
            own = keys | {"switch": stxm.key("switch", "integer", units="")}
            events = [event | {"switch": i + 5} for i, event in enumerate(events)]
        documents = stxm.run(start, own, events, time=1_700_000_000.0 + 100 * e)
        base = {**documents[2][1]["data"], "PCT:mA:fbk": 200.0 + e, "IOC:m110": 1.5 + e}
        documents[2] = ("event", {**documents[2][1], "data": base})
        found.append(documents)
    return found


def check(found, runs):
    rows = "entry0/collection/primary"
    np.testing.assert_array_equal(found[f"{rows}/temp/value"], [0, 1, 2, 100, 101, 102, 200, 201, 202])
    np.testing.assert_array_equal(found[f"{rows}/switch/value"], [np.nan] * 3 + [5, 6, 7] + [np.nan] * 3)
    np.testing.assert_array_equal(found[f"{rows}/seq_num"], [1, 2, 3] * 3)
    assert [uid.decode() for uid in found[f"{rows}/run"]] == list(np.repeat([run[0][1]["uid"] for run in runs], 3))
    np.testing.assert_array_equal(found["entry0/collection/baseline/PCT_mA_fbk/value"], [200.0, 201.0, 202.0])
    # What an entry has once is that of its first run.
    assert found["entry0/instrument/source/current"] == 200.0
    assert found["entry0/sample/rotation_angle"] == 1.5


@ORDERS
def test_the_runs_of_a_scan_keep_their_readings(runs, read, tmp_path, order):
    check(read(export_scan([runs[i] for i in order], tmp_path, "scan")), runs)


def test_runs_at_once_keep_their_readings(stxm, runs, read, tmp_path):
    with NXstxmWriter(tmp_path, "scan") as writer:
        stxm.feed(writer, (pair for pairs in itertools.zip_longest(*runs) for pair in pairs if pair is not None))
    check(read(tmp_path / "scan.hdf5"), runs)


@ORDERS
def test_runs_that_were_broken_off_have_their_readings_once(stxm, runs, read, tmp_path, order):
    uid = runs[0][0][1]["uid"]
    for documents in (*(run[:5] for run in runs), *(runs[i] for i in order)):
        with Serializer(tmp_path, "scan", uid) as serializer:
            stxm.feed(serializer, documents)
    check(read(finish_export(tmp_path, "scan", uid)), runs)


def test_readings_of_one_run_need_no_word_of_their_run(stxm, read, tmp_path):
    case = stxm.make("stack")  # the first run alone has a baseline
    found = read(export_scan(case.runs[:3], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/collection/baseline/IOC_m110/value"], [2.25])
    assert "entry0/collection/baseline/run" not in found


def test_what_is_put_aside_is_kept_for_all_runs(stxm, read, tmp_path):
    keys = {"counter0_wave": stxm.key("counter0", "array", [4], "counts"), "diode": stxm.key("diode", units="A")}
    runs = []
    for e in range(2):
        start = {"metadata": stxm.metadata(7, {"0": stxm.region(X, Y, E[:2])}, {"sp_id": 0, "e_idx": e})}
        events = [{"counter0_wave": np.arange(4.0), "diode": 10.0 * e + i} for i in range(3)]
        runs.append(stxm.run(start, keys, events, baseline=False, time=1_700_000_000.0 + e))
    for name, order in (("there", runs), ("back", runs[::-1])):
        found = read(export_scan(order, tmp_path, name))
        np.testing.assert_array_equal(found["entry0/collection/primary/diode/value"], [0, 1, 2, 10, 11, 12])


def test_events_that_were_lost_on_their_way_are_said(stxm, read, tmp_path, caplog):
    (documents,) = stxm.make("sample image").runs
    with caplog.at_level(logging.WARNING):
        found = read(export_scan([[*documents[:-2], documents[-1]]], tmp_path, "scan"))
    assert np.isnan(found["entry0/counter0/data"][-1]).all()
    (said,) = [record.message for record in caplog.records]
    assert documents[0][1]["uid"] in said
    assert "3 events in stream 'primary', of which 2 came" in said


CHANGES = [
    ((1, 2.5), [1.0, 2.5]),
    ((1, None), [1.0, np.nan]),
    ((None, 2), [np.nan, 2.0]),
    ((True, 7), ["true", "7"]),
    ((7, True), ["7", "true"]),
    ((1.5, "off-line"), ["1.5", "off-line"]),
    (("on", None), ["on", "null"]),
    (([1, 2], {"a": 1}), ["[1, 2]", '{"a": 1}']),
    ((2**53 + 1, 0.5), [str(2**53 + 1), "0.5"]),
    ((0.5, 2**53 + 1), ["0.5", str(2**53 + 1)]),
    ((1, 2**70), ["1", str(2**70)]),
    (("a\0b", "\udc80"), ['"a\\u0000b"', '"\\udc80"']),
]


@pytest.mark.parametrize(("values", "expected"), CHANGES)
def test_readings_that_change_their_kind(stxm, read, tmp_path, values, expected):
    keys = {"counter0_value": stxm.key("counter0", units="counts"), "temp": stxm.key("temp")}
    half = len(X)
    asked = {"0": stxm.region(X, Y[:2], E)}
    start = {"metadata": stxm.metadata(6, asked, {"sp_id": 0}), "detectors": ["counter0"]}
    events = [{"counter0_value": float(i), "temp": values[i // half]} for i in range(2 * half)]
    found = read(export_scan([stxm.run(start, keys, events)], tmp_path, "scan"))
    stored = found["entry0/collection/primary/temp/value"]
    told = [value.decode() if isinstance(value, bytes) else value for value in stored[[0, -1]]]
    if isinstance(expected[0], str):
        assert told == expected
    else:
        np.testing.assert_array_equal(told, expected)
