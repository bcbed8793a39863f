"""Crystal maps, by hand and from a real grid scan."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bluesky.plans import grid_scan
from ophyd.sim import SynAxis

from bluesky_ext.peaks import crystal_maps, scan_indices


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


def test_a_map_a_track_the_brightest_first(linked):
    dataset = crystal_maps(linked, (2, 3), [(0, 1), (-4, 4)])
    assert dataset["maps"].dims == ("grain", "dim_0", "dim_1")
    np.testing.assert_array_equal(dataset["maps"][0], [[0, 30, 0], [40, 0, 0]])
    np.testing.assert_array_equal(dataset["maps"][1], [[1, 2, 0], [0, 0, 0]])
    assert dataset["dim_0"].values.tolist() == [0, 1]
    assert dataset["dim_1"].values.tolist() == [-4, 0, 4]
    assert dataset["grain"].values.tolist() == [0, 1]
    per_grain = {name: dataset[name].values.tolist() for name in ("particle", "frames", "total", "y", "x", "mass")}
    assert per_grain == {
        "particle": [7, 3],
        "frames": [2, 2],
        "total": [70, 3],
        "y": [51, 10.5],
        "x": [60, 20.5],
        "mass": [35, 1.5],
    }
    np.testing.assert_array_equal(dataset["ep"], [np.nan, 0.1])


def test_snaked_rows_are_turned_the_right_way_round(linked):
    dataset = crystal_maps(linked, (2, 3), [(0, 1), (-4, 4)], (False, True))
    np.testing.assert_array_equal(dataset["maps"][0], [[0, 30, 0], [0, 0, 40]])


def test_only_the_brightest(linked):
    dataset = crystal_maps(linked, (2, 3), max_maps=1)
    assert dataset["particle"].values.tolist() == [7]
    np.testing.assert_array_equal(dataset["maps"], [[[0, 30, 0], [40, 0, 0]]])
    assert crystal_maps(linked, (2, 3), max_maps=9).sizes["grain"] == 2


def test_without_extents_the_axes_have_no_positions(linked):
    assert set(crystal_maps(linked, (2, 3)).coords) == {"grain"}


def test_names_of_the_axes_and_another_column(linked):
    dataset = crystal_maps(
        linked.rename(columns={"frame": "seq_num"}), [6], [(0, 5)], dims=["sx"], value="y", t_column="seq_num"
    )
    assert dataset["maps"].dims == ("grain", "sx")
    np.testing.assert_array_equal(dataset["maps"].sel(sx=3), [52, 0])


def test_a_single_axis_and_three(linked):
    np.testing.assert_array_equal(crystal_maps(linked, [4])["maps"][1], [1, 2, 0, 0])
    np.testing.assert_array_equal(crystal_maps(linked, (1, 2, 2), snaking=(0, 1, 1))["maps"][0], [[[0, 30], [40, 0]]])


def test_no_tracks_give_no_maps_of_the_right_shape():
    linked = pd.DataFrame({"y": [], "x": [], "mass": [], "frame": [], "particle": []})
    dataset = crystal_maps(linked, (2, 3), [(0, 1), (-4, 4)], (False, True))
    assert dataset["maps"].shape == (0, 2, 3)
    assert dataset["y"].shape == (0,)


@pytest.mark.parametrize("snaking", [(False, True, True), (False, False, True), (False, True, False)])
def test_places_of_a_real_grid_scan(run_engine, snaking):
    """Every event lands where its motors were, with shape, extents and snaking of the start document."""
    motors = [SynAxis(name=name) for name in ("slow", "middle", "fast")]
    documents: list[tuple[str, dict]] = []
    snaked = [motor for motor, snakes in zip(motors, snaking, strict=True) if snakes]
    arguments = (motors[0], 0, 2, 3, motors[1], -1, 1, 3, motors[2], 10, 13, 4)
    run_engine(grid_scan([], *arguments, snake_axes=snaked), lambda *document: documents.append(document))
    start = documents[0][1]
    events = [document for name, document in documents if name == "event"]
    assert tuple(start["snaking"]) == snaking

    linked = pd.DataFrame({"frame": [event["seq_num"] for event in events], "particle": 0})
    for motor in motors:
        table = linked.assign(mass=[event["data"][motor.name] for event in events])
        maps = crystal_maps(table, start["shape"], start["extents"], start["snaking"], dims=start["motors"])["maps"]
        expected = maps[motor.name].broadcast_like(maps[0]).transpose(*start["motors"])
        np.testing.assert_allclose(maps[0], expected, atol=1e-12)


def test_places_by_hand():
    assert scan_indices(np.arange(1, 7), (2, 3), (False, True)).tolist() == [
        [0, 0],
        [0, 1],
        [0, 2],
        [1, 2],
        [1, 1],
        [1, 0],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (1, 3)}, r"frame 4 is not one of the 3 of a scan of shape \(1, 3\)"),
        ({"shape": ()}, r"shape=\(\) must have a number of points"),
        ({"shape": (2, 0)}, r"shape=\(2, 0\) must have a number of points"),
        ({"extents": [(0, 1)]}, r"extents=\[\(0, 1\)\] must have 2 items"),
        ({"snaking": [True]}, r"snaking=\[True\] must have 2 items"),
        ({"dims": ["a", "b", "c"]}, "must have 2 items"),
        ({"dims": ["a", "a"]}, "must all be different"),
        ({"dims": ["x", "b"]}, r"dims=\['x', 'b'\]: 'x' is the name of a variable"),
        ({"value": "signal"}, "the table has no column 'signal'"),
        ({"max_maps": 0}, "max_maps=0 must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(linked, arguments, message):
    with pytest.raises(ValueError, match=message):
        crystal_maps(linked, **{"shape": (2, 3)} | arguments)
