"""What went wrong in a user's code, in one line that names the place."""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from pathlib import Path
from typing import Any

_NOT_USERS = [Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))]


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


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines that an exception came through, from the first one on that is a user's: neither installed nor ours."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((at for at, frame in enumerate(frames) if is_users(frame.filename)), len(frames))
    return frames[first:]


def line_of(error: BaseException) -> str:
    """The user's file and line that an exception comes from, and what it is, in one line."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in frames_of(error) if is_users(frame.filename)]
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}: {said}" if frames else said


def is_users(file: str) -> bool:
    """Whether a file of code is the user's own: neither installed nor ours."""
    path = Path(file)
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return not file.startswith("<") and not installed and not any(map(path.is_relative_to, _NOT_USERS))


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def said_of(error: BaseException, user: Any) -> str:
    """An exception in one line: its type, what it says, and where."""
    try:
        said = " ".join(str(error).split())
    except Exception:  # the user's own
        said = "(it has no text)"
    return f"{type(error).__name__}{': ' if said else ''}{said} ({place_of(error, user)})"
