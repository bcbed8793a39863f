"""Scans of many runs, and runs of many images: each number in the entry and the plane that it is of, in any order."""

import functools
import itertools
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from bluesky import RunEngine
from suitcase.utils import MemoryBuffersManager

from bluesky_ext.stxm import Endstation, sample_image_stack, tomography_scan
from bluesky_ext.stxm.sim import stxm as microscope
from suitcase_nxstxm import NXstxmWriter, export, export_scan, finish_export, scan
from suitcase_nxstxm.errors import DuplicateRunError, MetadataError, UnfinishedError

X, Y, ENERGIES = np.linspace(0, 2, 3), np.linspace(10, 11, 2), [700.0, 701.0]
WAVE = "counter0_wave"


def by_scan(runs, directory):
    return export_scan(runs, directory, "C1")


def by_writer(runs, directory):
    with NXstxmWriter(directory, "C1") as writer:
        for name, doc in itertools.chain(*runs):
            writer(name, doc)
    (path,) = writer.finish()
    assert writer.incomplete == []
    return path


def by_export(runs, directory):
    first = runs[0][0][1]["uid"]
    for docs in runs:
        export(docs, directory, "C1", first)
    return finish_export(directory, "C1", first)


HOW = pytest.mark.parametrize("how", [by_scan, by_writer, by_export])


def each_in_turn(names, rows):
    """Parameters, each written in another way than the one before: all ways with all rows would be the same thrice."""
    hows = itertools.cycle([by_scan, by_writer, by_export])
    return pytest.mark.parametrize(("how", *names), [(how, *row) for how, row in zip(hows, rows, strict=False)])


def lines(data):
    return [{WAVE: list(line)} for line in data]


def wave(stxm):
    return {WAVE: stxm.key("counter0", "array", [9], "counts")}


def stack_run(stxm, data, place, *, kind=7, x=X, energies=ENERGIES, time=0.0, regions=None, **options):
    """A run of one image."""
    pols = options.pop("polarizations", ((0, 0.0, 0.0),))
    asked = regions or {"0": stxm.region(x, Y, energies, polarizations=pols, angles=options.pop("angles", None))}
    start = {"metadata": stxm.metadata(kind, asked, place, single=options.pop("single", True))}
    return stxm.run(start, wave(stxm), lines(data), time=1_700_000_000.0 + 100 * time, **options)


def stack(stxm, x=X, seed=0):
    data = stxm.numbers(2, 2, 3, seed=seed)
    return data, [stack_run(stxm, data[e], {"e_idx": e}, x=x, baseline=e == 0, time=e) for e in range(2)]


def image(stxm, seed=0):
    return stxm.make("osa image").runs[0]


def test_two_stacks_run_by_run_and_another_scan_between(stxm, tmp_path, read):
    (one, first), (two, second) = stack(stxm), stack(stxm, X + 100, 1)
    writer = NXstxmWriter(tmp_path)
    stxm.feed(writer, first[0], second[0], image(stxm), first[1], second[1])
    assert len(writer.artifacts["all"]) == 3
    assert not list(tmp_path.glob("*.tmp"))
    for data, runs in ((one, first), (two, second)):
        np.testing.assert_array_equal(read(tmp_path / f"{runs[0][0][1]['uid']}-.hdf5")["entry0/counter0/data"], data)


