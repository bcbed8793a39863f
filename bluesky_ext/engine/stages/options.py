"""Options of a stage (``on_error`` and so on), separated from the keywords of its analysis."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from bluesky_ext.engine.stages.stage import Stage


def split_options(base: type[Stage], keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of a stage among these keywords, and the others.

    The options are the keywords with a default in the signatures of the class and of those above it, but for
    ``data_keys``, which each analysis knows.

    Parameters
    ----------
    base : type
        `Map` or `Reduce`.
    keywords : dict
        What a user gave to a stage.

    Examples
    --------
    >>> from bluesky_ext.engine import Map
    >>> split_options(Map, {"separation": 100, "max_in_flight": 4, "on_error": "raise"})
    ({'max_in_flight': 4, 'on_error': 'raise'}, {'separation': 100})
    """
    names = _names(base)
    return (
        {name: value for name, value in keywords.items() if name in names},
        {name: value for name, value in keywords.items() if name not in names},
    )


@cache
def _names(base: type[Stage]) -> frozenset[str]:
    signatures = [inspect.signature(one.__init__) for one in base.__mro__ if issubclass(one, Stage)]
    parameters = [parameter for signature in signatures for parameter in signature.parameters.values()]
    names = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is not one.empty}
    return frozenset(names - {"data_keys"})
