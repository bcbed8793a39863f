from __future__ import annotations

import bluesky.plans as bp
import numpy as np
import pandas as pd
import pytest
import trackpy
from cases import KEY, LOCATE, Collector, content, feed, frames, raw_run, run_through, unpacked
from event_model import compose_run, pack_event_page

from bluesky_ext import CrystalMap, PeakTracker, Recorder, Recording, TrackLinker
from bluesky_ext.engine import Map
from bluesky_ext.peaks import link as link_table
from bluesky_ext.sim import beamline

trackpy.quiet()


def rng_frames(n_frames=30, n_peaks=12, seed=1, empty=(5, 17)):
    """A table of peaks that wander and blink; some frames have none."""
    rng = np.random.default_rng(seed)
    where = rng.uniform(0, 400, (n_peaks, 2))
    rows = []
    for frame in range(1, n_frames + 1):
        where += rng.normal(0, 1.5, where.shape)
        seen = where[rng.random(n_peaks) < 0.8] if frame not in empty else where[:0]
        rows += [{"y": y, "x": x, "mass": 100 + y, "frame": frame} for y, x in rng.permutation(seen)]
    return pd.DataFrame(rows)


def peak_run(table, n_frames, *, told=True, order="live", single=False, per_page=None):
    """A run of peaks as a PeakTracker emits it, or as a store gives it back."""
    bundle = compose_run(validate=False)
    keys = {name: {"source": "t", "dtype": "number", "shape": []} for name in table}
    about = {name: {"source": "t", "dtype": "integer", "shape": []} for name in ("frame", "first_row", "n_rows")}
    rows = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    docs, pages, tellings = [("start", bundle.start_doc), ("descriptor", rows.descriptor_doc)], [], []
    if told:
        frames_stream = bundle.compose_descriptor(name="frames", data_keys=about, validate=False)
        docs.append(("descriptor", frames_stream.descriptor_doc))
    number = 0
    for frame in range(1, n_frames + 1):
        group = table[table["frame"] == frame].to_dict("records")
        stamps = dict.fromkeys(keys, 1.0)
        events = [
            rows.compose_event(data=row, timestamps=stamps, seq_num=number + at + 1, validate=False)
            for at, row in enumerate(group)
        ]
        said = {"frame": frame, "first_row": number + 1, "n_rows": len(group)}
        number += len(group)
        pages.append(events)
        if told:
            stamps = dict.fromkeys(about, 1.0)
            tellings.append(("event", frames_stream.compose_event(data=said, timestamps=stamps, validate=False)))
    if per_page:
        every = [event for events in pages for event in events]
        packed = [
            [("event_page", pack_event_page(*every[at : at + per_page]))] for at in range(0, len(every), per_page)
        ]
    else:
        packed = [
            [("event", event) for event in events]
            if single
            else [("event_page", pack_event_page(*events))]
            if events
            else []
            for events in pages
        ]
    flat = [item for page in packed for item in page]
    if order == "rows-first" or per_page:
        docs += flat + tellings
    elif order == "frames-first":
        docs += tellings + flat
    else:
        for at, page in enumerate(packed):
            docs += page + tellings[at : at + 1]
    return [*docs, ("stop", bundle.compose_stop(validate=False))]


def partition(table, keys=("frame", "y", "x")):
    """The tracks as sets of peaks, whatever they are called."""
    return {frozenset(map(tuple, group[list(keys)].to_numpy())) for _, group in table.groupby("particle")}


def emitted(sink):
    return pd.DataFrame([doc["data"] for name, doc in unpacked(sink) if name == "event" and "particle" in doc["data"]])