def test_scans_that_wait_for_their_runs_are_bounded(stxm, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("suitcase_nxstxm.writer._MOST_WAITING", 2)
    writer = NXstxmWriter(tmp_path)
    begun = [stack(stxm, X + 10 * i)[1][0] for i in range(3)]
    with caplog.at_level(logging.WARNING):
        stxm.feed(writer, *begun)
    assert writer.artifacts["all"] == [tmp_path / f"{begun[0][0][1]['uid']}-.hdf5"]
    assert writer.incomplete == writer.artifacts["all"]
    assert "wait for their runs" in caplog.text
    # Only the last one is open, and its journal.
    held = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert len({path for path in held if path.startswith(str(tmp_path))}) == 2


def test_runs_beside_a_failed_one_stay_with_it(stxm, tmp_path):
    _, runs = stack(stxm)
    bad = [(name, dict(doc)) for name, doc in runs[0]]
    bad[4][1]["data"] = {WAVE: "no numbers"}
    writer = NXstxmWriter(tmp_path, "C1")
    stxm.feed(writer, bad, runs[1])
    assert writer.finish() == []
    assert not list(tmp_path.glob("C1*"))
    assert (tmp_path / f"{runs[0][0][1]['uid']}-C1.hdf5.tmp").exists()


@each_in_turn(["which"], [(which,) for which in range(4)])
def test_every_entry_has_the_baseline_of_its_scan(stxm, tmp_path, read, how, which):
    pols = ((0, 0.0, 0.0), (1, 0.0, 0.0))
    data = stxm.numbers(2, 2, 2, 3)
    places = list(itertools.product(range(2), range(2)))
    runs = [
        stack_run(
            stxm,
            data[p, e],
            {"e_idx": e, "pol_idx": p, "entry": f"entry{p}"},
            polarizations=pols,
            baseline=i == which,
            time=i,
        )
        for i, (p, e) in enumerate(places)
    ]
    found = read(how([runs[i] for i in (2, 0, 3, 1)], tmp_path))
    for p in range(2):
        np.testing.assert_array_equal(found[f"entry{p}/counter0/data"], data[p])
        assert found[f"entry{p}/sample/rotation_angle"] == 2.25
        assert found[f"entry{p}/sample/rotation_angle@units"] == "deg"
        assert found[f"entry{p}/instrument/source/current"] == 219.5
        assert found[f"entry{p}/collection/baseline/BL_ENERGY/value"][0] == 700.5
        assert found[f"entry{p}/start_time"][0] == min(found[f"entry{p}/collection/runs"]["start_time"])
        assert found[f"entry{p}/end_time"][0] == max(found[f"entry{p}/collection/runs"]["end_time"])


def test_an_angle_that_was_asked_for_is_not_that_of_the_baseline(stxm, tmp_path, read):
    runs = [
        stack_run(
            stxm,
            stxm.numbers(2, 3),
            {"e_idx": e, "entry": f"entry{k}", "rotation_angle": angle},
            kind=11,
            angles=[-30.0, 5.0],
            baseline=e == k == 0,
        )
        for k, angle in enumerate((-30.0, 5.0))
        for e in range(2)
    ]
    found = read(by_writer(runs, tmp_path))
    assert [found[f"entry{k}/sample/rotation_angle"] for k in range(2)] == [-30.0, 5.0]
    assert "entry1/collection/baseline/IOC_m110/value" in found


ORDERS = [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 0, 1)]
THINGS = ["polarization", "angle", "region"]


@each_in_turn(
    ["order", "what"],
    # Each thing in each order, and each of both in each way.
    [(ORDERS[i], THINGS[(k - i) % 3]) for i in range(3) for k in range(3)],
)
def test_entries_of_one_name_are_told_apart(stxm, tmp_path, read, how, order, what):
    data = stxm.numbers(2, 2, 2, 3)
    spots = {"0": stxm.region(X, Y, ENERGIES), "1": stxm.region(X + 5, Y, ENERGIES)}
    more = {
        "polarization": {"polarizations": ((4, 0.0, 0.0), (5, 0.0, 0.0))},
        "angle": {"kind": 11, "angles": [-10.0, 10.0]},
        "region": {"regions": spots},
    }[what]
    place = {
        "polarization": lambda k: {"pol_idx": k},
        "angle": lambda k: {"rotation_angle": (-10.0, 10.0)[k]},
        "region": lambda k: {"sp_id": k, "sp_idx": k},
    }[what]
    runs = [
        stack_run(stxm, data[k, e], {"e_idx": e, **place(k)}, time=2 * k + e, baseline=e == k == 0, **more)
        for k in range(2)
        for e in range(2)
    ]
    found = read(how([runs[i] for i in order], tmp_path))
    for k in range(2):
        np.testing.assert_array_equal(found[f"entry{k}/counter0/data"], data[k])
        np.testing.assert_array_equal(found[f"entry{k}/instrument/counter0/data"], data[k].ravel())
    assert "entry2/definition" not in found
    assert "entry0@held" not in found
    if what == "polarization":
        assert [found[f"entry{k}/collection/polarization/number"] for k in range(2)] == [4, 5]


