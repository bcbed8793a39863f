"""Counts of what has come in, gone out and been lost, for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Stats:
    """Counts of a stage over all its runs; they only grow.

    Events, but for ``runs``, ``incomplete`` (runs that were closed without a stop, or could not be finished),
    ``not_concerned`` (runs that have none of the keys that the stage works on) and ``subscriber_failures`` (documents
    that a subscriber raised on); ``failed`` counts other documents and stops that could not be worked on as well.
    """

    runs: int = 0
    received: int = 0
    emitted: int = 0
    repeated: int = 0
    failed: int = 0
    lost: int = 0
    orphaned: int = 0
    incomplete: int = 0
    not_concerned: int = 0
    subscriber_failures: int = 0

    def as_dict(self) -> dict[str, int]:
        """A plain dictionary, for a log or a status page."""
        return asdict(self)
