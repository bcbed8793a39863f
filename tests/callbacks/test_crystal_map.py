from __future__ import annotations

import logging

import bluesky.plans as bp
import numpy as np
import pytest
import xarray as xr
from cases import KEY, LOCATE, content, frames, raw_run, run_through
from ophyd.sim import det, motor

from bluesky_ext import CrystalMap, PeakTracker, TrackLinker
from bluesky_ext.callbacks.scan import Scan, ScanPoints


def peaks(docs):
    return list(run_through(PeakTracker(KEY, **LOCATE), docs))


def test_the_maps_of_a_run_by_hand():
    cm = CrystalMap(search_range=5, memory=1)
    sink = run_through(cm, peaks(raw_run(snaking=[False, False])))
    maps = cm.dataset
    assert maps["maps"].dims == ("reflection", "my", "mx")
    assert maps["maps"].shape == (2, 2, 3)
    assert maps["my"].values.tolist() == [0, 1]
    assert maps["mx"].values.tolist() == [0, 1, 2]
    # Both peaks of these runs are equally bright in every frame but the fourth, which has none: (1, 0) of the grid.
    seen = np.array([[1, 1, 1], [0, 1, 1]], bool)
    assert ((maps["maps"] > 0) == seen).all()
    events = content(sink)["events"]["primary"]
    assert len(events) == 2
    for number in (1, 2):
        assert np.array_equal(events[number]["map"], maps["maps"][number - 1])
        assert events[number]["particle"] == maps["particle"][number - 1]
    (positions,) = content(sink)["events"]["positions"].values()
    assert {name: values.tolist() for name, values in positions.items()} == {"my": [0, 1], "mx": [0, 1, 2]}
    assert maps["mx"].attrs == {"units": "mm"}
    assert maps["total"].values == pytest.approx(maps["maps"].sum(("my", "mx")).values)
    assert sorted(zip(maps["y"].values.round(), maps["x"].values.round(), strict=True))[0] == (20, 20)


def test_maps_are_current_during_the_scan():
    cm = CrystalMap(search_range=5, memory=1, max_maps=1)
    pt = PeakTracker(KEY, **LOCATE)
    pt.subscribe(cm)
    measured = []
    for name, doc in raw_run(dark=False):
        pt(name, doc)
        if name == "event":
            measured.append(int((cm.dataset["maps"] > 0).sum()))
    assert measured == [1, 2, 3, 3, 4, 5]
    assert cm.dataset.sizes["reflection"] == 1


def test_tracks_that_are_known_are_mapped_as_they_are():
    rows = peaks(raw_run())
    linked = list(run_through(TrackLinker(search_range=5), rows))
    ours, theirs = CrystalMap(search_range=5), CrystalMap()
    run_through(ours, rows)
    run_through(theirs, linked)
    xr.testing.assert_identical(ours.dataset, theirs.dataset)


def test_the_dataset_is_saved_whole_under_the_uid_of_the_scan(tmp_path):
    raw = raw_run()
    cm = CrystalMap(search_range=5, directory=tmp_path / "maps")
    run_through(cm, peaks(raw))
    (path,) = (tmp_path / "maps").iterdir()
    assert path.name == f"{raw[0][1]['uid']}.nc"
    with xr.open_dataset(path, engine="h5netcdf") as saved:
        xr.testing.assert_equal(saved, cm.dataset)
        assert saved.attrs["scan_id"] == 7


def test_only_the_brightest_are_made():
    def uneven(number):
        image = frames(number).astype(float)
        image[:, :32] = 100 + 0.5 * (image[:, :32] - 100)
        return image

    cm = CrystalMap(search_range=5, memory=1, max_maps=1)
    sink = run_through(cm, peaks(raw_run(image=uneven)))
    assert sink.stop["num_events"] == {"primary": 1, "positions": 1}
    assert cm.dataset["y"].item() == pytest.approx(40, abs=0.1)


def without_motors(docs):
    """The run as a scan has it whose motors are in none of its events."""
    for name, doc in docs:
        if name == "descriptor":
            for motor in ("mx", "my"):
                doc["data_keys"].pop(motor, None), doc["object_keys"].pop(motor, None), doc["hints"].pop(motor, None)
        elif name == "event":
            for motor in ("mx", "my"):
                doc["data"].pop(motor, None), doc["timestamps"].pop(motor, None)
    return docs


def test_a_scan_whose_events_have_no_positions_is_where_it_was_planned(caplog):
    cm = CrystalMap(search_range=5, memory=1)
    run_through(cm, peaks(without_motors(raw_run(snaking=[False, True]))))
    assert cm.dataset["maps"].dims == ("reflection", "my", "mx")
    assert (cm.dataset["maps"][0].values > 0).tolist() == [[True, True, True], [False, True, True]]
    assert cm.dataset["mx"].values.tolist() == [0, 1, 2]
    assert "scan 7" in caplog.text
    assert "no event has a reading of my and mx: the points are where they were planned" in caplog.text


