"""A short day at a beamline, with all its faults: nothing is lost that nobody counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tiled.server.app")


@pytest.mark.timeout(300)
def test_what_a_day_of_faults_loses_is_counted_and_can_be_made_again(tmp_path: Path):
    path = tmp_path / "figures.json"
    length = {"runs": 5, "seconds": 1, "size": 256, "fault": 1, "pause": 1, "json": path}
    options = [f"--{name}={value}" for name, value in length.items()]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    day = [sys.executable, "-m", "benchmarks.day", *options]
    answer = subprocess.run(day, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    figures = json.loads(path.read_text())
    assert figures["runs"] >= 5 + len(["killed", "full", "long", "gone"])
    assert figures["runs lost in silence"] == figures["events that were not saved and not counted"] == 0
    assert figures["documents that the saver counted as lost"] > 0  # the disk was full
    assert figures["runs analysed whole"] < figures["runs"]  # the server was gone
    assert figures["runs analysed whole after a replay"] == figures["runs in the catalogue"] < figures["runs"]
