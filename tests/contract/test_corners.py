"""Corners of the promises, on small maps and reduces: odd documents, odd kernels, odd subscribers."""

from __future__ import annotations

import gc
import weakref
from collections import ChainMap

import numpy as np
import pytest
from cases import KEY, SHAPE, Collector, collect, content, feed, frames, raw_run, reuid, run_through, same

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, TrackLinker
from bluesky_ext.engine import Map, Reduce, Rows, compose


def nothing(data, seq_num):
    return {}


class Plain(Map):
    """A map with a kernel of the test's."""

    def __init__(self, kernel=nothing, **options):
        super().__init__(kernel, parameters={}, data_keys=(KEY,), **options)


class Last(Reduce):
    def __init__(self, **options):
        super().__init__(parameters={}, data_keys=(KEY,), **options)

    def begin(self, start):
        return {}

    def reduce(self, state, stream, event):
        state[stream] = event["seq_num"]

    def finish(self, state, derived, start):
        derived.event("primary", None, dict(state))


# Subscribers


def test_who_leaves_while_called_does_not_take_the_document_from_the_next():
    stage = Plain()
    heard = []

    def leaver(name, doc):
        heard.append("leaver")
        stage.unsubscribe(token)

    token = stage.subscribe(leaver, "start")
    stage.subscribe(lambda name, doc: heard.append("next"), "start")
    feed(stage, raw_run())
    assert heard == ["leaver", "next"]


def test_who_fails_on_a_row_gets_the_other_rows():
    seen = []

    def picky(name, doc):
        seen.append(doc["seq_num"])
        if doc["seq_num"] == 1:
            raise ValueError("not this one")

    stage = PeakTracker(KEY, diameter=7, minmass=200)
    stage.subscribe(picky, "event")
    feed(stage, raw_run(n=2, dark=False))
    assert seen == [1, 2, 1, 3, 4, 2]  # rows, and what is told of their frames


def test_many_failures_of_a_subscriber_are_one_warning(caplog):
    class Growing(list):
        __hash__ = object.__hash__

        def __call__(self, name, doc):
            self.append(doc)
            raise ValueError("full")

    stage = Plain()
    stage.subscribe(Growing())
    feed(stage, raw_run())
    assert sum("full" in record.getMessage() for record in caplog.records if record.levelname == "WARNING") == 1


def test_a_stage_is_not_its_own_subscriber():
    stage = Plain()
    with pytest.raises(ValueError, match="itself"):
        stage.subscribe(stage)


# Odd documents


@pytest.mark.parametrize(
    "odd",
    [
        {"num_events": {"primary": None}},
        {"num_events": None},
        {"exit_status": None},
        {"exit_status": "aborted"},
        {"reason": 5},
        {"reason": None},
        {"exit_status": np.empty(0)},
        {"reason": np.empty(0)},
        {"num_events": {1: 2, "primary": 10**400}},
        {"lost": {"primary": [10**400]}, "lost_counts": {"primary": 10**400}},
        {"lost": {"primary": 3}},
        {"lost": 7},
    ],
    ids=str,
)
def test_whatever_the_stop_is_like_the_derived_run_has_one(odd):
    docs = raw_run()
    docs[-1] = ("stop", docs[-1][1] | odd)
    stage = Plain()
    stop = run_through(stage, docs).stop
    assert stop["num_events"] == {"dark": 1, "primary": 6}
    assert stop["exit_status"] == ("fail" if "exit_status" in odd else "success")
    assert stage.open_runs == []


def test_numbers_of_numpy_are_numbers():
    docs = [(name, doc | {"seq_num": np.int64(doc["seq_num"])} if name == "event" else doc) for name, doc in raw_run()]
    assert same(content(run_through(Plain(), docs)), content(run_through(Plain(), raw_run())))


