"""Regions: which pixels are in them, as matplotlib's paths have it, and what is in these."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ext.images import Region, regions_of

SHAPE = (40, 50)


def test_a_polygon_has_the_pixels_whose_centres_are_in_it():
    path = pytest.importorskip("matplotlib.path")
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for n in (3, 5, 12, 1000):
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))  # a star, which also leaves the image
        radii = rng.uniform(5, 30, n)
        corners = np.stack([25 + radii * np.cos(angles), 20 + radii * np.sin(angles)], axis=1)
        mask = Region("star", "polygon", *corners.T).mask(SHAPE)
        expected = path.Path(corners).contains_points(centres).reshape(SHAPE)
        np.testing.assert_array_equal(mask, expected)
        assert 0 < mask.sum() < mask.size


def test_sums_are_those_of_the_pixels_inside():
    image = np.random.default_rng(3).integers(0, 60_000, (2, *SHAPE)).astype(np.uint16)
    box = Region("box", "rectangle", (30.2, 9.9), (-5, 12))
    assert box.sum(image) == image[:, :13, 10:31].sum() / 2
    triangle = Region("triangle", "polygon", (0, 49, 0), (0, 0, 39))
    assert triangle.sum(image) == image[:, triangle.mask(SHAPE)].sum() / 2
    assert np.isnan(Region("beside", "rectangle", (60, 70), (0, 5)).sum(image))
    holes = image.astype(float)
    holes[:, 5, 12] = np.nan
    assert box.sum(holes) == (image[:, :13, 10:31].sum() - image[:, 5, 12].sum()) / 2
    spectra = np.arange(20).reshape(2, 10)
    assert Region("line", "range", (2, 4.5)).sum(spectra) == 2 + 3 + 4 + 12 + 13 + 14
    with pytest.raises(ValueError, match="give a range"):
        box.sum(spectra[0])


def test_regions_are_the_same_as_json_and_back():
    given = [{"name": "µ/<b>", "type": "rectangle", "x": [1, 2.5], "y": [0, 1]}]
    regions = regions_of(given)
    assert regions_of(str(regions)) == regions_of(str(regions).encode()) == regions
    assert regions_of(regions) == regions
    assert regions.plain == [{"name": "µ/<b>", "type": "rectangle", "x": [1.0, 2.5], "y": [0.0, 1.0]}]
