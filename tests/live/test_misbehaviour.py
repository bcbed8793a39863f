"""What users' classes may do wrong, or do at an odd moment, costs what it must and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from live_runs import feed, reducer_of, run_of
from ophyd.sim import det1, det2

from bluesky_ext import Lanes, LiveAnalysis
from bluesky_ext.live import FloatParameter, IntParameter, Parameters, by_key


class Plain:
    def process_event(self, event):
        return event.data["x"]


class Collect:
    def __init__(self):
        self.publish, self.payloads = {}, []

    def process_result(self, result):
        self.payloads.append(result.payload)


class Exits(Collect):
    def process_result(self, result):
        if result.event_number == 3:
            sys.exit("enough")
        super().process_result(result)


class NoText(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError("none")


class Raises(Collect):
    def process_result(self, result):
        if result.event_number == 3:
            raise NoText
        super().process_result(result)


@pytest.mark.parametrize(("reducer", "failed"), [(Exits, [3, 4, 5]), (Raises, [3])])
def test_what_a_reducer_did_not_take_has_failed(caplog, reducer, failed):
    analysis = LiveAnalysis(Plain, reducer)
    docs = []
    analysis.subscribe(lambda name, doc: docs.append(doc))
    feed(analysis, run_of([1.0, 2.0, 3.0, 4.0, 5.0], page=5))
    assert docs[-1]["failed"] == {"primary": failed}
    assert "the reducer" in caplog.text


class KeepsItsBuffer:
    """Returns what it changes later."""

    def __init__(self):
        self.total, self.list = np.zeros(1), []

    def process_event(self, event):
        self.total += event.data["x"]
        self.list.append(event.event_number)
        return {"total": self.total, "list": self.list} if event.event_number % 2 else self.total


@pytest.mark.parametrize("workers", [1, 2])
def test_a_result_is_what_it_was_when_it_was_returned(workers):
    route = {"primary": by_key(lambda data: 0)}
    with LiveAnalysis(KeepsItsBuffer, Collect, workers=workers, route=route, ordered=True) as analysis:
        feed(analysis, run_of([1.0] * 4, page=4))
        first, second, third, fourth = reducer_of(analysis).payloads
    assert [first["total"][0], second[0], third["total"][0], fourth[0]] == [1.0, 2.0, 3.0, 4.0]
    assert [first["list"], third["list"]] == [[1], [1, 2, 3]]


class InPlace:
    def process_event(self, event):
        event.data["x"][0] = 0
        return 1


def test_an_array_of_an_event_is_not_the_workers_to_change(caplog):
    image = np.ones(3)
    analysis = LiveAnalysis(InPlace, Collect)
    feed(analysis, run_of([image]))
    assert image.tolist() == [1.0, 1.0, 1.0]
    assert image.flags.writeable
    assert "assignment destination is read-only (test_misbehaviour.py:" in caplog.text


def test_results_are_in_order_whichever_worker_made_them():
    route = by_key(lambda data: data["x"] % 2)
    with LiveAnalysis(Plain, Collect, workers=2, route=route, ordered=True) as analysis:
        feed(analysis, run_of([float(x) for x in range(60)]))
        assert reducer_of(analysis).payloads == [float(x) for x in range(60)]


class SlowAtFirst:
    gate = threading.Event()

    def process_event(self, event):
        if event.data["x"] == 1.0:
            assert self.gate.wait(30)
        return event.data["x"]


def test_a_repeated_event_has_the_last_word():
    docs = run_of([1.0, 2.0])
    again = {**docs[2][1], "uid": "again", "data": {"x": 7.0}}
    timer = threading.Timer(0.3, SlowAtFirst.gate.set)
    with LiveAnalysis(SlowAtFirst, Collect, workers=2) as analysis:
        feed(analysis, docs[:4])
        timer.start()
        feed(analysis, [("event", again), docs[-1]])
        assert reducer_of(analysis).payloads.index(1.0) < reducer_of(analysis).payloads.index(7.0)


class FailsOnce:
    """Fails with the first x."""

    def process_event(self, event):
        if event.data["x"] == 1.0:
            sys.exit("no beam")
        return event.data["x"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_event_that_failed_and_came_again_has_not_failed(workers):
    docs = run_of([1.0, 2.0])
    again = {**docs[2][1], "uid": "again", "data": {"x": 7.0}}
    said = []
    with LiveAnalysis(FailsOnce, Collect, workers=workers) as analysis:
        analysis.subscribe(lambda name, doc: said.append(doc))
        feed(analysis, [*docs[:4], ("event", again), docs[-1]])
        assert sorted(reducer_of(analysis).payloads) == [2.0, 7.0]
    assert "failed" not in said[-1]


class KillsItself:
    def process_event(self, event):
        if event.data["x"] == 30.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return event.data["x"]


def test_an_event_that_kills_every_worker_costs_itself_alone():
    said = []
    with LiveAnalysis(KillsItself, Collect, executor=Lanes.processes(1)) as analysis:
        analysis.subscribe(lambda name, doc: said.append(doc))
        feed(analysis, run_of([float(x) for x in range(50)], page=50))
        assert sorted(reducer_of(analysis).payloads) == [float(x) for x in range(50) if x != 30]
    assert said[-1]["failed"] == {"primary": [31]}


class Ticking:
    def get_tick_interval(self, parameters):
        return 0.0

    def process_event(self, event, tick):
        return tick


def test_a_page_that_repeats_an_event_and_lacks_another_is_counted_as_it_is():
    docs = run_of([1.0, 2.0, 3.0, 4.0], page=4)
    docs[2][1]["seq_num"] = [1, 2, 2, 4]
    analysis = LiveAnalysis(Plain, Collect)
    feed(analysis, docs)
    assert analysis.progress()[0].done == {"primary": 3}


def test_the_events_of_a_page_tick_as_single_ones_do():
    analysis = LiveAnalysis(Ticking, Collect)
    feed(analysis, run_of([0.0] * 10, page=5))
    assert reducer_of(analysis).payloads == [True] * 10


class Scaled:
    @staticmethod
    def describe_parameters():
        return [FloatParameter("scale", 1.0)]

    def process_event(self, event, parameters):
        return event.data["x"] * parameters["scale"].value


class Tunes(Collect):
    """Sets a parameter by what it sees, and looks at what is published."""

    analysis = None

    def process_result(self, result):
        super().process_result(result)
        self.analysis.publish()
        if result.event_number == 1:
            self.analysis.set_parameters({"scale": 10.0})

    def finish(self):
        self.analysis.set_parameters({"scale": 1.0})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reducer_may_set_a_parameter(workers):
    with LiveAnalysis(Scaled, Tunes, workers=workers) as analysis:
        Tunes.analysis = analysis
        docs = run_of([1.0, 1.0, 1.0])
        feed(analysis, docs[:3])
        with analysis.latest.news:
            assert analysis.latest.news.wait_for(lambda: 1 in analysis.latest.handled["primary"], 30)
        feed(analysis, docs[3:])
        assert reducer_of(analysis).payloads == [1.0, 10.0, 10.0]
        assert analysis.settings["scale"].value == 1.0


class Streams:
    def process_event(self, event):
        return event.event_number, sorted(event.streams)


def test_streams_of_a_real_scan_are_joined_though_they_are_described_one_by_one():
    analysis = LiveAnalysis(Streams, Collect, join=True)

    @bpp.baseline_decorator([det1])
    @bpp.run_decorator()
    def plan():
        for _ in range(3):
            yield from bps.trigger_and_read([det1], name="a")
            yield from bps.trigger_and_read([det2], name="b")

    RunEngine()(plan(), analysis)
    joined = [payload for payload in reducer_of(analysis).payloads if "baseline" not in payload[1]]
    assert joined == [(1, ["a", "b"]), (2, ["a", "b"]), (3, ["a", "b"])]
    with pytest.raises(TypeError, match="join='a': give the names of several streams"):
        LiveAnalysis(Streams, Collect, join="a")


def test_a_route_that_fails_for_one_event_costs_that_one():
    analysis = LiveAnalysis(Plain, Collect, workers=2, route=by_key(lambda data: 1 // int(data["x"])))
    docs = []
    analysis.subscribe(lambda name, doc: docs.append(doc))
    with analysis:
        feed(analysis, run_of([1.0, 0.0, 2.0], page=3))
    assert sorted(reducer_of(analysis).payloads) == [1.0, 2.0]
    assert docs[-1]["failed"] == {"primary": [2]}


def decorated(method):
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapper


class Decorated:
    def __init__(self, settings):
        self.given = settings

    @decorated
    def process_event(self, event, parameters, tick):
        return event.data["x"], tick, self.given is not None


def test_a_decorated_method_and_other_names_are_called_by_position():
    analysis = LiveAnalysis(Decorated, Collect)
    feed(analysis, run_of([1.0]))
    assert reducer_of(analysis).payloads == [(1.0, True, True)]


def test_what_parameters_are_not():
    assert IntParameter("n", "3").default == 3
    with pytest.raises(ValueError, match="a parameter is named 'a/b': give a word"):
        IntParameter("a/b")
    with pytest.raises(ValueError, match="is no whole number"):
        IntParameter("n").checked(np.float32(3.7))
    with pytest.raises(ValueError, match="other is a ndarray, and nobody describes it"):
        Parameters().changed({"other": np.zeros(3)})
