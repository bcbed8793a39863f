"""Maps of numbers that each event has: as they come, on the scan's grid, scattered, and with events that come again."""

import numpy as np
import pytest
from cases import feed, raw_run

from bluesky_ext.callbacks.scan import Scan
from bluesky_ext.callbacks.spectra.point_map import PointMap
from bluesky_ext.positions import regrid


class Counts(PointMap):
    """A map of the reading ``counts``, and of twice of it."""

    dim = "reading"

    def __init__(self, **options):
        super().__init__(Scan(), stream_name="primary", parameters={}, **options)

    def names_of(self, descriptor):
        return {"plain": ["counts"], "twice": ["counts", "more"]}

    def numbers_of(self, state, data):
        return [data["counts"], 2 * data["counts"], 2 * data["counts"] + 1]


def moved(docs, positions):
    """The run with its motors elsewhere: (my, mx) by seq_num."""
    for name, doc in docs:
        if name == "event" and "mx" in doc["data"]:
            doc["data"]["my"], doc["data"]["mx"] = positions[doc["seq_num"]]
    return docs


def test_points_are_in_the_order_of_frames_and_maps_on_the_grid():
    counts = Counts()
    feed(counts, raw_run(seq_nums=[2, 1, 3, 2, 4])[:-1])
    tree = counts.publish().tree
    points = tree["map"]["plain"]["counts"]
    assert points["_attrs"] == {"NX_class": "NXdata", "signal": "values", "axes": ["x", "y"]}
    assert points["values"].tolist() == [1, 2, 3, 4]
    assert (points["x"].tolist(), points["y"].tolist()) == ([0, 1, 2, 0], [0, 0, 0, 1])
    assert points["x_attrs"] == {"long_name": "mx", "units": "mm"}
    grid = tree[tree["_attrs"]["default"]]["twice"]["more"]
    assert grid["_attrs"]["axes"] == ["my", "mx"]
    np.testing.assert_array_equal(grid["values"], [[3, 5, 7], [9, np.nan, np.nan]])
    np.testing.assert_array_equal(counts.dataset["plain"].sel(reading="counts"), [[1, 2, 3], [4, np.nan, np.nan]])
    assert np.isnan(counts.dataset["plain"].sel(reading="more")).all()
    np.testing.assert_array_equal(counts.dataset["seq_num"], [[1, 2, 3], [4, np.nan, np.nan]])


def test_scattered_points_are_seen_on_a_grid_too():
    positions = {1: (0, 0), 2: (0.1, 2), 3: (2, 0.2), 4: (1.9, 2.1), 5: (1, 1.2), 6: (0.7, 0.4)}
    counts = Counts()
    feed(counts, moved(raw_run(shape=None), positions)[:-1])
    tree = counts.publish().tree
    assert tree["map"]["plain"]["counts"]["x"].tolist() == [0, 2, 0.2, 2.1, 1.2, 0.4]
    seen = tree["regridded"]["plain"]["counts"]
    assert seen["_attrs"]["axes"] == ["my", "mx"]
    assert seen["values"].shape == (2, 3)
    assert (seen["values"][0, 0], seen["values"][0, -1], seen["values"][-1, 0], seen["values"][-1, -1]) == (1, 2, 3, 4)


def test_a_cell_far_from_all_points_shows_none():
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = regrid(np.sin(angle), np.cos(angle))
    values = ring.placed(np.stack([np.ones(40), angle]))
    middle = tuple(length // 2 for length in values.shape[1:])
    assert np.isnan(values[:, *middle]).all()
    assert np.nanmax(values[0]) == 1


@pytest.mark.parametrize("y", [[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
def test_points_on_a_line_make_a_line(y):
    line = regrid(np.array(y), np.array([0.0, 1.0, 2.0]))
    assert line.placed(np.arange(3.0))[:, -1].tolist() == [2]


def test_events_of_which_nobody_knows_where_they_were_are_on_no_map(caplog):
    docs = raw_run()
    del docs[5][1]["data"]["mx"]
    counts = Counts()
    feed(counts, docs)
    assert counts.publish().tree["map"]["plain"]["counts"]["values"].tolist() == [1, 3, 4, 5, 6]
    assert "1 of 6 events have no reading" in caplog.text