@pytest.mark.parametrize("time", [None, "10:30", [1.0], True])
def test_an_event_without_a_time_is_not_handed_on(time, caplog):
    docs = raw_run(dark=False)
    docs[3] = ("event", docs[3][1] | {"time": time})
    stop = run_through(Plain(), docs).stop
    assert stop["failed"] == {"primary": [2]}
    assert f"its time is {time!r}: give a number" in caplog.text


def test_events_whose_descriptor_would_be_invalid_are_not_handed_on(caplog):
    docs = raw_run(dark=False)
    docs[1] = ("descriptor", docs[1][1] | {"configuration": {"det": None}})
    made = run_through(Plain(), docs)
    assert [name for name, _ in made] == ["start", "stop"]
    assert made.stop["failed_counts"] == {"primary": 6}
    assert "no valid descriptor: $.configuration.det" in caplog.text


def test_a_stream_may_be_called_anything(caplog):
    docs = raw_run(dark=False)
    docs[1] = ("descriptor", docs[1][1] | {"name": None})
    del docs[3]
    stop = run_through(Plain(), docs).stop
    assert stop["lost_counts"] == {"None": 1, "primary": 6}


@pytest.mark.parametrize("number", [0, -1, 10**400])
def test_numbers_below_one_are_refused(number, caplog):
    docs = raw_run()
    docs[4] = ("event", docs[4][1] | {"seq_num": number})
    stop = run_through(Plain(), docs).stop
    assert "seq_num " in caplog.text
    assert "they count from 1" in caplog.text
    assert stop["num_events"] == {"dark": 1, "primary": 5}


def test_any_mapping_is_a_document():
    docs = raw_run()
    docs[0] = ("start", ChainMap({"hints": ChainMap({"dimensions": []}, {})}, docs[0][1]))
    (start,) = run_through(Plain(), docs).named("start")
    assert start["hints"] == {"dimensions": []}
    assert start["scan_id"] == 7


def test_a_raw_stream_may_be_called_inputs():
    docs = [
        (name, doc | {"name": "inputs"} if name == "descriptor" and doc["name"] == "primary" else doc)
        for name, doc in raw_run(dark=False)
    ]
    docs[-1] = ("stop", docs[-1][1] | {"num_events": {"inputs": 6}})
    assert run_through(Plain(), docs).stop["num_events"] == {"inputs": 6}


def test_a_resource_that_comes_twice_is_forgotten_with_its_run():
    docs = raw_run(dark=False)
    resource = {"uid": "r", "spec": "NPY_SEQ", "run_start": docs[0][1]["uid"]}
    stage = Plain()
    feed(stage, [docs[0], ("resource", resource), ("resource", resource), *docs[1:]])
    image = weakref.ref(docs[-3][1]["data"][KEY])  # the last one is the stage's latest
    del docs
    gc.collect()
    assert image() is None


def test_lists_are_described_by_what_is_in_them():
    values = iter([[1, 2], [1.5, 2.5], [3, 4], [[1], [2, 3]]])
    sink = run_through(Plain(lambda data, seq_num: {"list": next(values)}), raw_run(n=4, dark=False))
    said = {doc["uid"]: doc["data_keys"]["list"] for doc in sink.named("descriptor")}
    dtypes = [said[doc["descriptor"]].get("dtype_numpy") for doc in sink.named("event")]
    assert dtypes[:3] == ["<i8", "<f8", "<i8"]
    assert len(sink.named("event")) + len(sink.stop.get("failed", {}).get("primary", ())) == 4


@pytest.mark.parametrize("value", [1j, {"a": 1}, object()], ids=["complex", "dict", "object"])
def test_what_is_no_data_is_refused_by_name(value, caplog):
    stop = run_through(Plain(lambda data, seq_num: {"odd": value}), raw_run(dark=False)).stop
    assert stop["failed_counts"] == {"primary": 6}
    assert f"a {type(value).__name__} is no data" in caplog.text


def test_whole_numbers_beyond_64_bits_are_integers():
    sink = run_through(Plain(lambda data, seq_num: {"big": 2**70}), raw_run(dark=False))
    assert sink.named("descriptor")[0]["data_keys"]["big"]["dtype"] == "integer"
    assert "failed" not in sink.stop


