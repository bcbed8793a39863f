"""Complaints: one warning for each thing that goes wrong, instead of a flood."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

OnError = Literal["log", "raise"]


@dataclass
class Complaints:
    """Warnings of which the first of each kind is logged as one, and the later ones at DEBUG."""

    log: logging.Logger
    #: How many there were, by kind. Of more than a thousand kinds, those that came up first are forgotten.
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, kind: str, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log a complaint of this kind."""
        self.counts[kind] += 1
        if len(self.counts) > 1000:
            del self.counts[next(iter(self.counts))]
        level = logging.WARNING if self.counts[kind] == 1 else logging.DEBUG
        self.log.log(level, message, *args, exc_info=exc_info)


def check_on_error(on_error: OnError) -> OnError:
    """Return ``on_error``, or raise the error that says what it may be."""
    if on_error not in ("log", "raise"):
        raise ValueError(f"on_error={on_error!r}: give 'log' (the scan goes on) or 'raise'")
    return on_error