LINKS = [{}, {"memory": 3}, {"adaptive_stop": 1.0, "adaptive_step": 0.9}, {"link_strategy": "nonrecursive"}]


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_tracks_are_those_of_trackpy(link):
    table = rng_frames()
    sink = run_through(TrackLinker(search_range=8, **link), peak_run(table, 30))
    got, expected = emitted(sink), trackpy.link(table, 8, **link)
    assert partition(got) == partition(expected)
    assert len(partition(expected)) > 5
    assert list(got.columns) == ["y", "x", "mass", "frame", "particle"]
    assert got[["y", "x", "mass", "frame"]].equals(table[["y", "x", "mass", "frame"]].astype(got.dtypes[:4].to_dict()))


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize(
    "form",
    [
        {"order": "live"},
        {"single": True},
        {"order": "rows-first"},
        {"order": "frames-first"},
        {"per_page": 7},
        {"order": "rows-first", "single": True},
    ],
    ids=str,
)
def test_however_the_rows_come_the_tracks_are_the_same(told, form):
    table = rng_frames(seed=2)
    got = emitted(run_through(TrackLinker(search_range=8, memory=2), peak_run(table, 30, told=told, **form)))
    assert partition(got) == partition(trackpy.link(table, 8, memory=2))
    assert len(got) == len(table)


def test_rows_that_were_replaced_do_not_count():
    docs = raw_run(seq_nums=[1, 2, 1, 2, 3, 4, 5, 6])
    stored = list(run_through(PeakTracker(KEY, **LOCATE), docs))
    # As a store gives them back: all rows, then all that is told of the frames.
    names = {doc["uid"]: doc["name"] for name, doc in stored if name == "descriptor"}
    rows = [item for item in stored if item[0] == "event_page"]
    told = [item for item in stored if item[0] == "event" and names[item[1]["descriptor"]] == "frames"]
    others = [item for item in stored if item[0] in ("start", "descriptor")]
    straight = run_through(PeakTracker(KEY, **LOCATE), raw_run())
    expected = emitted(run_through(TrackLinker(search_range=5), straight))
    got = emitted(run_through(TrackLinker(search_range=5), [*others, *rows, *told, stored[-1]]))
    pd.testing.assert_frame_equal(got, expected)


def test_tracks_grow_while_the_frames_come():
    tl = TrackLinker(search_range=5, memory=1)
    assert len(tl.tracks) == 0
    pt = PeakTracker(KEY, **LOCATE)
    pt.subscribe(tl)
    counts = []
    for name, doc in raw_run(dark=False):
        pt(name, doc)
        if name == "event":
            counts.append(len(tl.tracks))
    # Two peaks a frame; frame 4 has none.
    assert counts == [2, 4, 6, 6, 8, 10]
    assert tl.tracks["particle"].nunique() == 2


def test_a_stored_run_is_linked_when_its_events_did_not_come_by(tmp_path):
    with Recorder(tmp_path) as recorder:
        stored = run_through(PeakTracker(KEY, **LOCATE), raw_run())
        feed(recorder, stored)
    (path,) = recorder.artifacts
    asked = []

    class Database:
        def __getitem__(self, uid):
            asked.append(uid)
            return Recording(path)

    expected = emitted(run_through(TrackLinker(search_range=5), list(stored)))
    tl = TrackLinker(db=Database(), search_range=5)
    outline = [item for item in stored if item[0] in ("start", "descriptor", "stop")]
    pd.testing.assert_frame_equal(emitted(run_through(tl, outline)), expected)
    assert asked == [stored[0][1]["uid"]]
    # Never twice: with the events at hand, the database is left alone.
    pd.testing.assert_frame_equal(
        emitted(run_through(TrackLinker(db=Database(), search_range=5), list(stored))), expected
    )
    assert len(asked) == 1


def test_too_many_peaks_within_reach_name_the_range_and_cost_their_frame(caplog):
    rng = np.random.default_rng(0)
    table = rng_frames(n_frames=4, n_peaks=5, empty=())
    crowds = [
        pd.DataFrame({"y": rng.uniform(0, 9, 60), "x": rng.uniform(0, 9, 60), "mass": 1.0, "frame": frame})
        for frame in (2, 3)
    ]
    table = pd.concat([table[~table["frame"].isin([2, 3])], *crowds]).sort_values("frame", kind="stable")
    stage = TrackLinker(search_range=30)
    sink = run_through(stage, peak_run(table, 4))
    (line,) = [message for message in caplog.messages if "failed on run" in message]
    assert "search_range=30" in line
    assert "\n" not in line
    assert set(emitted(sink)["frame"]) == {1, 2, 4}
    assert sink.stop["failed"] == {"frames": [3]}