def test_an_image_of_nested_lists_that_passes_through_is_an_array():
    sink = run_through(Plain(), raw_run(image=lambda number: frames(number).tolist(), dark=False))
    assert all(isinstance(doc["data"][KEY], np.ndarray) for doc in sink.named("event"))
    assert "failed" not in sink.stop


def test_a_whole_number_counts_the_same_however_it_is_stored():
    runs = [run_through(Plain(lambda data, n, kind=kind: {"n": kind(n)}), raw_run()) for kind in (int, float, np.int32)]
    assert len({run.stop["sha256"] for run in runs}) == 1


# Odd kernels


def test_a_kernel_cannot_take_from_the_data_of_others():
    def greedy(data, seq_num):
        data["mx"] = -1.0
        return {}

    docs = raw_run()
    feed(Plain(greedy), docs)
    assert all(doc["data"].get("mx", 0) >= 0 for name, doc in docs if name == "event")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (lambda: Rows({"a": np.zeros(3), "b": np.zeros(1)}), "equally long"),
        (lambda: Rows({"a": np.zeros((2, 2))}), "one-dimensional"),
        (lambda: Rows([1, 2]), "dict of columns"),
        (lambda: Rows({"a": np.zeros(2)}, {"image": np.zeros(3)}), "'image'"),
        (lambda: {"a": 1}, "return Rows"),
    ],
)
def test_rows_that_are_no_table_are_an_error_of_their_event_and_nothing_is_out(rows, word, caplog):
    class Table(Plain):
        makes_rows = True

    sink = run_through(Table(lambda data, seq_num: rows()), raw_run(dark=False))
    assert sink.named("event") == sink.named("event_page") == []
    assert sink.stop["failed_counts"] == {"primary": 6}
    assert word in caplog.text


def test_maps_of_one_name_keep_each_other_s_keys():
    class First(Plain):
        hinted = ("a",)

    class Second(Plain):
        hinted = ("b",)

    first = First(lambda data, seq_num: {"a": seq_num}, name="Same")
    second = Second(lambda data, seq_num: {"b": seq_num}, name="Same")
    first.subscribe(second)
    sink = collect(second)
    feed(first, raw_run(dark=False))
    (descriptor,) = sink.named("descriptor")
    assert descriptor["object_keys"]["Same"] == ["a", "b"]
    assert descriptor["hints"]["Same"]["fields"] == ["a", "b"]


def test_many_shapes_have_a_descriptor_each_and_share_it_when_they_come_again():
    sink = run_through(Plain(lambda data, seq_num: {KEY: np.zeros((1 + seq_num % 50, 2))}), raw_run(n=200, dark=False))
    assert len(sink.named("descriptor")) == 50


# Composed maps


def test_a_map_that_looks_at_events_is_the_first_of_a_composed_one():
    twice = Plain(lambda data, seq_num: {KEY: np.asarray(data[KEY]) * 2})
    with pytest.raises(ValueError, match="ImageProcessor looks at events"):
        compose(twice, ImageProcessor(KEY, "dark"))
    chained = ImageProcessor(KEY, np.ones(SHAPE))
    sink = Collector()
    twice.subscribe(chained)
    chained.subscribe(sink)
    feed(twice, raw_run())
    composed = run_through(compose(twice, ImageProcessor(KEY, np.ones(SHAPE))), raw_run())
    for number in range(1, 7):
        one, other = (content(docs)["events"]["primary"][number][KEY] for docs in (sink, composed))
        assert np.array_equal(one, other)


