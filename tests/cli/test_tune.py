from __future__ import annotations

import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_ext import Recorder
from bluesky_ext.cli import main
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.sim import beamline
from bluesky_ext.sim.crystal import Crystal


def test_settings_from_files(tmp_path, capsys):
    crystal = Crystal(seed=1, shape=(256, 256), n_grains=2)
    y, x = crystal.grains[0].centre
    paths = [tmp_path / f"{number}.npy" for number in range(2)]
    for number, path in enumerate(paths):
        np.save(path, crystal.frame(y, x, number))
    np.save(tmp_path / "dark.npy", crystal.dark_mean)
    picture = tmp_path / "peaks.png"
    dark = ["--subtrahend", str(tmp_path / "dark.npy"), "-o", str(picture)]
    assert main(["tune", *map(str, paths), *dark]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["diameter", "peaks", "contrast", "minmass"]
    assert said[-2].startswith("PeakTracker(key, diameter=11, minmass=")
    assert "CrystalMap(search_range=2.8)" in said[-2]
    assert picture.read_bytes()[1:4] == b"PNG"


def test_settings_from_a_run_with_its_dark(tmp_path, capsys):
    b = beamline(seed=1, shape=(256, 256), n_grains=2)
    engine = RunEngine({})
    with Recorder(tmp_path) as recorder:
        engine.subscribe(recorder)
        exposure = {"shutter": b.shutter, "shutter_open": "open", "shutter_close": "closed", "time_per_point": 0.1}
        engine(grid_scan_nd([b.detector], b.y, -0.5, 0.5, 3, b.x, -0.5, 0.5, 3, **exposure))
    assert main(["tune", str(tmp_path), "--key", "dexela_image", "--subtrahend", "dark"]) == 0
    assert "PeakTracker(key, diameter=11, minmass=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [(["-1", "--catalog", "./runs"], 2, "give --key"), (["flat.npy"], 1, "no peaks stand out from the noise")],
)
def test_what_is_not_meant_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, word):
    monkeypatch.chdir(tmp_path)
    np.save("flat.npy", np.ones((64, 64)))
    assert main(["tune", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
