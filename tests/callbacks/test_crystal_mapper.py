from __future__ import annotations

import itertools
import logging

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bluesky.utils import RunEngineInterrupted
from cases import KEY, SHAPE, Collector, content, feed, frames, raw_run, run_through, same
from ophyd.sim import SynAxis, SynSignal
from test_forms import streamed, woven

from bluesky_ext import CrystalMapper, ImageProcessor, Recorder, Recording
from bluesky_ext.sim import beamline

SPOTS = {"diameter": 7, "minmass": 200, "half_width": 3}
WINDOWS = pd.DataFrame({"y": [20, 40], "x": [20, 33], "dy": 3, "dx": 5})
DEXELA = "dexela_image"


class Store(dict):
    """A database: the documents of each run by its uid, those of the run that goes on too."""

    __hash__ = object.__hash__

    def __call__(self, name, doc):
        if name == "start":
            self[doc["uid"]] = self.current = []
        self.current.append((name, doc))


def stored(docs):
    return {docs[0][1]["uid"]: docs}


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# By hand


def steps(number):
    """Two exposures whose mean is 5, but in rows 10 to 12 and columns 20 to 22: there it is 10 times the number."""
    image = np.full(SHAPE, 5.0)
    image[10:13, 20:23] = 10 * number
    return np.stack([image - 1, image + 1])


def test_maps_by_hand():
    cm = CrystalMapper(KEY, 7, windows={"y": [11, 40], "x": [21, 40], "dy": [1, 2], "dx": [1, 0]})
    sink = run_through(cm, raw_run(image=steps))
    maps = cm.dataset
    assert maps["maps"].dims == ("reflection", "my", "mx")
    assert (maps["my"].values.tolist(), maps["mx"].values.tolist()) == ([0, 1], [0, 1, 2])
    # The dark image has 10 in the window, so frame n is 10 n - 10.
    assert maps["maps"].values.tolist() == [[[0, 10, 20], [30, 40, 50]], [[0, 0, 0], [0, 0, 0]]]
    assert maps["background"].values.tolist() == [10, 5]
    assert (cm.dark[11, 21], cm.light[11, 21], cm.dark[0, 0], cm.light[0, 0]) == (10, 60, 5, 5)
    assert [maps[name].values.tolist() for name in ("y_start", "y_stop", "x_start", "x_stop")] == [
        *([10, 38], [13, 43]),
        *([20, 40], [23, 41]),
    ]
    events = content(sink)["events"]
    assert events["primary"].keys() == {1, 2}
    for number, said in events["primary"].items():
        one = maps.isel(reflection=number - 1)
        assert np.array_equal(said["map"], one["maps"])
        assert said["reflection"] == number - 1
        assert all(said[name] == one[name] for name in ("y", "x", "dy", "dx", "y_start", "x_stop", "background"))
    (about,) = events["light_dark"].values()
    assert same(about, {"light": cm.light, "dark": cm.dark, "n_frames": 6})
    # The windows that it was given are an event of their own.
    assert sink.stop["num_events"] == {"inputs": 1, "primary": 2, "positions": 1, "light_dark": 1}


def test_half_the_window_on_a_spot_is_half_of_it():
    cm = CrystalMapper(KEY, 7, windows={"y": [11], "x": [23], "dy": [1], "dx": [1]})
    run_through(cm, raw_run(image=steps))
    # Columns 22, 23, 24: one of the three is in the spot.
    expected = np.arange(6).reshape(2, 3) * 10 / 3
    assert np.allclose(cm.dataset["maps"].values[0], expected, rtol=1e-14)


def test_nan_pixels_count_nowhere():
    def image(number):
        stack = steps(number)
        stack[:, 10, 20] = np.nan  # always
        if number == 2:
            stack[:, 11, 21] = np.nan
        return stack

    cm = CrystalMapper(KEY, 7, windows={"y": [11], "x": [21], "dy": [1], "dx": [1]})
    run_through(cm, raw_run(image=image))
    assert cm.dataset["maps"].values[0].tolist() == [[0, 10, 20], [30, 40, 50]]
    assert np.isnan(cm.dark[10, 20])
    assert (cm.dark[11, 21], cm.light[11, 21]) == (10, 60)


