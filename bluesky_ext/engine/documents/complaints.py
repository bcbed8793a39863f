"""Complaints: one warning for each thing that goes wrong, instead of a flood."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from bluesky_ext.engine.documents.printable import printable

OnError = Literal["log", "raise"]


@dataclass
class Complaints:
    """Warnings of which the first of each kind is logged as one, and the later ones at DEBUG.

    What they tell may be in documents of anyone: texts and errors are made `printable`.
    """

    log: logging.Logger
    #: How many there were, by kind. Of more than a thousand kinds, those that came up first are forgotten.
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, kind: str, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log a complaint of this kind."""
        kind = kind[:300]
        self.counts[kind] += 1
        if len(self.counts) > 1000:
            del self.counts[next(iter(self.counts))]
        level = logging.WARNING if self.counts[kind] == 1 else logging.DEBUG
        shown = [printable(arg) if isinstance(arg, str | BaseException) else arg for arg in args]
        self.log.log(level, message, *shown, exc_info=exc_info)

    def failure(self, owner: str, name: object, error: Exception) -> None:
        """Log that the owner, or what it calls, failed on a document of this name."""
        kind = type(error).__name__
        what = "%s failed on a document %r: %s: %s"
        self(f"{name} {kind}", what, owner, name, kind, error, exc_info=error)


def check_on_error(on_error: OnError) -> OnError:
    """Return ``on_error``, or raise the error that says what it may be."""
    if on_error not in ("log", "raise"):
        raise ValueError(f"on_error={on_error!r}: give 'log' (the scan goes on) or 'raise'")
    return on_error
