import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bluesky_ext import Recording
from bluesky_ext.cli import main
from bluesky_ext.sim import beamline


def test_the_demo_finds_the_grains_and_writes_what_it_says(tmp_path, capsys):
    assert main(["demo", "--directory", str(tmp_path / "out"), "--points", "9x7", "--seed", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("watch it at http://127.0.0.1:")
    assert "grains with a map of each of their spots: 8 of 8" in said
    paths = [Path(line) for line in said if line.startswith(str(tmp_path))]
    assert all(path.stat().st_size > 0 for path in paths)
    tracks = pd.read_csv(tmp_path / "out" / "tracks.csv")
    assert set(tracks["frame"]) <= set(range(1, 64))
    # Each track stays on one spot of the truth: 8 grains of 6 spots.
    spots = np.concatenate([grain.spots for grain in beamline(3).crystal.grains])
    means = tracks.groupby("particle")[["y", "x"]].mean().to_numpy()
    nearest = np.argmin(np.hypot(*(means[:, None] - spots[None]).transpose(2, 0, 1)), axis=1)
    assert sorted(nearest) == list(range(48))
    (dataset,) = [path for path in paths if path.suffix == ".nc"]
    with xr.open_dataset(dataset, engine="h5netcdf") as maps:
        assert dict(maps["maps"].sizes) == {"reflection": 48, "sample_y": 9, "sample_x": 7}
    stages = [Recording(path).start["analysis_stage"] for path in paths if path.suffix == ".bsrec"]
    assert sorted(stages) == ["CrystalMap", "PeakTracker", "TrackLinker"]


def test_in_a_terminal_it_is_shown_until_ctrl_c(tmp_path):
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "bluesky_ext", "demo", "--points", "3x3", "--size", "128", "-d", str(tmp_path)]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=subprocess.PIPE, text=True)
    os.close(its)
    with process.stderr as lines:
        for line in lines:
            if "Ctrl-C ends it" in line:
                break
        said = os.read(ours, 10_000).decode()
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
    [([], "COMMAND"), (["demo", "--points", "3"], "'3' is no grid"), (["demo", "--size", "12"], "'12' is no detector")],
)
def test_a_command_that_makes_no_sense_is_an_error_of_usage(arguments, word, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err


def test_a_failure_is_one_line_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--points", "2x2", "--size", "128", "-d", str(tmp_path / "file" / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bluesky-ext demo:")]
    assert str(tmp_path / "file") in line
