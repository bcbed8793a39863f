"""Scans that go where the analysis of the last one says: the edge of a grain, and what a plan may meet on its way."""

from __future__ import annotations

import itertools
import threading

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from bluesky_adaptive.plans import default_acquire, optimize
from bluesky_adaptive.protocols import OptimizationProblem
from ophyd.sim import SynAxis
from scipy.optimize import brentq, curve_fit

from bluesky_ext import ImageProcessor, LiveAnalysis, Proxy, Publisher, RemoteDispatcher, background
from bluesky_ext.engine import as_image
from bluesky_ext.live import FloatParameter
from bluesky_ext.plans import wait_for_outcome
from bluesky_ext.sim import beamline


class Spot:
    """The counts of one spot of the grain, above what is around it."""

    @staticmethod
    def describe_parameters():
        return [FloatParameter("spot_y", unit="px"), FloatParameter("spot_x", unit="px")]

    def process_event(self, event, parameters):
        y, x = (round(parameters[name].value) for name in ("spot_y", "spot_x"))
        around = as_image(event.data["dexela_image"])[..., y - 8 : y + 9, x - 8 : x + 9].astype(float)
        inside = around[..., 4:-4, 4:-4]
        counts = inside.sum() - inside.size * (around.sum() - inside.sum()) / (around.size - inside.size)
        return event.data["sample_y"], event.data["sample_x"], counts, np.sqrt(inside.sum())


class Edge:
    """The middle of the grain in y, and where the counts fall to one half along x there; of an event, its counts."""

    def __init__(self):
        self.points = {}

    def process_result(self, result):
        self.points[result.event_number] = result.payload

    def outcome(self, event_number):
        if event_number is not None:
            return self.points[event_number][2:]
        y, x, counts, noise = np.array(sorted(self.points.values())).T
        middle = y[counts > counts.max() / 2].mean()
        row = abs(y - middle) == abs(y - middle).min()
        x, counts, noise = x[row], counts[row], noise[row]
        last = np.flatnonzero(counts > counts.max() / 2)[-1]
        edge, width = x[last : last + 2].mean(), x[last + 1] - x[last]
        if np.count_nonzero(abs(counts / counts.max() - 0.5) < 0.4) < 3:  # too few on the slope
            return {"y": middle, "x": edge, "width": width}, {"x": width / np.sqrt(12)}
        first = np.argmax(counts)
        guess = counts[first], edge, width
        (_, edge, width), errors = curve_fit(step, x[first:], counts[first:], guess, noise[first:], absolute_sigma=True)
        return {"y": middle, "x": edge, "width": abs(width)}, {"x": np.sqrt(errors[1, 1])}


def step(x, height, edge, width):
    rise = np.clip((edge + width - x) / (2 * width), 0, 1)
    return height * rise * rise * (3 - 2 * rise)


@pytest.fixture(scope="module")
def bench():
    return beamline(seed=1, shape=(256, 256), n_grains=3)


@pytest.fixture(scope="module")
def grain(bench):
    return bench.crystal.grains[1]


@pytest.fixture
def spot(grain):
    y, x = grain.spots[0]
    return {"spot_y": y, "spot_x": x}


def true_edge(grain, y):
    return brentq(lambda x: grain.intensity(y, x) - 0.5, grain.centre[1], grain.centre[1] + 1)


def test_a_plan_scans_where_the_last_map_says_until_the_edge_is_known(run_engine, bench, grain, spot):
    mean = ImageProcessor("dexela_image")
    analysis = LiveAnalysis(Spot, Edge, parameters=spot, data_keys=["dexela_image"])
    mean.subscribe(analysis)  # its runs are derived ones; the plan knows the uids of those that it made
    found = []

    def find_edge(precision):
        uid = yield from bp.grid_scan([bench.detector], bench.y, -1, 1, 9, bench.x, -1, 1, 11)
        while True:
            at, error, complete, _ = yield from wait_for_outcome(analysis, uid)
            found.append((at["x"], error["x"], complete))
            if error["x"] < precision:
                return
            yield from bps.mv(bench.y, at["y"])
            half = 2 * at["width"]
            uid = yield from bp.scan([bench.detector, bench.y], bench.x, at["x"] - half, at["x"] + half, 17)

    run_engine(find_edge(0.0015), mean)
    edge, error, _ = found[-1]
    assert abs(edge - true_edge(grain, bench.y.position)) < 3 * error
    assert error < 0.0015
    assert 2 < len(found) < 6
    assert all(complete for _, _, complete in found)


