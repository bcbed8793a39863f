from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trackpy

from bluesky_ext.sim import Crystal, Grain

trackpy.quiet()


@pytest.fixture(scope="module")
def crystal() -> Crystal:
    return Crystal(seed=1)


def small(**parameters: Any) -> Crystal:
    return Crystal(**{"seed": 3, "shape": (64, 64), "n_grains": 1, **parameters})


# --- the same arguments, the same frame -------------------------------------------------------------------------


def test_a_frame_depends_on_its_arguments_alone():
    first, second = small(), small()
    ahead = [first.frame(0.1, 0.2, index) for index in range(3)]
    back = [second.frame(0.1, 0.2, index) for index in (2, 1, 0)]
    for one, other in zip(ahead, reversed(back), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        {"exposure": 1},
        {"y": 0.10000001},
        {"x": 0.20000001},
        {"acquire_time": 0.1000001},
        {"shutter_open": False},
    ],
)
def test_another_argument_is_another_draw_of_the_noise(other: dict[str, float]):
    # Without any light only the noise is left, so that equal noise would be an equal frame.
    crystal = small(n_grains=0, scatter_rate=0, ring_rate=0)
    here = {"y": 0.1, "x": 0.2, "exposure": 0, "acquire_time": 0.1, "shutter_open": True}
    one, two = crystal.frame(**here), crystal.frame(**{**here, **other})  # pyright: ignore[reportArgumentType]
    # Independent rounded normal noise of 3 counts agrees in one pixel out of eleven.
    assert (one == two).mean() < 0.2


def test_another_seed_is_another_crystal():
    one, two = small(seed=3), small(seed=4)
    assert one.grains[0].centre != two.grains[0].centre
    assert (one.grains[0].spots != two.grains[0].spots).all()
    assert (one.dark_mean != two.dark_mean).mean() > 0.99


def test_equal_parameters_are_equal_crystals_and_lists_are_as_good_as_tuples():
    listed = Crystal(seed=3, shape=np.array([64, 64]), n_grains=1, extents=[[-1, 1], [-1, 1]], rings=[0.35, 0.6, 0.85])  # pyright: ignore[reportArgumentType]
    assert listed == small()
    assert repr(listed) == repr(small(extents=((-1, 1), (-1, 1))))
    assert hash(listed) == hash(small())
    assert dataclasses.replace(listed, seed=4) == small(seed=4)


def test_the_sample_does_not_depend_on_the_detector():
    one, two = (
        Crystal(seed=5, shape=(64, 64), n_grains=3, spots_per_grain=2),
        Crystal(seed=5, shape=(128, 96), n_grains=3, spots_per_grain=4),
    )
    assert [(g.centre, g.extent, g.angle) for g in one.grains] == [(g.centre, g.extent, g.angle) for g in two.grains]


def test_minus_zero_is_zero():
    np.testing.assert_array_equal(small().frame(0.0, 0.0), small().frame(-0.0, -0.0))


# --- physics -----------------------------------------------------------------------------------------------------


def test_dark_image_has_the_offset_and_the_pattern_asked_for():
    dark = Crystal(shape=(256, 256), n_grains=0, offset=200.0, pattern=4.0).dark_mean
    assert dark.mean() == pytest.approx(200, abs=5 * 4 / 256)
    assert dark.std() == pytest.approx(4, rel=5 / (256 * math.sqrt(2)))


def test_noise_is_counting_noise():
    crystal = small(read_noise=2.0)
    y, x = crystal.grains[0].centre
    frames = np.array([crystal.frame(y, x, index) for index in range(400)], float)
    counts = crystal.expected(y, x).astype(float) - crystal.dark_mean
    ratio = frames.var(axis=0, ddof=1) / (counts + 2.0**2 + 1 / 12)
    assert ratio.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / 399) / 64)


def test_mean_of_frames_is_expected():
    crystal = small()
    y, x = crystal.grains[0].centre
    count = 400
    mean = np.mean([crystal.frame(y, x, index, acquire_time=0.2) for index in range(count)], axis=0)
    expected = crystal.expected(y, x, acquire_time=0.2).astype(float)
    error = np.sqrt((expected - crystal.dark_mean + 9 + 1 / 12) / count)
    assert (np.abs(mean - expected) < 5.5 * error).all()


def test_expected_in_the_dark_is_the_dark_image_and_a_copy():
    crystal = small()
    dark = crystal.expected(0, 0, shutter_open=False)
    np.testing.assert_array_equal(dark, crystal.dark_mean)
    dark[0, 0] = 0
    assert crystal.dark_mean[0, 0] != 0


