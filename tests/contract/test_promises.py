"""The promises that every stage of the package makes, one test for each; DESIGN is what they are taken from."""

from __future__ import annotations

import gc
import logging
import weakref
from itertools import chain

import event_model
import numpy as np
import pytest
from cases import (
    CASES,
    KEY,
    KINDS,
    MAP_KINDS,
    MAPS,
    N_EVENTS,
    SHAPE,
    Collector,
    collect,
    content,
    feed,
    frames,
    named,
    raw_run,
    reuid,
    run_through,
    same,
    snapshot,
    spots,
    unpacked,
    valid_rows,
)
from event_model import DocumentNames, schema_validators

import bluesky_ext

every_stage = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_map = pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)
every_kind = pytest.mark.parametrize("case", KINDS, ids=lambda case: case.name)
every_kind_of_map = pytest.mark.parametrize("case", MAP_KINDS, ids=lambda case: case.name)


# 1. It never changes the documents that it is given.


@every_stage
@pytest.mark.parametrize("pages", [False, True], ids=["events", "pages"])
def test_documents_are_left_as_they_are(case, pages):
    docs = case.given(raw_run(pages=pages))
    before = snapshot(docs)
    run_through(case.make(), docs)
    assert same(docs, before)


# 2. It is safe with several runs at once, and forgets them.


@every_stage
def test_interleaved_runs_do_not_meet(case):
    one, other = case.given(raw_run()), case.given(raw_run(image=lambda number: frames(number + 4)))
    alone = [content(run_through(case.make(), docs)) for docs in (one, other)]
    stage = case.make()
    sink = collect(stage)
    one, other = reuid(one), reuid(other)
    for at in range(max(len(one), len(other))):
        feed(stage, one[at : at + 1] + other[at : at + 1])
    assert stage.open_runs == []
    runs = split(sink)
    assert len(runs) == 2
    for run, expected in zip(runs, alone, strict=True):
        assert same(content(run), expected)


@every_kind
def test_a_run_within_a_run(case):
    outer, inner = case.given(raw_run()), reuid(case.given(raw_run()))
    alone = content(run_through(case.make(), outer))
    sink = run_through(case.make(), [*outer[:5], *inner, *outer[5:]])
    assert [same(content(run), alone) for run in split(sink)] == [True, True]


@every_map
def test_of_its_images_a_run_leaves_the_latest_until_the_next_begins(case):
    docs = case.given(raw_run())
    stage = case.make()
    feed(stage, docs)
    images = [weakref.ref(doc["data"][KEY]) for name, doc in docs if name == "event"]
    assert images
    descriptors = [(name, doc) for name, doc in reuid(docs) if name in ("start", "descriptor")]
    del docs
    gc.collect()
    assert [image() is None for image in images] == [True] * (len(images) - 1) + [False]
    feed(stage, descriptors)
    gc.collect()
    assert not any(image() for image in images)


@every_kind
def test_more_open_runs_than_allowed_close_the_oldest(case, caplog):
    stage = case.make(max_open_runs=2)
    sink = collect(stage)
    for _ in range(3):
        feed(stage, reuid(case.given(raw_run()))[:-1])
    assert len(stage.open_runs) == 2
    assert "more than 2 runs are open" in sink.stop["incomplete"]
    assert "incomplete" in caplog.text
    stage.close()
    assert stage.open_runs == []
    assert stage.stats.incomplete == 3


# 3. A derived run is valid, and says what it comes from.


@every_stage
def test_documents_are_valid_and_refer_to_each_other(case):
    docs = case.given(raw_run())
    sink = run_through(case.make(), docs)
    for name, doc in sink:
        schema_validators[DocumentNames[name]].validate(doc)
    assert (sink[0][0], sink[-1][0]) == ("start", "stop")
    (start,) = sink.named("start")
    descriptors = {doc["uid"]: doc for doc in sink.named("descriptor")}
    assert {doc["run_start"] for doc in [*descriptors.values(), sink.stop]} == {start["uid"]}
    uids = [doc["uid"] for _, doc in unpacked(sink)]
    assert len(set(uids)) == len(uids)
    assert not {doc["uid"] for _, doc in unpacked(docs)} & set(uids)
    for name, doc in unpacked(sink):
        if name == "event":
            assert doc["data"].keys() == doc["timestamps"].keys() == descriptors[doc["descriptor"]]["data_keys"].keys()