def test_large_stacks_keep_their_lists_when_their_entries_are_renamed(stxm, tmp_path, read):
    x, y = np.linspace(0, 1, 400), np.linspace(0, 1, 400)
    asked = {"0": stxm.region(x, y, [700.0], polarizations=((0, 0.0, 0.0), (1, 0.0, 0.0)))}
    data = stxm.numbers(2, 400, 400)
    runs = [
        stxm.run({"metadata": stxm.metadata(7, asked, {"pol_idx": p})}, wave(stxm), lines(data[p])) for p in range(2)
    ]
    found = read(export_scan(runs[::-1], tmp_path, "C1"))
    for p in range(2):
        np.testing.assert_array_equal(found[f"entry{p}/instrument/counter0/data"], data[p].ravel())


def test_runs_that_contradict_each_other_are_entries_of_their_own(stxm, tmp_path, read, caplog):
    (one, first), (two, second) = stack(stxm), stack(stxm, X + 100, seed=1)
    found = read(export_scan([first[0], second[1], first[1]], tmp_path, "C1"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], one)
    np.testing.assert_array_equal(found["entry1/counter0/data"], [np.full((2, 3), np.nan), two[1]])
    np.testing.assert_array_equal(found["entry1/counter0/sample_x"], X + 100)
    runs = [[row[0].decode() for row in found[f"entry{k}/collection/runs"]] for k in range(2)]
    assert runs == [[docs[0][1]["uid"] for docs in first], [second[1][0][1]["uid"]]]
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"run {runs[1][0]} contradicts run {runs[0][0]}" in said
    assert "in its sample_x: it is entry1, and the other one entry0" in said


def test_a_run_is_arranged_once_at_its_stop(stxm, tmp_path, monkeypatch):
    arranged, began = [], scan.arranged

    def counted(run, *asked):
        arranged.append(run.uid)
        return began(run, *asked)

    monkeypatch.setattr(scan, "arranged", counted)
    _, runs = stack(stxm)
    uids = [docs[0][1]["uid"] for docs in runs]
    with NXstxmWriter(tmp_path, "C1") as writer:
        stxm.feed(writer, runs[1])
        assert arranged == uids[1:]
        stxm.feed(writer, runs[0])
    assert arranged == uids[::-1]
    assert [path.name for path in writer.artifacts["all"]] == ["C1.hdf5"]


def test_two_runs_for_one_plane_are_refused(stxm, tmp_path):
    _, runs = stack(stxm)
    again = stack_run(stxm, stxm.numbers(2, 3), {"e_idx": 1})
    with pytest.raises(DuplicateRunError, match=f"run {again[0][1]['uid']} is for plane 1 of entry0") as caught:
        export_scan([*runs, again], tmp_path, "C1")
    assert "\n" not in str(caught.value)
    first = runs[0][0][1]["uid"]
    for docs in runs:
        export(docs, tmp_path, "C2", first)
    with pytest.raises(DuplicateRunError):
        export(again, tmp_path, "C2", first)
    assert finish_export(tmp_path, "C2", first).exists()  # what was there is as good as before


@functools.cache
def simulated(what):
    """The documents of one of these plans, and the counts in the order in which they were made."""
    s = microscope(2)
    docs = []
    engine = RunEngine({})
    engine.subscribe(lambda name, doc: docs.append((name, doc)))
    engine(SINGLE_RUNS[what](s, Endstation(s.devices)))
    key = "counter0_single_value_rbv"
    return docs, np.array([doc["data"][key] for name, doc in docs if name == "event" and key in doc["data"]])


