"""What ``import bluesky_ext`` adds to ``import bluesky``."""

from __future__ import annotations

import statistics
import subprocess
import sys

PROGRAM = """
import time
import bluesky, bluesky.callbacks
began = time.perf_counter()
import bluesky_ext
print(time.perf_counter() - began)
"""


def main() -> bool:
    times = []
    for _ in range(9):
        answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        times.append(float(answer.stdout))
    added = statistics.median(times)
    print(f"import bluesky_ext adds {added * 1e3:.1f} ms to import bluesky (target 300 ms)")
    return added < 0.3