def test_a_pixel_that_is_always_infinite_does_not_stop_the_peaks():
    def image(number):
        stack = frames(number).astype(float)
        stack[:, 5, 5] = np.inf
        return stack

    cm = CrystalMapper(KEY, **SPOTS)
    cm.replay(raw_run(image=image))
    assert len(cm.windows) > 0


def test_windows_are_put_around_the_brightest_peaks_of_light_minus_dark():
    one, two = CrystalMapper(KEY, **SPOTS, n_windows=1), CrystalMapper(KEY, **SPOTS, n_windows=2)
    for cm in (one, two):
        run_through(cm, raw_run())
    # The spot at (20, 20) stays; the one that wanders smears over (40, 31) to (40, 36).
    stack = np.array([frames(number).mean(0) for number in range(1, 7)])
    assert np.array_equal(two.light, stack.max(0))
    assert np.array_equal(two.dark, stack.min(0))
    assert any(np.hypot(row.y - 20, row.x - 20) < 0.1 for row in two.peaks.itertuples())
    assert two.windows["mass"].is_monotonic_decreasing
    assert one.windows["mass"].tolist() == two.peaks["mass"].nlargest(1).tolist()
    assert (two.windows["dy"] == 3).all()


# A scan of the simulated crystal


def scan(b, ny=9, nx=13):
    return bp.grid_scan([b.detector], b.y, -1, 1, ny, b.x, -1, 1, nx, snake_axes=True)


def truth(b, grain, maps):
    y, x = np.meshgrid(maps["sample_y"], maps["sample_x"], indexing="ij")
    return b.crystal.intensity(grain, y, x)


@pytest.mark.parametrize("spec", [None, "AD_TIFF"])
def test_grains_are_found_in_two_passes_over_a_scan(run_engine, spec, tmp_path, caplog):
    b = beamline(
        2, (256, 256), n_grains=3, spots_per_grain=3, **({"directory": tmp_path, "spec": spec} if spec else {})
    )
    store = Store()
    cm = CrystalMapper(DEXELA, 11, n_windows=9, half_width=4, minmass=700, db=store)
    sink = Collector()
    cm.subscribe(sink)
    run_engine.subscribe(store)
    run_engine.subscribe(cm)
    run_engine(scan(b))
    assert "incomplete" not in sink.stop
    assert warnings(caplog) == []
    maps = cm.dataset
    spots = [(grain.number, *spot) for grain in b.crystal.grains for spot in grain.spots]
    nearest = set()
    for at in range(9):
        one = maps.isel(reflection=at)
        number, y, x = min(spots, key=lambda spot: np.hypot(spot[1] - one["y"], spot[2] - one["x"]))
        assert np.hypot(y - one["y"], x - one["x"]) < 1
        nearest.add((y, x))
        assert np.corrcoef(one["maps"].values.ravel(), truth(b, number, maps).ravel())[0, 1] > 0.9
    assert len(nearest) == 9


def test_two_passes_are_as_good_as_one_with_the_same_windows(run_engine):
    b = beamline(5, (128, 128), n_grains=2)
    store = Store()
    given = {"diameter": 11, "half_width": 5, "n_windows": 7}
    two = CrystalMapper(DEXELA, **given, db=store)
    outputs = [run_through(two, []), Collector()]
    run_engine.subscribe(store)
    two.subscribe(outputs[0])
    run_engine.subscribe(two)
    run_engine(scan(b, 4, 5))
    (docs,) = store.values()
    assert two.dataset["maps"].shape == (7, 4, 5)
    replayed = CrystalMapper(DEXELA, **given)
    replayed.subscribe(outputs[1])
    xr.testing.assert_identical(replayed.replay(docs), two.dataset)
    assert outputs[0].stop["sha256"] == outputs[1].stop["sha256"]
    for windows in (two, two.windows, two.dataset, {name: list(two.windows[name]) for name in ("y", "x", "mass")}):
        one = CrystalMapper(DEXELA, **given, windows=windows)
        feed(one, docs)
        xr.testing.assert_identical(one.dataset[list(one.dataset)], two.dataset[list(one.dataset)])
        assert {"maps", "background", "mass", "dark", "light"} <= {*one.dataset}


