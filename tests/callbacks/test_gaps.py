"""Pixels that are no measurement make no peaks and count in no mean, live as in a replay."""

from __future__ import annotations

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from cases import KEY, SHAPE, content, raw_run, run_through

from bluesky_ext import ImageProcessor, PeakTracker, Recorder, compose, replay

CENTRES = [(16.0, 20.0), (47.0, 40.0)]
LOCATE = {"diameter": 7, "minmass": 400}
#: A gap between two modules, from edge to edge, and three dead pixels.
GAP = np.zeros(SHAPE, bool)
GAP[28:34] = True
DEAD = np.zeros(SHAPE, bool)
DEAD[[7, 40, 55], [50, 12, 20]] = True


def scene(number, height=500, level=200):
    """Two peaks on a background with noise."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, float(level))
    for cy, cx in CENTRES:
        image += height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    return np.random.default_rng(number).poisson(image).astype(float)


def eiger(number, dtype="uint32", gaps=GAP | DEAD, **more):
    """A scene as a detector with gaps and dead pixels gives it; what is brighter than it can count is saturated."""
    top = np.iinfo(dtype).max
    return np.where(gaps, top, np.minimum(scene(number, **more), top)).astype(dtype)


def run(image):
    return raw_run(n=3, dark=False, image=image)


def peaks(tracker, image):
    """Where a tracker sees peaks in the first of three images, in whole pixels; and the readings of each image."""
    events = content(run_through(tracker, run(image)))["events"]
    rows = [row for row in events.get("primary", {}).values() if row["frame"] == 1]
    return sorted((round(row["y"]), round(row["x"])) for row in rows), [*events["frames"].values()]


def processed(processor, image):
    """What a processor makes of the first of three images; and the start of its run."""
    docs = run_through(processor, run(image))
    return content(docs)["events"]["primary"][1], docs.named("start")[0]


def test_gaps_of_uint32_make_no_peaks_and_are_said_once(caplog):
    caplog.set_level(logging.INFO)
    found, frames = peaks(PeakTracker(KEY, **LOCATE), eiger)
    assert found == CENTRES
    assert [frame["n_gaps"] for frame in frames] == [(GAP | DEAD).sum()] * 3
    (line,) = [record.getMessage() for record in caplog.records if "no measurement" in record.getMessage()]
    assert line.startswith(f"PeakTracker leaves out {(GAP | DEAD).sum()} pixels of 'det_image' in event 1 of run ")
    assert "(scan 7), which are no measurement: not finite, at the maximum of uint32" in line
    caplog.clear()
    assert len(peaks(PeakTracker(KEY, **LOCATE, gaps=False), eiger)[0]) > 2
    assert not caplog.records


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_make_no_peaks(bad):
    for gaps in ("auto", False):  # those that count as zero are counted too
        tracker = PeakTracker(KEY, **LOCATE, gaps=gaps)
        found, frames = peaks(tracker, lambda number: np.where(GAP | DEAD, bad, scene(number)))
        assert (found == CENTRES) is (gaps == "auto")
        assert frames[0]["n_gaps"] == (GAP | DEAD).sum()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_saturated_peak_is_a_peak_and_the_gap_beside_it_none(dtype):
    def image(number):
        return eiger(number, dtype, GAP, height=3 * np.iinfo(dtype).max, level=20)

    found, frames = peaks(PeakTracker(KEY, **LOCATE), image)
    assert found == CENTRES
    assert frames[0]["n_gaps"] == GAP.sum()
    assert not set(peaks(PeakTracker(KEY, **LOCATE, gaps=True), image)[0]) & set(CENTRES)


def test_masked_gaps_are_nothing_to_speak_of(caplog):
    found, frames = peaks(PeakTracker(KEY, **LOCATE, mask=~(GAP | DEAD)), eiger)
    assert (found, frames[0]["n_gaps"]) == (CENTRES, 0)
    first, _ = processed(ImageProcessor(KEY, mask=~(GAP | DEAD)), eiger)
    assert first[f"{KEY}_n_gaps"] == 0
    assert "no measurement" not in caplog.text


def test_a_mean_is_that_of_the_frames_that_were_measured(caplog):
    """Two frames, one pixel bad in the second; a gap of the subtrahend is one of the image."""

    def image(number):
        frames = np.stack([eiger(number), eiger(number + 10)])
        frames[1, 5, 5] = 2**32 - 1
        return frames

    background = np.full(SHAPE, 100, np.uint32)
    background[60, 60] = 2**32 - 1
    first, start = processed(ImageProcessor(KEY, background), image)
    gaps = GAP | DEAD
    gaps[60, 60] = True
    expected = (scene(1) + scene(11)) / 2
    expected[5, 5] = scene(1)[5, 5]
    expected = np.where(gaps, 0, np.clip(expected - 100, 0, None))
    np.testing.assert_array_equal(first[KEY], expected)
    assert first[f"{KEY}_n_gaps"] == gaps.sum()
    assert f"ImageProcessor leaves out {gaps.sum()} pixels" in caplog.text
    assert start["analysis"]["parameters"]["gaps"] == "auto"
    raw, _ = processed(ImageProcessor(KEY, gaps=False), image)
    assert raw[KEY].max() == 2**32 - 1
    assert f"{KEY}_n_gaps" not in raw


def test_a_replay_gives_the_same_on_any_executor(tmp_path, caplog):
    def composed(**options):
        return compose(ImageProcessor(KEY), PeakTracker(KEY, **LOCATE), **options)

    def image(number):
        return eiger(number, "uint16", GAP)

    recorder = Recorder(tmp_path)
    for name, doc in (docs := run(image)):
        recorder(name, doc)
    recorder.close()
    live = run_through(composed(), docs)
    assert live.stop["num_events"]["frames"] == 3
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        stage, stops = composed(executor=pool), []
        stage.subscribe(lambda name, doc: stops.append(doc), "stop")
        replay(tmp_path, stage)
    assert stops[0]["sha256"] == live.stop["sha256"]
    lines = [record.getMessage() for record in caplog.records if "no measurement" in record.getMessage()]
    assert len(lines) == 2
    assert all(line.startswith(f"ImageProcessor leaves out {GAP.sum()} pixels") for line in lines)


@pytest.mark.parametrize("make", [ImageProcessor, lambda key: PeakTracker(key, 7)])
def test_a_colour_image_is_refused_in_one_line(make, caplog):
    docs = run_through(make(KEY), run(lambda number: np.zeros((48, 64, 3), np.uint8)))
    assert docs.stop["failed_counts"] == {"primary": 3}
    assert "frames of shape (48, 64, 3) look like a colour image: set the detector to grey values" in caplog.text