def test_a_plan_goes_where_each_event_says_though_the_documents_come_over_a_network(run_engine, bench, grain, spot):
    analysis = LiveAnalysis(Spot, Edge, parameters=spot, workers=2)
    found = []

    @bpp.stage_decorator([bench.detector])
    def bisect(inside, outside):
        uid = yield from bps.open_run()
        full = 0.0
        for number in itertools.count(1):
            x = (inside + outside) / 2 if full else inside
            yield from bps.mv(bench.x, x)
            yield from bps.trigger_and_read([bench.detector, bench.y, bench.x])
            counts, noise, complete, _ = yield from wait_for_outcome(analysis, uid, number)
            assert complete
            full = full or counts
            if abs(counts - full / 2) < noise:
                found.append((number, noise / full))
                return (yield from bps.close_run())
            inside, outside = (x, outside) if counts > full / 2 else (inside, x)

    with Proxy(block=True) as proxy, analysis:
        dispatcher = RemoteDispatcher(proxy.out_address, prefix=b"raw")
        dispatcher.subscribe(analysis)
        listening = threading.Thread(target=dispatcher.start)
        listening.start()
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            run_engine(bps.mv(bench.y, grain.centre[0]))
            run_engine(bisect(grain.centre[1], 1.0), publisher)
        dispatcher.stop()
        listening.join()
    ((number, noise),) = found
    assert grain.intensity(bench.y.position, bench.x.position) == pytest.approx(0.5, abs=4 * noise)
    assert 2 < number < 12


class Bisection:
    """Suggests points between the innermost one outside of the grain and the outermost one inside."""

    def __init__(self, name, low, high):
        self.name, self.low, self.high = name, low, high
        self.half = 0.0
        self.suggested = {}

    def suggest(self, num_points=None):
        at = np.linspace(self.low, self.high, num_points + 2)[1:-1] if self.half else [self.low, self.high]
        new = {len(self.suggested) + n: float(x) for n, x in enumerate(at)}
        self.suggested |= new
        return [{"_id": number, self.name: x} for number, x in reversed(new.items())]

    def ingest(self, points):
        self.half = self.half or max(point["counts"] for point in points) / 2
        inside = {self.suggested[point["_id"]]: point["counts"] > self.half for point in points}
        self.low = max([self.low, *(x for x, is_inside in inside.items() if is_inside)])
        self.high = min([self.high, *(x for x, is_inside in inside.items() if not is_inside and x > self.low)])

    def should_stop(self):
        return self.high - self.low < 0.01, "the edge is known"

    def get_best_points(self):
        return []


def test_bluesky_adaptive_finds_the_edge(run_engine, bench, grain, spot):
    analysis = LiveAnalysis(Spot, Points, parameters=spot, data_keys=["dexela_image"])
    optimizer = Bisection("sample_x", grain.centre[1], 1.0)

    def acquire(suggestions, actuators, sensors=None, md=None):
        uid = yield from default_acquire(suggestions, actuators, sensors, md)
        yield from wait_for_outcome(analysis, uid)
        return uid

    def evaluate(uid, suggestions):
        counts, _, complete, start = analysis.outcome(uid, timeout=0)
        assert complete
        return [{"_id": one, "counts": counts[number]} for number, one in enumerate(start["blop_acquisition_order"], 1)]

    problem = OptimizationProblem(optimizer, [bench.x], [bench.detector, bench.y], evaluate, acquire)
    run_engine(bps.mv(bench.y, grain.centre[0]))
    with analysis, background(analysis) as slow:
        run_engine(optimize(problem, iterations=None, n_points=3), slow)
    edge = true_edge(grain, grain.centre[0])
    noise = 0.03  # of the counts at full intensity, which fall to none over half of the radius
    assert abs((optimizer.low + optimizer.high) / 2 - edge) < 0.005 + 4 * noise * (edge - grain.centre[1]) / 3


class Points(Edge):
    """The counts of all points by number."""

    def outcome(self):
        return {number: counts for number, (_, _, counts, _) in self.points.items()}


class X:
    def process_event(self, event):
        if event.data["x"] < 0:
            raise ValueError("x is below 0")
        return event.data["x"]


