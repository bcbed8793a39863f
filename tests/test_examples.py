"""The examples run as they stand, and make what they say."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
import xarray as xr

from bluesky_ext import Recording
from bluesky_ext.transport import Proxy, Publisher

FOLDER = Path(__file__).parents[1] / "examples"


def example(name: str) -> Any:
    """Its main."""
    return runpy.run_path(str(FOLDER / f"{name}.py"))["main"]


@contextmanager
def serving(main: Callable[..., Any], out_address: Any, *where: Any) -> Iterator[None]:
    """A server of the examples at work in a thread; it stops when the block is left, after all that it was sent."""
    dispatchers: list[Any] = []
    started = threading.Event()

    def ready(dispatcher: Any) -> None:
        dispatchers.append(dispatcher)
        dispatcher.subscribe(lambda name, doc: dispatcher.stop(), "stop")
        started.set()

    thread = threading.Thread(target=main, args=(out_address, *where), kwargs={"ready": ready})
    thread.start()
    assert started.wait(50)
    assert dispatchers[0].listening.wait(20)
    yield
    thread.join(50)
    assert not thread.is_alive()


def test_a_server_maps_what_the_session_publishes(tmp_path):
    with Proxy() as proxy, serving(example("crystal_mapping_server"), proxy.out_address, tmp_path):
        uid = example("publish")(proxy.in_address)
    (path,) = tmp_path.glob("*.nc")
    with xr.open_dataset(path, engine="h5netcdf") as maps:
        assert maps["maps"].dims == ("reflection", "sample_y", "sample_x")
        assert maps["maps"].shape[1:] == (5, 5)
    (recording,) = tmp_path.glob("*.bsrec")
    (_, start), *_ = Recording(recording)
    assert start["original_run_uid"] == uid


def test_a_server_fits_spectra_and_writes_them_to_a_file(tmp_path, run_engine):
    pytest.importorskip("PyMca5")
    from bluesky_ext.sim.fluorescence import fluorescence_beamline

    b = fluorescence_beamline(seed=1)
    with (
        Proxy() as proxy,
        serving(example("fluorescence_server"), proxy.out_address, tmp_path),
        Publisher(proxy.in_address, prefix=b"raw") as publisher,
    ):
        run_engine(bp.grid_scan([b.detector], b.y, -0.1, 0.1, 3, b.x, -0.1, 0.1, 4), publisher)
    (path,) = tmp_path.rglob("*.h5")
    with h5py.File(path) as file:
        assert file["entry/map/massfractions/Fe K/values"].shape == (12,)


def test_a_pair_of_ones_own_follows_its_parameter():
    whole, part = example("own_analysis")()
    assert whole["x"] == part["x"] == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert all(few < all_of_them for few, all_of_them in zip(part["counts"], whole["counts"], strict=True))


def test_a_cluster_maps_images_in_files(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        maps = example("dask_cluster")(cluster.scheduler_address, tmp_path)
    assert maps["maps"].shape[1:] == (4, 4)
    assert not np.isnan(maps["maps"]).any()


def test_a_run_says_which_masks_it_was_made_with(tmp_path):
    pytest.importorskip("tiled.server.app")
    uids = example("mask_workflow")(tmp_path / "masks")
    assert len(set(uids)) == 2
    assert all(uids)


def test_a_stack_is_in_one_file(tmp_path):
    with h5py.File(example("stxm_export")(tmp_path)) as file:
        assert file["entry0/counter0/data"].shape == (3, 11, 21)


def test_a_plan_finds_the_edge_of_a_grain():
    # Where the grain shines with half of its brightness: see the tutorial of the live analysis.
    assert example("adaptive_scan")() == pytest.approx(0.357, abs=0.1)
