"""A saved run gives the analysis that the live run gave, to the last bit."""

from __future__ import annotations

import copy
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bluesky import RunEngine
from bluesky.plans import grid_scan
from runs import Docs, assert_same, feed, uid_of

from bluesky_ext import CrystalMap, CrystalMapper, DataFrameDumper, ImageProcessor, PeakTracker, TrackLinker
from bluesky_ext.sim import Beamline, beamline
from bluesky_ext.storage import documents, read, save

KEY = "dexela_image"


class Pipeline:
    """Images less the dark of the run, peaks, tracks and crystal maps; what comes out of each is kept."""

    def __init__(self) -> None:
        self.processor = ImageProcessor(KEY, "dark")
        tracker = PeakTracker(KEY, 11, minmass=700)
        linker = TrackLinker(search_range=5, memory=20)
        self.map = CrystalMap(search_range=5, memory=20)
        self.out: dict[str, Docs] = {name: [] for name in ("images", "peaks", "tracks", "maps")}
        stages = (self.processor, tracker, linker, self.map)
        for stage, out in zip(stages, self.out.values(), strict=True):
            stage.subscribe(lambda name, document, out=out: out.append((name, copy.deepcopy(document))))
        self.processor.subscribe(tracker)
        tracker.subscribe(linker)
        tracker.subscribe(self.map)


def scan(b: Beamline) -> Any:
    """A grid of which each row has a dark of its own, taken with the shutter closed."""

    @bpp.stage_decorator([b.detector])
    @bpp.run_decorator(
        md={
            "motors": ["sample_y", "sample_x"],
            "shape": [2, 4],
            "extents": [[-1, 1], [-1, 1]],
            "snaking": [False, False],
        }
    )
    def plan():
        for y in np.linspace(-1, 1, 2):
            yield from bps.mv(b.shutter, "closed")
            yield from bps.trigger_and_read([b.detector], name="dark")
            yield from bps.mv(b.shutter, "open")
            for x in np.linspace(-1, 1, 4):
                yield from bps.mv(b.y, y, b.x, x)
                yield from bps.trigger_and_read([b.detector, b.y, b.x])

    return plan()


def rows(docs: Docs) -> list[Any]:
    """The data of all events, as bytes, but for the uids of the frames, which every analysis gives anew."""
    return [
        (key, np.asarray(values).dtype.str, np.asarray(values).tobytes())
        for name, document in docs
        if name in ("event", "event_page")
        for key, values in document["data"].items()
        if key != "frame_uid"
    ]


def sha256(docs: Docs) -> str:
    (stop,) = [document for name, document in docs if name == "stop"]
    return stop["sha256"]


@pytest.mark.parametrize(("catalog", "inline"), [("served", True), ("embedded", False)], indirect=["catalog"])
def test_a_saved_run_gives_what_the_live_run_gave(catalog, inline, tmp_path) -> None:
    b = beamline(3, (96, 96), n_grains=2, spots_per_grain=3, directory=None if inline else tmp_path / "images")
    live = Pipeline()
    raw: Docs = []
    run_engine = RunEngine(call_returns_result=False)
    sink = save(catalog, backup=tmp_path / "backup")
    run_engine.subscribe(lambda name, document: raw.append((name, copy.deepcopy(document))))
    run_engine.subscribe(live.processor)
    run_engine.subscribe(sink)
    live.processor.subscribe(sink)
    (uid,) = run_engine(scan(b))
    assert sink.backups == []
    back = list(documents(catalog[uid]))
    assert_same(raw, back)
    assert sum(name == "event" for name, _ in back) == 10

    again = Pipeline()
    feed(again.processor, back)
    for stage, out in live.out.items():
        assert rows(out) == rows(again.out[stage]), stage
        assert sha256(out) == sha256(again.out[stage]), stage
    assert len(rows(live.out["peaks"])) > 20
    assert len(live.map.dataset["reflection"]) > 0
    xr.testing.assert_identical(live.map.dataset, again.map.dataset)

    # So does the derived run of images that was saved with it, from there on.
    derived = live.out["images"][0][1]["uid"]
    assert_same(live.out["images"], list(documents(catalog[derived])))
    images = read(catalog[derived])["primary"][KEY]
    assert images.shape == (8, 96, 96)
    assert images.dtype == live.out["images"][-2][1]["data"][KEY].dtype
    if inline:
        assert read(catalog[uid])["dark"][KEY].dtype == np.uint16
    sink.close()


@pytest.fixture
def no_slow_reading(monkeypatch) -> None:
    """Tiled's own documents(), which sends images as JSON, is not called."""

    def documents(self: Any, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("read by run.documents()")

    monkeypatch.setattr("bluesky_tiled_plugins.clients.bluesky_run._BlueskyRunSQL.documents", documents)


@pytest.mark.usefixtures("no_slow_reading")
def test_stages_read_a_stored_run_as_it_was_saved(embedded, tmp_path) -> None:
    b = beamline(1, (128, 128), n_grains=2)
    raw: Docs = []
    peaks: Docs = []
    tracker = PeakTracker(KEY, 11, minmass=700)
    tracker.subscribe(lambda name, document: peaks.append((name, document)))
    with save(embedded, backup=tmp_path) as sink:
        run_engine = RunEngine(call_returns_result=False)
        run_engine.subscribe(tracker)
        tracker.subscribe(sink)
        run_engine.subscribe(sink)
        run_engine(grid_scan([b.detector], b.y, -1, 1, 3, b.x, -1, 1, 4), lambda *pair: raw.append(pair))
    assert embedded[uid_of(raw)].metadata["stop"]

    # The windows are found at the stop, and the images read again for them.
    mapper = CrystalMapper(KEY, 11, half_width=5, n_windows=3, db=embedded)
    feed(mapper, raw)
    expected = CrystalMapper(KEY, 11, half_width=5, n_windows=3).replay(raw)
    assert expected.sizes["reflection"] == 3
    xr.testing.assert_identical(mapper.dataset, expected)

    # The rows are in the catalogue already: only the start and the stop come by.
    linker = TrackLinker(search_range=5, memory=20, db=embedded)
    feed(linker, [peaks[0], peaks[-1]])
    live = TrackLinker(search_range=5, memory=20)
    feed(live, peaks)
    assert len(live.tracks) > 10
    pd.testing.assert_frame_equal(linker.tracks, live.tracks)


def test_a_table_is_dumped_as_all_runs_are_saved(embedded, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("bluesky_tiled_plugins.TiledWriter", None)
    table = pd.DataFrame({"x": [1.5, 2.5], "name": ["a", "b"]})
    uid = DataFrameDumper(embedded).dump_df(table)
    pages = [document for name, document in documents(embedded[uid]) if name == "event_page"]
    assert [page["data"] for page in pages] == [{"x": [1.5, 2.5], "name": ["a", "b"]}]
