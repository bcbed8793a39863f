"""The IPython profile, started as a beamline starts it."""

from __future__ import annotations

import ast
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
print("again", *[redo(run, catalog).agrees for run in find_derived(catalog, uid)])
"""

FLUORESCENCE = """
(uid,) = RE(grid_scan([xspress3], film_y, -0.1, 0.1, 3, film_x, -0.1, 0.1, 4))
print("elements", dict(elements.dataset.sizes), [run.start["analysis_stage"] for run in find_derived(catalog, uid)])
print("served", urlopen(server.url + "api/v1/progress").read().decode())
"""

STACK = """
uids = RE(sample_image_stack([counter0], endstation, [(-1, 1, 3, -1, 1, 4)], [280.0, 285.2], dwell=1))
print("uids", *uids)
"""

# The catalogue is gone, spectra and images can't be analysed, and nobody serves the page.
FAILING = """
import shutil

stops = []
RE.subscribe(lambda name, doc: stops.append(doc["exit_status"]), "stop")
shutil.rmtree("runs")
server.close()
xspress3.spectra.get = lambda: "no spectrum"
dexela.image.get = lambda: "no image"
RE(grid_scan([dexela], sample_y, -1, 1, 3, sample_x, -1, 1, 4))
RE(grid_scan([xspress3], film_y, -0.1, 0.1, 3, film_x, -0.1, 0.1, 4))
RE(sample_image([counter0], endstation, -1, 1, 3, -1, 1, 4, dwell=1))
print("statuses", *stops)
print("failed", ip.stats.failed, fit.stats.failed, "backups", len(saver.backups))
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
    answer = ipython(profile, SCAN + FLUORESCENCE + STACK)
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("maps")]
    assert "'sample_y': 4, 'sample_x': 5" in line
    assert "failed 0" in line
    assert "closed" in line
    assert int(line.split("'reflection': ")[1].split(",")[0]) > 10
    assert "again True True\n" in answer.stdout
    assert "elements {'line': 4, 'film_y': 3, 'film_x': 4} ['FluorescenceFit', 'FluorescenceMap']" in answer.stdout
    assert '"completedEvents":12,' in answer.stdout
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
    assert "scan 5 success" in again.stdout  # after those of the first session


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
@pytest.mark.parametrize(
    ("left_out", "device"), [("[2-4]?-[cf]*.py", "counter0"), ("[34]?-*.py", "dexela"), ("[23]?-*.py", "xspress3")]
)
def test_crystal_mapping_the_microscope_and_fluorescence_stand_each_alone(profile, left_out, device):
    for file in (profile / "startup").glob(left_out):
        file.unlink()
    answer = ipython(profile, f"assert PROFILE_READY; print('ran', *RE(bp.count([{device}])))")
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    assert "\nran " in answer.stdout


def test_each_thing_that_the_profile_does_is_a_line_that_no_other_needs():
    trees = {path.name: ast.parse(path.read_text()) for path in sorted((PROFILE / "startup").glob("*.py"))}
    used = [node.id for tree in trees.values() for node in ast.walk(tree) if is_use(node)]
    things = [
        node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.stmt) and is_thing(node)
    ]
    texts = [ast.unparse(thing) for thing in things]
    assert {"RE.subscribe(bec)", "RE.subscribe(saver)", "RE.subscribe(ip)", "RE.subscribe(fit)"} <= {*texts}
    assert {"live = LiveMap(cm, pt)", "server = LiveServer(*shown, directory='live')", "shown += [cm, pt, rm]"} <= {
        *texts
    }
    for thing, text in zip(things, texts, strict=True):
        assert thing.lineno == thing.end_lineno, text
        if isinstance(thing, ast.Assign):
            (name,) = (target.id for target in thing.targets if isinstance(target, ast.Name))
            assert used.count(name) == (name == "server"), text  # only the line that says its address


def is_thing(statement: ast.stmt) -> bool:
    """Whether a statement does something with scans: has something subscribed, drawn or shown."""
    if isinstance(statement, ast.AugAssign):
        return True
    if not isinstance(statement, ast.Expr | ast.Assign) or not isinstance(statement.value, ast.Call):
        return False
    return ast.unparse(statement.value.func).split(".")[-1] in ("subscribe", "LiveMap", "LiveServer")


def is_use(node: ast.AST) -> bool:
    """Whether a node is a name that is read."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


@pytest.mark.timeout(240)
def test_a_scan_goes_on_without_any_of_it(profile):
    for file in (profile / "startup").glob("*.py"):
        tree = ast.parse(file.read_text())
        lines = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt) and is_thing(node)}
        kept = [line for number, line in enumerate(file.read_text().splitlines(), 1) if number not in lines]
        file.write_text("\n".join(kept) + "\n")
    answer = ipython(profile, "assert PROFILE_READY; print('ran', *RE(bp.count([dexela, counter0, xspress3])))")
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stdout + answer.stderr
    assert "\nran " in answer.stdout
    assert not (profile.parent / "maps").exists()
    assert not (profile.parent / "nxstxm").exists()


@pytest.mark.timeout(240)
def test_a_scan_goes_on_when_all_of_it_fails(profile):
    for name in ("maps", "nxstxm"):  # no directories, where files are to go
        (profile.parent / name).touch()
    answer = ipython(profile, FAILING)
    assert "statuses success success success" in answer.stdout, answer.stdout + answer.stderr
    assert "failed 12 12 backups 7" in answer.stdout, answer.stdout + answer.stderr
