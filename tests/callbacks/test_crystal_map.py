from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from cases import KEY, LOCATE, content, frames, raw_run, run_through

from bluesky_ext import CrystalMap, PeakTracker, TrackLinker


def peaks(docs):
    return list(run_through(PeakTracker(KEY, **LOCATE), docs))


def test_the_maps_of_a_run_by_hand():
    cm = CrystalMap(search_range=5, memory=1)
    sink = run_through(cm, peaks(raw_run(snaking=[False, False])))
    maps = cm.dataset
    assert maps["maps"].dims == ("grain", "my", "mx")
    assert maps["maps"].shape == (2, 2, 3)
    assert maps["my"].values.tolist() == [0, 1]
    assert maps["mx"].values.tolist() == [0, 1, 2]
    # Both peaks of these runs are equally bright in every frame but the fourth, which has none: (1, 0) of the grid.
    seen = np.array([[1, 1, 1], [0, 1, 1]], bool)
    assert ((maps["maps"] > 0) == seen).all()
    events = content(sink)["events"]["primary"]
    assert len(events) == 2
    for number, grain in enumerate(maps["grain"].values, start=1):
        assert np.array_equal(events[number]["map"], maps["maps"].sel(grain=grain))
        assert events[number]["particle"] == maps["particle"].sel(grain=grain)
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
    assert cm.dataset.sizes["grain"] == 1


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
    assert sink.stop["num_events"] == {"primary": 1}
    assert cm.dataset["y"].item() == pytest.approx(40, abs=0.1)


def test_a_scan_without_a_shape_has_one_axis_of_points():
    rows = [(name, {k: v for k, v in doc.items() if k != "shape"}) for name, doc in peaks(raw_run(num_points=8))]
    cm = CrystalMap(search_range=5, memory=1)
    run_through(cm, rows)
    assert cm.dataset["maps"].shape == (2, 8)
    assert (cm.dataset["maps"].values > 0).sum(axis=1).tolist() == [5, 5]
    given = CrystalMap(search_range=5, memory=1, shape=(2, 3))
    run_through(given, rows)
    assert given.dataset["maps"].shape == (2, 2, 3)


def test_rows_without_tracks_and_no_range_are_named(caplog):
    stop = run_through(CrystalMap(), peaks(raw_run())).stop
    assert stop["failed"]["primary"]
    assert "give search_range" in caplog.text


def test_bad_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match="max_maps=0"):
        CrystalMap(search_range=5, max_maps=0)
    with pytest.raises(ValueError, match="memory"):
        CrystalMap(memory=3)


def test_frames_outside_of_the_scan_cost_no_maps(caplog, tmp_path):
    rows = peaks(raw_run())
    cm = CrystalMap(search_range=5, memory=1, shape=(2, 2), dims=("y_axis", "x_axis"), directory=tmp_path)
    sink = run_through(cm, rows)
    # Frames 1, 2 and 3 have two peaks each, 4 has none, 5 and 6 are not among the four.
    assert (cm.dataset["maps"].values > 0).sum(axis=(1, 2)).tolist() == [3, 3]
    assert len(sink.named("event")) == 2
    assert list(tmp_path.glob("*.nc"))
    assert sink.stop["failed"] == {"primary": [7, 8, 9, 10]}  # the rows of 5 and 6
    assert "event 5 is not one of the 4 of a scan of shape (2, 2)" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        ({"shape": (2, 3), "extents": [(0, 1)]}, "extents="),
        ({"shape": (2, 0)}, "shape="),
        ({"shape": (2, 3), "dims": ("a", "a")}, "dims="),
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