def test_a_spot_is_a_gaussian_of_its_amplitude():
    crystal = small(spots_per_grain=1, scatter_rate=0, ring_rate=0, offset=0, pattern=0)
    grain = crystal.grains[0]
    spot = crystal.expected(*grain.centre, acquire_time=0.5).astype(float)
    rows, columns = np.indices(crystal.shape)
    assert spot.sum() == pytest.approx(0.5 * grain.amplitudes[0] * 2 * math.pi * 1.8**2, rel=1e-5)
    assert (rows * spot).sum() / spot.sum() == pytest.approx(grain.spots[0, 0], abs=1e-4)
    assert (columns * spot).sum() / spot.sum() == pytest.approx(grain.spots[0, 1], abs=1e-4)
    assert ((rows - grain.spots[0, 0]) ** 2 * spot).sum() / spot.sum() == pytest.approx(1.8**2, rel=1e-3)


def test_spots_at_the_border_are_cut_off():
    crystal = small(spots_per_grain=40, spot_separation=0, spot_sigma=3.0)
    nearest = min(np.min([spots, np.subtract(63, spots)]) for spots in (crystal.grains[0].spots,))
    assert nearest < 15, "a spot should reach over the border, or this test shows nothing"
    assert crystal.frame(*crystal.grains[0].centre).shape == (64, 64)


def test_frames_saturate():
    crystal = small(spot_rate=1e7)
    frame = crystal.frame(*crystal.grains[0].centre)
    y, x = np.rint(crystal.grains[0].spots[0]).astype(int)
    assert frame[y, x] == 65535


def test_counts_below_zero_are_zero():
    frame = small(offset=0, pattern=0).frame(0, 0, shutter_open=False)
    assert frame.min() == 0
    # Half of the noise is below 0, and what is above 0 but below one half is rounded to it.
    assert (frame == 0).mean() == pytest.approx(0.566, abs=5 * 0.5 / 64)


# --- ground truth --------------------------------------------------------------------------------------------------


def test_intensity_is_one_inside_half_at_the_extent_and_zero_outside():
    grain = Grain(
        number=0,
        centre=(1.0, 2.0),
        extent=(0.5, 0.25),
        angle=math.radians(90),
        edge=0.2,
        spots=np.zeros((1, 2)),
        amplitudes=np.ones(1),
    )
    # Rotated by 90 degrees, the axis of 0.5 mm lies along x.
    assert grain.intensity(1.0, [2.0, 2.39, 2.5, 2.61]) == pytest.approx([1, 1, 0.5, 0])
    assert grain.intensity([1.0, 1.19, 1.25, 1.31], 2.0) == pytest.approx([1, 1, 0.5, 0])


def test_intensity_map_is_broadcast(crystal: Crystal):
    y, x = np.linspace(-1, 1, 5), np.linspace(-1, 1, 7)
    grain = crystal.grains[2]
    one = crystal.intensity(grain, y[:, None], x[None, :])
    assert one.shape == (5, 7)
    np.testing.assert_array_equal(one, crystal.intensity(2, y[:, None], x[None, :]))
    assert one[3, 4] == crystal.intensity(grain, y[3], x[4])


def test_spots_at_are_those_of_the_grains_in_the_beam(crystal: Crystal):
    y, x = crystal.grains[0].centre
    spots = pd.DataFrame(crystal.spots_at(y, x))
    hit = [grain.number for grain in crystal.grains if crystal.intensity(grain, y, x) > 0]
    assert sorted(set(spots["grain"])) == hit
    mine = spots[spots["grain"] == 0]
    np.testing.assert_array_equal(mine[["y", "x"]], crystal.grains[0].spots)
    np.testing.assert_array_equal(mine["amplitude"], crystal.grains[0].amplitudes)


def test_spots_at_scale_with_the_intensity_and_leave_out_the_weak():
    crystal = small()
    grain = crystal.grains[0]
    edge_y = grain.centre[0] + grain.extent[0] * math.cos(grain.angle)
    edge_x = grain.centre[1] + grain.extent[0] * math.sin(grain.angle)
    spots = crystal.spots_at(edge_y, edge_x)
    assert spots["amplitude"] == pytest.approx(grain.amplitudes / 2)
    assert len(crystal.spots_at(edge_y, edge_x, min_intensity=0.51)) == 0
    assert len(crystal.spots_at(edge_y, edge_x, min_intensity=0.49)) == 6
    assert len(crystal.spots_at(100.0, 100.0)) == 0


def test_spots_are_separated_and_away_from_the_borders(crystal: Crystal):
    spots = np.concatenate([grain.spots for grain in crystal.grains])
    distance = np.hypot(*(spots[:, None] - spots[None, :]).transpose(2, 0, 1))
    assert distance[~np.eye(len(spots), dtype=bool)].min() >= 512 / 20
    assert spots.min() > 512 / 40
    assert spots.max() < 511 - 512 / 40


