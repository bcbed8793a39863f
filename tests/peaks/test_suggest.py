"""Settings that are found, on images whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bluesky_ext.peaks import link, locate, suggest
from bluesky_ext.sim.crystal import Crystal


@pytest.mark.parametrize(("seed", "sigma"), [(0, 1.8), (1, 1.8), (2, 3.0)])
def test_the_spots_of_the_simulation_are_found_with_what_is_suggested(seed, sigma):
    crystal = Crystal(seed=seed, shape=(384, 384), n_grains=3, spot_sigma=sigma)
    y, x = crystal.grains[0].centre
    images = [crystal.frame(y, x + step) - crystal.dark_mean.astype(float) for step in (0, 0.02, 0.04)]
    found = suggest(*images)
    truth = crystal.spots_at(y, x, 0.3)
    away = np.hypot(
        found.peaks["y"].to_numpy()[:, None] - truth["y"], found.peaks["x"].to_numpy()[:, None] - truth["x"]
    )
    assert (away.min(axis=0) < 0.5).all()  # all spots
    assert len(found.peaks) <= len(crystal.spots_at(y, x))  # and nothing else
    assert 4 * sigma <= found.diameter <= 9 * sigma
    assert found.table["diameter"].is_monotonic_increasing
    tables = [
        locate(image, found.diameter, minmass=found.minmass, separation=found.separation).assign(frame=number)
        for number, image in enumerate(images)
    ]
    tracks = link(pd.concat(tables, ignore_index=True), found.search_range)
    of_spot = [np.hypot(tracks["y"] - spot["y"], tracks["x"] - spot["x"]) < 1 for spot in truth]
    assert all(tracks["particle"][here].nunique() == 1 for here in of_spot)
    assert str(found).startswith(f"PeakTracker(key, diameter={found.diameter}, minmass=")


def test_an_image_of_noise_has_no_settings():
    noise = np.random.default_rng(0).normal(100, 3, (256, 256))
    with pytest.raises(ValueError, match="no peaks stand out from the noise"):
        suggest(noise)