def test_a_run_without_any_peaks_is_a_run():
    stop = run_through(
        TrackLinker(search_range=5), run_through(PeakTracker(KEY, **LOCATE), raw_run(image=no_peaks))
    ).stop
    assert stop["num_events"] == {"frames": 6}
    assert "failed" not in stop


def no_peaks(number):
    return frames(4)


def test_darks_are_not_linked():
    sink = run_through(TrackLinker(search_range=5), run_through(PeakTracker(KEY, **LOCATE), raw_run()))
    events = content(sink)["events"]
    assert set(events) == {"primary", "frames"}
    assert {number: event["n_rows"] for number, event in events["frames"].items()} == {
        1: 2,
        2: 2,
        3: 2,
        4: 0,
        5: 2,
        6: 2,
    }
    assert [(event["my"], event["mx"]) for event in events["frames"].values()] == [
        (y, x) for y in (0, 1) for x in (0, 1, 2)
    ]


def test_frames_tell_their_rows_though_the_event_of_one_was_lost():
    table = rng_frames(n_frames=6, empty=(5,))
    lost = [item for item in peak_run(table, 6) if item[1].get("data", {}).get("frame") != 2 or item[0] != "event"]
    sink = run_through(TrackLinker(search_range=8), lost)
    rows = emitted(sink)
    told = [doc["data"] for doc in sink.named("event") if "n_rows" in doc["data"]]
    assert [data["frame"] for data in told] == [1, 3, 4, 5, 6]
    for data in told:
        its_own = rows.iloc[data["first_row"] - 1 :][: data["n_rows"]]
        assert set(its_own["frame"]) == ({data["frame"]} if data["n_rows"] else set())
        assert data["n_rows"] == (rows["frame"] == data["frame"]).sum()


@pytest.mark.parametrize(
    ("keywords", "word"),
    [
        ({"search_range": -1}, "-1"),
        ({"search_range": 5, "memory": -2}, "-2"),
        ({"search_range": 5, "memroy": 2}, "memroy"),
    ],
)
def test_bad_keywords_are_refused_at_once(keywords, word):
    with pytest.raises((ValueError, TypeError), match=word):
        TrackLinker(**keywords)


def test_rows_without_a_frame_are_an_error_that_says_so(caplog):
    table = rng_frames(n_frames=2, empty=())
    stage = TrackLinker(search_range=5, t_column="number")
    stop = run_through(stage, peak_run(table, 2, told=False)).stop
    assert stop["failed_counts"] == {"primary": len(table)}
    assert "no column 'number'" in caplog.text
    assert Collector


def crowded_run():
    """A run in which frame 2 has too many peaks within reach of each other."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 60, (210, 2)), columns=["y", "x"])
    return peak_run(table.assign(mass=1.0, frame=np.repeat([1, 2, 3], 70)), 3)


@pytest.mark.parametrize("between", [0, 2])
def test_one_that_is_to_raise_stops_the_scan_through_those_that_are_not(between, caplog):
    linker = TrackLinker(search_range=60, on_error="raise")
    first = last = Passing()
    for _ in range(between):
        last.subscribe(following := Passing())
        last = following
    heard = []
    last.subscribe(linker)
    last.subscribe(lambda name, doc: heard.append(name))
    with pytest.raises(ValueError, match=r"^search_range=60 puts too many peaks within reach of each other"):
        feed(first, crowded_run())
    assert heard[-1] == "event"  # its siblings are not starved
    assert "Traceback" not in caplog.text


def test_a_search_range_above_the_separation_is_said_when_it_happens(caplog):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(0, 30, (75, 2)), columns=["y", "x"])
    *docs, stop = peak_run(table.assign(mass=1.0, frame=np.repeat([1, 2, 3], 25)), 3)
    linker = TrackLinker(search_range=14)
    feed(linker, docs)
    assert caplog.text.count("are within search_range=14 of the same ones in it, and may be mixed up: give a sma") == 1
    linker(*stop)
    assert len(linker.tracks) == 75


def test_a_scan_whose_search_range_is_above_the_separation_goes_on(caplog, run_engine):
    """Frames that can't be linked are refused when they come, with what to change, and the others keep their order."""
    b = beamline(seed=1, shape=(256, 256), n_grains=8, spots_per_grain=14)
    pt, tl, cm = (
        PeakTracker("dexela_image", 9, minmass=300),
        *(stage(search_range=100, memory=100) for stage in (TrackLinker, CrystalMap)),
    )
    said: dict[str, list[str]] = {}
    pt.subscribe(tl)
    pt.subscribe(cm)
    pt.subscribe(lambda name, doc: said.setdefault(name, list(caplog.messages)))
    tl.subscribe(sink := Collector())
    run_engine(bp.grid_scan([b.detector], b.y, -1, 1, 8, b.x, -1, 1, 8), pt)
    for words in ("may be mixed up: give a smaller one", "search_range=100 puts too many peaks within reach"):
        assert words in "".join(said["stop"])
    refused = sink.stop["failed"]["frames"]
    frames = [doc["data"]["frame"] for doc in sink.named("event") if "n_rows" in doc["data"]]
    assert frames == [number for number in range(1, 65) if number not in refused]
    assert emitted(sink)["frame"].is_monotonic_increasing
    assert np.isnan(cm.dataset["n_peaks"]).sum() == len(refused)
    assert cm.ended is not None
    assert cm.ended.failed == {"frames": len(refused)}


