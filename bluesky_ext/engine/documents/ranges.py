"""Ranges: which frame belongs to which event, for thousands of events at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

_BY_START = itemgetter(0)


class _Span(NamedTuple):
    """The seq_nums from start up to stop; the index of a frame is its seq_num plus the offset."""

    start: int
    stop: int
    rank: int
    offset: int


class FrameRanges:
    """The frames of a data key by the seq_num of their event.

    Kept as spans and not frame by frame: a scan whose frames lie one after the other in one file is a single
    span, however many stream_datum documents told of it. A frame is named by the rank of its stream_resource
    (how many came before it) and its index there; of two frames for a seq_num the later one, by (rank, index), wins
    in any order of arrival.
    """

    def __init__(self) -> None:
        self._spans: list[_Span] = []

    def __bool__(self) -> bool:
        return bool(self._spans)

    def get(self, seq_num: int) -> tuple[int, int] | None:
        """Return (rank, index) of the frame, or None if there is none."""
        at = bisect_right(self._spans, seq_num, key=_BY_START) - 1
        if at < 0 or self._spans[at].stop <= seq_num:
            return None
        return self._spans[at].rank, seq_num + self._spans[at].offset

    def add(self, start: int, stop: int, rank: int = 0, index: int | None = None) -> list[range]:
        """Take in the frames of the seq_nums from start up to stop; return those of them that this changed.

        Parameters
        ----------
        start, stop
            The seq_nums.
        rank, index
            The frame of the first of them; without them, the ranges just say which seq_nums there are.
        """
        if start >= stop:
            return []
        new = _Span(start, stop, rank, 0 if index is None else index - start)
        spans = self._spans
        first = bisect_left(spans, start, key=_BY_START)
        if first and spans[first - 1].stop > start:
            first -= 1
        last = bisect_left(spans, stop, lo=first, key=_BY_START)
        pieces: list[_Span] = []
        changed: list[range] = []
        at = start
        for old in spans[first:last]:
            if old.start < start:
                pieces.append(old._replace(stop=start))
            if at < old.start:
                pieces.append(new._replace(start=at, stop=old.start))
                changed.append(range(at, old.start))
            both = range(max(old.start, start), min(old.stop, stop))
            wins = new[2:] > old[2:]
            pieces.append((new if wins else old)._replace(start=both.start, stop=both.stop))
            if wins:
                changed.append(both)
            if old.stop > stop:
                pieces.append(old._replace(start=stop))
            at = both.stop
        if at < stop:
            pieces.append(new._replace(start=at))
            changed.append(range(at, stop))
        # The neighbours take part in the merging: consecutive documents make one span.
        before, after = max(first - 1, 0), last + 1
        merged: list[_Span] = []
        for span in (*spans[before:first], *pieces, *spans[last:after]):
            if merged and merged[-1].stop == span.start and merged[-1][2:] == span[2:]:
                merged[-1] = merged[-1]._replace(stop=span.stop)
            else:
                merged.append(span)
        spans[before:after] = merged
        return changed

    def seq_nums(self) -> list[range]:
        """Return the seq_nums that have a frame, in order."""
        return [range(span.start, span.stop) for span in self._spans]

    def outside(self, other: FrameRanges) -> Iterator[range]:
        """Return the seq_nums that have a frame here and none in `other`, in order."""
        for span in self._spans:
            at = span.start
            for there in other._spans[max(bisect_right(other._spans, at, key=_BY_START) - 1, 0) :]:
                if there.start >= span.stop:
                    break
                if at < there.start:
                    yield range(at, there.start)
                at = max(at, there.stop)
            if at < span.stop:
                yield range(at, span.stop)
