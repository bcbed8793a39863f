"""Small frames that were read together with one before them: to open a file takes as long as to read a hundred."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

#: Frames are read together up to so many bytes, and of so many resources they are kept.
AHEAD_BYTES, RESOURCES = 2**22, 8


class Ahead:
    """Of each resource the events that were read last, while it is likely that they are asked for.

    Only events are read ahead that documents have told of: their frames are written. What is kept is known by the run
    and the resource, and by who may read it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must, whose parent's lock may be held forever."""
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, tuple[int, np.ndarray]] = OrderedDict()

    def get(self, key: Hashable, index: int) -> np.ndarray | None:
        """The frames of an event, if they were read: a copy, which is its owner's, and keeps no others in memory."""
        with self._lock:
            first, events = self._blocks.get(key, (0, ()))
            return events[index - first].copy() if first <= index < first + len(events) else None

    def put(self, key: Hashable, first: int, events: np.ndarray) -> None:
        """Keep the frames of some events, (n, ...), the first of which has this index."""
        with self._lock:
            self._blocks.pop(key, None)
            self._blocks[key] = first, events
            if len(self._blocks) > RESOURCES:
                self._blocks.popitem(last=False)


AHEAD = Ahead()
os.register_at_fork(after_in_child=AHEAD.forget)
