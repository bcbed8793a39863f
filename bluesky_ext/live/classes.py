"""The classes of a user, by themselves or by their names."""

from __future__ import annotations

import importlib
from typing import Any


def class_of(given: type | str, needs: str, argument: str) -> type:
    """The class of a user that was given, or is named as "module:Class"; it has a method of the name that it needs.

    Raises
    ------
    ValueError, ImportError, AttributeError, TypeError
        If there is no such class; it says what is missing.
    """
    found: Any = given
    if isinstance(given, str):
        module, colon, name = given.partition(":")
        if not (module and colon and name):
            raise ValueError(f"{given!r}: give it as module:Class")
        try:
            found = getattr(importlib.import_module(module), name)
        except AttributeError:
            raise AttributeError(f"there is no {name} in {module}") from None
    if not isinstance(found, type):
        raise TypeError(f"{given!r} is a {type(found).__name__}: give a class")
    if not callable(getattr(found, needs, None)):
        raise TypeError(f"{found.__name__} has no method {needs}({argument}, ...): add it")
    return found
