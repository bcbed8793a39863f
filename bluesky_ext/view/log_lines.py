"""The latest lines of the log."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from bluesky_ext.engine.documents.printable import printable

#: So many lines are kept.
KEPT = 500


class LogLines(logging.Handler):
    """Keeps the latest lines of the log, from INFO on where loggers let that through, each with a number that rises.

    What nobody else hears still goes to the terminal, as if this were not there.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._number = 0
        self._access = threading.Lock()
        #: Called with each line, in the thread that it comes from.
        self.heard: Callable[[dict[str, Any]], object] = lambda line: None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        last_resort = logging.lastResort
        if last_resort is not None and record.levelno >= last_resort.level and not _is_heard(record):
            last_resort.handle(record)
        try:
            message = printable(record.getMessage())
        except Exception:  # of somebody's arguments, as for all handlers
            self.handleError(record)
            return
        with self._access:
            self._number += 1
            about = {"number": self._number, "time": record.created, "level": record.levelname, "logger": record.name}
            line = about | {"message": message}
            self._lines.append(line)
        self.heard(line)

    def after(self, number: int, level: int = logging.NOTSET) -> list[dict[str, Any]]:
        """The lines with higher numbers, of this level or above it."""
        with self._access:
            lines = list(self._lines)
        levels = logging.getLevelNamesMapping()
        return [one for one in lines if one["number"] > number and levels.get(one["level"], level) >= level]


def _is_heard(record: logging.LogRecord) -> bool:
    """Whether there are other handlers for a line."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(one, LogLines) for one in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