def test_grains_lie_in_the_extents():
    crystal = small(n_grains=5, spots_per_grain=1, extents=((10.0, 11.0), (-30.0, -20.0)))
    y, x = np.transpose([grain.centre for grain in crystal.grains])
    assert (y > 10).all()
    assert (y < 11).all()
    assert (x > -30).all()
    assert (x < -20).all()
    # Ten times as long along x as along y, with the shape of each between 0.8 and 1.5 of the mean.
    for grain in crystal.grains:
        assert 10 * 0.8 / 1.5 <= grain.extent[1] / grain.extent[0] <= 10 * 1.5 / 0.8


def test_ground_truth_cannot_be_changed(crystal: Crystal):
    with pytest.raises(ValueError, match="read-only"):
        crystal.grains[0].spots[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        crystal.dark_mean[0, 0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        crystal.seed = 2  # pyright: ignore[reportAttributeAccessIssue]


def located(crystal: Crystal, y: float, x: float, frames: int, diameter: int, **parameters: Any) -> pd.DataFrame:
    light = np.mean([crystal.frame(y, x, index) for index in range(frames)], axis=0)
    dark = np.mean([crystal.frame(y, x, index, shutter_open=False) for index in range(frames)], axis=0)
    return massive(trackpy.locate(light - dark, diameter, **parameters))


def massive(peaks: pd.DataFrame) -> pd.DataFrame:
    # As minmass=700 does, but without a warning when nothing is left.
    return peaks.loc[peaks["mass"] > 700]


def compare(crystal: Crystal, y: float, x: float, peaks: pd.DataFrame) -> int:
    """Every spot is found within 0.2 px, and nothing else is: returns how many."""
    every, strong = crystal.spots_at(y, x), crystal.spots_at(y, x, min_intensity=0.3)

    def nearest(points: np.ndarray, to: np.ndarray) -> np.ndarray:
        return np.hypot(*(points[:, None] - to[None, :]).transpose(2, 0, 1)).min(axis=1, initial=np.inf)

    found = peaks[["y", "x"]].to_numpy()
    true = np.column_stack([every["y"], every["x"]])
    assert (nearest(np.column_stack([strong["y"], strong["x"]]), found) < 0.2).all()
    assert (nearest(found, true) < 1.5).all()
    return len(strong)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("y", [-0.75, 0.0, 0.75])
def test_trackpy_finds_the_spots(crystal: Crystal, y: float, frames: int):
    strong = 0
    for x in (-0.75, 0.0, 0.75):
        peaks = located(crystal, y, x, frames, 11, percentile=80)
        strong += compare(crystal, y, x, peaks)
    assert strong >= 6, "no grain in this row: the test shows nothing"


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"shape": (512,)}, r"shape is \(512,\)"),
        ({"shape": (512, 16)}, "a side of shape is 16"),
        ({"n_grains": -1}, "n_grains is -1"),
        ({"spots_per_grain": 0}, "spots_per_grain is 0"),
        ({"extents": ((1, -1), (-1, 1))}, "extents are"),
        ({"extents": ((-1, 1), (-1, math.nan))}, "extents are"),
        ({"extents": ((-1, 1),)}, "extents are"),
        ({"spot_separation": -1}, "spot_separation is -1"),
        ({"spot_sigma": 0}, "spot_sigma is 0"),
        ({"spot_rate": -1.0}, "spot_rate is -1.0"),
        ({"scatter_rate": math.nan}, "scatter_rate is nan"),
        ({"ring_rate": math.inf}, "ring_rate is inf"),
        ({"rings": (0.0,)}, "a radius in rings is 0.0"),
        ({"offset": -100}, "offset is -100"),
        ({"read_noise": -1}, "read_noise is -1"),
        ({"spots_per_grain": 1000}, "of 1000 points fit 3.2 apart"),
    ],
)
def test_wrong_parameters_are_said_at_once_in_one_line(parameters: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        small(**parameters)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": math.nan}, "not finite"),
        ({"exposure": -1}, "exposure is -1"),
        ({"exposure": 0.5}, "exposure is 0.5"),
        ({"acquire_time": 0.0, "shutter_open": False}, "acquire_time is 0.0"),
        ({"y": math.nan, "shutter_open": False}, "not finite"),
    ],
)
def test_wrong_arguments_of_a_frame(arguments: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        small().frame(**{"y": 0.0, "x": 0.0, **arguments})  # pyright: ignore[reportArgumentType]


def test_an_empty_holder_has_no_grains():
    crystal = small(n_grains=0)
    assert crystal.grains == ()
    assert len(crystal.spots_at(0, 0)) == 0
    assert crystal.frame(0, 0).mean() > crystal.dark_mean.mean() + 100