@every_stage
def test_descriptors_describe_the_data(case):
    stage = case.make()
    sink = run_through(stage, case.given(raw_run()))
    descriptors = {doc["uid"]: doc for doc in sink.named("descriptor")}
    kinds = {"number": (int, float), "integer": (int,), "boolean": (bool,), "string": (str,)}
    for name, doc in unpacked(sink):
        if name != "event":
            continue
        for key, value in doc["data"].items():
            said = descriptors[doc["descriptor"]]["data_keys"][key]
            assert "external" not in said
            if said["dtype"] == "array":
                assert isinstance(value, np.ndarray)
                assert said["shape"] == ([None, *value.shape[1:]] if key in stage.ragged else list(value.shape))
                assert said["dtype_numpy"] == value.dtype.str
            else:
                assert said["shape"] == []
                assert type(value) in kinds[said["dtype"]], (key, said, value)


@every_stage
def test_every_key_belongs_to_an_object(case):
    sink = run_through(case.make(), case.given(raw_run()))
    (start,) = sink.named("start")
    descriptors = sink.named("descriptor")
    for doc in descriptors:
        assert sorted(chain.from_iterable(doc["object_keys"].values())) == sorted(doc["data_keys"])
        for name, hint in doc["hints"].items():
            assert set(hint.get("fields", ())) <= set(doc["object_keys"][name])
        assert set(doc["configuration"]) <= set(doc["object_keys"])
    # BestEffortCallback looks up the motors of the start among the objects of the descriptors.
    primary = next(doc for doc in descriptors if doc["name"] == "primary")
    assert set(start.get("motors", ())) <= set(primary["object_keys"])
    assert "hints" not in start or start["motors"]


@every_stage
def test_the_start_says_where_the_run_comes_from(case):
    raw = raw_run(sample="quartz")
    given = case.given(raw)
    stage = case.make()
    (start,) = run_through(stage, given).named("start")
    parent = given[0][1]
    assert start["uid"] != parent["uid"]
    assert start["original_run_uid"] == raw[0][1]["uid"]
    assert start["analysis"]["parent_run_uid"] == parent["uid"]
    assert start["sample"] == "quartz"
    assert start["scan_id"] == 7
    assert start["analysis_stage"] == start["analysis"]["stage"] == stage.name
    assert (start["analysis"]["package"], start["analysis"]["version"]) == ("bluesky_ext", bluesky_ext.__version__)
    assert [step["stage"] for step in start["analysis"].get("upstream", ())] == [make().name for make in case.upstream]


@every_stage
def test_num_events_are_counted(case):
    sink = run_through(case.make(), case.given(raw_run()))
    names = {doc["uid"]: doc["name"] for doc in sink.named("descriptor")}
    counted: dict[str, int] = {}
    for name, doc in unpacked(sink):
        if name == "event":
            stream = names[doc["descriptor"]]
            counted[stream] = counted.get(stream, 0) + 1
            assert doc["seq_num"] == counted[stream]
    assert sink.stop["num_events"] == counted
    assert sum(counted.values()) > 0


@every_kind
@pytest.mark.parametrize(("status", "reason"), [("success", ""), ("abort", "beam dump"), ("fail", "motor stalled")])
def test_the_exit_status_is_carried_over(case, status, reason):
    stop = run_through(case.make(), case.given(raw_run(exit_status=status, reason=reason))).stop
    assert (stop["exit_status"], stop["reason"]) == (status, reason)


@every_stage
def test_the_sha256_is_that_of_the_content(case):
    runs = [
        raw_run(),
        raw_run(pages=True),
        raw_run(image=lambda number: frames(number + 1)),
        raw_run(seq_nums=[2, 1, 2, *range(3, 7)]),
    ]
    stage = case.make(hash_images=True)
    first, paged, other, repeated = (run_through(stage, case.given(run)).stop["sha256"] for run in runs)
    assert len(first) == 64
    assert first == paged == repeated
    assert first != other


@pytest.mark.parametrize("case", [case for case in MAPS if case.keeps_seq_num], ids=lambda case: case.name)
def test_images_count_in_the_sha256_on_request(case):
    one, other = (
        run_through(case.make(hash_images=True), raw_run(image=image)).stop["sha256"]
        for image in (frames, lambda number: frames(number + 1))
    )
    assert one != other


# 4. and 8. It takes events and pages, images in any form (the forms are tried in test_forms); they leave as arrays.


@every_stage
def test_a_page_is_as_good_as_its_events(case):
    events, pages = (content(run_through(case.make(), case.given(raw_run(pages=pages)))) for pages in (False, True))
    assert same(events, pages)


@every_stage
def test_nested_lists_are_as_good_as_arrays(case):
    arrays, lists = (
        content(run_through(case.make(), case.given(raw_run(image=image))))
        for image in (lambda number: frames(number).astype(np.int64), lambda number: frames(number).tolist())
    )
    assert same(arrays, lists)