SINGLE_RUNS = {
    "polarizations": lambda s, e: sample_image_stack(
        [s.counter], e, [(-1, 1, 2, -1, 1, 3)], [280.0, 285.0], polarizations=[2, 3], single_run=True
    ),
    "regions": lambda s, e: sample_image_stack(
        [s.counter], e, [(-1, 1, 2, -1, 1, 3), (0, 1, 2, 0, 1, 3)], [280.0, 285.0], single_run=True
    ),
    "angles": lambda s, e: tomography_scan(
        [s.counter], e, (-1, 1, 2, -1, 1, 3), [280.0, 285.0], [-30.0, 0.0], single_run=True
    ),
}


@each_in_turn(["what", "listed"], itertools.product(SINGLE_RUNS, [True, False]))
def test_a_run_of_several_images_goes_to_its_entries(tmp_path, read, how, what, listed):
    docs, counts = simulated(what)
    if not listed:  # as for more events than are listed
        start = dict(docs[0][1])
        start["metadata"] = json.dumps(json.loads(start["metadata"]) | {"sequence_map": {}})
        docs = [("start", start), *docs[1:]]
    images = counts.reshape(4, 2, 3)
    # The regions are measured one after the other at each energy; polarisations and angles are slow.
    expected = [images[0::2], images[1::2]] if what == "regions" else [images[:2], images[2:]]
    found = read(how([docs], tmp_path))
    for k in range(2):
        np.testing.assert_array_equal(found[f"entry{k}/counter0/data"], expected[k])
        np.testing.assert_array_equal(found[f"entry{k}/instrument/counter0/data"], expected[k].ravel())
        assert any(name.startswith(f"entry{k}/collection/baseline/") for name in found)
    if what == "regions":
        np.testing.assert_array_equal(found["entry1/counter0/sample_x"], np.linspace(0, 1, 3))
    if what == "angles":
        assert [found[f"entry{k}/sample/rotation_angle"] for k in range(2)] == [-30.0, 0.0]
    if what == "polarizations":
        assert [found[f"entry{k}/collection/polarization/number"] for k in range(2)] == [2, 3]


@pytest.mark.parametrize("rows", [False, True])
def test_the_sequence_map_places_events(stxm, tmp_path, read, rows):
    data = stxm.numbers(4, 3)
    if rows:  # the rows from the last to the first
        places = [{"img_num": 0, "row": 3 - i, "col": 0} for i in range(4)]
        keys, events, expected = wave(stxm), lines(data), data[::-1]
    else:  # column by column
        places = [{"img_num": 0, "row": i % 4, "col": i // 4} for i in range(12)]
        keys = {"counter0_value": stxm.key("counter0", units="counts")}
        events = [{"counter0_value": float(value)} for value in data.ravel()]
        expected = data.ravel().reshape(3, 4).T
    asked = {"0": stxm.region(X, np.arange(4.0), [700.0])}
    text = json.loads(stxm.metadata(6, asked, {}, new=True))
    text["sequence_map"] = {str(i): place for i, place in enumerate(places)}
    found = read(export_scan([stxm.run({"metadata": json.dumps(text)}, keys, events)], tmp_path, "C1"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], expected)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], data.ravel())


def test_a_file_without_data_is_named(stxm, tmp_path):
    _, runs = stack(stxm)
    empty = [*runs[0][:3], ("stop", {**runs[0][-1][1], "exit_status": "abort"})]
    with pytest.raises(UnfinishedError, match=r"-C1\.hdf5\.tmp has no data"):
        export_scan([empty], tmp_path, "C1")


def test_a_buffer_without_a_stop_document_is_not_finished(stxm):
    docs = image(stxm)
    with pytest.raises(UnfinishedError, match=docs[0][1]["uid"]):
        export_scan([docs[:-1]], MemoryBuffersManager(), "C1")


def test_a_run_that_does_not_say_its_plane_is_refused(stxm, tmp_path):
    docs = stack_run(stxm, stxm.numbers(2, 3), None)
    with pytest.raises(MetadataError, match="has no 'img_idx_map', which alone tells for which of 2 energies it is"):
        export_scan([docs], tmp_path, "C1")