def test_an_image_between_maps_is_written_over_where_nobody_has_it_any_more():
    process = ImageProcessor(KEY).kernel
    images = [np.full((3, *SHAPE), value, np.uint16) for value in (5, 7)]
    first, alone = (process({KEY: image}, 1) for image in images)
    again = process({KEY: images[1]}, 2, spare=first)
    assert again[KEY] is first[KEY]
    np.testing.assert_array_equal(again[KEY], alone[KEY])
    kept = []

    class Keep(Map):
        def __init__(self):
            super().__init__(lambda data, seq_num: kept.append(data[KEY]) or {}, parameters={})

    peaks = PeakTracker(KEY, diameter=7, minmass=200)
    sink = run_through(compose(ImageProcessor(KEY), Keep(), peaks), raw_run(dark=False))
    chained = run_through(PeakTracker(KEY, diameter=7, minmass=200), run_through(ImageProcessor(KEY), raw_run()))
    images = content(run_through(ImageProcessor(KEY), raw_run(dark=False)))["events"]["primary"]
    np.testing.assert_array_equal(kept, [event[KEY] for event in images.values()])
    reused = run_through(compose(ImageProcessor(KEY), peaks), raw_run(dark=False))
    rows = [content(one)["events"]["primary"] for one in (chained, sink, reused)]
    assert rows[0] == rows[1] == rows[2]


def test_a_key_that_is_taken_away_stays_away_in_a_composed_map():
    without = Plain(lambda data, seq_num: {"counts": None})
    sink = run_through(compose(without, PeakTracker(KEY, diameter=7, minmass=200)), raw_run(dark=False))
    assert all("counts" not in data for data in content(sink)["events"]["frames"].values())


def test_rows_are_the_last_word():
    with pytest.raises(ValueError, match="give it last"):
        compose(PeakTracker(KEY, diameter=7), Plain())
    with pytest.raises(TypeError, match="takes maps"):
        compose(Plain(), TrackLinker(search_range=5))


# Darks


def by_stream(docs, order):
    """A run as a store may give it: all events of one stream, then all of the next."""
    names = {doc["uid"]: doc["name"] for name, doc in docs if name == "descriptor"}
    events = [item for item in docs if item[0] == "event"]
    events.sort(key=lambda item: order.index(names[item[1]["descriptor"]]))
    return [item for item in docs if item[0] in ("start", "descriptor")] + events + [docs[-1]]


def test_a_dark_is_the_latest_by_time_not_by_arrival():
    docs = raw_run(n=4)
    early = next(doc for name, doc in docs if name == "event")
    late = early | {"uid": "late", "seq_num": 2, "time": 12.5, "data": {KEY: frames(0, dark=True) + 40}}
    live = [*docs[:6], ("event", late), *docs[6:]]
    assert [doc["time"] for name, doc in live if name == "event"] == [1.0, 11.0, 12.0, 12.5, 13.0, 14.0]
    live[-1] = ("stop", live[-1][1] | {"num_events": {"dark": 2, "primary": 4}})
    results = [
        content(run_through(ImageProcessor(KEY, "dark"), order))
        for order in (live, by_stream(live, ["dark", "primary"]))
    ]
    assert [results[0]["events"]["primary"][number][f"{KEY}_dark"] for number in range(1, 5)] == [1, 1, 2, 2]
    assert same(results[0]["events"], results[1]["events"])
    assert results[0]["stop"]["sha256"] == results[1]["stop"]["sha256"]


# Runs that go wrong


def test_an_error_of_one_run_is_not_raised_in_another():
    stage = Plain(lambda data, seq_num: 1 / 0, on_error="raise")
    docs = raw_run()
    stage(*docs[0])
    stage(*docs[1])
    with pytest.raises(ZeroDivisionError):
        feed(stage, [item for item in docs if item[0] != "start"][1:])
    stage.close()
    stage("start", reuid(docs)[0][1])


def test_a_reduce_that_cannot_begin_fails_its_events():
    class Unable(Last):
        def begin(self, start):
            raise ValueError("no room")

        def reduce_page(self, state, stream, page):
            raise AssertionError("it never began")

    stop = run_through(Unable(), raw_run(pages=True)).stop
    assert stop["failed_counts"] == {"dark": 1, "primary": 6}
    assert stop["incomplete"] == "ValueError: no room"


