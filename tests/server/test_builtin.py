from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from bluesky import RunEngine
from bluesky.plans import grid_scan
from runs import feed, run_of, streamed_run

from bluesky_ext import replay
from bluesky_ext.plans.stxm import Endstation, sample_image
from bluesky_ext.server import Site
from bluesky_ext.server.executors import executor_of
from bluesky_ext.server.registry import configured
from bluesky_ext.sim import beamline, powder_beamline, stxm
from bluesky_ext.sim.fluorescence import fluorescence_beamline


def documents_of(plan) -> list:
    docs: list = []
    RunEngine({})(plan, lambda name, doc: docs.append((name, doc)))
    return docs


@pytest.fixture
def settings(tmp_path):
    def write(**given: object) -> Path:
        path = tmp_path / "settings.toml"
        lines = [f"{key} = {str(value).lower() if value is True else repr(str(value))}" for key, value in given.items()]
        path.write_text("\n".join(lines))
        return path

    return write


def test_crystal_mapping_makes_runs_and_maps(settings, tmp_path):
    b = beamline(seed=1, shape=(128, 128), n_grains=2)
    docs = documents_of(grid_scan([b.detector], b.y, -1, 1, 3, b.x, -1, 1, 3))
    (tmp_path / "det.poni").write_bytes(b.crystal.geometry.poni)
    config = settings(data_key="dexela_image", directory=tmp_path / "maps", poni=tmp_path / "det.poni")
    made: list[list[str]] = []
    for executor in (None, "threads:2"):
        got: list = []
        with executor_of(executor) as pool:
            site = Site(pool, sinks=(got,))
            replay(docs, configured("crystal-mapping", config).build(site), progress=False)
        assert [stage.name for stage in site.stages] == ["ImageProcessor+PeakTracker", "TrackLinker", "CrystalMap"]
        stages = [doc["analysis_stage"] for name, doc in got if name == "start"]
        assert sorted(stages) == ["CrystalMap", "ImageProcessor+PeakTracker", "TrackLinker"]
        made.append(sorted(doc["sha256"] for name, doc in got if name == "stop"))
    assert made[0] == made[1]
    with xr.open_dataset(tmp_path / "maps" / f"{docs[0][1]['uid']}.nc", engine="h5netcdf") as dataset:
        assert dataset.sizes["sample_y"] == dataset.sizes["sample_x"] == 3
        assert dataset["d"].attrs["units"] == "nm"


def test_fluorescence_makes_runs_and_processed_files(settings, tmp_path):
    b = fluorescence_beamline(seed=1, n_channels=1200)
    docs = documents_of(grid_scan([b.detector], b.y, -0.1, 0.1, 2, b.x, -0.1, 0.1, 3))
    (tmp_path / "film.cfg").write_bytes(b.sample.cfg)
    given = {"data_key": "xspress3_spectra", "live_time": "xspress3_live_time", "cfg": tmp_path / "film.cfg"}
    config = settings(**given, directory=tmp_path / "maps")
    got: list = []
    site = Site(sinks=(got,))
    # By its place: what is installed may be another version.
    replay(docs, configured("bluesky_ext.server.fluorescence:Fluorescence", config).build(site), progress=False)
    stages = [doc["analysis_stage"] for name, doc in got if name == "start"]
    assert sorted(stages) == ["FluorescenceFit", "FluorescenceMap"]
    (path,) = (tmp_path / "maps").iterdir()
    with h5py.File(path) as file:
        assert file["entry/grid/massfractions/Fe K/values"].shape == (2, 3)
        assert file["entry/process/parameters/data_key"].asstr()[()] == "xspress3_spectra"