def test_a_run_without_a_place_that_is_all_of_the_stack(stxm, tmp_path, read):
    data = stxm.numbers(2, 2, 3)
    docs = stack_run(stxm, data.reshape(4, 3), None)
    writer = NXstxmWriter(tmp_path, "C1")
    stxm.feed(writer, docs)
    np.testing.assert_array_equal(read(writer.artifacts["all"][0])["entry0/counter0/data"], data)


@each_in_turn(["single"], [(True,), (False,), (True,), (False,)])
def test_regions_with_different_numbers_of_energies(stxm, tmp_path, read, how, single):
    spots = {"0": stxm.region(X, Y, [700.0, 701.0]), "1": stxm.region(X, Y, [710.0])}
    data = stxm.numbers(3, 2, 3)
    places = [(0, 0), (0, 1), (1, 0)]
    runs = [
        stack_run(
            stxm,
            data[i],
            {"e_idx": e, "sp_id": k, "sp_idx": k, "entry": f"entry{k}"},
            regions=spots,
            single=single,
            time=i,
        )
        for i, (k, e) in enumerate(places)
    ]
    found = read(how(runs, tmp_path))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data[:2])
    np.testing.assert_array_equal(found["entry1/counter0/data"], data[2:])


def point_spectra(stxm, runs):
    pols = ((0, 0.0, 0.0), (1, 0.0, 0.0))
    asked = {k: stxm.region([x], [1.0], ENERGIES, polarizations=pols) for k, x in (("0", 1.0), ("1", 2.0))}
    data = stxm.numbers(2, 2, 2)  # polarisation, energy, region
    keys = {"counter0_value": stxm.key("counter0", units="counts")}
    events = [[{"counter0_value": float(v)} for v in part.ravel()] for part in data]
    if runs == 1:
        return data, [stxm.run({"metadata": stxm.metadata(4, asked, {})}, keys, events[0] + events[1])]
    places = [{"pol_idx": p} | ({"entry": f"entry{p}"} if runs == 2 else {}) for p in range(2)]
    return data, [
        stxm.run({"metadata": stxm.metadata(4, asked, place)}, keys, mine)
        for place, mine in zip(places, events, strict=True)
    ]


# One run, a run for each polarisation, a run for each of one name.
@each_in_turn(["runs", "backwards"], itertools.product([1, 2, 3], [False, True]))
def test_point_spectra_at_several_polarisations(stxm, tmp_path, read, how, runs, backwards):
    data, docs = point_spectra(stxm, runs)
    found = read(how(docs[::-1] if backwards else docs, tmp_path))
    spectra = {tuple(found[f"entry{k}/counter0/data"]) for k in range(4)}
    assert spectra == {tuple(data[p, :, k]) for p in range(2) for k in range(2)}
    np.testing.assert_array_equal(found["entry2/counter0/data"], data[1, :, 0])
    assert found["entry3/collection/polarization/number"] == 1


@each_in_turn(["order"], [((0, 1, 2),), ((2, 0, 1),), ((1, 0, 2),)])
def test_line_spectra_as_a_run_for_each_energy(stxm, tmp_path, read, how, order):
    energies = [700.0, 701.0, 702.0]
    data = stxm.numbers(3, 3)
    asked = {"0": stxm.region(X, np.ones(3), energies)}
    runs = [
        stxm.run({"metadata": stxm.metadata(5, asked, {"e_idx": e})}, wave(stxm), lines(data[e : e + 1]))
        for e in range(3)
    ]
    found = read(how([runs[i] for i in order], tmp_path))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], data.ravel())
    np.testing.assert_array_equal(found["entry0/instrument/monochromator/energy"], np.repeat(energies, 3))


def test_an_entry_has_a_legal_name(stxm, tmp_path, read):
    docs = stack_run(stxm, stxm.numbers(2, 3), {"entry": "my/entry 1"}, energies=[700.0])
    assert "my_entry_1/counter0/data" in read(export_scan([docs], tmp_path, "C1"))
