"""Regions that are moved while a scan runs."""

from __future__ import annotations

import numpy as np
from cases import KEY, SHAPE, Collector, content, feed, raw_run

from bluesky_ext import RegionMaps

HERE = {"name": "a", "type": "rectangle", "x": [-0.5, 1.5], "y": [-0.5, 2.5]}  # 2 x 3 pixels
THERE = {**HERE, "x": [-0.5, 0.5]}  # 1 x 3
NEW = {"name": "b", "type": "rectangle", "x": [4.5, 5.5], "y": [4.5, 5.5]}  # one


def test_the_next_event_is_summed_with_the_new_regions():
    docs = raw_run(dark=False, image=lambda number: np.full((2, *SHAPE), number, np.uint16))
    rm, sink = RegionMaps(KEY, [HERE]), Collector()
    rm.subscribe(sink)
    fourth = [index for index, (name, _) in enumerate(docs) if name == "event"][3]
    feed(rm, docs[:fourth])
    rm.set_parameters({"regions": [THERE, NEW]})
    feed(rm, docs[fourth:])
    a, b = rm.dataset["sum"].sel(region=["a", "b"]).values.reshape(2, -1)
    np.testing.assert_array_equal(a, [6, 12, 18, 3 * 4, 3 * 5, 3 * 6])
    np.testing.assert_array_equal(b, [np.nan] * 3 + [4, 5, 6])
    used = content(sink)["events"]["regions"]
    assert [one["from_seq_num"] for one in used.values()] == [1, 4]