# 5. A repeated event replaces the earlier one.


@every_stage
def test_the_last_word_on_an_event_counts(case):
    false_start = case.given(raw_run(seq_nums=[1, 2, 1, 2, 3, 4, 5, 6], image=Changing()))
    straight = case.given(raw_run())
    got, expected = (run_through(case.make(), docs) for docs in (false_start, straight))
    if case.is_map and case.make().makes_rows:
        assert same(without_numbers(valid_rows(got)), without_numbers(valid_rows(expected)))
        assert got.stop["num_events"]["frames"] == N_EVENTS
    else:
        assert same(content(got)["events"], content(expected)["events"])
        assert got.stop["num_events"] == expected.stop["num_events"]
    assert "lost" not in got.stop


# 6. Loss is loud.


@every_stage
def test_events_that_never_came_are_named(case, caplog):
    docs = list(unpacked(case.given(raw_run())))
    streams = {doc["uid"]: doc["name"] for name, doc in docs if name == "descriptor"}
    target = "frames" if "frames" in streams.values() else "primary"
    numbers = {3, docs[-1][1]["num_events"][target]}
    kept = [
        (name, doc)
        for name, doc in docs
        if not (name == "event" and streams[doc["descriptor"]] == target and doc["seq_num"] in numbers)
    ]
    stage = case.make()
    stop = run_through(stage, kept).stop
    assert stop["lost"] == {target: sorted(numbers)}
    assert stop["lost_counts"] == {target: 2}
    assert stage.stats.lost == 2
    feed(stage, reuid(kept))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("never came" in message for message in warnings) == 2  # one a run


@every_kind
def test_a_stream_of_which_nothing_came_is_lost(case):
    docs = [(name, doc) for name, doc in case.given(raw_run()) if name not in ("event", "event_page", "descriptor")]
    stop = run_through(case.make(), docs).stop
    assert stop["lost_counts"] == docs[-1][1]["num_events"]


@every_kind
def test_what_was_lost_upstream_is_not_forgotten(case):
    docs = case.given(raw_run())
    docs[-1] = ("stop", docs[-1][1] | {"lost": {"primary": [2]}, "failed": {"other": [5]}})
    assert run_through(case.make(), docs).stop["lost"] == {"primary": [2], "other": [5]}


@every_kind
def test_a_run_without_a_start_is_worked_on_and_flagged(case, caplog):
    docs = case.given(raw_run())
    stage = case.make()
    sink = run_through(stage, docs[1:])
    assert sink.named("start")[0]["original_run_uid"] == docs[0][1]["uid"]
    assert "start document never came" in sink.stop["incomplete"]
    assert "joined in the middle" in caplog.text
    assert (stage.stats.runs, stage.stats.incomplete) == (1, 1)
    assert stage.open_runs == []


@every_kind
def test_a_run_without_a_stop_is_closed_in_time(case, caplog):
    stage = case.make(stale_after=5.0)
    sink = collect(stage)
    feed(stage, case.given(raw_run())[:-1])
    stage.close_stale()
    assert sink.named("stop") == []
    stage.close_stale(idle=0.0)
    assert "closed on request" in sink.stop["incomplete"]
    assert sink.stop["exit_status"] == "abort"
    assert stage.stats.incomplete == 1
    assert sum("as incomplete" in record.getMessage() for record in caplog.records) == 1
    assert stage.open_runs == []


@every_kind
def test_events_of_unknown_runs_are_counted_and_reported_once(case, caplog):
    docs = case.given(raw_run())
    stage = case.make()
    sink = run_through(stage, [(name, doc) for name, doc in docs if name in ("event", "event_page")])
    assert list(sink) == []
    assert stage.stats.orphaned == sum(name == "event" for name, _ in unpacked(docs))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    unknown = {doc["descriptor"] for name, doc in unpacked(docs) if name == "event"}
    assert sum("not announced" in message for message in warnings) == len(unknown)


@every_kind
def test_a_run_that_starts_again_is_worked_on_again_and_a_second_stop_changes_nothing(case, caplog):
    docs = case.given(raw_run())
    stage = case.make()
    sink = run_through(stage, [*docs[:-2], *docs, docs[-1]])
    begins = [number for number, (name, _) in enumerate(sink) if name == "start"]
    first, again = sink[: begins[-1]], sink[begins[-1] :]
    assert first[-1][1]["incomplete"] == "it was started again"
    assert same(content(again), content(run_through(case.make(), docs)))
    assert stage.stats.incomplete == 1
    assert "unknown" in caplog.text


