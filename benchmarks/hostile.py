"""What hostile documents cost a real server: the attacks of its tests, and after each a good run until its result."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

MOST, MOST_MEMORY = 1.0, 500 * 2**20


def main() -> bool:
    tests = Path(__file__).parents[1] / "tests"
    sys.path[:0] = [str(tests / name) for name in ("cli", "storage", "contract")]
    import test_hostile_documents as attacks

    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory, attacks.serving(Path(directory)) as served:
        good = []
        for _ in range(5):
            began = time.perf_counter()
            served.analyses()
            good.append(time.perf_counter() - began)
        before = served.peak
        for name, attack in {**attacks.BEYOND, **attacks.ELSEWHERE, **attacks.WITHIN}.items():
            served.send(attack(served))
            began = time.perf_counter()
            served.analyses()
            took[name] = time.perf_counter() - began
        grown = served.peak - before
    print(f"a good run alone                        {statistics.median(good):7.3f} s")
    for name, seconds in sorted(took.items(), key=lambda item: -item[1])[:5]:
        print(f"a good run after {name:<22.22} {seconds:7.3f} s")
    print(f"{len(took)} attacks: the peak of memory grew by {grown / 2**20:.0f} MB")
    return max(took.values()) <= MOST and grown <= MOST_MEMORY