def test_an_nxstxm_file_that_was_cut_off_is_made_whole_by_a_replay(settings, tmp_path, caplog):
    s = stxm(2)
    docs = documents_of(sample_image([s.counter], Endstation(s.devices), -1, 1, 3, -1, 1, 4))
    config = settings(directory=tmp_path / "files")
    final = tmp_path / "files" / f"{docs[0][1]['uid']}.hdf5"
    first = configured("nxstxm", config).build(Site())
    feed(first, docs[:-3])
    # As a server has it when it is stopped: the run is closed by a stop that nobody sent.
    first("stop", {"uid": "x", "time": 0.0, "run_start": docs[0][1]["uid"], "exit_status": "abort", "incomplete": "so"})
    first.close()  # pyright: ignore[reportFunctionMemberAccess]
    assert "has no stop document" in caplog.text
    assert not final.exists()
    second = configured("nxstxm", config).build(Site())
    replay(docs, second, progress=False)
    second.close()  # pyright: ignore[reportFunctionMemberAccess]
    key = "counter0_single_value_rbv"
    counts = [doc["data"][key] for name, doc in docs if name == "event" and key in doc["data"]]
    with h5py.File(final) as file:
        data = file["entry0"][file["entry0"].attrs["default"]]["data"][()]
    np.testing.assert_array_equal(data.ravel(), counts)
    # The same once more needs to be told to write over it.
    third = configured("nxstxm", config).build(Site())
    with pytest.raises(FileExistsError):
        replay(docs, third, progress=False)
    replay(
        docs, configured("nxstxm", settings(directory=tmp_path / "files", overwrite=True)).build(Site()), progress=False
    )


def test_an_nxstxm_file_gets_the_images_that_a_detector_wrote(settings, tmp_path, caplog):
    frames = np.arange(12, dtype=np.uint16).reshape(2, 2, 3)
    docs = streamed_run(tmp_path / "frames.h5", frames, said=3)

    class Collector(list):
        def __call__(self, name, doc):
            self.append((name, doc))

        def finish(self):
            return []

    callback = configured("nxstxm", settings(directory=tmp_path / "files")).build(Site())
    callback.writer = got = Collector()  # pyright: ignore[reportFunctionMemberAccess]
    feed(callback, docs)
    assert [name for name, _ in got] == ["start", "descriptor", "event", "event", "stop"]
    np.testing.assert_array_equal([doc["data"]["image"] for name, doc in got if name == "event"], frames)
    # There were two frames in the file, and three in the documents.
    assert "1 events are left out, their images can't be read" in caplog.text


def test_masks_of_a_catalog(tmp_path):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.masks import MaskClient
    from bluesky_ext.storage import close_catalog, open_catalog

    catalog, got = open_catalog(tmp_path / "catalog"), []
    try:
        mask = np.ones((2, 3), bool)
        mask[0, 1] = False
        MaskClient(catalog, detector_shapes={"eiger": (2, 3)}).register_mask("eiger", "beamstop", mask)
        (tmp_path / "masks.toml").write_text('data_key = "image"\nmasks = [["eiger", "beamstop"]]\n')
        callback = configured("masks", tmp_path / "masks.toml").build(Site(catalog=catalog, sinks=(got,)))
        image = np.arange(1, 7, dtype=np.uint16).reshape(2, 3)
        replay(run_of([{"image": image}]), callback, progress=False)
    finally:
        close_catalog(catalog)
    (masked,) = [doc["data"]["image"] for name, doc in got if name == "event"]
    np.testing.assert_array_equal(masked, [[1, 0, 3], [4, 5, 6]])


def test_azimuthal_integration_makes_runs_and_files(settings, tmp_path):
    b = powder_beamline(shape=(64, 64))
    docs = documents_of(grid_scan([b.detector], b.y, -1, 1, 2, b.x, -1, 1, 3))
    (tmp_path / "detector.poni").write_bytes(b.powder.poni)
    config = settings(data_key="dexela_image", poni=tmp_path / "detector.poni", directory=tmp_path / "files")
    more = "n_bins = 50\ngaps = true\nsectors = [[-45, 45]]\n[rois]\n111 = [18, 22]\n"
    config.write_text(f"{config.read_text()}\n{more}".replace("'", '"'))
    made: list[list[str]] = []
    for executor in (None, "threads:2"):
        got: list = []
        with executor_of(executor) as pool:
            site = Site(pool, sinks=(got,))
            replay(docs, configured("bluesky_ext.server.azimuthal:Azimuthal", config).build(site), progress=False)
        assert [stage.name for stage in site.stages] == ["AzimuthalIntegrator", "Diffractograms"]
        assert site.stages[0].parameters["gaps"] is True
        made.append(sorted(doc["sha256"] for name, doc in got if name == "stop"))
    assert len(made[0]) == 2
    assert made[0] == made[1]
    with h5py.File(tmp_path / "files" / f"{docs[0][1]['uid']}_processed.h5") as file:
        assert file["entry/data/I"].shape == (6, 1, 50)
        assert file["entry/grid/position/111_0/values"].shape == (2, 3)
