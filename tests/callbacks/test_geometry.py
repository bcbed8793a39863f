"""Peaks with the geometry of their detector: from a scan to maps and grains, and what a wrong .poni costs."""

from __future__ import annotations

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan
from cases import collect

from bluesky_ext import CrystalMap, CrystalMapper, PeakTracker, TrackLinker, redo
from bluesky_ext.peaks import LiveMaps, PeakRows, grains
from bluesky_ext.plots import plot_crystal_maps
from bluesky_ext.positions import lay_out
from bluesky_ext.sim import Crystal, beamline

#: Of silicon, in m.
D = (3.1356e-10, 1.9201e-10, 1.6375e-10)
KEY = "dexela_image"


def scanned(engine: RunEngine, poni: bytes, *, d_spacings: tuple[float, ...] = D):
    """A scan of a crystal with these d-spacings: its beamline, documents, peaks, tracks and maps."""
    b = beamline(seed=1, shape=(256, 256), n_grains=3, spots_per_grain=3, d_spacings=d_spacings)
    pt, tl, cm = PeakTracker(KEY, 11, minmass=700, poni=poni), TrackLinker(search_range=3), CrystalMap(3, memory=100)
    pt.subscribe(tl)
    pt.subscribe(cm)
    raw, peaks, tracks = [], collect(pt), collect(tl)
    token = engine.subscribe(pt)
    engine(grid_scan([b.detector], b.y, -1, 1, 4, b.x, -1, 1, 5), lambda *pair: raw.append(pair))
    engine.unsubscribe(token)
    return b, raw, peaks, tracks, cm


def test_reflections_have_the_d_spacings_of_the_crystal(shared_run_engine):
    crystal = Crystal(seed=1, shape=(256, 256), n_grains=3, spots_per_grain=3)
    b, raw, peaks, tracks, cm = scanned(shared_run_engine, crystal.geometry.poni)
    maps = cm.dataset
    assert maps.sizes["reflection"] == 9
    true = np.tile(D, 3) * 1e9  # in nm, grain after grain
    spots = np.concatenate([grain.spots for grain in b.crystal.grains])
    which = np.hypot(maps["y"].values[:, None] - spots[:, 0], maps["x"].values[:, None] - spots[:, 1]).argmin(axis=1)
    np.testing.assert_allclose(maps["d"], true[which], rtol=2e-3)  # a tenth of a pixel
    np.testing.assert_allclose(maps["q"], 2 * np.pi / true[which], rtol=2e-3)
    np.testing.assert_allclose(maps["two_theta"], b.crystal.geometry.two_theta(maps["y"], maps["x"]), rtol=1e-5)
    np.testing.assert_allclose(maps["chi"], np.degrees(np.arctan2(maps["y"] - 127.5, maps["x"] - 127.5)), atol=0.05)
    units = {"q": "1/nm", "two_theta": "deg", "chi": "deg", "d": "nm", "y": "px", "x": "px"}
    assert {name: maps[name].attrs["units"] for name in units} == units
    assert {name: grains(maps)[name].attrs["units"] for name in units} == units
    shown = cm.publish().tree["maps"]
    np.testing.assert_array_equal(shown["d"], maps["d"])
    assert shown["q_attrs"] == {"units": "1/nm"}
    for sink in (peaks, tracks):
        (rows,) = (doc for name, doc in sink if name == "descriptor" and doc["name"] == "primary")
        assert {name: rows["data_keys"][name]["units"] for name in units} == units
    title = plot_crystal_maps(maps, 1).axes[0].get_title().splitlines()
    assert title[2] == f"d {maps['d'].values[0]:.4g} nm, chi {maps['chi'].values[0]:.0f}°"
    assert redo(peaks, raw).agrees  # the .poni is in the record


def test_a_geometry_of_another_detector_costs_the_events_and_is_said_once(shared_run_engine, caplog):
    other = Crystal(shape=(256, 128), n_grains=0).geometry.poni
    _, _, peaks, _, _ = scanned(shared_run_engine, other)
    assert peaks.stop["failed_counts"] == {"primary": 20}
    said = [line for line in caplog.text.splitlines() if "give the .poni of this detector" in line]
    assert len(said) == 1
    assert "256 x 256 pixels, and the .poni is of a detector of 256 x 128" in said[0]


def test_windows_have_the_d_spacings_of_their_positions(shared_run_engine, caplog):
    crystal = Crystal(seed=1, shape=(256, 256), n_grains=3, spots_per_grain=3)
    _, raw, *_ = scanned(shared_run_engine, crystal.geometry.poni)
    maps = CrystalMapper(KEY, 11, n_windows=9, half_width=5, minmass=700, poni=crystal.geometry.poni).replay(raw)
    np.testing.assert_allclose(sorted(maps["d"].values), np.repeat(sorted(D), 3) * 1e9, rtol=1e-2)
    assert maps["d"].attrs["units"] == "nm"
    other = CrystalMapper(KEY, 11, windows=maps, poni=Crystal(shape=(256, 128), n_grains=0).geometry.poni)
    assert "maps" not in other.replay(raw)
    assert "give the .poni of this detector" in caplog.text


def test_the_mean_of_azimuths_is_their_mean_direction():
    rows = PeakRows()
    live = LiveMaps(rows, "mass")
    for frame, chi in enumerate((179.0, -177.0), 1):
        rows.put(frame, np.zeros(1, np.int64), {"mass": np.ones(1), "chi": np.array([chi])})
        bright = live.brightest(lay_out(np.arange(1, frame + 1), {}), None)
    assert bright.means[1] == pytest.approx([-179])


def test_a_poni_that_is_none_is_refused_when_the_stage_is_made():
    with pytest.raises(ValueError, match=r"the \.poni has no line 'Poni1'"):
        PeakTracker(KEY, 11, poni=b"Distance: 1")
