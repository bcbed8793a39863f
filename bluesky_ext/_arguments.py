"""Arguments that cannot be meant, refused in one line: keywords that nobody knows, documents given to a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any


def keywords_of(*functions: Callable[..., Any]) -> set[str]:
    """The names of the arguments of these functions or classes that may be left out."""
    parameters = [one for function in functions for one in inspect.signature(function).parameters.values()]
    return {one.name for one in parameters if one.default is not one.empty}


def split_keywords(given: Mapping[str, Any], *functions: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords that are for these functions or classes, such as those of a stage, and the others.

    Examples
    --------
    >>> split_keywords({"known": 2, "separation": 100}, lambda known=1: known)
    ({'known': 2}, {'separation': 100})
    """
    known = keywords_of(*functions) - {"data_keys"}
    return (
        {name: value for name, value in given.items() if name in known},
        {name: value for name, value in given.items() if name not in known},
    )


def check_keywords(owner: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a keyword that is not known, and say which one was probably meant.

    Examples
    --------
    >>> check_keywords("PeakTracker", {"min_mass": 3}, {"minmass", "maxsize"})
    Traceback (most recent call last):
    TypeError: PeakTracker has no keyword min_mass=3: did you mean 'minmass'?
    """
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
            raise TypeError(f"{owner} has no keyword {name}={value!r}: {hint}")


def refuse_document(owner: str, value: Any) -> None:
    """Refuse a document, which a class is given that was subscribed in place of an instance."""
    if isinstance(value, Mapping):
        raise TypeError(f"{owner} was given a document: give an instance, {owner}(...), to subscribe(), not the class")