def test_a_scan_without_motors_and_shape_is_numbered():
    rows = peaks(without_motors(raw_run()))
    for key in ("shape", "motors"):
        rows[0][1].pop(key, None)
    cm = CrystalMap(search_range=5, memory=1, motors=())
    run_through(cm, rows)
    assert cm.dataset["maps"].dims == ("reflection", "point")
    assert cm.dataset["seq_num"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert (cm.dataset["maps"].values > 0).sum(axis=1).tolist() == [5, 5]
    given = CrystalMap(search_range=5, memory=1, shape=(3, 2))
    run_through(given, rows)
    assert given.dataset["maps"].shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("scan", "dims", "said"),
    [
        ({"motors": ("mx", "mz")}, ("point",), "its events have no reading of ['mz'], only ['counts', 'first_row'"),
        ({"motors": ("mx", "my")}, ("mx", "my"), ""),
        ({"shape": (3, 2)}, ("my", "mx"), "its points make a grid of 2 x 3 and not one of 3 x 2"),
    ],
)
def test_other_motors_and_other_shapes(scan, dims, said, caplog):
    cm = CrystalMap(search_range=5, memory=1, **scan)
    run_through(cm, peaks(raw_run()))
    assert cm.dataset["maps"].dims[1:] == dims
    assert said in caplog.text
    assert bool(said) == ("maps show where" in caplog.text or "no reading" in caplog.text)


def test_an_event_without_a_position_is_on_no_map(caplog):
    points = ScanPoints(Scan(), {"uid": "u", "motors": ["m"]})
    points.describe({"data_keys": {"m": {"dtype": "number", "shape": []}}, "object_keys": {"m": ["m"]}})
    for seq_num, data in enumerate([{"m": 1.0}, {}, {"m": "moving"}, {"m": 3.0}], start=1):
        points.note(seq_num, data)
    assert points.layout().coords["m"][1].tolist() == [1, 3]
    assert "2 of 4 events have no reading of m" in points.layout().remark


def test_which_reading_of_a_motor_is_its_position():
    keys = ("m_velocity_setpoint", "m_user_setpoint", "m")
    descriptor = {"data_keys": {key: {"dtype": "number", "shape": []} for key in keys}, "object_keys": {"m": keys}}
    data = dict(zip(keys, (7.0, 1.0, 1.3), strict=True))

    def position(**scan):
        points = ScanPoints(Scan(**scan), {"uid": "u", "motors": ["m"]})
        points.describe(descriptor)
        points.note(1, data)
        return [values.tolist() for _, values in points.layout().coords.values()][-1]

    assert position() == [1.3]
    assert position(positions="setpoint") == position(motors=("m_user_setpoint",)) == [1]


def test_runs_are_kept(caplog):
    cm = CrystalMap(search_range=5, memory=1, keep_runs=2)
    for scan_id in (1, 2, 3):
        run_through(cm, peaks(raw_run(scan_id=scan_id)))
    (uid, last) = list(cm.runs.items())[-1]
    assert [dataset.attrs["scan_id"] for dataset in cm.runs.values()] == [2, 3]
    assert cm.runs[3] is cm.runs[uid] is cm.runs[uid[:8]] is last
    xr.testing.assert_identical(last, cm.dataset)
    with pytest.raises(KeyError, match="1 is no run here: there are scan 2"):
        cm.runs[1]


def test_a_scan_without_images_leaves_what_there_is(run_engine, caplog):
    pt, cm = PeakTracker(KEY, **LOCATE), CrystalMap(search_range=5, memory=1)
    pt.subscribe(cm)
    for name, doc in raw_run():
        pt(name, doc)
    before, tracks, latest, number = cm.dataset, cm.tracks, cm.latest, len(caplog.records)
    run_engine(bp.scan([det], motor, 1, 0, 3), pt)  # to align something; it ends where the motor was
    xr.testing.assert_identical(cm.dataset, before)
    assert cm.tracks.equals(tracks)
    assert cm.latest is latest
    assert [record.levelname for record in caplog.records[number:] if record.levelno > logging.INFO] == []


def test_rows_without_tracks_and_no_range_are_named(caplog):
    stop = run_through(CrystalMap(), peaks(raw_run())).stop
    assert stop["failed"]["primary"]
    assert "give search_range" in caplog.text


def test_bad_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match="max_maps=0"):
        CrystalMap(search_range=5, max_maps=0)
    with pytest.raises(ValueError, match="memory"):
        CrystalMap(memory=3)


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        ({"shape": (2, 3), "extents": [(0, 1)]}, "extents="),
        ({"shape": (2, 0)}, "shape="),
        ({"extents": [(0, 1), (0, 1)], "snaking": [True]}, "snaking="),
    ],
)
def test_a_scan_that_does_not_fit_together_is_refused_at_once(scan, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        CrystalMap(search_range=5, **scan)


def test_a_value_that_no_row_has_is_named(caplog):
    sink = run_through(CrystalMap(search_range=5, value="weight"), peaks(raw_run()))
    assert "the rows have no column 'weight', only ['y', 'x', 'mass'" in caplog.text
    assert "weight" not in str(sink.named("event"))


def test_a_frame_that_could_not_be_linked_is_no_point_of_the_maps():
    def crowded(number):  # frame 2 has more spots within reach of those of frame 1 than are linked
        image = frames(1)
        if number in (1, 2):
            image[:, 4::8, 4::8] = 2000
        return image

    cm = CrystalMap(search_range=60)
    stop = run_through(cm, run_through(PeakTracker(KEY, 5, minmass=100), raw_run(image=crowded))).stop
    assert stop["failed"] == {"frames": [2]}
    assert np.isnan(cm.dataset["n_peaks"].values).tolist() == [[False, True, False], [False] * 3]
