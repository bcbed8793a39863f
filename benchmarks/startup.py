"""What ``import bluesky_ext`` adds to ``import bluesky``."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.runner import Figure, at_most

PROGRAM = """
import time
import bluesky, bluesky.callbacks
began = time.perf_counter()
import bluesky_ext
print(time.perf_counter() - began)
"""


def main() -> Iterator[Figure]:
    times = []
    for _ in range(9):
        answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        times.append(float(answer.stdout))
    yield at_most("what import bluesky_ext adds to import bluesky", statistics.median(times) * 1e3, "ms", 300)
