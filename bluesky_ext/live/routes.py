"""Which worker gets an event."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from bluesky_ext.live.events import Event, Filled

#: The routes that have a name.
NAMED = ("round-robin", "broadcast", "discard")


@dataclass(frozen=True)
class ByKey:
    """Events with the same key go to the same worker."""

    key: Callable[[Mapping[str, Any]], Hashable]


def by_key(key: Callable[[Mapping[str, Any]], Hashable]) -> ByKey:
    """A route by which all events of a key go to one worker; ``key(data)`` is told the data of an event.

    Examples
    --------
    >>> route = by_key(lambda data: data["detector"])
    """
    if not callable(key):
        raise TypeError(f"by_key({key!r}): give a function of an event's data")
    return ByKey(key)


Route: TypeAlias = "str | ByKey"


def check_route(route: Any) -> Route | dict[str, Route]:
    """Return a route, or the routes of streams, if that is what it is."""
    if isinstance(route, Mapping):
        return {stream: _checked(one) for stream, one in route.items()}
    return _checked(route)


def _checked(route: Any) -> Route:
    if isinstance(route, ByKey) or (isinstance(route, str) and route in NAMED):
        return route
    raise ValueError(f"route={route!r}: give one of {', '.join(map(repr, NAMED))}, by_key(function), or a dict of them")


def target(route: ByKey, event: Event) -> int:
    """The number, modulo how many workers there are, of the one that an event goes to."""
    key: Any = route.key(Filled(event.data))
    key = key.item() if isinstance(key, np.generic) else key
    if isinstance(key, int | float):  # the same for equal numbers
        return hash(key)
    return crc32(repr(key).encode())  # hash() of a str differs from process to process
