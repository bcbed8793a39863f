from __future__ import annotations

from bluesky_ext.sim import Crystal, beamline


def test_names_and_places():
    b = beamline(seed=2, shape=(48, 64), n_grains=1, extents=((0.0, 1.0), (10.0, 14.0)))
    assert (b.detector.name, b.shutter.name, b.y.name, b.x.name) == ("dexela", "shutter", "sample_y", "sample_x")
    assert b.crystal == Crystal(2, (48, 64), n_grains=1, extents=((0.0, 1.0), (10.0, 14.0)))
    assert b.detector.crystal is b.crystal
    assert (b.y.position, b.x.position) == (0.5, 12.0)
    # The whole sample can be scanned, with room to spare.
    assert (b.y.limits, b.x.limits) == ((-10.0, 11.0), (0.0, 24.0))
    assert b.shutter.is_open


def test_the_name_is_that_of_the_images():
    b = beamline(shape=(48, 64), n_grains=0, name="pilatus")
    assert list(b.detector.describe()) == ["pilatus_image", "pilatus_stats_total"]
