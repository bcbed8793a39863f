"""Arguments that cannot be meant are refused in one line that says what was probably meant."""

from __future__ import annotations

import pytest
from bluesky.plans import count
from cases import KEY
from ophyd.sim import det

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, TrackLinker


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: PeakTracker(KEY, 7, min_mass=5), r"^PeakTracker has no keyword min_mass=5: did you mean 'minmass'\?$"),
        (lambda: PeakTracker(KEY, 7, on_eror="raise"), "did you mean 'on_error'"),
        (lambda: ImageProcessor(KEY, subtrahent=3), "^ImageProcessor has no .*: did you mean 'subtrahend'"),
        (lambda: TrackLinker(search_range=3, memroy=3), "^TrackLinker has no .*: did you mean 'memory'"),
        (lambda: CrystalMap(3, memroy=3), "has no keyword memroy=3: did you mean 'memory'"),
        (lambda: PeakTracker(KEY, 7, minmass="a"), "^minmass='a' must be a number, or None$"),
        (lambda: PeakTracker(KEY, 7, topn=2.5), "^topn=2.5 must be a whole number"),
        (lambda: PeakTracker(KEY, 7, noise_size="a"), "^noise_size='a' needs one number"),
        (lambda: TrackLinker(search_range="a"), "^search_range='a' must be a positive number"),
        (lambda: TrackLinker(search_range=3, memory="a"), "^memory='a' must be a number of frames"),
        (lambda: PeakTracker(KEY, 7, gaps="yes"), "^gaps='yes': give 'auto', True or False$"),
        (lambda: ImageProcessor(KEY, gaps=1), "^gaps=1: give 'auto', True or False$"),
    ],
)
def test_bad_keywords_are_refused_in_one_line(make, line):
    with pytest.raises((TypeError, ValueError), match=line) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stage", [ImageProcessor, PeakTracker])
def test_a_class_is_no_subscriber(stage, run_engine):
    with pytest.raises(TypeError, match=rf"give an instance, {stage.__name__}\(\.\.\.\)"):
        ImageProcessor(KEY).subscribe(stage)
    run_engine.subscribe(stage)
    with pytest.raises(TypeError, match=rf"give an instance, {stage.__name__}\(\.\.\.\)"):
        run_engine(count([det]))
