"""What hostile documents cost a real server: the attacks of its tests, and after each a good run until its result."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.runner import Figure, at_most

MOST, MOST_MEMORY = 1.0, 500


def main() -> Iterator[Figure]:
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
    worst = max(took, key=lambda name: took[name])
    yield Figure("the result of a good run, by a server", statistics.median(good), "s")
    yield at_most(f"  after the worst of {len(took)} attacks ({worst})", took[worst], "s", MOST)
    yield at_most("  by how much they make its memory grow", grown / 2**20, "MB", MOST_MEMORY)