def test_a_recording_is_replayed_by_its_path(tmp_path):
    docs = raw_run()
    with Recorder(tmp_path) as recorder:
        feed(recorder, docs)
    expected = CrystalMapper(KEY, **SPOTS).replay(docs)
    (path,) = tmp_path.iterdir()
    for source in (path, tmp_path, Recording(path), lambda: iter(docs)):
        xr.testing.assert_identical(CrystalMapper(KEY, **SPOTS).replay(source), expected)


def test_several_runs_are_replayed_each_twice():
    one, other = raw_run(), raw_run(image=lambda number: frames(number + 4))
    cm = CrystalMapper(KEY, **SPOTS)
    sink = Collector()
    cm.subscribe(sink)
    cm.replay([*one, *other])
    assert [doc["num_events"]["light_dark"] for doc in sink.named("stop")] == [1, 1]
    for stop, docs in zip(sink.named("stop"), (one, other), strict=True):
        assert stop["sha256"] == run_through(CrystalMapper(KEY, **SPOTS, db=stored(docs)), docs).stop["sha256"]


def test_a_replay_needs_a_source_that_can_be_read_twice():
    with pytest.raises(TypeError, match="only once"):
        CrystalMapper(KEY, **SPOTS).replay(iter(raw_run()))


def test_a_torn_recording_is_mapped_and_flagged(caplog):
    cm = CrystalMapper(KEY, **SPOTS)
    sink = Collector()
    cm.subscribe(sink)
    maps = cm.replay(raw_run()[:-3])  # without the last two events and the stop
    assert np.isnan(maps["maps"]).sum(["my", "mx"]).values.tolist() == [2] * maps.sizes["reflection"]
    assert "ended before the stop document" in sink.stop["incomplete"]
    assert cm.open_runs == []


@pytest.mark.parametrize("before", [True, False], ids=["frames-first", "events-first"])
def test_frames_behind_stream_documents_are_read_twice(before, tmp_path, caplog):
    raw = raw_run()
    docs = woven(*streamed(raw, tmp_path, spans=4), before=before)
    cm = CrystalMapper(KEY, **SPOTS, db=stored(docs))
    sink = run_through(cm, docs)
    assert "incomplete" not in sink.stop
    assert warnings(caplog) == []
    xr.testing.assert_equal(cm.dataset, CrystalMapper(KEY, **SPOTS).replay(raw))


# Behind another stage


def test_it_takes_what_an_image_processor_makes():
    ip, store, cm = ImageProcessor(KEY, "dark"), Store(), None
    cm = CrystalMapper(KEY, **SPOTS, db=store)
    ip.subscribe(store)
    ip.subscribe(cm)
    raw = raw_run()
    feed(ip, raw)
    assert cm.dataset["maps"].shape[1:] == (2, 3)
    assert cm.dataset.attrs["original_run_uid"] == raw[0][1]["uid"]
    assert cm.dark.min() == 0


# Provisional


def test_maps_are_current_during_the_scan():
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    assert not cm.dataset.variables
    assert cm.dark is cm.light is cm.peaks is None
    measured = []
    for name, doc in raw_run(dark=False):
        cm(name, doc)
        if name == "event":
            measured.append(int(np.isfinite(cm.dataset["maps"].values).sum()))
            assert cm.light.max() == max(frames(number).mean(0).max() for number in range(1, doc["seq_num"] + 1))
    assert measured == [2, 4, 6, 8, 10, 12]


def test_what_is_found_so_far_can_be_seen_during_the_scan():
    cm = CrystalMapper(KEY, **SPOTS)
    docs = raw_run(dark=False)
    feed(cm, docs[:4])  # two of the frames
    # Between them only the spot that wanders has changed.
    assert cm.peaks["y"].round().unique().tolist() == [40]
    assert len(cm.windows) == len(cm.peaks)
    assert cm.dataset.sizes["reflection"] == len(cm.windows)
    assert "maps" not in cm.dataset
    assert np.array_equal(cm.dataset["light"], np.maximum(frames(1).mean(0), frames(2).mean(0)))


