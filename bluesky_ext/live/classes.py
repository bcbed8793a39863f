"""The classes of a user, by themselves or by their names."""

from __future__ import annotations

import importlib
from typing import Any

from bluesky_ext.live.errors import line_of


def class_of(given: type | str, needs: str, argument: str) -> type:
    """The class of a user that was given, or is named as "module:Class"; it has a method of the name that it needs.

    Raises
    ------
    ValueError, ImportError, TypeError
        If there is no such class; it says what is missing, or which line of the user's module can't be executed.
    """
    found = _loaded(given) if isinstance(given, str) else given
    if not isinstance(found, type):
        raise TypeError(f"{given!r} is a {type(found).__name__}: give a class")
    if not callable(getattr(found, needs, None)):
        raise TypeError(f"{found.__name__} has no method {needs}({argument}, ...): add it")
    return found


def _loaded(given: str) -> Any:
    name, colon, attribute = given.partition(":")
    if not (name and colon and attribute):
        raise ValueError(f"{given!r}: give it as module:Class")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a module of a user raises
        missing = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and missing and f"{name}.".startswith(f"{missing}."):
            raise ImportError(f"there is no module {missing}, for {given}: start where it is, or install it") from error
        raise ImportError(f"{name} can't be imported: {line_of(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        own = [key for key, one in vars(module).items() if isinstance(one, type) and one.__module__ == module.__name__]
        there = f"it has {', '.join(own)}" if own else "it has no classes"
        raise ImportError(f"there is no {attribute} in {name}: {there}") from None
