"""Stages on a real RunEngine: pause and resume, every way to end a run, and a scan that outlives its analysis."""

from __future__ import annotations

import itertools

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import matplotlib
import numpy as np
import pytest
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.utils import RunEngineInterrupted
from cases import CASES, KEY, KINDS, SHAPE, Collector, content, frames, named, run_through, same, valid_rows
from ophyd.sim import SynAxis, SynSignal

matplotlib.use("Agg")

every_stage = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_kind = pytest.mark.parametrize("case", KINDS, ids=lambda case: case.name)


class Camera(SynSignal):
    """Frame ``number`` of the suite at position ``number`` of its motor."""

    def __init__(self, motor):
        self.asked = []
        self.motor = motor
        super().__init__(name=KEY, func=self._expose)

    def _expose(self):
        number = round(self.motor.position)
        self.asked.append(number)
        return frames(number, dark=number == 0)


@pytest.fixture
def motor():
    return SynAxis(name="mx", delay=0)


@pytest.fixture
def camera(motor):
    return Camera(motor)


def with_darks(plan, camera):
    """A dark first, in the stream of that name."""

    @bpp.run_decorator(md={"motors": ["mx"], "hints": {"dimensions": [[["mx"], "primary"]]}, "plan_name": "test"})
    def inner():
        yield from bps.mv(camera.motor, 0)
        yield from bps.trigger_and_read([camera], name="dark")
        yield from plan

    return inner()


def points(camera, motor, numbers=range(1, 7), *, before=lambda number: iter(())):
    for number in numbers:
        yield from bps.mv(motor, number)
        yield from before(number)
        yield from bps.trigger_and_read([camera, motor])


def attached(run_engine, case):
    """A stage behind those that it needs, subscribed to the RunEngine, and its sink."""
    chain = [make() for make in case.upstream] + [case.make()]
    for one, following in itertools.pairwise(chain):
        one.subscribe(following)
    sink = Collector()
    chain[-1].subscribe(sink)
    run_engine.unsubscribe(getattr(run_engine, "token_of_the_last_chain", -1))
    run_engine.token_of_the_last_chain = run_engine.subscribe(chain[0])
    return chain, sink


@every_stage
def test_a_scan_paused_and_resumed_gives_what_an_unbroken_one_gives(run_engine, case, camera, motor):
    chain, sink = attached(run_engine, case)
    raw = Collector()
    run_engine.subscribe(raw)
    pauses = iter([True])

    def before(number):
        if number == 3 and next(pauses, False):
            # No checkpoint since the run was opened: the RunEngine takes all of it again.
            yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        run_engine(with_darks(points(camera, motor, before=before), camera))
    run_engine.resume()
    numbers = [doc["seq_num"] for name, doc in raw if name == "event" and len(doc["data"]) > 1]
    assert numbers == [1, 2, 1, 2, 3, 4, 5, 6]
    motor.set(0)
    _, expected = attached(run_engine, case)
    run_engine(with_darks(points(camera, motor), camera))
    rowed = case.is_map and case.make().makes_rows
    said = valid_rows if rowed else lambda docs: content(docs)["events"]
    got, want = (clean(said(docs)) for docs in (sink, expected))
    assert same(got, want)
    assert "lost" not in sink.stop
    assert "failed" not in sink.stop
    assert sink.stop["exit_status"] == "success"
    assert chain[0].stats.repeated >= 2


def clean(said):
    """Without the numbers of rows, which count on when a frame is repeated."""
    if isinstance(said, dict):
        return {key: clean(value) for key, value in said.items() if key not in ("first_row",)}
    return [clean(value) for value in said] if isinstance(said, list) else said


