"""Layouts of the points of a scan: grids in their readings, and points that make none."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ext.positions import Planned, lay_out, motors_of, planned_by

YS, XS = np.linspace(-1, 1, 7), np.linspace(-1, 1, 9)
PLANNED = Planned((7, 9), [(-1, 1), (-1, 1)])
SNAKED = Planned((7, 9), [(-1, 1), (-1, 1)], (False, True))


def grid(ys=YS, xs=XS, *, snake=False, noise=0.0, stop=None, draw="normal"):
    """Readings of y and x in a grid scan; the noise is in smallest steps."""
    points = [(y, x) for row, y in enumerate(ys) for x in (xs[::-1] if snake and row % 2 else xs)][:stop]
    y, x = np.array(points, float).T
    steps = [np.diff(np.sort(axis)).min() for axis in (ys, xs)]
    rng = np.random.default_rng(0)  # one for each test: what others draw is none of its business
    drawn = rng.normal(size=(2, len(y))) if draw == "normal" else rng.uniform(-1, 1, (2, len(y)))
    return {"y": y + noise * steps[0] * drawn[0], "x": x + noise * steps[1] * drawn[1]}


def laid_out(readings, planned=None, **more):
    return lay_out(np.arange(1, len(next(iter(readings.values()))) + 1), readings, planned, **more)


def assert_each_point_is_in_its_cell(layout, readings, away=1e-12):
    for motor, values in readings.items():
        dim, positions = layout.coords[motor]
        at = np.unravel_index(layout.cells, layout.shape)[layout.dims.index(dim)]
        np.testing.assert_allclose(positions[at], values, atol=away)


@pytest.mark.parametrize("planned", [None, PLANNED, SNAKED, Planned((7, 9))], ids=["no", "yes", "snaked", "shape"])
@pytest.mark.parametrize("snake", [False, True])
@pytest.mark.parametrize("n", [1, 2, 9, 10, 12, 31, 63])
def test_a_grid_is_one_while_it_grows(planned, snake, n):
    readings = grid(snake=snake, stop=n)
    layout = laid_out(readings, planned)
    whole = planned in (PLANNED, SNAKED) and (n < 10 or snake == (planned is SNAKED))
    assert layout.shape == ((7, 9) if whole or n == 63 else (-(-n // 9), min(n, 9)))
    assert_each_point_is_in_its_cell(layout, readings)
    assert layout.warning == layout.remark == ""
    if whole:
        np.testing.assert_allclose(layout.coords["y"][1], YS)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_noise_of_the_encoders_does_not_hide_a_grid(noise, draw):
    readings = grid(snake=True, noise=noise, draw=draw)
    layout = laid_out(readings, SNAKED)
    assert layout.shape == (7, 9)
    assert layout.warning == ""
    # The mean of n readings is off by their noise over the root of n.
    np.testing.assert_allclose(layout.coords["y"][1], YS, atol=4 * noise * (1 / 3) / np.sqrt(9))
    np.testing.assert_array_equal(layout.cells[:12], [*range(9), 17, 16, 15])


@pytest.mark.parametrize("ys", [YS, np.array([-1, -0.3, 0.2, 0.5, 1])])
def test_a_noisy_grid_that_nobody_planned(ys):
    readings = grid(ys, noise=0.2, draw="uniform")
    assert laid_out(readings).shape == (len(ys), 9)
    sent = grid(ys)
    jittered = grid(ys, noise=0.2)  # normal: their levels overlap, but it is known where the motors were sent
    assert laid_out(jittered, setpoints=sent).shape == (len(ys), 9)


def test_lists_of_any_order_have_rising_axes():
    readings = grid(np.array([0, -1, 1]), np.array([0, -1, 1, 0.5]))
    layout = laid_out(readings, Planned((3, 4), [(-1, 1), (-1, 1)]))
    assert layout.coords["x"][1].tolist() == [-1, 0, 0.5, 1]
    assert_each_point_is_in_its_cell(layout, readings)
    part = laid_out({name: values[:6] for name, values in readings.items()}, Planned((3, 4), [(-1, 1), (-1, 1)]))
    assert part.coords["y"][1].tolist() == [-1, 0]  # where the third is, nobody knows yet


def test_a_relative_scan_is_where_the_motors_were():
    planned = Planned((7, 9), [(-1, 1), (-1, 1)], is_relative=True)
    for n in (20, 63):
        layout = laid_out(grid(YS + 5, XS - 3, stop=n), planned)
        np.testing.assert_allclose(layout.coords["y"][1], YS + 5)
        assert layout.warning == ""


def test_three_motors_and_one():
    z, y, x = np.meshgrid([0, 5, 7], np.arange(4), np.arange(5), indexing="ij")
    volume = {"z": z.ravel(), "y": y.ravel(), "x": x.ravel()}
    assert laid_out(volume).shape == (3, 4, 5)
    assert laid_out({name: values[:22] for name, values in volume.items()}).shape == (2, 4, 5)
    line = laid_out({"x": [3.0, 1.0, 2.0]})
    assert (line.dims, line.cells.tolist(), line.coords["x"][1].tolist()) == (("x",), [2, 0, 1], [1, 2, 3])


def spiral(n):
    angle = np.linspace(0.1, 6 * np.pi, n)
    return {"y": angle * np.sin(angle), "x": angle * np.cos(angle)}


def hexagons():
    return dict(
        zip("yx", np.array([(row, 2 * at + row % 2) for row in range(5) for at in range(5)], float).T, strict=True)
    )


@pytest.mark.parametrize(
    "readings",
    [
        spiral(60),
        *({name: values[:n] for name, values in spiral(60).items()} for n in range(2, 8)),
        dict(zip("yx", np.random.default_rng(0).uniform(size=(2, 200)), strict=True)),
        hexagons(),
        {"y": [0, 0, 1, 1, 0], "x": [0, 1, 0, 1, 1]},  # one cell has two points
        {"x": [0, 1, 2, 1, 0]},
    ],
    ids=["spiral", *(f"{n} of a spiral" for n in range(2, 8)), "random", "hexagons", "twice", "to and fro"],
)
def test_points_that_make_no_grid_are_as_they_came(readings):
    layout = laid_out(readings)
    assert layout.dims == ("point",)
    assert_each_point_is_in_its_cell(layout, readings)
    assert layout.coords["seq_num"][1].tolist() == list(range(1, layout.n_cells + 1))
    assert not layout.is_grid


@pytest.mark.parametrize(
    ("readings", "dims", "said"),
    [
        (
            {**grid(), "y": np.full(63, 0.1)},
            ("point",),
            "y stayed at 0.1 and not from -1 to 1, its points make",
        ),
        (grid(XS, YS), ("y", "x"), "its points make a grid of 9 x 7 and not one of 7 x 9"),
        (grid(YS + 5), ("y", "x"), "y went from 4 to 6 and not from -1 to 1"),
        (grid(YS / 2), ("y", "x"), "y went from -0.5 to 0.5 and not from -1 to 1"),
        (grid(np.linspace(-1, 1, 8)), ("y", "x"), "its points make a grid of 8 x 9 and not one of 7 x 9"),
    ],
)
def test_where_readings_and_plan_disagree_the_readings_count(readings, dims, said):
    layout = laid_out(readings, PLANNED)
    assert layout.dims == dims
    assert said in layout.warning
    assert_each_point_is_in_its_cell(layout, readings)


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (
            {"y": np.full(5, 0.1), "x": np.full(5, 2)},
            "all 5 points are at one position (y 0.1, x 2): plot",
        ),
        (
            {"y": np.arange(5.0), "x": 3 - np.arange(5) / 2},
            "y and x move together: for maps over one of them give",
        ),
        ({"y": [0, np.nan, 1], "x": [0, 1, 0]}, "1 of 3 events have no reading of y and x: maps lack them"),
    ],
)
def test_what_is_odd_is_said(readings, said):
    assert said in laid_out(readings).remark


def test_a_motor_that_stayed_behind_where_it_was_sent_is_said():
    sent = {"y": [0, 0.5, 1], "x": [0, 0.5, 1]}
    layout = laid_out({"y": [0.3, 0.3001, 0.2999], "x": [0, 0.5, 1]}, setpoints=sent)
    assert "y went from 0.2999 to 0.3001 and was sent from 0 to 1; maps show where the motors were" in layout.warning
    assert laid_out(sent, setpoints=sent).warning == ""


def test_without_readings_points_are_where_they_were_planned():
    frames = np.array([1, 2, 5])
    layout = lay_out(frames, {}, Planned((2, 3), [(0, 1), (4, 8)], (False, True)), names=("y", "x"))
    np.testing.assert_array_equal(layout.placed(np.array([1, 2, 5])), [[1, 2, np.nan], [np.nan, 5, np.nan]])
    assert layout.coords["x"][1].tolist() == [4, 6, 8]
    numbered = lay_out(frames, {}, Planned((2, 2)))
    assert (numbered.dims, numbered.shape) == (("point",), (3,))
    assert "event 5 is not one of the 4 of a scan of shape (2, 2)" in numbered.warning


def test_cells_in_the_order_of_the_scan():
    assert SNAKED.cells(np.arange(8, 12)).tolist() == [[0, 7], [0, 8], [1, 8], [1, 7]]
    cube = Planned((2, 3, 2), snaking=(False, True, True))
    order = np.ravel_multi_index(tuple(cube.cells(np.arange(1, 13)).T), cube.shape)
    assert order.tolist() == [0, 1, 3, 2, 4, 5, 11, 10, 8, 9, 7, 6]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shape": ()}, r"shape=\(\) must have"),
        ({"shape": (2, 0)}, r"shape=\(2, 0\) must have"),
        ({"shape": "disc"}, "shape='disc' must have a whole number"),
        ({"shape": (2, 3), "extents": [(0, 1)]}, r"extents=\[\(0, 1\)\] must have 2 items"),
        ({"shape": (2, 3), "extents": [0, 1]}, "extents="),
        ({"shape": (2, 3), "snaking": [True]}, r"snaking=\[True\] must have 2 items"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Planned(**wrong)


def test_the_motors_of_a_scan_are_known_however_many_stages_later():
    raw = {"motors": ["my", "mx"], "hints": {"dimensions": [[["my"], "primary"], [["mx_read"], "primary"]]}}
    once = {"analysis": {"parent_run_uid": "a", "objects": raw}}
    twice = {"analysis": {"parent_run_uid": "b", "upstream": [once["analysis"]]}}
    assert [motors_of(start) for start in (raw, once, twice)] == [["my", "mx_read"]] * 3
    together = {"motors": ["my", "mx"], "hints": {"dimensions": [[["my", "mx"], "primary"]]}}
    assert motors_of(together) == ["my", "mx"]
    assert motors_of({"hints": {"dimensions": [[["time"], "primary"]]}}) == motors_of({"analysis": "mine"}) == []
    assert planned_by({"shape": [2, 3], "plan_name": "rel_grid_scan"}).is_relative


def test_a_scan_without_motors_says_what_to_do():
    assert "the scan has no motors: its points are numbered; give motors=" in lay_out(np.arange(1, 4), {}).remark
    assert lay_out(np.arange(1, 2), {}).remark == ""  # of a single image there is no map
