"""Whatever the plan: a map is bright exactly where the motors were when the peak was seen."""

from __future__ import annotations

import bluesky.plans as bp
import numpy as np
import pytest
from cycler import cycler

from bluesky_ext import CrystalMap, PeakTracker
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.sim import beamline

UNEVEN, UNSORTED = [-1, -0.7, -0.1, 0.2, 1], [0.6, -0.6, 0, 1, -1, 0.3]
GRID, LINE, POINTS = ("sample_y", "sample_x"), ("sample_x",), ("point",)


@pytest.fixture(scope="module")
def b():
    """Two large grains of two spots each, so that most points of a scan have peaks."""
    return beamline(seed=3, shape=(96, 96), n_grains=2, spots_per_grain=2, scatter_rate=0, ring_rate=0)


def adaptive(d, y, x):
    """Smaller steps where the detector's sum changes."""
    return bp.adaptive_scan([d], "dexela_stats_total", x, -1, 1, 0.05, 0.5, 20000, True)


PLANS = {
    "grid_scan": (lambda d, y, x: bp.grid_scan([d], y, -1, 1, 5, x, -1, 1, 6), GRID, (5, 6)),
    "grid_scan, snaked": (lambda d, y, x: bp.grid_scan([d], y, 1, -1, 5, x, -1, 1, 6, True), GRID, (5, 6)),
    "rel_grid_scan": (lambda d, y, x: bp.rel_grid_scan([d], y, -1, 1, 5, x, -0.5, 0.5, 6), GRID, (5, 6)),
    "list_grid_scan": (lambda d, y, x: bp.list_grid_scan([d], y, UNEVEN, x, UNSORTED, snake_axes=True), GRID, (5, 6)),
    "rel_list_grid_scan": (lambda d, y, x: bp.rel_list_grid_scan([d], y, UNEVEN, x, UNSORTED), GRID, (5, 6)),
    "spiral_square": (lambda d, y, x: bp.spiral_square([d], x, y, 0, 0, 2, 2, 6, 5), GRID, (5, 6)),
    "scan_nd of a product": (
        lambda d, y, x: bp.scan_nd([d], cycler(x, UNSORTED) * cycler(y, UNEVEN)),
        ("sample_x", "sample_y"),
        (6, 5),
    ),
    "grid_scan_nd": (lambda d, y, x: grid_scan_nd([d], y, -1, 1, 5, x, -1, 1, 6, take_dark=False), GRID, (5, 6)),
    "scan": (lambda d, y, x: bp.scan([d], x, 1, -1, 21), LINE, (21,)),
    "rel_scan": (lambda d, y, x: bp.rel_scan([d], x, -0.9, 0.9, 21), LINE, (21,)),
    "list_scan": (lambda d, y, x: bp.list_scan([d], x, UNSORTED), LINE, (6,)),
    "scan of two motors": (lambda d, y, x: bp.scan([d], y, -1, 1, x, 1, -1, 21), POINTS, (21,)),
    "x2x_scan": (lambda d, y, x: bp.x2x_scan([d], y, x, -1, 1, 21), POINTS, (21,)),
    "spiral": (lambda d, y, x: bp.spiral([d], x, y, 0, 0, 2, 2, 0.3, 6), POINTS, None),
    "spiral_fermat": (lambda d, y, x: bp.spiral_fermat([d], x, y, 0, 0, 2, 2, 0.3, 1), POINTS, None),
    "adaptive_scan": (adaptive, LINE, None),
    "count": (lambda d, y, x: bp.count([d], 5), POINTS, (5,)),
}


def bright(dataset, number):
    """Positions where a map is bright, as a set of (y, x) or (x,), and how many points were measured."""
    image = dataset["maps"][number]
    motors = [name for name in ("sample_y", "sample_x") if name in image.coords]
    flat = {name: image[name].broadcast_like(image).to_numpy().ravel() for name in motors or ["seq_num"]}
    values = image.to_numpy().ravel()
    where = values > 0
    return set(zip(*(positions[where] for positions in flat.values()), strict=True)), int(np.isfinite(values).sum())


@pytest.mark.parametrize(("plan", "dims", "shape"), PLANS.values(), ids=PLANS)
def test_a_map_is_bright_where_the_motors_were(run_engine, b, plan, dims, shape):
    b.y.set(0.1), b.x.set(-0.1)
    pt, cm, raw = PeakTracker("dexela_image", 9, minmass=700), CrystalMap(search_range=4, memory=99), []
    pt.subscribe(cm)
    run_engine.subscribe(pt)
    run_engine(plan(b.detector, b.y, b.x), lambda *document: raw.append(document))
    events = {doc["seq_num"]: doc["data"] for name, doc in raw if name == "event"}
    maps = cm.dataset
    assert maps["maps"].dims == ("reflection", *dims)
    assert maps["maps"].shape[1:] == (shape or (len(events),))
    assert len(maps["maps"]) == 4 if dims == GRID else len(maps["maps"]) > 0
    motors = [name for name in ("sample_y", "sample_x") if name in maps.coords]
    for number, particle in enumerate(maps["particle"].values):
        seen = cm.tracks.query(f"particle == {particle}")["frame"]
        where, n_measured = bright(maps, number)
        assert where == {tuple(events[frame].get(motor, frame) for motor in motors or ["seq_num"]) for frame in seen}
        assert n_measured == len(events)
        if motors == ["sample_y", "sample_x"]:  # the truth of the simulation
            grain = next(grain for grain in b.crystal.grains if spot_of(grain, maps.isel(reflection=number)))
            lit = {(data["sample_y"], data["sample_x"]): float(grain.intensity(data["sample_y"], data["sample_x"]))
                   for data in events.values()}  # fmt: skip
            assert (
                {at for at, share in lit.items() if share > 0.7} <= where <= {at for at, share in lit.items() if share}
            )
    assert all(maps[motor].attrs["units"] == "mm" for motor in motors)


def spot_of(grain, reflection):
    """Whether a reflection is one of the spots of a grain."""
    return any(np.hypot(y - reflection["y"], x - reflection["x"]) < 1 for y, x in grain.spots)
