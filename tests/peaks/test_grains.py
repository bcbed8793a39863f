"""Grains, by hand and against the truth of a simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bluesky_ext.peaks import crystal_maps, grains, link, locate
from bluesky_ext.plots import plot_crystal_maps
from bluesky_ext.positions import lay_out
from bluesky_ext.sim.crystal import Crystal

SPOTS = 6


@pytest.fixture(scope="module")
def scan():
    """A crystal of eight grains, the peaks of its images, and where they were taken."""
    crystal = Crystal(seed=1, shape=(256, 256), n_grains=8, spots_per_grain=SPOTS)
    y, x = (axis.ravel() for axis in np.meshgrid(*[np.linspace(-1, 1, 18)] * 2, indexing="ij"))
    tables = [
        locate(crystal.frame(*at) - crystal.dark_mean.astype(float), 11, minmass=700, separation=9).assign(frame=number)
        for number, at in enumerate(zip(y, x, strict=True), start=1)
    ]
    return crystal, pd.concat(tables, ignore_index=True), lay_out(np.arange(1, len(y) + 1), {"sy": y, "sx": x})


def true_grain(crystal: Crystal, dataset: xr.Dataset) -> np.ndarray:
    """The grain in the sample that each reflection is of, by where it is on the detector; -1 if there is no spot."""
    spots = np.concatenate([grain.spots for grain in crystal.grains])
    away = np.hypot(dataset["y"].values[:, None] - spots[:, 0], dataset["x"].values[:, None] - spots[:, 1])
    return np.where(away.min(axis=1) < 2, away.argmin(axis=1) // SPOTS, -1)


@pytest.mark.parametrize(("lost", "noise", "false"), [(0.0, 0.0, 0), (0.1, 0.2, 60)])
def test_the_grains_of_the_simulation_are_found(scan, lost, noise, false):
    crystal, peaks, layout = scan
    rng = np.random.default_rng(0)
    kept = peaks[rng.random(len(peaks)) >= lost]
    kept = kept.assign(mass=kept["mass"] * np.exp(noise * rng.standard_normal(len(kept))))
    stray = {"y": rng.uniform(0, 256, false), "x": rng.uniform(0, 256, false), "mass": 1000.0}
    stray = pd.DataFrame({**stray, "frame": rng.integers(1, layout.n_cells, false)})
    maps = crystal_maps(link(pd.concat([kept, stray], ignore_index=True), 3, memory=100), layout)
    truth = true_grain(crystal, maps)
    # A whole reflection in ten is missing too.
    maps = maps.isel(reflection=np.flatnonzero(rng.random(len(truth)) >= lost))
    truth = true_grain(crystal, maps)
    found = grains(maps)
    assert found.sizes["grain"] == 8
    assert {frozenset(np.flatnonzero(found["grain_of"] == number)) for number in range(8)} == {
        frozenset(np.flatnonzero(truth == number)) for number in range(8)
    }
    assert (found["grain_of"].values[truth < 0] == -1).all()
    assert found["n_reflections"].values.tolist() == np.bincount(found["grain_of"][truth >= 0]).tolist()
    np.testing.assert_allclose(found["maps"].sum(("sy", "sx")), found["total"])
    assert (np.diff(found["total"]) <= 0).all()
    for number in range(8):  # where the map is bright, there the grain is
        grain = truth[np.flatnonzero(found["grain_of"] == number)[0]]
        at = found["maps"][number].argmax(("sy", "sx"))
        spot = found["maps"][number].isel(at)
        assert crystal.intensity(int(grain), spot["sy"].item(), spot["sx"].item()) > 0.5


def maps_of(*rows, **known) -> xr.Dataset:
    along = {name: ("reflection", values) for name, values in known.items()}
    maps = np.array(rows, float)
    points = {"seq_num": ("point", np.arange(1, maps.shape[1] + 1))}
    return xr.Dataset({"maps": (("reflection", "point"), maps), **along}, points)


def test_a_lone_reflection_is_of_no_grain_and_what_was_not_measured_stays_so():
    found = grains(maps_of([1, 1, np.nan], [2, 2, np.nan], [0, 0, np.nan], y=[5.0, 6.0, 7.0], total=[2.0, 4.0, 0.0]))
    np.testing.assert_array_equal(found["maps"], [[3, 3, np.nan]])
    assert found["grain_of"].values.tolist() == [0, 0, -1]
    np.testing.assert_allclose(found["overlap"], [1, 1, np.nan])
    assert found["y"].values.tolist() == [5, 6, 7]
    assert found["seq_num"].values.tolist() == [1, 2, 3]
    lone = maps_of([1, 1, 0, 0], [0, 0, 1, 1])
    assert grains(lone, min_reflections=1).sizes["grain"] == 2
    assert grains(lone).sizes["grain"] == 0
    assert grains(maps_of([1, 0]).isel(reflection=slice(0))).sizes == {"grain": 0, "reflection": 0, "point": 2}


def test_the_threshold_is_the_share_of_common_points():
    apart = maps_of([1, 1, 1, 0], [0, 1, 1, 1])  # two points of three
    assert grains(apart, 0.66).sizes["grain"] == 1
    assert grains(apart, 0.67).sizes["grain"] == 0


def test_grains_that_lie_over_each_other_are_said():
    small = [1, 0, 0, 0]  # 0.58 of each of the first two, 0.63 of their sum
    with pytest.warns(UserWarning, match=r"2 reflections fit more than one grain.*threshold above 0\.63"):
        found = grains(maps_of([1, 1, 0, 1], [1, 0, 1, 1], small, small), 0.6, min_points=1)
    assert found["grain_of"].values.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"threshold": 0}, "threshold=0"),
        ({"min_points": 0}, "min_points=0"),
        ({"dataset": xr.Dataset()}, "no maps of refl"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        grains(**{"dataset": maps_of([1, 0]), **arguments})


def test_a_picture_names_the_grains():
    figure = plot_crystal_maps(grains(maps_of([1, 1], [2, 2], y=[3.0, 4.0], x=[3.0, 4.0])))
    assert [axes.get_title() for axes in figure.axes] == ["grain 0\n2 reflections"]
