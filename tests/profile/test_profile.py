"""The IPython profile, started as a beamline starts it."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ext.plans import stxm as plans
from bluesky_ext.plans.stxm import ScanType

PROFILE = Path(__file__).parents[2] / "profile_collection"

SCAN = """
assert PROFILE_READY
(uid,) = RE(grid_scan_nd([dexela], sample_y, -1, 1, 4, sample_x, -1, 1, 5, time_per_point=0.2, time_per_frame=0.1,
                         shutter=shutter, shutter_open="open", shutter_close="closed", take_dark=True))
maps = cm.dataset
print("maps", dict(maps.sizes), "peaks", len(cm.tracks), "failed", pt.stats.failed, "shutter", shutter.get())
"""

STACK = """
uids = RE(sample_image_stack([counter0], endstation, [(-1, 1, 3, -1, 1, 4)], [280.0, 285.2], dwell=1))
print("uids", *uids)
"""


@pytest.fixture
def profile(tmp_path):
    """A copy, since IPython writes into the folder of a profile."""
    copy = tmp_path / "profile_collection"
    shutil.copytree(PROFILE, copy, ignore=shutil.ignore_patterns("db", "log", "pid", "security", "history.sqlite*"))
    return copy


def ipython(profile, code, **options):
    return subprocess.run(
        [sys.executable, "-m", "IPython", f"--profile-dir={profile}", "--no-banner", "--colors=NoColor", "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "MPLBACKEND": "Agg", "HOME": str(profile.parent), **options},
        timeout=55,
        cwd=profile.parent,
    )


def test_scans_in_the_profile_have_their_maps_and_files_when_they_end(profile):
    answer = ipython(profile, SCAN + STACK)
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("maps")]
    assert "'sample_y': 4, 'sample_x': 5" in line
    assert "failed 0" in line
    assert "closed" in line
    assert int(line.split("'grain': ")[1].split(",")[0]) > 10
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("uids")]
    first, _ = line.split()[1:]  # a run for each energy
    (file,) = (profile.parent / "nxstxm").iterdir()
    assert file.name == f"{first}.hdf5"
    with h5py.File(file) as opened:
        data = opened["entry0/counter0"]
        assert data["data"].shape == (2, 3, 4)
        assert data["energy"][()].tolist() == [280.0, 285.2]
        assert not np.isnan(data["data"][()]).any()


def test_the_profile_has_a_plan_for_each_type_of_scan():
    imported = (PROFILE / "startup" / "20-plans.py").read_text()
    every = [name for name in plans.__all__ if is_plan_function(name)]
    assert len(every) == len(ScanType)
    assert [name for name in every if f" {name},\n" not in imported] == []


def is_plan_function(name: str) -> bool:
    """Whether a name that the plans' package has is that of a whole scan."""
    return name.islower() and "station" in inspect.signature(getattr(plans, name)).parameters


def test_a_startup_file_that_fails_leaves_no_sentinel(profile):
    (profile / "startup" / "15-broken.py").write_text("raise RuntimeError('no such motor')\n")
    answer = ipython(profile, "print('ready:', 'PROFILE_READY' in globals())")
    assert "ready: False" in answer.stdout
    assert "no such motor" in answer.stdout + answer.stderr


@pytest.mark.parametrize("path", sorted((PROFILE / "startup").glob("*.py")), ids=lambda path: path.name)
def test_startup_files_are_thin(path):
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) < 25
    assert not any(line.startswith(("def ", "class ")) for line in lines)
