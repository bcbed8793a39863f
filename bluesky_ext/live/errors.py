"""What went wrong in a user's code, in one line that names the place."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any


class UserError(RuntimeError):
    """An exception in a user's class, said in one line: its type, what it says, and where, as `said_of` has it."""

    @property
    def kind(self) -> str:
        """By what it is told from others: its type, and where it was."""
        said = str(self)
        return f"{said.partition(':')[0]} {said.rpartition('(')[2]}"


def place_of(error: BaseException, user: Any) -> str:
    """The file, line and function of the user's code that an exception comes from.

    That is the innermost one in a file of the user's class, or else the innermost of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    try:
        own = inspect.getfile(user if isinstance(user, type) else type(user))
    except (TypeError, OSError):  # it was typed
        own = ""
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1] if frames else None)
    return f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}" if frame is not None else "?"


def said_of(error: BaseException, user: Any) -> str:
    """An exception in one line: its type, what it says, and where."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if said else ''}{said} ({place_of(error, user)})"
