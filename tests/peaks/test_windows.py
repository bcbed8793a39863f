from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ext.peaks import mean_in_windows, place_windows, window_maps, windows_around
from bluesky_ext.positions import Planned, lay_out

IMAGE = np.arange(30.0).reshape(5, 6)
EDGES = ["y_start", "y_stop", "x_start", "x_stop"]


def table(*rows, columns=("y", "x", "dy", "dx")):
    return pd.DataFrame([*rows], columns=[*columns])


def test_means_by_hand():
    # Rows 0 to 2, columns 1 to 3: symmetric about the 8. The corner is cut to 0, 1, 6, 7; the last reaches all.
    windows = place_windows(table((1, 2, 1, 1), (0, 0, 1, 1), (2, 2, 9, 9)), IMAGE.shape)
    assert windows[EDGES].to_numpy().tolist() == [[0, 3, 1, 4], [0, 2, 0, 2], [0, 5, 0, 6]]
    assert mean_in_windows(IMAGE, windows).tolist() == [8.0, 3.5, 14.5]


def test_windows_are_around_the_brightest_peaks():
    peaks = table((1.9, 2.9, 5, 1), (3.1, 1.0, 7, 2), (4.0, 5.99, 7, 3), columns=("y", "x", "mass", "ecc"))
    windows = windows_around(peaks, 1, IMAGE.shape, 2)
    assert windows.columns.tolist() == ["y", "x", "mass", "ecc", "dy", "dx", *EDGES]
    assert windows["ecc"].tolist() == [2, 3]  # equally bright: in their order
    assert windows.index.tolist() == [0, 1]
    # Fractions of the middle are cut off: pixel (3, 1), and (4, 5) in the corner.
    assert windows[EDGES].to_numpy().tolist() == [[2, 5, 0, 3], [3, 5, 4, 6]]
    assert len(windows_around(peaks, 1, IMAGE.shape)) == 3
    assert windows_around(peaks.drop(columns="mass"), 1, IMAGE.shape, 1)["ecc"].tolist() == [1]
    assert list(peaks.columns) == ["y", "x", "mass", "ecc"]


def test_windows_of_no_peaks_are_none():
    windows = windows_around(pd.DataFrame({"y": [], "x": [], "mass": []}), 3, (5, 6))
    assert windows[EDGES].shape == (0, 4)
    assert mean_in_windows(IMAGE, windows).shape == (0,)


def test_placing_again_changes_nothing():
    windows = windows_around(table((2.5, 3.5), columns=("y", "x")), 2, IMAGE.shape)
    pd.testing.assert_frame_equal(place_windows(windows, IMAGE.shape), windows)


def test_pixels_that_are_not_finite_do_not_count():
    image = IMAGE.copy()
    image[0, 0], image[1, 1], image[4, 4:] = np.nan, np.inf, np.nan
    windows = place_windows(table((0, 0, 1, 1), (4, 5, 0, 1)), image.shape)
    means = mean_in_windows(image, windows)
    assert means[0] == (1 + 6) / 2
    assert np.isnan(means[1])


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "i8", "u8", "f2", "f4", ">f8", "f8", "?"])
def test_images_of_any_dtype_and_layout(dtype):
    windows = place_windows(table((1, 2, 1, 1), (4, 4, 2, 1)), IMAGE.shape)
    image = IMAGE.astype(dtype)
    expected = [image[a:b, c:d].mean(dtype=float) for a, b, c, d in windows[EDGES].to_numpy()]
    frozen = image.copy()
    frozen.flags.writeable = False
    for one in (image, frozen, np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2], image.tolist()):
        assert mean_in_windows(one, windows) == pytest.approx(expected, rel=1e-14)


