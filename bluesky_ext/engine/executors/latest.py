"""The latest events of a live run, which wait for room among the tasks: none that was overtaken is worked on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

#: So many events of a live run are under way: one in work, and one at hand. More would be old when they are seen.
ROOM = 2


class Latest:
    """One item for each key, the latest; the key that waits longest comes out first."""

    def __init__(self) -> None:
        self._items: dict[Hashable, Any] = {}

    def put(self, key: Hashable, item: Any) -> bool:
        """Have an item wait, in the place of the one before; whether there was one."""
        is_overtaken = key in self._items
        self._items[key] = item
        return is_overtaken

    def take(self, has_room: Callable[[], bool] = lambda: True) -> Iterator[Any]:
        """Take out the items one by one, as long as there is room."""
        while self._items and has_room():
            yield self._items.pop(next(iter(self._items)))
