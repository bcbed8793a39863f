"""Whatever the plan: a map is bright exactly where the motors were when the peak was seen."""

from __future__ import annotations

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pandas as pd
import pytest
from bluesky.utils import RunEngineInterrupted
from cycler import cycler

from bluesky_ext import CrystalMap, CrystalMapper, PeakTracker
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.sim import CrystalDetector, SimMotor, beamline

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


class Shaky(SimMotor):
    """A motor whose encoder is off by up to 0.08, another way at each reading."""

    rng = np.random.default_rng(5)

    def read(self):
        reading = super().read()
        reading[self.name] |= {"value": reading[self.name]["value"] + self.rng.uniform(-0.08, 0.08)}
        return reading


def positions(maps):
    """The positions of the motors at each point of the maps, (points, motors), or the number of each."""
    image = maps["maps"][0]
    motors = [name for name in ("sample_y", "sample_x") if name in image.coords] or ["seq_num"]
    return motors, np.stack([image[name].broadcast_like(image).to_numpy().ravel() for name in motors], axis=1)


def spot_of(grain, reflection):
    """Whether a reflection is one of the spots of a grain."""
    return any(np.hypot(y - reflection["y"], x - reflection["x"]) < 1 for y, x in grain.spots)


def assert_bright_where_the_motors_were(b, cm, events, away=1e-9):
    maps = cm.dataset
    motors, points = positions(maps)
    taken = {}  # the point of each frame: the one that is nearest to where the motors were
    for frame, data in events.items():
        distances = np.abs(points - [data.get(motor, frame) for motor in motors]).max(axis=1)
        taken[frame] = int(distances.argmin())
        assert distances.min() <= away
    assert len(set(taken.values())) == len(events)
    for number, particle in enumerate(maps["particle"].values):
        values = maps["maps"][number].to_numpy().ravel()
        assert set(np.flatnonzero(np.isfinite(values))) == set(taken.values())
        seen = {taken[frame] for frame in cm.tracks.query(f"particle == {particle}")["frame"]}
        assert set(np.flatnonzero(values > 0)) == seen
        if motors == ["sample_y", "sample_x"]:  # the truth of the simulation
            grain = next(grain for grain in b.crystal.grains if spot_of(grain, maps.isel(reflection=number)))
            lit = {
                at: grain.intensity(events[frame]["sample_y"], events[frame]["sample_x"]) for frame, at in taken.items()
            }
            assert {at for at, share in lit.items() if share > 0.7 + 2 * away} <= seen
            assert away > 1e-9 or seen <= {at for at, share in lit.items() if share > 0}
    assert all(maps[motor].attrs["units"] == "mm" for motor in motors if motor != "seq_num")


def _chain(**options):
    pt, cm = PeakTracker("dexela_image", 9, minmass=700), CrystalMap(search_range=4, memory=99, **options)
    pt.subscribe(cm)
    return pt, cm


def scanned(run_engine, detector, plan):
    """The maps of a plan, and the data of its events."""
    (pt, cm), raw = _chain(), []
    run_engine.subscribe(pt)
    run_engine(plan, lambda *document: raw.append(document))
    return cm, {doc["seq_num"]: doc["data"] for name, doc in raw if name == "event"}


@pytest.mark.parametrize(("plan", "dims", "shape"), PLANS.values(), ids=PLANS)
def test_a_map_is_bright_where_the_motors_were(run_engine, b, plan, dims, shape, caplog):
    b.y.set(0.1), b.x.set(-0.1)
    cm, events = scanned(run_engine, b.detector, plan(b.detector, b.y, b.x))
    assert cm.dataset["maps"].dims == ("reflection", *dims)
    assert cm.dataset["maps"].shape[1:] == (shape or (len(events),))
    assert len(cm.dataset["maps"]) == 4 if dims == GRID else len(cm.dataset["maps"]) > 0
    assert_bright_where_the_motors_were(b, cm, events)
    assert "not as its start document says" not in caplog.text
    has_motors = cm.dataset["maps"].coords.keys() - {"reflection", "seq_num"}
    assert caplog.text.count("the scan has no motors: the points are numbered; give motors=") == (not has_motors)


@pytest.mark.parametrize("plan", ["grid_scan, snaked", "spiral_square", "scan_nd of a product"])
def test_encoders_that_shake_do_not_hide_a_grid(run_engine, b, plan):
    y, x = (Shaky(name=name, limits=(-9, 9)) for name in ("sample_y", "sample_x"))
    detector = CrystalDetector(name="dexela", crystal=b.crystal, y=y, x=x)
    plan, dims, shape = PLANS[plan]
    cm, events = scanned(run_engine, detector, plan(detector, y, x))
    assert cm.dataset["maps"].dims == ("reflection", *dims)
    assert cm.dataset["maps"].shape[1:] == shape
    assert_bright_where_the_motors_were(b, cm, events, away=0.17)


def test_set_points_by_choice(run_engine, b):
    pt, cm = _chain(positions="setpoint")
    run_engine.subscribe(pt)
    y, x = (Shaky(name=name, limits=(-9, 9)) for name in ("sample_y", "sample_x"))
    run_engine(bp.list_grid_scan([CrystalDetector(name="dexela", crystal=b.crystal, y=y, x=x)], y, UNEVEN, x, UNSORTED))
    assert cm.dataset["sample_y"].values.tolist() == UNEVEN
    assert cm.dataset["sample_x"].values.tolist() == sorted(UNSORTED)


def test_a_scan_that_is_paused_and_resumed(run_engine, b):
    pauses, (pt, cm), events = iter([True]), _chain(), {}

    def pause_once(message):
        is_due = message.command == "save" and b.y.position == 0 and next(pauses, False)
        return (bpp.pchain(bpp.single_gen(message), bps.pause()), None) if is_due else (None, None)

    run_engine.subscribe(pt)
    run_engine.subscribe(lambda _, doc: events.update({doc["seq_num"]: doc["data"]}), "event")
    with pytest.raises(RunEngineInterrupted):
        run_engine(bpp.plan_mutator(bp.grid_scan([b.detector], b.y, -1, 1, 3, b.x, -1, 1, 4), pause_once))
    assert cm.dataset["maps"].shape[1:] == (3, 4)
    assert np.isfinite(cm.dataset["maps"][0].values).sum() == 5
    run_engine.resume()
    assert pt.stats.repeated == 1
    assert_bright_where_the_motors_were(b, cm, events)


def test_windows_are_mapped_where_the_motors_were(run_engine, b):
    windows = [{"y": y, "x": x} for y, x in b.crystal.grains[0].spots]
    cm, raw = CrystalMapper("dexela_image", 9, windows=pd.DataFrame(windows), half_width=2), []
    run_engine.subscribe(cm)
    run_engine(bp.spiral([b.detector], b.x, b.y, 0, 0, 2, 2, 0.3, 6), lambda *document: raw.append(document))
    points = [(doc["data"]["sample_y"], doc["data"]["sample_x"]) for name, doc in raw if name == "event"]
    assert cm.dataset["maps"].dims == ("reflection", "point")
    np.testing.assert_array_equal(positions(cm.dataset)[1], points)
    truth = b.crystal.intensity(0, *np.array(points).T)
    for values in cm.dataset["maps"].values:
        assert np.corrcoef(values, truth)[0, 1] > 0.98