def test_what_is_shown_is_a_copy():
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    run_through(cm, raw_run())
    before = cm.dataset.copy(deep=True)
    cm.dark[:], cm.light[:] = 0, 0
    windows = cm.windows
    windows["y_start"] += 1
    cm.dataset["maps"][:] = 0
    xr.testing.assert_identical(cm.dataset, before)


# Events that come again


def test_the_latest_event_can_be_replaced(caplog):
    asked = []

    def image(number):
        asked.append(number)
        return frames(number) + 1000 * (asked.count(3) == 1 and number == 3).__int__()

    sink = run_through(
        cm := CrystalMapper(KEY, **SPOTS, windows=WINDOWS), raw_run(seq_nums=[1, 2, 3, 3, 4, 5, 6], image=image)
    )
    run_through(straight := CrystalMapper(KEY, **SPOTS, windows=WINDOWS), raw_run())
    assert asked == [1, 2, 3, 3, 4, 5, 6]
    assert np.array_equal(cm.light, straight.light)
    assert np.array_equal(cm.dataset["maps"], straight.dataset["maps"])
    assert "incomplete" not in sink.stop
    assert warnings(caplog) == []


class Flaring:
    """A camera whose first two frames are far too bright, until they are taken again."""

    def __init__(self, motor):
        self.motor, self.taken = motor, itertools.count()

    def __call__(self):
        return frames(round(self.motor.position)) + np.uint16(5000 * (next(self.taken) < 2))


def paused_and_resumed(run_engine, camera, motor):
    pauses = iter([True])

    @bpp.run_decorator(md={"motors": ["mx"], "shape": [6], "extents": [[1, 6]]})
    def plan():
        for number in range(1, 7):
            yield from bps.mv(motor, number)
            if number == 3 and next(pauses, False):
                yield from bps.pause()  # there is no checkpoint: all of it is taken again
            yield from bps.trigger_and_read([camera, motor])

    with pytest.raises(RunEngineInterrupted):
        run_engine(plan())
    run_engine.resume()


@pytest.mark.parametrize("known", [True, False], ids=["windows-known", "windows-unknown"])
@pytest.mark.parametrize("has_db", [True, False], ids=["db", "no-db"])
def test_minimum_and_maximum_are_computed_anew_after_a_pause(run_engine, known, has_db, caplog):
    motor = SynAxis(name="mx", delay=0)
    store = Store()
    cm = CrystalMapper(KEY, **SPOTS, **({"windows": WINDOWS} if known else {}), **({"db": store} if has_db else {}))
    sink = Collector()
    cm.subscribe(sink)
    run_engine.subscribe(store)
    run_engine.subscribe(cm)
    paused_and_resumed(run_engine, SynSignal(name=KEY, func=Flaring(motor)), motor)
    stack = np.array([frames(number).mean(0) for number in range(1, 7)])
    assert cm.dataset["maps"].dims == ("reflection", "mx") if known or has_db else "maps" not in cm.dataset
    assert sum("came again" in line for line in warnings(caplog)) == 1
    if known:
        # Of the intensities the last word counts in any case; the minimum was never too low.
        assert np.allclose(
            cm.dataset["maps"][0], stack[:, 17:24, 15:26].mean((1, 2)) - stack.min(0)[17:24, 15:26].mean()
        )
    if has_db:
        assert "incomplete" not in sink.stop
        assert np.array_equal(cm.light, stack.max(0))
        assert np.array_equal(cm.dark, stack.min(0))
    else:
        assert "computed anew from the stored run" in sink.stop["incomplete"]
        assert cm.light.max() > 5000
        # As it says: the same documents, read twice.
        (docs,) = store.values()
        cm.replay(docs)
        assert np.array_equal(cm.light, stack.max(0))
    expected = CrystalMapper(KEY, **SPOTS, **({"windows": WINDOWS} if known else {})).replay(raw_run())
    assert np.array_equal(cm.dataset["maps"].values.ravel(), expected["maps"].values.ravel())


