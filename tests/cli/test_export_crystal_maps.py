from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pandas as pd
import pytest
from bluesky import RunEngine

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, Recorder, Recording, compose
from bluesky_ext.cli import main
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.sim import Crystal, beamline
from bluesky_ext.sim.geometry import Geometry

#: The types of columns that DIALS knows and that are written here, with the numpy type of their elements and how many
#: each has: see reflection_table_msgpack_adapter.h in dials/array_family.
DIALS = {"int": ("<i4", 1), "std::size_t": ("<u8", 1), "double": ("<f8", 1), "vec3<double>": ("<f8", 3)}

#: The d-spacings of the crystal, in m.
D = (3.1356e-10, 1.9201e-10, 1.6375e-10)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> tuple[Path, CrystalMap]:
    """A directory with recordings of a scan, its peaks and its maps; and what made the maps."""
    directory = tmp_path_factory.mktemp("recordings")
    b = beamline(seed=1, shape=(256, 256), n_grains=3, spots_per_grain=3, d_spacings=D)
    poni = b.crystal.geometry.poni
    engine = RunEngine({})
    pt = compose(
        ImageProcessor("dexela_image", subtrahend="dark"), PeakTracker("dexela_image", 11, minmass=700, poni=poni)
    )
    cm = CrystalMap(search_range=3, memory=100, directory=directory / "nc")
    pt.subscribe(cm)
    engine.subscribe(pt)
    exposure: dict[str, Any] = {"shutter": b.shutter, "shutter_open": "open", "shutter_close": "closed"}
    with Recorder(directory) as recorder:
        for stage in (pt, cm):
            stage.subscribe(recorder)
        engine.subscribe(recorder)
        engine(
            grid_scan_nd([b.detector], b.y, -1, 1, 5, b.x, -1, 1, 7, time_per_point=0.2, time_per_frame=0.1, **exposure)
        )
    return directory, cm


def decoded(path: Path) -> dict[str, np.ndarray]:
    """The columns of a reflection table, as DIALS reads them."""
    kind, version, content = msgpack.unpackb(path.read_bytes())
    assert (kind, version) == ("dials::af::reflection_table", 1)
    assert set(content) == {"identifiers", "nrows", "data"}
    columns = {}
    for name, (column, (size, data)) in content["data"].items():
        dtype, parts = DIALS[column]
        assert size == content["nrows"]
        assert len(data) == size * parts * np.dtype(dtype).itemsize
        columns[name] = np.frombuffer(data, dtype).reshape((size, parts) if parts > 1 else size)
    return columns


def test_a_scan_becomes_files_for_other_programs(scan, tmp_path, capsys):
    directory, cm = scan
    assert main(["export", "crystal-maps", str(directory), "-d", str(tmp_path)]) == 0
    said = capsys.readouterr()
    uid = cm.dataset.attrs["original_run_uid"][:8]
    ends = [".nxs", "-reflections.csv", "-grains.csv", "-maps.csv", "-peaks.csv", ".refl"]
    assert said.out.split() == [str(tmp_path / f"{uid}{end}") for end in ends]
    assert said.err == ""
    tables = {end[1:-4]: pd.read_csv(tmp_path / f"{uid}{end}") for end in ends[1:5]}
    peaks, dataset = tables["peaks"], cm.dataset
    pd.testing.assert_frame_equal(peaks[cm.tracks.columns], cm.tracks)
    assert len(tables["reflections"]) == 9
    assert tables["grains"]["n_reflections"].tolist() == [3, 3, 3]
    of = dict(zip(tables["reflections"]["particle"], tables["reflections"]["grain"], strict=True))
    assert peaks["grain"].tolist() == [of[particle] for particle in peaks["particle"]]
    maps = tables["maps"].set_index(["sample_y", "sample_x"])
    one = dataset["maps"][4]
    at = {"sample_y": dataset["sample_y"].values[3], "sample_x": dataset["sample_x"].values[5]}
    assert maps.loc[tuple(at.values()), "reflection_4"] == one.sel(at).item()
    np.testing.assert_allclose(maps["reflection_4"].sum(), one.sum())
    # The middle of a grain is that of its map.
    total = maps["grain_0"].sum()
    middle = (maps["grain_0"] * maps.index.get_level_values("sample_x")).sum() / total
    assert tables["grains"]["sample_x"][0] == pytest.approx(middle)
    refl = decoded(tmp_path / f"{uid}.refl")
    np.testing.assert_allclose(refl["xyzobs.px.value"], peaks[["x", "y", "frame"]] + [0.5, 0.5, -0.5])
    np.testing.assert_allclose(refl["intensity.sum.value"], peaks["mass"])
    assert (refl["flags"] == 32).all()
    np.testing.assert_array_equal(refl["grain"], peaks["grain"])
    np.testing.assert_allclose(refl["d"], 10 * peaks["d"])  # in angstrom
    spacings = tables["reflections"].groupby("grain")["d"].apply(sorted)
    np.testing.assert_allclose([*spacings], [sorted(1e9 * np.array(D))] * 3, rtol=2e-3)


