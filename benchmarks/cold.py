"""The first PeakTracker of a process whose cache of kernels is empty, and of the next process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.runner import Figure, at_most

TARGET = 12.0

PROGRAM = """
from bluesky_ext import PeakTracker
PeakTracker("image", 9)
"""


def main() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        first, of_all = _measured(environment)
        second, _ = _measured(environment)
    yield at_most("the first PeakTracker on an empty cache, imports included", first, "s", TARGET)
    yield Figure("  for which all processes together take, of a core", of_all, "s")
    yield Figure("  the same in the next process", second, "s")


def _measured(environment: dict[str, str]) -> tuple[float, float]:
    """How long it took, and how long the cores had to work for it."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    took, after = time.perf_counter() - began, os.times()
    return took, after.children_user + after.children_system - before.children_user - before.children_system
