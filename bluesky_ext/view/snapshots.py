"""The snapshots that readers have open, within bounded memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bluesky_ext.view.snapshot import Dataset, Node, Snapshot

#: Snapshots are kept for readers that have them open while they are read now and then, and have room, in s and bytes.
IDLE, ROOM = 600.0, 256 << 20
#: How many times as long as it takes to make a snapshot there is no other, while a run goes on.
REST = 9.0
#: What a group or a dataset takes beside its array, in bytes.
_NODE = 4096


class Gone(LookupError):  # noqa: N818 - it tells of the snapshot
    """An id of a snapshot that is not kept any more, or of another server."""


class _Kept:
    """A snapshot, when it was opened or read last, and the arrays that it holds, by id: the whole ones of its parts."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.read: float | None = None
        self.arrays: dict[int, np.ndarray] = {}


class Snapshots:
    """What is shown now, and the earlier states that were opened and may still be read.

    Parameters
    ----------
    state : callable
        ``state()`` returns what identifies the present state (objects, compared by ``is``), and a function that makes
        the tree of it.
    is_running : callable
        Whether a run goes on, from which snapshots may take a tenth of the time.
    room : int
        So many bytes are kept for readers, beside what is shown now.
    """

    def __init__(
        self,
        state: Callable[[], tuple[tuple[Any, ...], Callable[[], Mapping[str, Any]]]],
        is_running: Callable[[], bool],
        room: int = ROOM,
    ) -> None:
        self._present, self._is_running = state, is_running
        self._due = 0.0
        self._room = room
        self._making = threading.Lock()
        self._lock = threading.Lock()  # of all that follows
        self._state: tuple[Any, ...] = ()
        self._newest: _Kept | None = None
        self._next = secrets.randbits(31)  # ids of a server that was here before are none of this one's
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by generation; what was not read for longest comes first
        self._holders: Counter[int] = Counter()
        self.n_bytes = 0

    def newest(self, *, opened: bool = False) -> Snapshot:
        """What is shown now; ``opened`` by a reader who will come back for parts of it."""
        with self._making:
            began = time.monotonic()
            kept = self._newest
            if kept is None or began >= self._due or not self._is_running():
                state, tree = self._present()
                if kept is None or not _same(state, self._state):
                    self._next = (self._next + 1) & 0xFFFFFFFF
                    kept = _Kept(Snapshot(tree(), self._next))
                    with self._lock:
                        self._replace(kept)
                    self._state = state
                    now = time.monotonic()
                    self._due = now + REST * (now - began)
        with self._lock:
            if opened:
                self._touch(kept)
            self._trim()
        return kept.snapshot

    def find(self, id_: str, kind: type[Node] = Node) -> Any:
        """The group or dataset with an id; Gone if its snapshot is, KeyError if that has none such."""
        try:
            generation = int(id_[2:10], 16)
        except ValueError:
            raise KeyError(id_) from None
        with self._lock:
            kept = self._kept.get(generation)
            if kept is None:
                raise Gone(id_)
            self._touch(kept)
        node = kept.snapshot.nodes.get(id_)
        if not isinstance(node, kind):
            raise KeyError(id_)
        if isinstance(node, Dataset) and not node.is_known and node.array is not None:
            with self._lock:
                if generation in self._kept:
                    self._hold(kept, node.array)
        return node

    def _replace(self, kept: _Kept) -> None:
        before, self._newest = self._newest, kept
        self._kept[kept.snapshot.generation] = kept
        self.n_bytes += _NODE * len(kept.snapshot.nodes)
        for array in kept.snapshot.arrays:
            self._hold(kept, array)
        if before is not None and before.read is None and before.snapshot.generation in self._kept:
            self._drop(before)

    def _touch(self, kept: _Kept) -> None:
        kept.read = time.monotonic()
        if kept.snapshot.generation in self._kept:
            self._kept.move_to_end(kept.snapshot.generation)

    def _trim(self) -> None:
        """Forget what was not read for long, and while there is no room, what was not read for longest."""
        now = time.monotonic()
        for kept in list(self._kept.values()):
            if self.n_bytes <= self._room and now - (kept.read or now) < IDLE:
                break
            if kept is not self._newest:
                self._drop(kept)

    def _drop(self, kept: _Kept) -> None:
        del self._kept[kept.snapshot.generation]
        self.n_bytes -= _NODE * len(kept.snapshot.nodes)
        for key, array in kept.arrays.items():
            self._holders[key] -= 1
            if not self._holders[key]:
                del self._holders[key]
                self.n_bytes -= array.nbytes

    def _hold(self, kept: _Kept, array: np.ndarray) -> None:
        """Count an array, or the one that it is a part of, once however many snapshots have it."""
        while isinstance(array.base, np.ndarray):
            array = array.base
        if id(array) not in kept.arrays:
            kept.arrays[id(array)] = array
            self.n_bytes += 0 if self._holders[id(array)] else array.nbytes
            self._holders[id(array)] += 1


def _same(state: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(state) == len(other) and all(one is another for one, another in zip(state, other, strict=True))
