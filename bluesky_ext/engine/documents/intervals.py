"""Intervals: a set of integers, kept as the intervals that it is made of; and for frames, where each of them lies."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

_BY_START = itemgetter(0)


class _Span(NamedTuple):
    """The integers from start up to stop; the index of a frame is its seq_num plus the offset."""

    start: int
    stop: int
    rank: int = 0
    offset: int = 0


def _outside(span: _Span, others: Iterable[_Span]) -> Iterator[_Span]:
    """The parts of a span that are in none of the others, which are in order."""
    at = span.start
    for other in others:
        if at < min(other.start, span.stop):
            yield span._replace(start=at, stop=min(other.start, span.stop))
        at = max(at, other.stop)
    if at < span.stop:
        yield span._replace(start=at)


class Intervals:
    """A set of integers such as the seq_nums that came: consecutive ones take the memory of one.

    Each may have a frame, named by the rank of its stream_resource (how many came before it) and its index there; of
    two frames for a seq_num the later one, by (rank, index), wins in any order of arrival. The highest integer is
    ``high``; 0 in an empty set.
    """

    __slots__ = ("_spans", "high")

    def __init__(self) -> None:
        self.high = 0
        self._spans: list[_Span] = []

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __len__(self) -> int:
        return sum(span.stop - span.start for span in self._spans)

    def __contains__(self, number: int) -> bool:
        return self.get(number) is not None

    def __iter__(self) -> Iterator[range]:
        """The intervals, in order."""
        return iter([range(span.start, span.stop) for span in self._spans])

    def get(self, number: int) -> tuple[int, int] | None:
        """The rank and index of an integer's frame, (0, the integer) where there are no frames; None if not here."""
        at = bisect_right(self._spans, number, key=_BY_START) - 1
        if at < 0 or self._spans[at].stop <= number:
            return None
        return self._spans[at].rank, number + self._spans[at].offset

    def following(self, number: int) -> int:
        """How many consecutive integers, with consecutive frames, are here from this one on, itself among them."""
        at = bisect_right(self._spans, number, key=_BY_START) - 1
        return 0 if at < 0 else max(0, self._spans[at].stop - number)

    def note(self, number: int) -> bool:
        """Add one integer, without a frame; False if it was here already. It runs for every event."""
        if number == self.high + 1 and self._spans:  # nearly always
            self._spans[-1] = _new_span(_Span, (self._spans[-1][0], number + 1, 0, 0))
            self.high = number
            return True
        return bool(self.add(number, number + 1))

    def add(self, start: int, stop: int, rank: int = 0, index: int | None = None) -> list[range]:
        """Add the integers from start up to stop, the first of which has this frame, if they have some.

        Return those of them that this added or gave another frame.
        """
        if start >= stop:
            return []
        spans = self._spans
        offset = 0 if index is None else index - start
        if spans and start > self.high and spans[-1][1:] == (start, rank, offset):  # nearly always
            spans[-1] = _new_span(_Span, (spans[-1][0], stop, rank, offset))
            self.high = stop - 1
            return [range(start, stop)]
        self.high = max(self.high, stop - 1)
        new = _Span(start, stop, rank, offset)
        # The neighbours take part, since consecutive documents make one span.
        first, last = max(bisect_left(spans, start, key=_BY_START) - 1, 0), bisect_right(spans, stop, key=_BY_START)
        winners = [old for old in spans[first:last] if old[2:] >= new[2:]]
        gained = list(_outside(new, winners))
        pieces = [*winners, *gained]
        for old in spans[first:last]:
            if old[2:] < new[2:]:
                pieces += _outside(old, [new])
        merged: list[_Span] = []
        for span in sorted(pieces):
            if merged and merged[-1].stop == span.start and merged[-1][2:] == span[2:]:
                merged[-1] = merged[-1]._replace(stop=span.stop)
            else:
                merged.append(span)
        spans[first:last] = merged
        return [range(span.start, span.stop) for span in gained]

    def discard(self, start: int, stop: int) -> None:
        """Take the integers from start up to stop away, those that are here."""
        spans = self._spans
        first, last = max(bisect_left(spans, start, key=_BY_START) - 1, 0), bisect_left(spans, stop, key=_BY_START)
        spans[first:last] = [part for old in spans[first:last] for part in _outside(old, [_Span(start, stop)])]
        self.high = spans[-1].stop - 1 if spans else 0

    def outside(self, other: Intervals) -> Iterator[range]:
        """The integers that are here and not in the other set, in order."""
        for span in self._spans:
            first = max(bisect_right(other._spans, span.start, key=_BY_START) - 1, 0)
            last = bisect_left(other._spans, span.stop, key=_BY_START)
            yield from (range(part.start, part.stop) for part in _outside(span, other._spans[first:last]))

    def missing(self, expected: int = 0) -> Iterator[range]:
        """The integers from 1 that are not here, up to the highest one or the number that was ``expected``."""
        whole = Intervals()
        whole.add(1, max(self.high, expected) + 1)
        return whole.outside(self)


class Counted(Intervals):
    """Integers of which it is known how many there are, and the highest: what a run without an end has room for."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def __len__(self) -> int:
        return self._count

    def note(self, number: int) -> bool:
        """Count an integer; False if it is not above those before it."""
        is_new = number > self.high
        if is_new:
            self.high = number
            self._count += 1
        return is_new

    def add(self, start: int, stop: int, rank: int = 0, index: int | None = None) -> list[range]:
        """Count the integers from start up to stop."""
        self.high = max(self.high, stop - 1)
        self._count += stop - start
        return [range(start, stop)]

    def discard(self, start: int, stop: int) -> None:
        """Do nothing: what was counted stays."""

    def missing(self, expected: int = 0) -> Iterator[range]:
        """Nothing: it is not known which integers are not here."""
        return iter(())


_new_span = tuple.__new__  # as NamedTuple's own, but without a call of Python
