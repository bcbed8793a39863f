"""Arrays on their way to processes of this machine, through shared memory instead of a pipe."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Smaller arrays travel faster in the message itself.
WORTH_SHARING = 64 * 1024

# A worker opens a block by its file and not by `SharedMemory(name)`: that would register the block a second time with
# the resource tracker, which unlinks it when the worker exits (https://github.com/python/cpython/issues/82300).
_FOLDER = Path("/dev/shm")


class SharedArray(NamedTuple):
    """Where in shared memory an array lies; picklable."""

    block: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        """The array, read-only and without a copy; it is valid until the task returns."""
        return np.memmap(_FOLDER / self.block, dtype=self.dtype, mode="r", shape=self.shape).view(np.ndarray)


class SharedBlocks:
    """Blocks of shared memory, lent to one task after another.

    New pages are slow (the system zeroes them), so a block that comes back serves the next array that fits. There are
    never more of them than tasks were in flight at once.
    """

    def __init__(self) -> None:
        self._free: list[shared_memory.SharedMemory] = []
        self._lent: dict[Hashable, list[shared_memory.SharedMemory]] = {}
        self._kept: OrderedDict[int, tuple[np.ndarray, shared_memory.SharedMemory]] = OrderedDict()

    @staticmethod
    def available() -> bool:
        """Whether this system has shared memory that a worker can open by its name."""
        return _FOLDER.is_dir()

    def pack(self, task: Hashable, data: Mapping[str, Any], inputs: tuple) -> tuple[dict[str, Any], tuple]:
        """A task's data and inputs with their large arrays in shared memory, which is the task's until `unpack`.

        An array among the inputs (a dark frame, say) serves many tasks: it is copied once, and the last four are kept.
        """
        lent = self._lent[task] = []
        packed = dict(data)
        for key, value in data.items():
            if _is_large(value):
                lent.append(self._block(value))
                packed[key] = _copied(value, lent[-1])
        return packed, tuple(self._keep(item) if _is_large(item) else item for item in inputs)

    def unpack(self, task: Hashable) -> None:
        """Take a task's memory back, when it is done."""
        self._free.extend(self._lent.pop(task, ()))
        while len(self._kept) > 4 and not self._lent:  # while tasks are under way they may need any of them
            self._free.append(self._kept.popitem(last=False)[1][1])

    def close(self) -> None:
        """Free all memory."""
        kept = [block for _, block in self._kept.values()]
        for block in [*self._free, *kept, *(block for blocks in self._lent.values() for block in blocks)]:
            block.close()
            block.unlink()
        self._free.clear()
        self._kept.clear()
        self._lent.clear()

    def _keep(self, array: np.ndarray) -> SharedArray:
        kept = self._kept.pop(id(array), None)
        if kept is None:  # the array is held beside its copy, so that its id is not given to another
            block = self._block(array)
            shared = _copied(array, block)
            kept = (array, block)
        else:
            shared = SharedArray(kept[1].name, array.shape, array.dtype)
        self._kept[id(array)] = kept
        return shared

    def _block(self, array: np.ndarray) -> shared_memory.SharedMemory:
        for block in self._free:
            if array.nbytes <= block.size <= 2 * array.nbytes:
                self._free.remove(block)
                return block
        return shared_memory.SharedMemory(create=True, size=array.nbytes)


def _is_large(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.nbytes >= WORTH_SHARING and not value.dtype.hasobject


def _copied(array: np.ndarray, block: shared_memory.SharedMemory) -> SharedArray:
    np.ndarray(array.shape, array.dtype, block.buf)[...] = array
    return SharedArray(block.name, array.shape, array.dtype)
