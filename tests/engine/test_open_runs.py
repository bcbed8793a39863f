"""One class answers which run a document is of, and closes runs that never stop."""

import gc
import logging
import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest
from cases import KEY, collect, feed, map_of, raw_run, run_through

from bluesky_ext.engine import Reduce
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenRuns

LOG = logging.getLogger("open runs")

mean = partial(map_of, lambda data, seq_num: {"mean": 1.0})


def open_runs(**options):
    closed = []
    return OpenRuns(lambda run, reason: closed.append((run.uid, reason)), name="owner", log=LOG, **options), closed


def start(runs, uid):
    runs.open(OpenRun({"uid": uid, "time": 0.0}))
    return runs.get(uid)


class Count(Reduce):
    """How many events, by stream."""

    def __init__(self, **options):
        super().__init__(parameters={}, **options)

    def begin(self, start):
        return {"n": 0, "values": np.zeros(3)}

    def reduce(self, state, stream, event):
        if stream == "dark":
            return False
        state["n"] += 1
        state["values"][0] = event["seq_num"]
        return None

    def tree(self, state):
        return {"n": state["n"], "values": state["values"].copy(), "values_attrs": {"units": "1"}}


def test_a_document_is_followed_to_its_run_and_stream():
    runs, _ = open_runs()
    one, other = start(runs, "one"), start(runs, "other")
    assert runs.follow("descriptor", {"uid": "d", "run_start": "one", "name": "primary", "data_keys": {}}) == [one]
    assert runs.follow("event", {"descriptor": "d"}) == [one]
    assert runs.streams["d"].name == "primary"
    assert runs.follow("event", {"descriptor": "unknown"}) == ()
    assert runs.follow("resource", {"uid": "r", "run_start": "other"}) == [other]
    assert runs.follow("datum", {"resource": "r"}) == [other]
    # A resource of old names no run, and a datum may come before its resource: both may be of any run.
    assert runs.follow("resource", {"uid": "old"}) == [one, other]
    assert runs.follow("datum", {"resource": "not yet"}) == [one, other]
    runs.drop(one)
    assert runs.follow("stop", {"run_start": "one"}) == ()
    assert "d" not in runs.streams
    assert runs.follow("datum", {"resource": "old"}) == [other]


def test_a_page_costs_what_its_rows_do_however_far_their_numbers_are():
    runs, _ = open_runs()
    start(runs, "a")
    runs.follow("descriptor", {"uid": "d", "run_start": "a", "data_keys": {}})
    stream = runs.streams["d"]
    tracemalloc.start()
    for page in ([1, 2, 3], [4, 10**7], [10**7, 10**7 + 1]):
        runs.note_all(stream, page)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(stream.received) == [range(1, 5), range(10**7, 10**7 + 2)]
    assert (runs.stats.received, runs.stats.repeated, peak < 10**6) == (7, 1, True)


def test_the_least_recently_heard_of_makes_room(caplog):
    runs, closed = open_runs(max_open_runs=2)
    start(runs, "one")
    start(runs, "two")
    runs.follow("descriptor", {"uid": "d", "run_start": "one", "data_keys": {}})
    start(runs, "three")
    assert [(uid, reason) for uid, reason in closed] == [
        ("two", "no stop document came, and more than 2 runs are open")
    ]
    assert runs.stats.incomplete == 1
    assert "owner closes run two as incomplete: no stop document came" in caplog.text


def test_a_silent_run_is_closed_by_the_clock_though_nothing_else_comes():
    stage, closed = mean(stale_after=0.3), threading.Event()
    emitted = collect(stage)
    stage.subscribe(lambda name, doc: closed.set(), "stop")
    feed(stage, raw_run()[:-1])
    assert closed.wait(30)
    assert emitted.stop["incomplete"] == "no document came for 0.3 s, and no stop document at all"
    assert stage.open_runs == []
    assert stage.stats.incomplete == 1


def test_the_clock_keeps_nobody_alive():
    runs, _ = open_runs(stale_after=3600)
    start(runs, "one")
    timer = runs._timer  # noqa: SLF001
    del runs
    gc.collect()
    timer.join(30)
    assert not timer.is_alive()


def test_events_of_other_streams_that_come_first_go_on_when_the_run_proves_to_be_ours():
    docs = raw_run()
    baseline = [(name, doc) for name, doc in raw_run(dark=False, image=lambda number: 1.0) if name != "stop"]
    early = []
    for name, doc in baseline[1:]:
        doc = {**doc, "run_start": docs[0][1]["uid"], "name": "baseline"} if name == "descriptor" else doc
        if name == "descriptor":
            doc["data_keys"] = {key: said for key, said in doc["data_keys"].items() if key != KEY}
            doc["object_keys"] = {**doc["object_keys"], "det": ["counts"]}
        else:
            doc = {**doc, "data": {key: value for key, value in doc["data"].items() if key != KEY}}
        early.append((name, doc))
    sink = run_through(mean(), [docs[0], *early, *docs[1:]])
    assert [name for name, _ in sink][:3] == ["start", "descriptor", "event"]
    assert sink.stop["num_events"] == {"baseline": 6, "dark": 1, "primary": 6}
    assert "lost" not in sink.stop


def test_what_a_reduce_shows_changes_only_when_its_content_did():
    count = Count()
    assert count.publish() is None
    docs = raw_run()
    feed(count, docs[:2])
    first = count.publish()
    assert first.tree["n"] == 0
    feed(count, docs[2:3])  # a dark, which is not shown
    assert count.publish() is first
    feed(count, docs[3:5])
    second = count.publish(docs[0][1]["uid"])
    assert (second.tree["n"], second.tree["values"][0]) == (1, 1)
    assert second.revision != first.revision
    assert first.tree["n"] == 0
    feed(count, docs[5:])
    assert count.publish().tree["n"] == 6
    with pytest.raises(LookupError, match="no run nobody"):
        count.publish("nobody")


def test_what_is_shown_is_of_one_moment_though_events_come_in():
    count, stop, seen = Count(), threading.Event(), []

    def look():
        while not stop.is_set():
            published = count.publish()
            if published is not None and published.tree["n"]:
                seen.append(published.tree["n"] == published.tree["values"][0])

    thread = threading.Thread(target=look)
    thread.start()
    feed(count, raw_run(n=400, dark=False, image=lambda number: 0.0, shape=[400]))
    stop.set()
    thread.join()
    assert all(seen)