@pytest.mark.parametrize(
    ("way", "case"),
    [
        *((way, named("CrystalMap")) for way in ("abort", "stop", "halt", "raise")),
        *zip(itertools.cycle(["halt", "raise", "abort", "stop"]), KINDS, strict=False),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_however_a_run_ends_its_derived_run_ends_alike(run_engine, case, camera, motor, way):
    (*_, stage), sink = attached(run_engine, case)
    raw = Collector()
    run_engine.subscribe(raw)

    def before(number):
        if number == 4:
            if way == "raise":
                raise OSError("motor stalled")
            yield from bps.pause()

    with pytest.raises(OSError if way == "raise" else RunEngineInterrupted):
        run_engine(with_darks(points(camera, motor, before=before), camera))
    if way != "raise":
        getattr(run_engine, way)()
    assert sink.stop["exit_status"] == raw.stop["exit_status"] == {"raise": "fail", "stop": "success"}.get(way, "abort")
    assert sink.stop["reason"] == raw.stop["reason"]
    assert stage.open_runs == []
    if case.is_map:
        assert sink.stop["num_events"].get("frames", sink.stop["num_events"]["primary"]) == 3


@every_kind
def test_the_scan_outlives_its_analysis(run_engine, case, motor, caplog):
    bad = SynSignal(name=KEY, func=lambda: np.zeros(3))
    _, sink = attached(run_engine, case)
    raw = Collector()
    run_engine.subscribe(raw)
    run_engine(bp.scan([bad], motor, 1, 3, 3))
    assert raw.stop["exit_status"] == "success"
    assert raw.stop["num_events"] == {"primary": 3}
    assert sink.stop["exit_status"] == "success"
    # What failed upstream is lost to those behind.
    assert sink.stop["lost" if case.upstream else "failed"]["primary"] == [1, 2, 3]


def test_who_wants_the_scan_to_stop_gets_that(run_engine, motor):
    bad = SynSignal(name=KEY, func=lambda: np.zeros(3))
    stage = named("ImageProcessor").make(on_error="raise")
    run_engine.subscribe(stage)
    raw = Collector()
    run_engine.subscribe(raw)
    with pytest.raises(ValueError, match=r"no image|no spectrum"):
        run_engine(bp.scan([bad], motor, 1, 3, 3))
    assert raw.stop["exit_status"] == "fail"


@pytest.mark.parametrize(
    ("first", "case"),
    list(zip(itertools.cycle([True, False]), KINDS, strict=False)),
    ids=lambda value: getattr(value, "name", "before" if value else "after"),
)
def test_best_effort_callback_follows_a_derived_run(run_engine, case, camera, motor, first, capsys):
    import matplotlib.pyplot as plt

    best = BestEffortCallback()
    seen = BestEffortCallback()
    if first:
        run_engine.subscribe(best)
    (*_, stage), _ = attached(run_engine, case)
    stage.subscribe(seen)
    if not first:
        run_engine.subscribe(best)
    stage.on_error = "raise"
    run_engine(with_darks(points(camera, motor), camera))
    plt.close("all")
    assert stage.stats.subscriber_failures == 0


def test_best_effort_callback_plots_of_peaks_how_many_there_are(run_engine, camera, motor, capsys):
    import matplotlib.pyplot as plt

    peaks = named("PeakTracker").make()
    peaks.subscribe(BestEffortCallback())
    run_engine.subscribe(peaks)
    run_engine(with_darks(points(camera, motor), camera))
    plotted = [axes.get_ylabel() for number in plt.get_fignums() for axes in plt.figure(number).axes]
    plt.close("all")
    assert set(plotted) == {"n_rows"}  # the readings of the scan itself are plotted for that


def test_the_dark_used_is_recorded(run_engine, camera, motor):
    case = named("ImageProcessor-dark")
    _, sink = attached(run_engine, case)

    def plan():
        yield from points(camera, motor, [1])
        yield from bps.mv(motor, 0)
        yield from bps.trigger_and_read([camera], name="dark")
        yield from points(camera, motor, [2])

    run_engine(with_darks(plan(), camera))
    events = content(sink)["events"]["primary"]
    assert [events[number][f"{KEY}_dark"] for number in (1, 2)] == [1, 2]
    expected = np.clip(frames(1).mean(0) - frames(0, dark=True).mean(0), 0, None)
    assert np.array_equal(events[1][KEY], expected)
    assert events[1][KEY].shape == SHAPE


def test_a_subtrahend_is_stored_once_a_run_and_named_by_its_hash(run_engine, camera, motor):
    case = named("ImageProcessor-array")
    _, sink = attached(run_engine, case)
    run_engine(bp.scan([camera], motor, 1, 3, 3))
    (start,) = sink.named("start")
    sha256 = start["analysis"]["sha256"]["subtrahend"]
    assert start["analysis"]["parameters"]["subtrahend"] == {"sha256": sha256, "shape": [64, 64], "dtype": "<f8"}
    events = content(sink)["events"]
    assert np.array_equal(events["inputs"][1]["subtrahend"], np.full(SHAPE, 100.0))
    assert sink.stop["num_events"] == {"inputs": 1, "primary": 3}
    again = run_through(named("ImageProcessor").make(), list(sink))  # which hands it on to whoever makes it again
    assert np.array_equal(content(again)["events"]["inputs_0"][1]["subtrahend"], np.full(SHAPE, 100.0))
    assert again.stop["num_events"] == {"inputs_0": 1, "primary": 3}
