"""What reduces show while the scan runs: the tree is that of the dataset, and says what to plot."""

import numpy as np
import pytest
from cases import KEY, N_EVENTS, feed, raw_run

from bluesky_ext import CrystalMap, CrystalMapper, PeakTracker, TrackLinker


def tracked(stage, docs):
    pt = PeakTracker(KEY, 7, minmass=200)
    pt.subscribe(stage)
    feed(pt, docs)
    return stage


def assert_default_plot_is_there(tree):
    group = tree[tree["_attrs"]["default"]]
    about = group["_attrs"]
    assert about["NX_class"] == "NXdata"
    signal = group[about["signal"]]
    lengths = [len(group[axis]) for axis in about["axes"]]
    assert tuple(lengths) == np.shape(signal)
    return group


@pytest.mark.parametrize("again", [False, True], ids=["straight", "with frames again"])
def test_a_crystal_map_shows_what_its_dataset_has(again):
    docs = raw_run(shape=[2, 3])
    if again:  # events 2 and 3 are repeated, as after a pause
        docs = [*docs[:-2], *docs[5:7], *docs[-2:]]
    cm = tracked(CrystalMap(search_range=5, memory=2), docs[: -1 if again else -3])
    published = cm.publish()
    maps, expected = assert_default_plot_is_there(published.tree), cm.dataset
    assert maps["_attrs"]["axes"] == ["reflection", "my", "mx"]
    np.testing.assert_array_equal(maps["maps"], expected["maps"])
    for name in ("particle", "frames", "total", "my", "mx"):
        np.testing.assert_array_equal(maps[name], expected[name])
    np.testing.assert_allclose(maps["y"], expected["y"])
    assert maps["mx_attrs"] == {"units": "mm"}
    assert published.tree["original_run_uid"] == docs[0][1]["uid"]


def test_tracks_of_any_number_are_mapped():
    linked = [(5, 10**12, 3.0), (6, 7, 1.0)]
    cm = CrystalMap(shape=[6])
    state = cm.begin({"uid": "u"})
    for frame, particle, mass in linked:
        page = {"frame": [frame], "particle": [particle], "mass": [mass], "y": [1.0], "x": [2.0]}
        cm.reduce_page(state, "primary", {"seq_num": [frame], "data": page})
    state.link_the_rest()
    maps = cm.tree(state)["maps"]
    assert list(maps["particle"]) == [10**12, 7]
    assert [[None if np.isnan(value) else value for value in one] for one in maps["maps"]] == [
        [None, None, None, None, 3, 0],
        [None, None, None, None, 0, 1],
    ]


def test_a_linker_shows_its_tracks():
    tl = tracked(TrackLinker(search_range=5, memory=2), raw_run()[:-1])
    tracks = assert_default_plot_is_there(tl.publish().tree)
    table = tl.tracks
    assert len(table) == 10
    np.testing.assert_array_equal(tracks["particle"], table["particle"])
    np.testing.assert_array_equal(tracks["y"], table["y"])


def test_a_mapper_shows_the_images_and_the_maps_of_known_windows():
    docs = raw_run()
    windows = {"y": [20], "x": [20], "dy": [5], "dx": [5]}
    cm = CrystalMapper(KEY, 7, minmass=200, windows=windows)
    feed(cm, docs[:2])
    assert cm.publish().tree["_attrs"]["default"] == ""
    feed(cm, docs[2:-1])
    tree, expected = cm.publish().tree, cm.dataset
    np.testing.assert_array_equal(assert_default_plot_is_there(tree)["maps"], expected["maps"])
    np.testing.assert_array_equal(tree["light"]["light"], expected["light"])
    assert tree["maps"]["maps"].size == N_EVENTS
    unknown = CrystalMapper(KEY, 7, minmass=200)
    feed(unknown, docs[:-1])
    assert assert_default_plot_is_there(unknown.publish().tree) is unknown.publish().tree["light"]
