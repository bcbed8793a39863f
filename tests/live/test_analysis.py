"""A worker and a reducer as a stage: in a scan, from pages, in threads and processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from live_runs import feed, reducer_of, run_of
from ophyd.sim import SynAxis

from bluesky_ext import Lanes, LiveAnalysis
from bluesky_ext.live import IntParameter, by_key


class Worker:
    """Tells all that it was given."""

    def __init__(self, parameters=None, context=None, state=None, **kwargs):
        self.context, self.state = context, state
        self.context["runs"] = self.context.get("runs", 0) + 1
        self.kinds = ["start"]

    @staticmethod
    def describe_parameters():
        return [IntParameter("factor", 1, limits=(0, 9))]

    def start(self, doc):
        self.uid = doc["uid"]

    def process_event(self, event, *args, parameters=None, **kwargs):
        if event.data["x"] < 0:
            raise ValueError("x is below 0")
        if event.data["x"] == 100:
            return None
        about = (
            event.stream,
            event.start["uid"] == self.uid,
            event.descriptor["name"],
            self.context["runs"],
            os.getpid(),
        )
        return event.data["x"] * parameters["factor"].value, about, sorted(event.streams)


class Reducer:
    def __init__(self):
        self.publish = {"values": [], "_attrs": {"title": "of a test"}}
        self.results, self.threads = [], {threading.get_ident()}
        self.finished = 0

    def process_result(self, result, parameters=None):
        self.threads.add(threading.get_ident())
        self.results.append(result)
        self.publish["values"].append(result.payload[0])

    def finish(self, parameters):
        self.finished += 1

    def outcome(self, event_number=None):
        values = [one.payload[0] for one in self.results if event_number in (None, one.event_number)]
        return sum(values), 0.5


def test_a_scan_with_parameters_that_change(caplog):
    analysis = LiveAnalysis(Worker, Reducer, parameters={"factor": "2"})
    docs = []
    analysis.subscribe(lambda name, doc: docs.append((name, doc)))
    motor = SynAxis(name="x")
    engine = RunEngine()

    def change(name, doc):
        if name == "event" and doc["seq_num"] == 2:
            analysis.set_parameters({"factor": 3})
            with pytest.raises(ValueError, match="factor = 10 is out of its limits: 0 <= factor <= 9"):
                analysis.set_parameters({"factor": 10})

    engine.subscribe(analysis)
    engine.subscribe(change)
    (uid,) = engine(bp.list_scan([], motor, [1.0, 2.0, -1.0, 4.0]))
    reducer = reducer_of(analysis)
    assert [one.event_number for one in reducer.results] == [1, 2, 4]
    assert [one.payload[0] for one in reducer.results] == [2.0, 4.0, 12.0]
    assert len({one.parameters_hash for one in reducer.results}) == 2
    assert reducer.results[-1].parameters_hash == analysis.settings.sha256
    assert len(reducer.threads) == 1
    assert reducer.finished == 1
    assert analysis.publish(uid).tree == {"values": [2.0, 4.0, 12.0], "_attrs": {"title": "of a test"}}
    assert analysis.publish() is analysis.publish()
    assert analysis.outcome(uid)[:3] == (18.0, 0.5, False)
    assert analysis.outcome(uid, 4)[:3] == (12.0, 0.5, True)
    (said,) = [record.getMessage() for record in caplog.records if "event 3" in record.getMessage()]
    assert "ValueError: x is below 0 (test_analysis.py:" in said
    assert ", in process_event)" in said
    stop = docs[-1][1]
    assert stop["failed"] == {"primary": [3]}
    (event,) = [doc for name, doc in docs if name == "event"]
    assert event["data"]["values"].tolist() == [2.0, 4.0, 12.0]
    assert docs[0][1]["analysis"]["parameters"]["parameters"] == {"factor": 2}


@pytest.mark.parametrize("lanes", [lambda: None, lambda: Lanes.threads(2), lambda: Lanes.processes(2)])
def test_each_event_is_reduced_once_wherever_the_workers_are(lanes):
    xs = [float(x) for x in range(1000)]
    with LiveAnalysis(Worker, Reducer, executor=lanes(), ordered=True) as analysis:
        for page in (0, 300):
            feed(analysis, run_of(xs, page=page))
            results = reducer_of(analysis).results
            assert [one.event_number for one in results] == [n for n in range(1, 1001) if n != 101]
            assert [one.payload[0] for one in results] == [x for x in xs if x != 100]
            assert {one.payload[1][:3] for one in results} == {("primary", True, "primary")}
        assert {one.payload[1][3] for one in results} == {2}  # the context of the first run was there in the second
        assert len({one.payload[1][4] for one in results}) <= 2


class Plain:
    """Tells x."""

    def process_event(self, event):
        return event.data["x"]


def test_a_worker_that_is_killed_costs_a_retry(tmp_path):
    analysis = LiveAnalysis(Killed, Reducer, executor=Lanes.processes(2), parameters={"flag": str(tmp_path / "killed")})
    with analysis:
        feed(analysis, run_of([float(x) for x in range(10_000)], page=100))
        numbers = Counter(one.event_number for one in reducer_of(analysis).results)
    assert (tmp_path / "killed").exists()
    assert numbers == Counter(range(1, 10_001))


class Killed:
    """Kills its process in the middle, once."""

    def process_event(self, event, parameters):
        if event.event_number == 5000:
            try:
                os.close(os.open(parameters["flag"].value, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return (event.data["x"],)
            os.kill(os.getpid(), signal.SIGKILL)
        return (event.data["x"],)


class WhoAmI:
    """Tells which worker had which x."""

    def __init__(self, state):
        self.name = state.name

    def process_event(self, event, tick):
        return event.data["x"], self.name, event.stream, tick


class Collect:
    def __init__(self):
        self.results = []

    def process_result(self, result):
        self.results.append(result.payload)


def test_events_go_where_they_are_routed():
    route = {"keyed": by_key(lambda data: data["x"] % 3), "all": "broadcast", "none": "discard"}
    with LiveAnalysis(WhoAmI, Collect, workers=2, route=route) as analysis:
        feed(analysis, run_of([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], streams=("keyed", "all", "none", "any")))
        results = reducer_of(analysis).results
    assert Counter(one[2] for one in results) == {"keyed": 6, "all": 12, "any": 6}
    homes = {(one[0] % 3, one[1]) for one in results if one[2] == "keyed"}
    assert len(homes) == 3
    assert Counter(one[:2] for one in results if one[2] == "all") == {
        (x, f"worker-{n}"): 1 for x in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0) for n in (0, 1)
    }
    with pytest.raises(ValueError, match="route='any'"):
        LiveAnalysis(WhoAmI, Collect, route="any")


class Ticks:
    def get_tick_interval(self, parameters):
        return parameters["interval"].value

    def process_event(self, event, parameters, tick):
        return tick


@pytest.mark.parametrize(("interval", "expected"), [(3600.0, 1), (0.0, 20)])
def test_a_tick_is_the_first_event_and_then_one_for_each_interval(interval, expected):
    analysis = LiveAnalysis(Ticks, Collect, parameters={"interval": interval})
    feed(analysis, run_of([0.0] * 20))
    ticks = reducer_of(analysis).results
    assert ticks[0] is True
    assert sum(ticks) == expected


class Joined:
    def process_event(self, event):
        return event.event_number, {name: stream.data["x"] for name, stream in event.streams.items()}


def test_streams_are_joined_on_the_number_of_their_events():
    docs = run_of([1.0, 2.0, 3.0], streams=("eiger", "panda"))
    lacking = [
        pair for pair in docs if not (pair[0] == "event" and pair[1]["seq_num"] == 2 and "eiger" in _name(pair, docs))
    ]
    analysis = LiveAnalysis(Joined, Collect, join=True)
    feed(analysis, lacking)
    assert reducer_of(analysis).results == [
        (1, {"eiger": 1.0, "panda": 1.0}),
        (3, {"eiger": 3.0, "panda": 3.0}),
        (2, {"panda": 2.0}),
    ]


def _name(pair, docs):
    return next(doc["name"] for name, doc in docs if name == "descriptor" and doc["uid"] == pair[1]["descriptor"])


class Late:
    """A reducer with a timer, that waits until it may go on."""

    gate = threading.Event()

    def __init__(self):
        self.publish = {"list": [], "array": np.zeros(3)}
        self.timed = threading.Event()
        self.busy = False

    def process_result(self, result):
        self.busy = True
        self.publish["list"].append(result.payload)
        self.publish["array"][0] = len(self.publish["list"])
        assert self.gate.wait(30)
        self.busy = False

    def timer(self):
        assert not self.busy
        self.timed.set()
        return 0.001


def test_a_snapshot_is_taken_between_two_calls_and_stays_as_it_is():
    Late.gate.set()
    analysis = LiveAnalysis(Plain, Late)
    docs = run_of([1.0, 2.0, 3.0])
    feed(analysis, docs[:3])
    reducer = reducer_of(analysis)
    assert reducer.timed.wait(30)
    with analysis.latest.news:
        assert analysis.latest.news.wait_for(lambda: 1 in analysis.latest.handled["primary"], 30)
    before = analysis.publish().tree
    feed(analysis, docs[3:])
    assert before["list"] == [1.0]
    assert before["array"].tolist() == [1.0, 0.0, 0.0]
    assert analysis.publish().tree["list"] == [1.0, 2.0, 3.0]
    assert analysis.publish().tree["array"][0] == 3.0


class Bad:
    def process_result(self, result):
        raise KeyError("nothing here")

    def timer(self):
        return "soon"


def test_a_reducer_that_raises_does_not_stop_the_run(caplog):
    analysis = LiveAnalysis(Plain, Bad)
    docs = []
    analysis.subscribe(lambda name, doc: docs.append((name, doc)))
    feed(analysis, run_of([1.0, 2.0]))
    assert docs[-1][1]["failed"] == {"primary": [1, 2]}
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "the reducer: KeyError: 'nothing here' (test_analysis.py:" in said
    assert "its timer returned 'soon'" in said


class Unsendable:
    def process_event(self, event):
        return {"f": lambda: None}


@pytest.mark.parametrize("lanes", [lambda: None, lambda: Lanes.processes(1)])
def test_a_result_that_can_not_be_pickled_is_named(caplog, lanes):
    with LiveAnalysis(Unsendable, Collect, executor=lanes()) as analysis, caplog.at_level(logging.WARNING):
        feed(analysis, run_of([1.0]))
    assert "its result, a dict, can't be pickled:" in caplog.text
    assert "event 1" in caplog.text


class NoWorker:
    pass


@pytest.mark.parametrize(
    ("worker", "reducer", "message"),
    [
        (NoWorker, Collect, r"NoWorker has no method process_event\(event, ...\): add it"),
        (Plain, NoWorker, r"NoWorker has no method process_result\(result, ...\): add it"),
        ("Plain", Collect, "'Plain': give it as module:Class"),
        ("nowhere_at_all:Plain", Collect, "there is no module nowhere_at_all"),
        ("collections:Plain", Collect, "there is no Plain in collections"),
    ],
)
def test_what_is_no_pair_is_refused_at_once(worker, reducer, message):
    with pytest.raises((TypeError, ValueError, ImportError, AttributeError), match=message):
        LiveAnalysis(worker, reducer)