def test_an_event_that_fails_when_it_comes_again_is_taken_back(caplog):
    docs = raw_run(seq_nums=[1, 2, 3, 3, 4, 5, 6], dark=False)
    repeat = [doc for name, doc in docs if name == "event" and doc["seq_num"] == 3][1]
    repeat["data"][KEY] = np.zeros(3)
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    stop = run_through(cm, docs).stop
    assert stop["failed"] == {"primary": [3]}
    assert np.isnan(cm.dataset["maps"].values[0]).tolist() == [[False, False, True], [False] * 3]


# Without what is needed


def test_without_windows_and_database_it_says_what_is_missing(caplog):
    first = CrystalMapper(KEY, **SPOTS)
    docs = raw_run()
    sink = run_through(first, docs)
    assert sink.stop["incomplete"].startswith("no maps: the windows were not known")
    (line,) = warnings(caplog)
    assert "windows=" in line
    assert "db=" in line
    assert "\n" not in line
    events = content(sink)["events"]
    assert len(events["primary"]) == len(first.windows) > 0
    assert "map" not in events["primary"][1]
    assert events["primary"][1]["mass"] == first.windows["mass"][0]
    assert np.array_equal(events["light_dark"][1]["light"], first.light)
    second = CrystalMapper(KEY, **SPOTS, windows=first)
    stop = run_through(second, docs).stop
    assert "incomplete" not in stop
    assert stop["num_events"]["primary"] == len(events["primary"])
    assert np.isfinite(second.dataset["maps"]).all()


def test_a_database_that_lacks_the_run_or_a_part_of_it_is_named(caplog):
    docs = raw_run()
    lacking = [(n, d) for n, d in docs if n != "event" or d["seq_num"] != 5]
    cm = CrystalMapper(KEY, **SPOTS, db=stored(lacking))
    stop = run_through(cm, docs).stop
    assert "lacks 1 of 6 frames, event 5 is the first" in stop["incomplete"]
    assert np.isnan(cm.dataset["maps"].values[0]).tolist() == [[False] * 3, [False, True, False]]
    sink = run_through(CrystalMapper(KEY, **SPOTS, db={}), docs)
    assert "db has no run" in sink.stop["incomplete"]
    assert sink.stop["num_events"]["light_dark"] == 1
    with pytest.raises(LookupError, match="db has no run"):
        run_through(CrystalMapper(KEY, **SPOTS, db={}, on_error="raise"), docs)


def test_a_database_is_not_asked_without_need():
    class Untouched:
        def __getitem__(self, uid):
            raise AssertionError("asked")

    docs = raw_run()
    straight = run_through(CrystalMapper(KEY, **SPOTS, windows=WINDOWS, db=Untouched()), docs)
    assert "incomplete" not in straight.stop
    others = [(name, doc) for name, doc in docs if name in ("start", "stop")]
    others[-1][1]["num_events"] = {}
    assert run_through(CrystalMapper(KEY, **SPOTS, db=Untouched()), others) == []


def test_images_without_peaks_are_reported(caplog):
    docs = raw_run(image=lambda number: np.full((2, *SHAPE), number, np.uint16))
    cm = CrystalMapper(KEY, **SPOTS, db=stored(docs))
    sink = run_through(cm, docs)
    assert "no peak on light - dark" in sink.stop["incomplete"]
    assert sink.stop["num_events"] == {"positions": 1, "light_dark": 1}
    assert cm.dataset.sizes["reflection"] == 0


def test_a_stream_that_does_not_come_is_named(caplog):
    stop = run_through(CrystalMapper(KEY, **SPOTS, stream_name="flyer"), raw_run()).stop
    assert stop["num_events"] == {}
    assert stop["incomplete"] == "no stream 'flyer' came; det_image is in ['dark', 'primary']"
    (line,) = warnings(caplog)
    assert stop["incomplete"] in line


def test_another_stream_is_mapped_on_request():
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS, stream_name="dark", shape=[1])
    run_through(cm, raw_run())
    assert np.array_equal(cm.light, frames(0, dark=True).mean(0))
    assert cm.dataset["maps"].values.tolist() == [[0], [0]]