def test_a_run_that_cannot_begin_keeps_no_images():
    class Unable(Plain):
        def begin(self, start):
            raise ValueError("no room")

    docs = raw_run(n=50)
    stage = Unable()
    feed(stage, docs[:-1])
    images = [weakref.ref(doc["data"][KEY]) for name, doc in docs if name == "event"]
    stop = docs[-1]
    del docs
    gc.collect()
    assert sum(image() is not None for image in images) == 0
    stage(*stop)


def test_a_reduce_says_what_it_keeps_when_it_is_written():
    class Nothing(Reduce):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing(parameters={})


def test_keys_are_a_collection():
    with pytest.raises(TypeError, match="data_keys='det_image'"):
        Map(nothing, parameters={}, data_keys=KEY)


@pytest.mark.parametrize("said", ["of beamtime 7", {"sample": "gold", "upstream": 1}], ids=["text", "mapping"])
def test_metadata_of_the_user_may_be_called_analysis(said):
    sink = run_through(ImageProcessor(KEY), raw_run(dark=False, analysis=said))
    assert sink.stop["num_events"] == {"primary": 6}
    (start,) = sink.named("start")
    assert start["analysis"]["stage"] == "ImageProcessor"
    assert "upstream" not in start["analysis"]


def test_what_a_later_stage_is_to_raise_is_raised_by_those_that_feed_it():
    first = Map(lambda data, seq_num: {}, parameters={}, data_keys=(KEY,))
    last = Map(lambda data, seq_num: {"x": 1 / 0}, parameters={}, data_keys=(KEY,), on_error="raise")
    first.subscribe(last)
    with pytest.raises(ZeroDivisionError):
        feed(first, raw_run())


class FailsOnce(Reduce):
    """Fails on an event when it comes for the first time."""

    def begin(self, start):
        return set()

    def reduce(self, state, stream, event):
        if event["seq_num"] not in state:
            state.add(event["seq_num"])
            raise ValueError("not yet")


def test_of_an_event_that_comes_again_the_last_try_counts():
    docs = raw_run(n=2, dark=False)
    sink = run_through(FailsOnce(parameters={}, data_keys=(KEY,)), [*docs[:-1], docs[-2], docs[-1]])
    assert sink.stop["failed"] == {"primary": [1]}


def test_an_event_that_waits_for_its_frame_is_heard_of():
    def named(kind, uid, **doc):
        return kind, {"uid": uid, "time": 1.0, **doc}

    keys = {KEY: {"source": "s", "dtype": "array", "shape": [1, 2, 2], "external": "STREAM:"}}
    keys["x"] = {"source": "s", "dtype": "number", "shape": []}
    stage = Plain(max_open_runs=2)
    feed(stage, [named("start", "a"), named("descriptor", "d", run_start="a", name="primary", data_keys=keys)])
    stage(*named("start", "b"))
    stage(*named("event", "e", descriptor="d", seq_num=1, data={"x": 1.0}, timestamps={"x": 1.0}, filled={}))
    stage(*named("start", "c"))
    assert stage.open_runs == ["a", "c"]


def test_an_empty_page_is_nothing():
    docs = run_through(PeakTracker(KEY, diameter=7, minmass=200), raw_run(dark=False))
    page = next(doc for name, doc in docs if name == "event_page")
    empty = {key: [] for key in page["data"]}
    page = {**page, "seq_num": [], "uid": [], "time": [], "data": empty, "timestamps": empty}
    stage = CrystalMap(search_range=5)
    feed(stage, [*docs[:-1], ("event_page", page), docs[-1]])
    assert stage.stats.failed == 0


def test_what_becomes_of_an_array_that_was_given_changes_nothing():
    background = np.zeros(SHAPE)
    stage = ImageProcessor(KEY, background)
    background += 100
    got = run_through(stage, raw_run(dark=False))
    assert same(content(got), content(run_through(ImageProcessor(KEY, np.zeros(SHAPE)), raw_run(dark=False))))