@every_kind_of_map
def test_a_run_that_cannot_begin_fails_its_events_and_ends(case, caplog):
    def unwilling():
        raise ValueError("no workers today")

    stage = case.make(executor=unwilling)
    stop = run_through(stage, case.given(raw_run())).stop
    assert stop["incomplete"] == "RuntimeError: the executor can't be made: ValueError: no workers today"
    assert stop["failed"]["primary"] == list(range(1, N_EVENTS + 1))
    assert "no workers today" in caplog.text
    assert stage.open_runs == []


@every_kind
def test_a_document_of_unknown_kind_is_reported(case, caplog):
    stage = case.make()
    stage("bulk_events", {})
    assert stage.stats.failed == 1
    assert "'bulk_events'" in caplog.text


# 7. A failure stays with its event.

BAD_IMAGES = {
    "no image": np.zeros(3, np.uint16),
    "another shape": np.full((2, 8, 8), 7, np.uint16),
    "another dtype": np.full((2, *SHAPE), 1 + 1j),
    "strings": np.full((2, *SHAPE), "x"),
    "empty": np.zeros((0, 64, 64), np.uint16),
    "ragged": [[1, 2], [3]],
    "none": None,
}
ODD_IMAGES = {
    "nan": np.full((2, *SHAPE), np.nan),
    "inf": np.full((2, *SHAPE), np.inf),
    "zero": np.zeros((2, *SHAPE)),
    "constant": np.full((2, *SHAPE), 1000.0),
    "one pixel": np.ones((1, 1, 1), np.uint16),
}


@pytest.mark.parametrize("kind", [*BAD_IMAGES, *ODD_IMAGES])
@pytest.mark.parametrize(
    "case", [*MAP_KINDS, named("ImageProcessor"), named("PeakTracker")], ids=lambda case: case.name
)
def test_a_bad_image_costs_its_event_and_no_other(case, kind, caplog):
    bad = (BAD_IMAGES | ODD_IMAGES)[kind]
    docs = case.given(raw_run(image=lambda number: bad if number == 3 else frames(number)))
    stage = case.make()
    got = content(run_through(stage, docs))
    expected = content(run_through(case.make(), case.given(raw_run())))
    name = "primary" if case.keeps_seq_num else "frames"
    others = {number for number in range(1, N_EVENTS + 1) if number != 3}
    assert others <= got["events"][name].keys()
    if case.keeps_seq_num:
        for number in others:
            assert same(got["events"][name][number], expected["events"][name][number])
    failed = 3 not in got["events"][name]
    assert got["stop"].get("failed") == ({"primary": [3]} if failed else None)
    assert stage.stats.failed == failed
    if failed:
        (line,) = [r.getMessage() for r in caplog.records if "event 3" in r.getMessage()]
        assert "primary" in line
        assert "\n" not in line


@every_kind_of_map
def test_many_failures_are_one_warning(case, caplog):
    docs = case.given(raw_run(image=lambda number: np.zeros(3, np.uint16)))
    stage = case.make()
    stop = run_through(stage, docs).stop
    assert stop["failed_counts"] == {"primary": N_EVENTS}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum("failed on run" in message for message in warnings) == 1


@every_kind_of_map
def test_an_error_is_raised_on_request_when_the_document_is_through(case):
    docs = case.given(raw_run(image=lambda number: np.zeros(3, np.uint16)))
    stage = case.make(on_error="raise")
    sink = collect(stage)
    with pytest.raises(ValueError, match=r"no image|no spectrum"):
        feed(stage, docs)
    at = next(
        i for i, (name, doc) in enumerate(docs) if name == "event" and doc["seq_num"] == 1 and len(doc["data"]) > 1
    )
    for name, doc in docs[at + 1 : -1]:
        with pytest.raises(ValueError, match=r"no image|no spectrum"):
            stage(name, doc)
    stage(*docs[-1])
    assert sink.stop["failed_counts"] == {"primary": N_EVENTS}


@every_kind
def test_a_failing_subscriber_does_not_starve_its_siblings(case):
    docs = case.given(raw_run())
    expected = content(run_through(case.make(), docs))
    stage = case.make()
    before, after = Collector(), Collector()
    stage.subscribe(before)
    stage.subscribe(lambda name, doc: 1 / 0)
    stage.subscribe(after)
    feed(stage, docs)
    assert same(content(before), expected)
    assert same(content(after), expected)
    assert stage.stats.subscriber_failures == len(after)