def test_the_nexus_file_opens_in_silx_with_the_maps(scan, tmp_path):
    from silx.io import nxdata

    directory, cm = scan
    assert main(["export", "crystal-maps", str(directory), "-d", str(tmp_path), "-f", "nexus"]) == 0
    (path,) = tmp_path.iterdir()
    with h5py.File(path) as file:
        default = nxdata.get_default(file)
        np.testing.assert_array_equal(default.signal, cm.dataset["maps"])
        assert default.axes_names == ["reflection", "sample_y (mm)", "sample_x (mm)"]
        grains = nxdata.get_default(file["entry/grains"])
        assert grains.signal.shape == (3, 5, 7)
        assert file["entry/maps/grain_of"].shape == (9,)
        for group in ("maps", "peaks"):
            assert file[f"entry/{group}/q"].attrs["units"] == "1/nm"
        assert nxdata.get_default(file["entry/peaks"]).is_curve or file["entry/peaks/mass"].shape == (len(cm.tracks),)


def test_a_file_of_maps_has_no_peaks(scan, tmp_path, capsys):
    (path,) = (scan[0] / "nc").iterdir()
    arguments = ["export", "crystal-maps", str(path), "-d", str(tmp_path)]
    assert main(arguments) == 0
    assert sorted(one.name.removeprefix(path.stem) for one in tmp_path.iterdir()) == [
        *("-grains.csv", "-maps.csv", "-reflections.csv", ".nxs")
    ]
    capsys.readouterr()
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is there already" in line
    assert main([*arguments, "--overwrite"]) == 0


def test_a_geometry_that_comes_later_takes_the_place_of_the_one_before(scan, tmp_path):
    poni = tmp_path / "far.poni"
    poni.write_bytes(Crystal(shape=(256, 256), n_grains=0, distance=0.16).geometry.poni)
    (maps,) = (scan[0] / "nc").iterdir()
    for source in (maps, scan[0]):
        assert main(["export", "crystal-maps", str(source), "-d", str(tmp_path), "--poni", str(poni)]) == 0
    for table in tmp_path.glob("*-[pr]e*.csv"):
        found = pd.read_csv(table)
        np.testing.assert_allclose(found["two_theta"], Geometry((256, 256), distance=0.16).two_theta(found.y, found.x))
    with h5py.File(next(tmp_path.glob("*.nxs"))) as file:
        assert file["entry/process/poni"].asstr()[()] == poni.read_text()


def test_peaks_that_are_not_linked_are_linked_with_a_search_range(scan, tmp_path, capsys):
    directory, cm = scan
    stages = {one.start.get("analysis_stage"): one.path for one in Recording.find(directory)}
    peaks = stages["ImageProcessor+PeakTracker"]
    arguments = ["export", "crystal-maps", str(peaks), "-d", str(tmp_path), "-f", "csv"]
    assert main(arguments) == 1
    assert "are not linked: give --search-range" in capsys.readouterr().err
    assert main([*arguments, "--search-range", "3", "--memory", "100"]) == 0
    (table,) = tmp_path.glob("*-peaks.csv")
    pd.testing.assert_frame_equal(pd.read_csv(table)[cm.tracks.columns], cm.tracks)


def test_a_scan_of_a_catalogue(scan, tmp_path):
    pytest.importorskip("tiled.server.app")
    from bluesky_ext import replay
    from bluesky_ext.storage import close_catalog, open_catalog, save

    directory, cm = scan
    catalog = open_catalog(tmp_path / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        replay(directory, sink, fill=False)
    close_catalog(catalog)
    uid = cm.dataset.attrs["original_run_uid"]
    command = ["export", "crystal-maps", "--catalog", str(tmp_path / "catalog"), uid]
    assert main([*command, "-d", str(tmp_path / "out"), "-f", "csv"]) == 0
    (table,) = (tmp_path / "out").glob("*-reflections.csv")
    assert len(pd.read_csv(table)) == 9


def test_formats_that_there_are(scan, tmp_path, capsys):
    assert main(["export", "crystal-maps", str(scan[0]), "-d", str(tmp_path), "-f", "csv,xml"]) == 1
    assert "'xml'" in capsys.readouterr().err
