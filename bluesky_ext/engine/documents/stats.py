"""Counts: what became of the runs and events that a stage, a writer or a dispatcher was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Stats:
    """Counts of a stage over all its runs; they only grow.

    Events, but for ``runs``, ``incomplete`` (runs that were closed without a stop, or could not be finished),
    ``not_concerned`` (runs that have none of the keys that the stage works on) and ``subscriber_failures`` (documents
    that a subscriber raised on); ``failed`` counts other documents and stops that could not be worked on as well.
    ``skipped`` are events of live runs that nobody looked at.
    """

    kind: ClassVar[str] = "stage"

    runs: int = 0
    received: int = 0
    emitted: int = 0
    repeated: int = 0
    failed: int = 0
    lost: int = 0
    skipped: int = 0
    orphaned: int = 0
    incomplete: int = 0
    not_concerned: int = 0
    subscriber_failures: int = 0

    def __str__(self) -> str:
        worse = "".join(f", {count} {name}" for name, count in (("failed", self.failed), ("lost", self.lost)) if count)
        return f"{self.runs} runs, {self.received} events{worse}"