@every_kind
def test_a_failing_subscriber_raises_on_request_after_its_siblings(case):
    docs = case.given(raw_run())
    stage = case.make(on_error="raise")
    after = Collector()
    stage.subscribe(lambda name, doc: 1 / 0, "stop")
    stage.subscribe(after)
    feed(stage, docs[:-1])
    with pytest.raises(ZeroDivisionError):
        stage(*docs[-1])
    assert after.stop["exit_status"] == "success"
    assert stage.open_runs == []


def test_a_run_with_keys_that_are_no_text_can_be_closed():
    start, (_, descriptor), *_ = raw_run(dark=False)
    stage = named("ImageProcessor").make()
    stage(*start)
    stage("descriptor", descriptor | {"data_keys": {2.5: {}, "x": {}}})
    stage.close()
    assert stage.stats.not_concerned == 1
    assert stage.open_runs == []


@every_map
def test_a_run_without_the_key_is_none_of_its_business(case, caplog):
    docs = [(name, rename(doc, KEY, "other_image") if name != "start" else doc) for name, doc in case.given(raw_run())]
    sink, stage = Collector(), case.make()
    stage.subscribe(sink)
    with caplog.at_level("INFO"):
        for name, doc in docs:
            stage(name, doc)
    assert sink == []
    assert (stage.stats.not_concerned, stage.stats.failed, stage.stats.lost) == (1, 0, 0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    (line,) = [record.getMessage() for record in caplog.records if "no stream" in record.getMessage()]
    assert KEY in line
    assert "other_image" in line


# Subscribing, as on the RunEngine.


@every_kind
def test_subscribers_choose_their_documents(case):
    docs = case.given(raw_run())
    stage = case.make()
    everything, events, stops, by_enum = (Collector() for _ in range(4))
    stage.subscribe(everything)
    stage.subscribe(events, "event")
    token = stage.subscribe(stops, "stop")
    stage.subscribe(by_enum, DocumentNames.descriptor)
    feed(stage, docs)
    assert same([doc for name, doc in unpacked(everything) if name == "event"], events.named("event"))
    assert [name for name, _ in stops] == ["stop"]
    assert by_enum.named("descriptor") == everything.named("descriptor")
    stage.unsubscribe(token)
    feed(stage, reuid(docs))
    assert len(stops) == 1
    with pytest.raises(ValueError, match="'evnt'"):
        stage.subscribe(events, "evnt")
    with pytest.raises(ValueError, match=str(token)):
        stage.unsubscribe(token)


@every_kind
def test_it_serves_under_a_run_router(case):
    docs = case.given(raw_run())
    expected = content(run_through(case.make(), docs))
    sink = Collector()

    def factory(name, doc):
        stage = case.make()
        stage.subscribe(sink)
        return [stage], []

    feed(event_model.RunRouter([factory]), docs)
    assert same(content(sink), expected)


@every_kind
def test_wrong_options_are_refused_at_once(case):
    with pytest.raises(ValueError, match="on_error='ignore'"):
        case.make(on_error="ignore")
    with pytest.raises(ValueError, match="stale_after=-1"):
        case.make(stale_after=-1)
    with pytest.raises(ValueError, match="max_open_runs=0"):
        case.make(max_open_runs=0)


# The numbers themselves, by hand.


def test_the_runs_of_this_suite_have_the_peaks_they_should():
    case = next(case for case in CASES if case.name == "compose")
    rows = valid_rows(run_through(case.make(), raw_run()))
    for number in range(1, N_EVENTS + 1):
        found = sorted((row["y"], row["x"]) for row in rows[number])
        assert np.shape(found) == np.shape(spots(number))
        assert np.allclose(found, spots(number), atol=0.05)


class Changing:
    """Frames that say nonsense the first time that they are asked for."""

    def __init__(self):
        self.asked = set()

    def __call__(self, number):
        first = number not in self.asked
        self.asked.add(number)
        return frames(number + 20 if first and number < 3 else number)


def split(docs):
    """The runs among documents, in the order of their starts."""
    runs, owner = {}, {}
    for name, doc in docs:
        if name == "start":
            uid = doc["uid"]
        elif name == "descriptor":
            uid = owner[doc["uid"]] = doc["run_start"]
        else:
            uid = doc["run_start"] if name == "stop" else owner[doc["descriptor"]]
        runs.setdefault(uid, []).append((name, doc))
    return list(runs.values())


def without_numbers(rows):
    return {frame: [list(row.values()) for row in rows_of_it] for frame, rows_of_it in rows.items()}


def rename(value, old, new):
    if isinstance(value, dict):
        return {new if key == old else key: rename(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [rename(item, old, new) for item in value]
    return new if isinstance(value, str) and value == old else value