class Held:
    """Waits with its results until it may go on."""

    gate = threading.Event()

    def __init__(self):
        self.publish = {"outcome": {}, "outcome_errors": 0.5}

    def process_result(self, result):
        assert self.gate.wait(30)
        self.publish["outcome"][result.event_number] = result.payload


@pytest.fixture
def held():
    Held.gate.clear()
    yield LiveAnalysis(X, Held)
    Held.gate.set()


@pytest.mark.parametrize("end", ["resume", "abort"])
def test_a_plan_can_be_paused_while_it_waits(run_engine, held, end):
    x = SynAxis(name="x")
    said = []

    def plan():
        uid = yield from bps.open_run()
        yield from bps.checkpoint()
        yield from bps.mv(x, 1.0)
        yield from bps.trigger_and_read([x])
        said.append((yield from wait_for_outcome(held, uid, 1))[:3])
        yield from bps.close_run()

    def pause(msg):
        if msg.command == "wait_for":
            run_engine.msg_hook = None
            threading.Thread(target=run_engine.request_pause).start()

    run_engine.msg_hook = pause
    run_engine.subscribe(held)
    with pytest.raises(RunEngineInterrupted):
        run_engine(plan())
    assert run_engine.state == "paused"
    assert said == []
    Held.gate.set()
    getattr(run_engine, end)()
    assert said == ([({1: 1.0}, 0.5, True)] if end == "resume" else [])


def test_the_messages_of_a_plan_that_waits_can_be_listed(held):
    assert [msg.command for msg in wait_for_outcome(held, "uid")] == ["wait_for"]


def test_what_is_awaited_may_not_come(run_engine, caplog):
    Held.gate.set()
    x = SynAxis(name="x")
    analysis = LiveAnalysis(X, Held)
    run_engine.subscribe(analysis)
    (failed,) = run_engine(bpp.baseline_wrapper(bp.list_scan([], x, [1.0, -1.0]), [SynAxis(name="y", value=5.0)]))
    assert analysis.outcome(failed)[:3] == ({1: 1.0}, 0.5, False)
    assert analysis.outcome(failed, 1).complete
    assert not analysis.outcome(failed, 1, stream="baseline").complete  # which has no x
    assert not analysis.outcome(failed, 2).complete
    with pytest.raises(LookupError, match=f"LiveAnalysis has no outcome of event 3 of run {failed}: it is over"):
        analysis.outcome(failed, 3)
    with pytest.raises(TimeoutError, match="LiveAnalysis had no outcome of run nowhere in time: nothing came of it"):
        analysis.outcome("nowhere", timeout=0.01)
    with pytest.raises(TimeoutError, match="no outcome of event 2 of run nowhere"):
        run_engine(wait_for_outcome(analysis, "nowhere", 2, timeout=0.01))
    for wanted, reducer, error, message in (
        (["y"], Held, LookupError, "it has nothing that this works on"),
        ([], Unable, RuntimeError, r"Unable.outcome\(None\): ZeroDivisionError: division by zero \(test_adaptive.py:"),
        ([], Silent, LookupError, "Silent has no outcome: give it a method"),
        ([], Unmade, LookupError, "ValueError: never"),
    ):
        with LiveAnalysis(X, reducer, data_keys=wanted) as other:
            (uid,) = run_engine(bp.list_scan([], x, [1.0]), other)
            with pytest.raises(error, match=message):
                other.outcome(uid)
    with pytest.raises(LookupError, match=f"event 1 of run {failed}: another run has started since"):
        analysis.outcome(failed, 1)


class Unable(Held):
    def outcome(self, event_number):
        return 1 / 0


class Silent(Held):
    def __init__(self):
        self.publish = {}

    def process_result(self, result):
        pass


class Unmade(Held):
    def __init__(self):
        raise ValueError("never")


def test_the_outcome_of_a_run_that_failed_is_not_complete(run_engine):
    Held.gate.set()
    uids = []

    @bpp.run_decorator()
    def plan(x):
        yield from bps.trigger_and_read([x])
        raise ZeroDivisionError

    with LiveAnalysis(X, Held) as analysis, background(analysis) as slow:
        run_engine.subscribe(lambda name, doc: uids.append(doc["uid"]), "start")
        with pytest.raises(ZeroDivisionError):
            run_engine(plan(SynAxis(name="x")), slow)
        assert analysis.outcome(uids[0])[:3] == ({1: 0}, 0.5, False)
