from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from bluesky_ext.cli import main


def test_the_demo_of_an_stxm_maps_the_particles(tmp_path: Path, capsys):
    assert main(["demo", "stxm", "--directory", str(tmp_path), "--points", "11x13", "--seed", "2"]) == 0
    said = capsys.readouterr()
    (path,) = tmp_path.glob("*.hdf5")
    assert said.out.splitlines()[-1] == str(path)
    assert "11/11" in said.err
    with h5py.File(path) as file:
        data = file["entry0"][file["entry0"].attrs["default"]]["data"]
        assert data.shape == (11, 11, 13)


def test_there_are_two_demos(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "neutrons"])
    assert stopped.value.code == 2
    assert "stxm" in capsys.readouterr().err


def test_points_that_show_nothing_are_refused_before_the_scan(tmp_path: Path, capsys):
    directory = tmp_path / "out"
    assert main(["demo", "stxm", "--directory", str(directory), "--points", "2x2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--points: 2x2 points are so few" in line
    assert not directory.exists()


def test_a_directory_that_is_a_file_is_said_before_the_scan(tmp_path: Path, capsys):
    (tmp_path / "out").touch()
    assert main(["demo", "stxm", "--directory", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "out") in line
