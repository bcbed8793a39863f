"""Darks of other runs."""

from __future__ import annotations

import numpy as np
import pytest
from cases import KEY, SHAPE, Collector, content, frames, raw_run, reuid, run_through
from runs import feed

from bluesky_ext import ImageProcessor, PeakTracker, Recorder, compose, redo


def at(docs, time):
    """A run that starts at this time, its events a second after each other."""
    docs = reuid(docs)
    times = iter(range(1, 100))
    return [
        (name, {**doc, "time": time if name == "start" else time + next(times)} if name in ("start", "event") else doc)
        for name, doc in docs
    ]


def brighter(number, **_):
    return frames(number) + np.uint16(3)


def dark_run():
    """A run that has nothing but a dark, 3 counts brighter than those of the others."""
    docs = raw_run(n=0)
    docs = [(n, {**d, "data": {KEY: frames(0, dark=True) + np.uint16(3)}} if n == "event" else d) for n, d in docs]
    return at(docs, 1000.0)


def test_a_run_without_a_dark_has_that_of_an_earlier_run():
    dark, scan = dark_run(), at(raw_run(dark=False), 1500.0)
    ip, sink = ImageProcessor(KEY, "dark", dark_age=600), Collector()
    feed(ip, dark)
    ip.subscribe(sink)
    feed(ip, scan)
    own = frames(0, dark=True).mean(axis=0) + 3
    expected = content(run_through(ImageProcessor(KEY, own), scan))["events"]["primary"]
    events = content(sink)["events"]["primary"]
    for number, event in expected.items():
        np.testing.assert_array_equal(events[number][KEY], event[KEY])
        assert events[number][f"{KEY}_dark"] == 1
        assert events[number][f"{KEY}_dark_run"] == dark[0][1]["uid"]
    assert sink.named("start")[0]["analysis"]["dark"] == {"run": dark[0][1]["uid"], "seq_num": 1, "time": 1001.0}


def test_a_dark_of_the_run_itself_goes_first():
    ip, sink = ImageProcessor(KEY, "dark", dark_age=600), Collector()
    feed(ip, dark_run())
    ip.subscribe(sink)
    scan = at(raw_run(), 1500.0)
    feed(ip, scan)
    events = content(sink)["events"]["primary"]
    assert {event[f"{KEY}_dark_run"] for event in events.values()} == {scan[0][1]["uid"]}


@pytest.mark.parametrize(("age", "word"), [(600, "no other run has one of 600 s"), (None, "give dark_age")])
def test_a_dark_that_is_too_old_is_none(age, word, caplog):
    ip = ImageProcessor(KEY, "dark", dark_age=age)
    feed(ip, dark_run())
    stop = run_through(ip, at(raw_run(dark=False), 1602.0)).stop
    assert stop["failed_counts"] == {"primary": 6}
    assert word in caplog.text
    assert "dark_wrapper" in caplog.text


def test_a_live_run_without_a_dark_has_its_images_as_they_are():
    live = [(n, {**d, "purpose": "live"} if n == "start" else d) for n, d in raw_run(dark=False)]
    sink = run_through(ImageProcessor(KEY, "dark"), live)
    assert "failed_counts" not in sink.stop
    expected = content(run_through(ImageProcessor(KEY), live))["events"]["primary"]
    for number, event in content(sink)["events"]["primary"].items():
        np.testing.assert_array_equal(event[KEY], expected[number][KEY])


def test_a_dark_of_a_later_run_is_none():
    ip = ImageProcessor(KEY, "dark", dark_age=600)
    feed(ip, dark_run())
    assert run_through(ip, at(raw_run(dark=False), 900.0)).stop["failed_counts"] == {"primary": 6}


@pytest.mark.parametrize("composed", [False, True])
def test_what_was_made_with_it_is_made_again(tmp_path, composed):
    dark, scan, derived = dark_run(), at(raw_run(dark=False), 1500.0), Collector()
    ip = ImageProcessor(KEY, "dark", dark_age=600, hash_images=True)
    stage = compose(ip, PeakTracker(KEY, diameter=7, minmass=200)) if composed else ip
    with Recorder(tmp_path) as recorder:
        for docs in (dark, scan):
            feed(recorder, docs)
    feed(stage, dark)
    stage.subscribe(derived)
    feed(stage, scan)
    assert redo(list(derived), tmp_path, progress=False).agrees
    with pytest.raises(LookupError, match=f"the dark is of run {dark[0][1]['uid']}, which is not in the source"):
        redo(list(derived), scan, progress=False)


def test_a_dark_in_a_catalogue_is_found(tmp_path):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.storage import close_catalog, open_catalog, save

    catalog = open_catalog(tmp_path / "catalog")
    dark = dark_run()
    with save(catalog, backup=tmp_path / "backup") as sink:
        for docs in (dark, at(raw_run(dark=False), 1200.0)):
            feed(sink, docs)
    for start, failed in ((1500.0, 0), (1700.0, 6)):
        ip = ImageProcessor(KEY, "dark", dark_age=600, db=catalog)
        sink = run_through(ip, at(raw_run(dark=False), start))
        assert sink.stop.get("failed_counts", {}).get("primary", 0) == failed
    close_catalog(catalog)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"dark_age=5.*a stream as subtrahend"):
        ImageProcessor(KEY, np.zeros(SHAPE), dark_age=5)
    with pytest.raises(ValueError, match="give dark_age"):
        ImageProcessor(KEY, "dark", db={})
