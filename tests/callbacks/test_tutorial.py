"""The chain of the old tutorial, as it is typed there: images to peaks to tracks to a database."""

from __future__ import annotations

import bluesky.plans as bp
import matplotlib
import numpy as np
import pandas as pd
import pytest
import trackpy
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from cases import Collector, unpacked

from bluesky_ext import ImageProcessor, PeakTracker, TrackLinker, as_source
from bluesky_ext.sim import beamline

matplotlib.use("Agg")
trackpy.quiet()

KEY = "dexela_image"


def chain(subtrahend, sink):
    ip = ImageProcessor(data_key=KEY, subtrahend=subtrahend)
    pt = PeakTracker(data_key=KEY, diameter=11, percentile=80, minmass=700)
    tl = TrackLinker(db=None, search_range=3, memory=2)
    ip.subscribe(pt)
    pt.subscribe(tl)
    tl.subscribe(sink)
    return ip


def rows(sink):
    return pd.DataFrame([doc["data"] for name, doc in unpacked(sink) if name == "event" and "particle" in doc["data"]])


@pytest.mark.filterwarnings("ignore:No maxima:UserWarning")  # trackpy's, of an image without peaks
@pytest.mark.parametrize("best_effort_first", [True, False])
def test_live_and_replayed_it_gives_what_trackpy_gives(best_effort_first, capsys):
    b = beamline(4, (256, 256), n_grains=3, spots_per_grain=3)
    dark = b.crystal.dark_mean
    live, raw, best = Collector(), Collector(), BestEffortCallback()
    best.disable_plots()
    RE = RunEngine({}, call_returns_result=False)
    stages = [chain(dark, live), best] if not best_effort_first else [best, chain(dark, live)]
    for callback in (*stages, raw):
        RE.subscribe(callback)
    RE(bp.grid_scan([b.detector], b.y, -1, 1, 5, b.x, -1, 1, 6, snake_axes=False))

    tables = []
    for doc in raw.named("event"):
        image = np.clip(doc["data"][KEY].mean(axis=0) - dark, 0, None)
        tables.append(trackpy.locate(image, 11, percentile=80, minmass=700).assign(frame=doc["seq_num"]))
    found = pd.concat([table for table in tables if len(table)], ignore_index=True)
    expected = trackpy.link(found, 3, memory=2)
    got = rows(live)
    columns = ["y", "x", "mass", "size", "ecc", "signal", "raw_mass", "frame"]
    pd.testing.assert_frame_equal(got[columns], expected[columns].reset_index(drop=True), check_exact=True)
    np.testing.assert_allclose(got["ep"], expected["ep"], rtol=1e-9)
    relabelled = [pd.factorize(table["particle"])[0].tolist() for table in (got, expected)]
    assert relabelled[0] == relabelled[1]

    replayed = Collector()
    ip = chain(dark, replayed)
    for name, doc in as_source(raw):
        ip(name, doc)
    pd.testing.assert_frame_equal(rows(replayed), got)
    assert replayed.stop["sha256"] == live.stop["sha256"]


@pytest.mark.filterwarnings("ignore:The method Broker.insert:PendingDeprecationWarning")
def test_a_v1_broker_is_a_database_for_it():
    databroker = pytest.importorskip("databroker.v1")
    db = databroker.Broker.named("temp")
    b = beamline(4, (256, 256), n_grains=3, spots_per_grain=3)
    sink = Collector()
    ip = chain(b.crystal.dark_mean, sink)
    RE = RunEngine({}, call_returns_result=False)
    RE.subscribe(ip)
    RE(bp.scan([b.detector], b.x, -1, 1, 5))
    for name, doc in sink:
        db.insert(name, doc)
    columns = ["frame", "y", "x", "particle"]
    stored = db[sink[0][1]["uid"]].table()[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(stored, rows(sink)[columns])
