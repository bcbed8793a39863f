"""Crystal maps, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bluesky_ext.peaks import LiveMaps, PeakRows, crystal_maps
from bluesky_ext.peaks.crystal_map import maps_dataset
from bluesky_ext.positions import Planned, lay_out


@pytest.fixture
def linked() -> pd.DataFrame:
    """Two tracks in a scan of 2 rows by 3 columns: 7 is the brighter, although it begins later."""
    return pd.DataFrame(
        {
            "y": [10.0, 11.0, 50.0, 52.0],
            "x": [20.0, 21.0, 60.0, 60.0],
            "mass": [1.0, 2.0, 30.0, 40.0],
            "ep": [0.1, np.nan, np.nan, np.nan],
            "frame": [1, 2, 2, 4],
            "particle": [3, 3, 7, 7],
        }
    )


SIX = np.arange(1, 7)
GRID = lay_out(SIX, {}, Planned((2, 3), [(0, 1), (-4, 4)]))


def test_a_map_a_track_the_brightest_first(linked):
    dataset = crystal_maps(linked, GRID)
    assert dataset["maps"].dims == ("reflection", "dim_0", "dim_1")
    np.testing.assert_array_equal(dataset["maps"][0], [[0, 30, 0], [40, 0, 0]])
    np.testing.assert_array_equal(dataset["maps"][1], [[1, 2, 0], [0, 0, 0]])
    assert dataset["dim_0"].values.tolist() == [0, 1]
    assert dataset["dim_1"].values.tolist() == [-4, 0, 4]
    assert dataset["reflection"].values.tolist() == [0, 1]
    known = {name: dataset[name].values.tolist() for name in ("particle", "frames", "total", "y", "x", "mass")}
    assert known == {
        "particle": [7, 3],
        "frames": [2, 2],
        "total": [70, 3],
        "y": [51, 10.5],
        "x": [60, 20.5],
        "mass": [35, 1.5],
    }
    np.testing.assert_array_equal(dataset["ep"], [np.nan, 0.1])


def test_points_that_were_not_measured_are_nan(linked):
    maps = crystal_maps(linked, lay_out(np.array([1, 2, 4]), {}, Planned((2, 3), snaking=(False, True))))["maps"]
    np.testing.assert_array_equal(maps[0], [[0, 30, np.nan], [np.nan, np.nan, 40]])
    np.testing.assert_array_equal(crystal_maps(linked, GRID, max_maps=1)["n_peaks"], [[1, 2, 0], [1, 0, 0]])


def test_only_the_brightest(linked):
    dataset = crystal_maps(linked, GRID, max_maps=1)
    assert dataset["particle"].values.tolist() == [7]
    np.testing.assert_array_equal(dataset["maps"], [[[0, 30, 0], [40, 0, 0]]])
    assert crystal_maps(linked, GRID, max_maps=9).sizes["reflection"] == 2


def test_scattered_points_and_another_column(linked):
    points = lay_out(np.array([1, 2, 4]), {"sy": [0, 0.3, 1], "x": [5, 7, 5.5]})
    dataset = crystal_maps(linked.rename(columns={"frame": "seq_num"}), points, value="y", t_column="seq_num")
    assert dataset["maps"].dims == ("reflection", "point")
    np.testing.assert_array_equal(dataset["maps"], [[0, 50, 52], [10, 11, 0]])
    assert dataset["motor_x"].values.tolist() == [5, 7, 5.5]  # x is where the peak is on the detector


def test_no_tracks_give_no_maps_of_the_right_shape():
    dataset = crystal_maps(pd.DataFrame({"y": [], "x": [], "mass": [], "frame": [], "particle": []}), GRID)
    assert dataset["maps"].shape == (0, 2, 3)
    assert dataset["y"].shape == (0,)


@pytest.mark.parametrize("number", [8, 10**12])
def test_peaks_of_no_track_are_on_no_map(linked, number):
    linked["particle"] = [-7, number, -1, number]
    dataset = crystal_maps(linked, GRID)
    np.testing.assert_array_equal(dataset["maps"], [[[0, 2, 0], [40, 0, 0]]])
    assert dataset["particle"].values.tolist() == [number]
    np.testing.assert_array_equal(dataset["n_peaks"], [[1, 2, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"value": "signal"}, "the table has no column 'signal'"), ({"max_maps": 0}, "max_maps=0 must be at least 1")],
)
def test_what_does_not_fit_is_refused(linked, arguments, message):
    with pytest.raises(ValueError, match=message):
        crystal_maps(linked, GRID, **arguments)


def test_maps_that_are_asked_for_all_the_time_are_those_asked_for_once():
    """Tracks come in and out of the brightest, frames come again, late, or at points that nobody knows."""
    rng = np.random.default_rng(3)
    rows = PeakRows()
    often, numbers = LiveMaps(rows, "mass"), [*range(1, 40), 12, *range(41, 60), 40, 59]
    for number in numbers:
        particles = rng.permutation(20)[: rng.integers(0, 9)]
        columns = {"mass": rng.lognormal(0, 2, len(particles)), "ep": rng.choice([0.1, 0.7, np.nan], len(particles))}
        rows.put(number, particles, columns)
        layout = lay_out(np.setdiff1d(np.arange(1, max(number, 5)), [3]), {}, Planned((6, 10)))
        sets = [maps_dataset(live, layout, 4, live.columns) for live in (often, LiveMaps(rows, "mass"))]
        xr.testing.assert_identical(*sets)
    table = rows.table("frame")
    assert (sets[0]["maps"] > 0).sum() > 20
    xr.testing.assert_identical(crystal_maps(table, layout, max_maps=4), sets[0])