@given(
    st.lists(st.tuples(st.floats(0, 39.9), st.floats(0, 29.9), st.integers(0, 50), st.integers(0, 50)), min_size=1),
    st.integers(0, 2**32 - 1),
)
def test_means_are_those_of_numpy(rows, seed):
    image = np.random.default_rng(seed).normal(100, 30, (40, 30))
    windows = place_windows(table(*rows), image.shape)
    for (y, x, dy, dx), (a, b, c, d), mean in zip(
        rows, windows[EDGES].to_numpy(), mean_in_windows(image, windows), strict=True
    ):
        assert (a, b) == (max(int(y) - dy, 0), min(int(y) + dy + 1, 40))
        assert (c, d) == (max(int(x) - dx, 0), min(int(x) + dx + 1, 30))
        assert mean == pytest.approx(image[a:b, c:d].mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ((5, 2, 0, 1), "window 1, with y=5 and dy=0, has no pixel of an image of shape \\(5, 6\\)"),
        ((1, -3, 1, 2), "window 1, with x=-3 and dx=2"),
        ((1, np.nan, 1, 2), "x=nan"),
        ((np.inf, 1, 1, 2), "y=inf"),
        ((1, 1, -1, 2), "dy=-1"),
        ((1, 1, 1, 1.5), "dx=1.5"),
        ((1, 1, np.nan, 2), "dy=nan"),
    ],
)
def test_a_window_without_pixels_is_refused(row, match):
    with pytest.raises(ValueError, match=match):
        place_windows(table((1, 1, 1, 1), row), IMAGE.shape)


def test_what_makes_no_sense_is_refused():
    peaks = table((1.0, 2.0), columns=("y", "x"))
    with pytest.raises(ValueError, match="half_width=-1"):
        windows_around(peaks, -1, IMAGE.shape)
    with pytest.raises(ValueError, match="n=0"):
        windows_around(peaks, 1, IMAGE.shape, 0)
    with pytest.raises(ValueError, match="no column 'dx'"):
        place_windows(table((1, 2, 3), columns=("y", "x", "dy")), IMAGE.shape)
    windows = windows_around(peaks, 1, IMAGE.shape)
    for image in (np.zeros((2, 5, 6)), np.zeros((5, 6), complex), np.full((5, 6), "x")):
        with pytest.raises(ValueError, match="not an image"):
            mean_in_windows(image, windows)
    with pytest.raises(ValueError, match="beyond an image of shape \\(2, 6\\)"):
        mean_in_windows(IMAGE[:2], windows)
    with pytest.raises(ValueError, match="beyond an image"):
        mean_in_windows(IMAGE, windows.assign(x_start=-1))


def test_maps_by_hand():
    windows = place_windows(table((1, 2, 1, 1), (0, 0, 1, 1)), IMAGE.shape)
    means = [[10 * frame, frame] for frame in (1, 2, 3, 4, 6)]
    layout = lay_out(np.array([1, 2, 3, 4, 6]), {}, Planned((2, 3), [(0, 1), (4, 8)], [False, True]))
    maps = window_maps(means, [1, 2, 3, 4, 6], windows, [10, 0.5], layout)
    assert maps["maps"].dims == ("reflection", "dim_0", "dim_1")
    # The second row was run through backwards: 6, 5, 4, and 5 never came.
    expected = [[[0, 10, 20], [50, np.nan, 30]], [[0.5, 1.5, 2.5], [5.5, np.nan, 3.5]]]
    np.testing.assert_array_equal(maps["maps"], expected)
    assert maps["background"].values.tolist() == [10, 0.5]
    assert maps["dim_0"].values.tolist() == [0, 1]
    assert maps["dim_1"].values.tolist() == [4, 6, 8]
    assert {name: maps[name].values.tolist() for name in ("y", "dx", "y_stop")} == {
        "y": [1, 0],
        "dx": [1, 1],
        "y_stop": [3, 2],
    }


def test_maps_before_the_first_frame_are_of_nothing():
    windows = place_windows(table((1, 2, 1, 1)), IMAGE.shape)
    maps = window_maps([], [], windows, [1.0], lay_out(np.array([1, 2]), {"x": [0, 1]}))
    assert maps["maps"].dims == ("reflection", "motor_x")
    assert np.isnan(maps["maps"]).all()