class Passing(Map):
    """A map that changes nothing."""

    def __init__(self):
        super().__init__(lambda data, seq_num: {}, parameters={})


def test_links_of_equal_length_are_chosen_alike_every_time():
    """Saturated peaks lie on whole pixels: there are links that are equally good."""
    rng = np.random.default_rng(0)
    rows = [(float(y), float(x), frame) for frame in range(1, 8) for y, x in rng.integers(0, 12, (10, 2))]
    table = pd.DataFrame(rows, columns=["y", "x", "frame"])
    kept = []  # so that the objects of the next time lie elsewhere in memory
    answers = set()
    for number in range(20):
        answers.add(tuple(link_table(table, 3)["particle"]))
        kept.append([object() for _ in range(100 * number)])
    assert len(answers) == 1


def test_a_stored_run_is_whole_and_nothing_of_it_is_lost():
    docs = peak_run(rng_frames(), 30)
    sinks = []
    for given in (docs, [docs[0], docs[-1]]):
        linker = TrackLinker(db={docs[0][1]["uid"]: docs}, search_range=8)
        linker.subscribe(sink := Collector())
        feed(linker, given)
        sinks.append(sink)
        assert linker.stats.lost == 0
    live, stored = (sink.stop for sink in sinks)
    assert "lost" not in stored
    assert stored["sha256"] == live["sha256"]
    assert stored["num_events"] == live["num_events"]


def test_a_database_without_the_run_is_an_error_of_one_line(caplog):
    docs = peak_run(rng_frames(), 30)
    linker = TrackLinker(db={}, search_range=8)
    linker.subscribe(sink := Collector())
    feed(linker, [docs[0], docs[-1]])
    uid = docs[0][1]["uid"]
    assert f"LookupError: db has no run {uid}" in sink.stop["incomplete"]
    assert "subscribe what stores it before this stage" in caplog.text
    assert "Traceback" not in caplog.text


def test_rows_of_a_frame_in_another_order_are_the_same_rows():
    """As databroker gives them, which merges the streams of a run by the times of their events."""
    docs = peak_run(rng_frames(), 30, single=True)
    at = [number for number, (name, doc) in enumerate(docs) if name == "event" and "x" in doc["data"]]
    shuffled = list(docs)
    rng = np.random.default_rng(1)
    by_frame: dict = {}
    for number in at:
        by_frame.setdefault(docs[number][1]["data"]["frame"], []).append(number)
    for places in by_frame.values():
        for place, other in zip(places, rng.permutation(places), strict=True):
            shuffled[place] = docs[other]
    assert shuffled != docs
    sinks = [run_through(TrackLinker(search_range=8, memory=2), given) for given in (docs, shuffled)]
    assert sinks[0].stop["sha256"] == sinks[1].stop["sha256"]