# Scans


def test_an_aborted_scan_has_nan_where_it_never_was(run_engine):
    b = beamline(2, (128, 128), n_grains=2)
    cm = CrystalMapper(DEXELA, 11, windows={"y": [30], "x": [40]}, half_width=5)
    sink = Collector()
    cm.subscribe(sink)
    run_engine.subscribe(cm)
    count = itertools.count(1)

    def pause_at_eight(message):
        if message.command == "checkpoint" and next(count) == 8:  # seven points are taken
            return bpp.pchain(bps.checkpoint(), bps.pause()), None
        return None, None

    with pytest.raises(RunEngineInterrupted):
        run_engine(bpp.plan_mutator(scan(b, 3, 5), pause_at_eight))
    run_engine.abort()
    assert sink.stop["exit_status"] == "abort"
    # Five in the first row, and two of the second, which is run through backwards.
    seen = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    assert np.array_equal(np.isfinite(cm.dataset["maps"].values[0]), seen)
    assert np.array_equal(np.isfinite(content(sink)["events"]["primary"][1]["map"]), seen)


def test_a_run_that_was_stopped_before_its_first_frame_gives_nothing():
    docs = raw_run(exit_status="abort", n=0, dark=False)
    stop = run_through(CrystalMapper(KEY, **SPOTS), docs).stop
    assert stop["num_events"] == {}
    assert "incomplete" not in stop


def test_a_scan_without_a_shape_is_one_row_of_frames(run_engine):
    motor = SynAxis(name="mx", delay=0)
    camera = SynSignal(name=KEY, func=lambda: frames(round(motor.position)))
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    run_engine.subscribe(cm)
    run_engine(bp.scan([camera], motor, 1, 6, 6))
    assert cm.dataset["maps"].dims == ("reflection", "mx")
    assert cm.dataset["maps"].shape == (2, 6)
    straight = CrystalMapper(KEY, **SPOTS, windows=WINDOWS).replay(raw_run())
    assert np.array_equal(cm.dataset["maps"].values.ravel(), straight["maps"].values.ravel())


def test_motors_whose_names_are_taken_have_others():
    docs = raw_run()
    docs[0][1]["motors"] = ["y", "x"]
    for name, doc in docs:
        if name == "descriptor" and doc["name"] == "primary":
            doc["object_keys"] |= {"y": doc["object_keys"].pop("my"), "x": doc["object_keys"].pop("mx")}
    assert CrystalMapper(KEY, **SPOTS, windows=WINDOWS).replay(docs)["maps"].dims == (
        "reflection",
        "motor_y",
        "motor_x",
    )


def test_more_events_than_planned_are_mapped_where_they_were(caplog):
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    stop = run_through(cm, raw_run(n=8)).stop
    assert "failed" not in stop
    assert cm.dataset["maps"].shape == (2, 3, 3)
    assert np.isfinite(cm.dataset["maps"][0].values).sum() == 8
    assert "its points make a grid of 3 x 3 and not one of 2 x 3; maps show where the motors were" in caplog.text


@pytest.mark.parametrize("bad", [{"shape": "disc"}, {"extents": [[0, 1]]}])
def test_a_start_document_that_describes_no_grid_is_named(bad, caplog):
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS)
    run_through(cm, raw_run(**bad))
    assert cm.dataset["maps"].dims == ("reflection", "my", "mx")
    assert f"what is said of its grid makes no sense ({next(iter(bad))}=" in caplog.text


def test_a_frame_of_another_shape_fails_alone(caplog):
    def image(number):
        return frames(number)[:, :32] if number == 3 else frames(number)

    cm = CrystalMapper(KEY, **SPOTS)
    maps = cm.replay(raw_run(image=image))
    assert np.isnan(maps["maps"].values[0]).tolist() == [[False, False, True], [False] * 3]
    assert "has shape (32, 64), the first image of the run has (64, 64)" in caplog.text


