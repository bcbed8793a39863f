"""What is of one run, or of one side of a stage, does not reach another: copies, states, times, memory."""

from __future__ import annotations

import gc
from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest
from cases import (
    CASES,
    KEY,
    LOCATE,
    Collector,
    collect,
    content,
    feed,
    frames,
    raw_run,
    reuid,
    run_through,
    same,
    snapshot,
)
from test_promises import split

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, TrackLinker, compose
from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.stages.run import StageRun

every_stage = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
one_to_one = pytest.mark.parametrize("case", [case for case in CASES if case.keeps_seq_num], ids=lambda case: case.name)


def ruin(value):
    """Empty everything that can be emptied, all the way down."""
    if isinstance(value, dict | list):
        for item in list(value.values()) if isinstance(value, dict) else list(value):
            ruin(item)
        value.clear()


@every_stage
def test_a_vandal_among_the_subscribers_reaches_neither_the_input_nor_later_documents(case):
    docs = case.given(raw_run(sample={"tags": ["a"]}))
    before = snapshot(docs)
    expected = content(run_through(case.make(), docs))
    stage = case.make()
    copies = Collector()
    stage.subscribe(lambda name, doc: copies(name, snapshot([(name, doc)])[0][1]))
    stage.subscribe(lambda name, doc: ruin({key: value for key, value in doc.items() if key != "data"}))
    feed(stage, docs)
    assert same(docs, before)
    assert same(content(copies), expected)


def darker(docs, by):
    """The same run under other uids, with a dark that is brighter by so much."""
    docs = reuid(docs)
    at = next(at for at, (name, _) in enumerate(docs) if name == "event")
    docs[at] = ("event", docs[at][1] | {"data": {KEY: frames(0, dark=True) + np.uint16(by)}})
    return docs


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageProcessor(KEY, "dark"),
        lambda: compose(ImageProcessor(KEY, "dark"), PeakTracker(KEY, **LOCATE)),
    ],
    ids=["ImageProcessor", "compose"],
)
def test_each_run_has_its_own_darks(make):
    one, other = raw_run(), darker(raw_run(), 7)
    alone = [content(run_through(make(), docs)) for docs in (one, other)]
    stage = make()
    sink = collect(stage)
    for pair in zip(one, other, strict=True):
        feed(stage, pair)
    assert not same(alone[0]["events"], alone[1]["events"])
    assert [same(content(run), expected) for run, expected in zip(split(sink), alone, strict=True)] == [True, True]


def test_each_run_is_mapped_on_its_own_grid():
    def peaks(n):
        return list(run_through(PeakTracker(KEY, **LOCATE), reuid(raw_run(n=3 * n, shape=[n, 3]))))

    stage = CrystalMap(search_range=5, memory=1)
    sink = collect(stage)
    for pair in zip_longest(peaks(2), peaks(3)):
        feed(stage, filter(None, pair))
    runs = [[doc["data"] for name, doc in run if name == "event" and "map" in doc["data"]] for run in split(sink)]
    assert [{data["map"].shape for data in run} for run in runs] == [{(2, 3)}, {(3, 3)}]


@pytest.fixture(scope="module")
def _others_are_not_counted():
    """What there is already is not looked through again, which would take seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@every_stage
@pytest.mark.usefixtures("_others_are_not_counted")
def test_nothing_of_a_run_is_kept_when_it_is_over(case):
    def alive():
        gc.collect()
        count = Counter(map(type, gc.get_objects()))
        return [count[kind] for kind in (StageRun, OpenStream, Joiner, DerivedRun)]

    stage = case.make()
    feed(stage, reuid(case.given(raw_run())))
    before = alive()
    for _ in range(3):
        feed(stage, reuid(case.given(raw_run())))
    assert alive() == before


@one_to_one
def test_what_passes_through_keeps_its_times_and_devices(case):
    docs = raw_run()
    for name, doc in docs:
        if name == "event":
            doc["timestamps"] = dict.fromkeys(doc["data"], doc["time"] - 0.25)
    sink = run_through(case.make(), docs)
    given = {doc["seq_num"]: doc for name, doc in docs if name == "event" and "mx" in doc["data"]}
    derived = [doc for doc in sink.named("event") if "mx" in doc["data"]]
    assert len(derived) == len(given)
    for doc in derived:
        assert doc["time"] == given[doc["seq_num"]]["time"]
        assert doc["timestamps"]["mx"] == doc["time"] - 0.25
    (start,) = sink.named("start")
    assert start["motors"] == ["my", "mx"]
    assert start["hints"] == docs[0][1]["hints"]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (lambda: ImageProcessor(KEY, "dark"), {"data_key": KEY, "subtrahend": "dark"}),
        (lambda: PeakTracker(KEY, 7, minmass=200), {"data_key": KEY, "diameter": 7, "minmass": 200}),
        (lambda: TrackLinker(search_range=5, memory=2), {"search_range": 5, "memory": 2, "stream_name": "primary"}),
        (lambda: CrystalMap(search_range=5, max_maps=3), {"search_range": 5, "max_maps": 3, "value": "mass"}),
    ],
    ids=["ImageProcessor", "PeakTracker", "TrackLinker", "CrystalMap"],
)
def test_the_parameters_are_those_that_were_given(stage, expected):
    (start,) = run_through(stage(), raw_run()[:2]).named("start")
    said = start["analysis"]["parameters"]
    assert {key: said[key] for key in expected} == expected
