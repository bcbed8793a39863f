import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bluesky_ext import Recording, open_catalog
from bluesky_ext.cli import main
from bluesky_ext.sim import beamline
from bluesky_ext.storage import close_catalog

pytest.importorskip("tiled.server.app")
pytest.importorskip("PyMca5")

# With what `pip install '.[live]'` brings, and no more.
WITHOUT_EXTRAS = """
import sys

sys.modules |= dict.fromkeys(["tiled", "PyMca5"])
from bluesky_ext.cli import program

program()
"""


@pytest.mark.timeout(240)
def test_the_whole_demo_finds_what_is_in_the_samples_and_writes_what_it_says(tmp_path, capfd):
    out = tmp_path / "out"
    assert main(["demo", "--quick", "--directory", str(out)]) == 0
    said, errors = capfd.readouterr()
    lines = said.splitlines()
    assert lines[0] == f"simulated beamlines, scanned and analysed live; results go to {out}"
    assert any(line.startswith("watch it at http://127.0.0.1:") for line in lines)
    assert "    grains with a map of each of their spots: 8 of 8" in lines
    assert lines.count("    bit for bit the same came out") == 2
    assert "\r" not in said + errors  # no bar, where there is no terminal

    # The summary has every step with its time, and every file.
    steps = [line for line in lines if re.match(r" +\d+\.\d s  ", line)]
    assert len(steps) == len(["load", "crystal", "again", "elements", "again", "stxm", "all of it"])
    written = [Path(line.split("B  ", 1)[1]) for line in lines if re.search(r"[\d.]+ [kM]B  /", line)]
    assert {*written} == {*out.iterdir()}
    assert {path.name for path in written} >= {"crystal_maps.png", "peaks.png", "element_maps.png", "particles.png"}

    (path,) = out.glob("*-elements.nc")
    with xr.open_dataset(path, engine="h5netcdf") as elements:
        assert dict(elements["massfractions"].sizes) == {"line": 4, "sample_y": 9, "sample_x": 9}
    (path,) = out.glob("*.hdf5")
    with h5py.File(path) as file:
        assert file["entry0"][file["entry0"].attrs["default"]]["data"].shape == (11, 15, 15)
    catalog = open_catalog(out / "catalogue")
    starts = [run.metadata["start"] for run in catalog.values() if "start" in run.metadata]
    stages = [start.get("analysis_stage", "raw") for start in starts]
    close_catalog(catalog)
    assert sorted(stages) == ["CrystalMap", "FluorescenceFit", "FluorescenceMap", "PeakTracker"] + ["raw"] * 13


@pytest.mark.timeout(240)
def test_what_is_not_installed_is_said_in_a_line_and_left_out(tmp_path):
    arguments = ["demo", "--quick", "--no-serve", "-d", str(tmp_path)]
    answer = subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS, *arguments], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert "left out: element maps need PyMca: pip install 'bluesky-ext[xrf]'" in lines
    assert "left out: a catalogue needs Tiled: pip install 'bluesky-ext[tiled]'; runs are recorded in files" in lines
    assert lines.count("    bit for bit the same came out") == 1
    stages = [one.start.get("analysis_stage", "raw") for one in Recording.find(tmp_path / "recordings")]
    assert sorted(stages) == ["CrystalMap", "PeakTracker"] + ["raw"] * 12
    assert not (tmp_path / "element_maps.png").exists()


def test_each_track_of_the_demo_is_a_spot_of_the_crystal(tmp_path):
    assert main(["demo", "crystal", "-d", str(tmp_path), "--points", "9x7", "--seed", "3", "--no-serve"]) == 0
    tracks = pd.read_csv(tmp_path / "tracks.csv")
    assert set(tracks["frame"]) <= set(range(1, 64))
    spots = np.concatenate([grain.spots for grain in beamline(3).crystal.grains])  # 8 grains of 6 spots
    means = tracks.groupby("particle")[["y", "x"]].mean().to_numpy()
    nearest = np.argmin(np.hypot(*(means[:, None] - spots[None]).transpose(2, 0, 1)), axis=1)
    assert sorted(nearest) == list(range(48))
    (dataset,) = tmp_path.glob("*.nc")
    with xr.open_dataset(dataset, engine="h5netcdf") as maps:
        assert dict(maps["maps"].sizes) == {"reflection": 48, "sample_y": 9, "sample_x": 7}


def test_in_a_terminal_it_has_a_bar_and_is_shown_until_ctrl_c(tmp_path):
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 120))
    command = [sys.executable, "-m", "bluesky_ext", "demo", "crystal", "--points", "3x3", "--size", "128"]
    process = subprocess.Popen(
        [*command, "-d", str(tmp_path)], stdin=its, stdout=its, stderr=its, env={**os.environ, "TQDM_MININTERVAL": "0"}
    )
    os.close(its)
    said = ""
    while "Ctrl-C ends it" not in said:
        said += os.read(ours, 10_000).decode()
    assert "| 9/9 [" in said
    url = re.search(r"watch it at (\S+)", said)[1]
    with urllib.request.urlopen(f"{url}api/v1/status") as answer:
        assert json.load(answer)["progress"]["completedEvents"] == 9
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 1)  # as few points find few grains
    os.close(ours)


def test_it_is_a_command():
    answer = subprocess.run(
        [sys.executable, "-m", "bluesky_ext", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("bluesky-ext ")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["demo", "neutrons"], "stxm"),
        (["demo", "--points", "3"], "'3' is no grid"),
        (["demo", "--size", "12"], "'12' is no detector"),
    ],
)
def test_a_command_that_makes_no_sense_is_an_error_of_usage(arguments, word, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err


def test_points_that_show_nothing_are_refused_before_the_scan(tmp_path: Path, capsys):
    directory = tmp_path / "out"
    assert main(["demo", "stxm", "--directory", str(directory), "--points", "2x2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--points: 2x2 points are so few" in line
    assert not directory.exists()


def test_a_failure_is_one_line_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "crystal", "-d", str(tmp_path / "file" / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bluesky-ext demo:")]
    assert str(tmp_path / "file") in line
