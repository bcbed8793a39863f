"""Figures and their targets; and pairs of callables timed side by side, so that a machine whose speed drifts does not
decide who wins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

#: Below this part of its target a figure is missed; what is between is as good as a machine that others use can tell.
TOLERANCE = 0.8


@dataclass(frozen=True)
class Figure:
    """A number that was measured.

    Parameters
    ----------
    what
        What was measured.
    value, unit
        The number; "x" is the unit of a ratio, and "" that of yes (1) and no (0).
    target
        The number that is promised, if one is.
    at_most
        The target is the most and not the least.
    ours, theirs
        The times that a ratio is of, in s.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False
    ours: float | None = None
    theirs: float | None = None

    @property
    def margin(self) -> float:
        """How many times better than its target it is; 1 without a target."""
        if self.target is None:
            return 1.0
        better, worse = (self.target, self.value) if self.at_most else (self.value, self.target)
        return float(better >= worse) if worse == 0 or better == 0 else better / worse

    @property
    def verdict(self) -> str:
        """ "holds", "close" or "MISSED"; nothing without a target."""
        if self.target is None:
            return ""
        return "holds" if self.margin >= 1 else "close" if self.margin >= TOLERANCE else "MISSED"

    @property
    def said(self) -> str:
        """The number with its unit."""
        return ("no", "yes")[bool(self.value)] if not self.unit else f"{number(self.value)} {self.unit}"

    @property
    def promised(self) -> str:
        """The target with its unit."""
        if self.target is None:
            return ""
        return "yes" if not self.unit else f"{'at most ' if self.at_most else ''}{number(self.target)} {self.unit}"

    @property
    def sides(self) -> tuple[str, str]:
        """The times of both sides."""
        return tuple("" if each is None else seconds(each) for each in (self.ours, self.theirs))  # pyright: ignore

    def __str__(self) -> str:
        ours, theirs = self.sides
        target = f"{self.promised}: {self.verdict}" if self.target is not None else ""
        return f"{self.what:<72} {ours:>9} {theirs:>9} {self.said:>16}  {target}".rstrip()


def at_least(what: str, value: float, unit: str, target: float, **times: float) -> Figure:
    """A figure that is promised to be no less."""
    return Figure(what, value, unit, target, **times)


def at_most(what: str, value: float, unit: str, target: float) -> Figure:
    """A figure that is promised to be no more."""
    return Figure(what, value, unit, target, at_most=True)


def is_so(what: str, value: bool) -> Figure:
    """Something that is promised to be so."""
    return Figure(what, float(value), "", 1.0)


def ratio(what: str, ours: float, theirs: float, target: float | None = None) -> Figure:
    """How many times ours is in theirs, of two times in s."""
    return Figure(what, theirs / ours, "x", target, ours=ours, theirs=theirs)


def number(value: float) -> str:
    """Three digits, and no more than there are."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def seconds(value: float) -> str:
    """A time in the unit that it is said in."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


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
    """The thread CPU time of both, in seconds a unit, over all rounds."""

    pair: Pair
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def figure(self) -> Figure:
        """Theirs over ours, the median of the rounds' own ratios."""
        middle = statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return Figure(self.pair.name, middle, "x", self.pair.target or None, ours=ours, theirs=theirs)


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


def run(pairs: Iterable[Pair]) -> Iterator[Figure]:
    """Measure pairs."""
    for pair in pairs:
        yield measure(pair).figure
