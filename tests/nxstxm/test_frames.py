"""Frames and lists whose runs come in different types and ways: every number is that of its document."""

import random

import numpy as np
import pytest

from suitcase_nxstxm import export_scan, nxdata

X, Y, E = np.linspace(0, 1, 3), np.linspace(0, 1, 2), np.array([700.0, 701.0])


def ptychogram(stxm, frames):
    """A run an energy; frames of shape (2, 6, y, x), or lists of such arrays."""
    keys = {"counter0_image": stxm.key("counter0", "array", [4, 5], "counts")}
    return [
        stxm.run(
            {"metadata": stxm.metadata(13, {"0": stxm.region(X, Y, E)}, {"e_idx": e, "sp_id": 0})},
            keys,
            [{"counter0_image": frame} for frame in frames[e]],
            baseline=False,
        )
        for e in range(2)
    ]


@pytest.mark.parametrize(
    ("order", "first", "second", "dtype", "size"),
    [
        ((0, 1), np.uint8, np.uint16, np.uint16, 300),  # large enough for compression
        ((1, 0), np.uint16, np.int32, np.int32, 3),
        ((1, 0), np.uint16, np.float32, np.float32, 300),
        ((0, 1), np.int64, np.float64, np.float64, 3),
    ],
)
def test_frames_of_a_wider_type_that_come_later(stxm, read, tmp_path, order, first, second, dtype, size):
    random_numbers = np.random.default_rng(1)
    frames = [random_numbers.integers(0, 250, (6, size, size)).astype(first)]
    wide = random_numbers.integers(300, 60000, (6, size, size))
    frames.append((-wide if second is np.int32 else wide + 0.25 * (second is np.float64)).astype(second))
    runs = ptychogram(stxm, frames)
    stored = read(export_scan([runs[i] for i in order], tmp_path, "scan"))["entry0/instrument/counter0/data"]
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored[:6], frames[0])
    np.testing.assert_array_equal(stored[6:], frames[1])


def test_a_run_whose_frames_have_another_shape_is_an_entry_of_its_own(stxm, read, tmp_path, caplog):
    frames = [np.ones((6, 4, 5)), np.full((6, 4, 6), 2.0)]
    runs = ptychogram(stxm, frames)
    found = read(export_scan(runs, tmp_path, "scan"))
    for number, docs in enumerate(runs):
        entry = f"entry{number}"
        np.testing.assert_array_equal(found[f"{entry}/instrument/counter0/data"][6 * number :], frames[number])
        assert [row[0].decode() for row in found[f"{entry}/collection/runs"]] == [docs[0][1]["uid"]]
    (said,) = [record.getMessage() for record in caplog.records]
    assert runs[1][0][1]["uid"] in said
    assert "(4, 6)" in said


SIZE = 14  # of a plane


@pytest.fixture
def different(stxm, monkeypatch):
    """A stack whose runs go each its own way; with its data, and the numbers as they were taken."""
    # So that it is large enough to have its list as a virtual dataset, where it can.
    monkeypatch.setattr(nxdata, "LARGE", 8 * SIZE * SIZE)
    along = np.linspace(0, 1, SIZE)
    asked = {"0": stxm.region(along, along, [700.0, 701.0, 702.0])}
    data = np.random.default_rng(1).random((3, SIZE, SIZE))
    runs, taken = [], []
    for e, way in enumerate(("lines", "points", "snake")):
        start = {"metadata": stxm.metadata(7, asked, {"sp_id": 0, "e_idx": e})}
        keys = {"counter0_wave": stxm.key("counter0", "array", [SIZE], "counts")}
        lines = data[e].copy()
        if way == "snake":
            start["snaking"] = [False, True]
            lines[1::2] = lines[1::2, ::-1]
        events = [{"counter0_wave": line} for line in lines]
        if way == "points":
            keys = {}
            events, _ = stxm.points(data[e], keys, ("GoniY", along), ("GoniX", along))
            random.Random(1).shuffle(events)
            lines = np.array([event["counter0_value"] for event in events])
        runs.append(stxm.run(start, keys, events, baseline=False))
        taken.append(lines.ravel())
    return runs, data, np.concatenate(taken)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_list_of_runs_that_went_different_ways(different, read, tmp_path, order):
    runs, data, taken = different
    found = read(export_scan([runs[i] for i in order], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], taken)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_large_list_has_as_many_digits_as_the_grid(stxm, read, tmp_path, order):
    along = np.linspace(0, 1, 400)
    data = np.random.default_rng(1).random((2, 400, 400))
    planes = [data[0].astype(np.float32), data[1]]
    keys = {"counter0_wave": stxm.key("counter0", "array", [400, 400], "counts")}
    asked = {"0": stxm.region(along, along, E)}
    runs = [
        stxm.run({"metadata": stxm.metadata(7, asked, {"e_idx": e})}, keys, [{"counter0_wave": planes[e]}])
        for e in range(2)
    ]
    found = read(export_scan([runs[i] for i in order], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], np.array(planes, float))
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], np.concatenate([p.ravel() for p in planes]))
