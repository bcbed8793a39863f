"""What a stage has seen and what it has missed: counts, gaps in ``seq_num``, and one warning instead of a flood."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

OnError = Literal["log", "raise"]

#: A stop document lists at most this many lost events one by one; ``lost_counts`` beside it is always whole.
LISTED = 100_000


class SeqNums:
    """The sequence numbers of one stream, kept as ranges: a run without gaps costs two integers.

    Attributes
    ----------
    high : int
        The highest number seen; 0 before the first.
    """

    __slots__ = ("_gaps", "high")

    def __init__(self) -> None:
        self.high = 0
        self._gaps: list[tuple[int, int]] = []  # half-open, sorted, disjoint, all below ``high``

    def add(self, seq_num: int) -> bool:
        """Take note of a number; False when it was known already."""
        high = self.high
        if seq_num == high + 1:  # nearly always
            self.high = seq_num
            return True
        if seq_num > high:
            self._gaps.append((high + 1, seq_num))
            self.high = seq_num
            return True
        at = bisect_right(self._gaps, (seq_num, float("inf"))) - 1
        if at < 0 or seq_num >= self._gaps[at][1]:
            return False
        first, last = self._gaps[at]
        self._gaps[at : at + 1] = [gap for gap in ((first, seq_num), (seq_num + 1, last)) if gap[0] < gap[1]]
        return True

    def missing(self, expected: int = 0) -> list[tuple[int, int]]:
        """Half-open ranges that were never seen, up to the highest number or the ``expected`` count."""
        tail = [(self.high + 1, expected + 1)] if expected > self.high else []
        return [*self._gaps, *tail]

    def __contains__(self, seq_num: int) -> bool:
        if not 0 < seq_num <= self.high:
            return False
        at = bisect_right(self._gaps, (seq_num, float("inf"))) - 1
        return at < 0 or seq_num >= self._gaps[at][1]

    def __len__(self) -> int:
        return self.high - sum(last - first for first, last in self._gaps)


class Losses:
    """The events of a run that never came or never came through, by stream, as they go into its stop document."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        self._unlisted: Counter[str] = Counter()

    def add(self, stream: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Add half-open ranges of ``seq_num``; what overlaps with earlier ones counts once."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self._ranges.get(stream, ()), *ranges]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        if merged:
            self._ranges[stream] = merged

    def add_listed(self, listed: Mapping[str, Iterable[int]], counts: Mapping[str, int]) -> None:
        """Add what a stop document upstream lists as ``{stream: seq_nums}``, and counts where its list is cut."""
        for stream, seq_nums in listed.items():
            numbers = list(seq_nums)
            self.add(stream, [(seq_num, seq_num + 1) for seq_num in numbers])
            self._unlisted[stream] += max(0, counts.get(stream, 0) - len(numbers))

    @property
    def counts(self) -> dict[str, int]:
        """How many events are missing, by stream."""
        return {
            stream: sum(last - first for first, last in ranges) + self._unlisted[stream]
            for stream, ranges in self._ranges.items()
        }

    def documents(self, key: str) -> dict[str, Any]:
        """``{key: {stream: seq_nums}, key_counts: {stream: count}}``, or nothing when nothing is missing.

        A stop document that claims a billion events must not fill the memory of everyone who reads it: the list of a
        stream ends after `LISTED` numbers, and its count says how many there are.
        """
        if not self._ranges:
            return {}
        listed = {stream: list(_first(LISTED, ranges)) for stream, ranges in self._ranges.items()}
        return {key: listed, f"{key}_counts": self.counts}


def _first(count: int, ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, min(last, first + count))
        count -= min(last - first, count)


@dataclass
class Stats:
    """Counts of a stage over all its runs, for people and programs; they only grow.

    Events, but for ``runs``, ``incomplete`` (runs), ``duplicate_runs`` (start documents of a run that was open
    already) and ``subscriber_failures`` (documents that a subscriber raised on); ``failed`` counts other documents and
    stops that could not be worked on as well.
    """

    runs: int = 0
    received: int = 0
    emitted: int = 0
    repeated: int = 0
    failed: int = 0
    lost: int = 0
    orphaned: int = 0
    incomplete: int = 0
    duplicate_runs: int = 0
    subscriber_failures: int = 0

    def as_dict(self) -> dict[str, int]:
        """A plain dictionary, for a log or a status page."""
        return asdict(self)


@dataclass
class Complaints:
    """One warning for each thing that goes wrong, then a count.

    Parameters
    ----------
    log
        Where the first complaint of each kind goes, at ``WARNING``; the later ones go there at ``DEBUG``. Of more
        than a thousand kinds, those that came up first are forgotten.
    """

    log: logging.Logger
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, kind: str, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Say it the first time that this kind of thing happens, whisper it afterwards."""
        self.counts[kind] += 1
        if len(self.counts) > 1000:
            del self.counts[next(iter(self.counts))]
        level = logging.WARNING if self.counts[kind] == 1 else logging.DEBUG
        self.log.log(level, message, *args, exc_info=exc_info)