def test_windows_of_another_detector_are_named(caplog):
    cm = CrystalMapper(KEY, **SPOTS, windows={"y": [100], "x": [20]})
    stop = run_through(cm, raw_run()).stop
    assert stop["failed_counts"] == {"primary": 6}
    assert "y=100" in caplog.text
    assert "(64, 64)" in caplog.text


# Files and hashes


@pytest.mark.parametrize("windows", [None, WINDOWS], ids=["found", "known"])
def test_the_dataset_is_saved(windows, tmp_path):
    docs = raw_run()
    cm = CrystalMapper(KEY, **SPOTS, windows=windows, directory=tmp_path / "maps")
    cm.replay(docs)
    (path,) = (tmp_path / "maps").iterdir()
    assert path.name == f"{docs[0][1]['uid']}-windows.nc"
    with xr.open_dataset(path, engine="h5netcdf") as saved:
        xr.testing.assert_identical(saved.load(), cm.dataset)
    again = CrystalMapper(KEY, **SPOTS, windows=cm.dataset)
    xr.testing.assert_identical(again.replay(docs), cm.dataset)


def test_a_directory_that_cannot_be_written_does_not_cost_the_maps(tmp_path, caplog):
    (tmp_path / "file").touch()
    cm = CrystalMapper(KEY, **SPOTS, windows=WINDOWS, directory=tmp_path / "file")
    sink = run_through(cm, raw_run())
    assert sink.stop["num_events"]["primary"] == 2
    assert "file" in sink.stop["incomplete"]


def test_the_sha256_is_of_maps_and_images():
    def image(number):
        stack = frames(number)
        stack[:, 60, 60] += number == 2  # in no window, and the brightest of its pixel
        return stack

    first, same_one, other = (
        run_through(CrystalMapper(KEY, **SPOTS, windows=WINDOWS), raw_run(image=kind)).stop["sha256"]
        for kind in (frames, frames, image)
    )
    assert first == same_one != other


# What is refused at once


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"diameter": 8}, ValueError, "diameter=8"),
        ({"percentile": 101}, ValueError, "percentile=101"),
        ({"min_mass": 1}, TypeError, "min_mass"),
        ({"half_width": -1}, ValueError, "half_width=-1"),
        ({"half_width": 2.5}, TypeError, "float"),
        ({"n_windows": 0}, ValueError, "n=0"),
        ({"windows": {"y": [1.0]}}, ValueError, "no column 'x'"),
        ({"windows": {"y": [], "x": []}}, ValueError, "empty"),
        ({"windows": {"y": [1.0], "x": [np.nan]}}, ValueError, "x=nan"),
        ({"windows": {"y": [1.0], "x": [2.0], "dy": [3]}}, ValueError, "no column 'dx'"),
        ({"windows": CrystalMapper(KEY, 7)}, ValueError, "has none yet"),
        ({"shape": (0, 3)}, ValueError, "shape="),
        ({"shape": (2, 3), "extents": [(0, 1)]}, ValueError, "extents="),
        ({"extents": [(0, 1)], "snaking": (False, True)}, ValueError, "snaking="),
        ({"motors": "mx"}, TypeError, r"motors='mx': give a sequence"),
        ({"positions": "encoder"}, ValueError, "positions='encoder'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong, error, match):
    with pytest.raises(error, match=match):
        CrystalMapper(KEY, **{"diameter": 7} | wrong)


def test_no_kernel_is_compiled_during_a_run():
    from bluesky_ext.peaks import bandpass, windows

    def compiled():
        kernels = [it for module in (bandpass, windows) for it in vars(module).values() if hasattr(it, "signatures")]
        assert kernels
        return [len(kernel.signatures) for kernel in kernels]

    cm = CrystalMapper(KEY, **SPOTS)
    before = compiled()
    cm.replay(raw_run())
    assert compiled() == before


def test_an_image_that_is_too_small_is_refused_with_its_first_event(caplog):
    stage = CrystalMapper(KEY, 151)
    for name, doc in raw_run():
        stage(name, doc)
        if "failed" in caplog.text:
            break
    assert name == "event"
    assert "is smaller than the diameter 151" in caplog.text
    assert "Traceback" not in caplog.text
