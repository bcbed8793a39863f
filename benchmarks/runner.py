"""Timing pairs of callables side by side, so that a machine whose speed drifts does not decide who wins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pair:
    """Two ways to do one thing.

    Parameters
    ----------
    name
        What is done.
    ours, theirs
        Called without arguments; each call does ``per_call`` units of it.
    target
        The least ratio theirs / ours that is promised; 0 for a figure without a promise.
    prepare
        Called before each timed call, not timed; what it returns is passed to the callable.
    rounds
        How often each of the two is timed, in turn.
    """

    name: str
    ours: Callable[..., object]
    theirs: Callable[..., object]
    target: float = 0.0
    per_call: int = 1
    prepare: Callable[[], object] | None = None
    rounds: int = 7


@dataclass
class Result:
    """The thread CPU time of both, in seconds a unit, over all rounds; and a remark."""

    pair: Pair
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Theirs over ours, the median of the rounds' own ratios."""
        return statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def holds(self) -> bool:
        return self.ratio >= self.pair.target

    def __str__(self) -> str:
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        target = f"(target {self.pair.target:g}: {'holds' if self.holds else 'MISSED'})" if self.pair.target else ""
        return f"{self.pair.name:<58} {_time(ours):>9} {_time(theirs):>9} {self.ratio:8.2f}x {target}"


HEADER = f"{'':<58} {'ours':>9} {'theirs':>9} {'ratio':>9}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def measure(pair: Pair) -> Result:
    """Time both sides of a pair in turn, after one round that does not count."""
    result = Result(pair)
    for round_number in range(pair.rounds + 1):
        for call, times in ((pair.ours, result.ours), (pair.theirs, result.theirs)):
            arguments = () if pair.prepare is None else (pair.prepare(),)
            began = time.thread_time()
            call(*arguments)
            took = time.thread_time() - began
            if round_number:
                times.append(took / pair.per_call)
    return result


def run(pairs: Iterable[Pair]) -> bool:
    """Measure and print; whether every promise holds."""
    print(HEADER)
    good = True
    for pair in pairs:
        result = measure(pair)
        print(result, flush=True)
        good &= result.holds
    return good
