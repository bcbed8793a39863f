"""The IPython profile, started as a beamline starts it."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ext import stxm as plans
from suitcase_nxstxm import scan_types

PROFILE = Path(__file__).parents[2] / "profile_collection"

SCAN = """
from urllib.request import urlopen

assert PROFILE_READY
bec.disable_plots()
(uid,) = RE(grid_scan_nd([dexela], sample_y, -1, 1, 4, sample_x, -1, 1, 5, time_per_point=0.2, time_per_frame=0.1,
                         shutter=shutter, shutter_open="open", shutter_close="closed", take_dark=True))
maps = cm.dataset
print("maps", dict(maps.sizes), "peaks", len(cm.tracks), "failed", pt.stats.failed, "shutter", shutter.get())
print("total", *reshape(find_run(catalog, uid), "dexela_stats_total").values.ravel())
print("served", urlopen(server.url + "api/v1/progress").read().decode())
print("again", *[redo(run, catalog).agrees for run in find_derived(catalog, uid)])
"""

STACK = """
uids = RE(sample_image_stack([counter0], endstation, [(-1, 1, 3, -1, 1, 4)], [280.0, 285.2], dwell=1))
print("uids", *uids)
"""

# In another process.
AGAIN = """
print("total", *reshape(find_run(catalog, 1), "dexela_stats_total").values.ravel())
print("panels", len(show().axes), len(show(scan=1).axes))
for key in ("dexela_stats_total", "n_rows"):
    (ax,) = show(key, 1).axes
    print("shown", ax.get_xlabel(), ax.get_aspect(), ax.child_axes[0].get_ylabel(), ax.images[0].get_array().shape)
(uid,) = RE(bp.count([counter0]))
print("scan", find_run(catalog, -1).start["scan_id"], catalog[uid].stop["exit_status"])
"""


@pytest.fixture
def profile(tmp_path):
    """A copy, since IPython writes into the folder of a profile."""
    copy = tmp_path / "profile_collection"
    shutil.copytree(PROFILE, copy, ignore=shutil.ignore_patterns("db", "log", "pid", "security", "history.sqlite*"))
    return copy


def ipython(profile, code):
    return subprocess.run(
        [sys.executable, "-m", "IPython", f"--profile-dir={profile}", "--no-banner", "--colors=NoColor", "-c", code],
        capture_output=True,
        text=True,
        env={
            **{"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            **{"MPLBACKEND": "Agg", "HOME": str(profile.parent)},
        },
        timeout=110,
        cwd=profile.parent,
    )


@pytest.mark.timeout(240)
def test_scans_in_the_profile_have_their_maps_and_files_and_are_kept(profile):
    answer = ipython(profile, SCAN + STACK)
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("maps")]
    assert "'sample_y': 4, 'sample_x': 5" in line
    assert "failed 0" in line
    assert "closed" in line
    assert int(line.split("'reflection': ")[1].split(",")[0]) > 10
    assert '"completedEvents":20,' in answer.stdout
    assert "again True True\n" in answer.stdout
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("uids")]
    first, _ = line.split()[1:]  # a run for each energy
    (file,) = (profile.parent / "nxstxm").iterdir()
    assert file.name == f"{first}.hdf5"
    with h5py.File(file) as opened:
        data = opened["entry0/counter0"]
        assert data["data"].shape == (2, 3, 4)
        assert data["energy"][()].tolist() == [280.0, 285.2]
        assert not np.isnan(data["data"][()]).any()

    again = ipython(profile, AGAIN)
    assert "Traceback" not in again.stdout + again.stderr, again.stdout + again.stderr
    (total,) = [line for line in again.stdout.splitlines() if line.startswith("total")]
    assert total in answer.stdout
    assert len({*total.split()}) > 10
    assert "panels 21 21" in again.stdout
    assert "shown sample_x (mm) 1.0 dexela_stats_total (counts) (4, 5)" in again.stdout
    assert "shown sample_x (mm) 1.0 n_rows (4, 5)" in again.stdout
    assert "scan 4 success" in again.stdout  # after those of the first session


def test_the_profile_has_a_plan_for_each_type_of_scan():
    imported = (PROFILE / "startup" / "31-stxm.py").read_text()
    every = [name for name in plans.__all__ if is_plan_function(name)]
    assert len(every) == len(scan_types)
    assert [name for name in every if f" {name},\n" not in imported] == []


def is_plan_function(name: str) -> bool:
    """Whether a name that the plans' package has is that of a whole scan."""
    return name.islower() and "station" in inspect.signature(getattr(plans, name)).parameters


def test_a_startup_file_that_fails_leaves_no_sentinel(profile):
    (profile / "startup" / "15-broken.py").write_text("raise RuntimeError('no such motor')\n")
    answer = ipython(profile, "print('ready:', 'PROFILE_READY' in globals())")
    assert "ready: False" in answer.stdout
    assert "no such motor" in answer.stdout + answer.stderr


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("left_out", "device"), [("2?-crystal-*.py", "counter0"), ("3?-stxm*.py", "dexela")])
def test_crystal_mapping_and_the_microscope_stand_each_alone(profile, left_out, device):
    for file in (profile / "startup").glob(left_out):
        file.unlink()
    answer = ipython(profile, f"assert PROFILE_READY; print('ran', *RE(bp.count([{device}])))")
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    assert "\nran " in answer.stdout


@pytest.mark.parametrize("path", sorted((PROFILE / "startup").glob("*.py")), ids=lambda path: path.name)
def test_startup_files_are_thin(path):
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) < 30
    assert not any(line.startswith(("def ", "class ")) for line in lines)
