"""Arrays on their way to processes of this machine, through shared memory instead of a pipe."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Hashable, Mapping
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints

log = logging.getLogger(__name__)

#: Smaller arrays travel faster in the message itself.
WORTH_SHARING = 64 * 1024
#: So many inputs of a run (a dark frame, say, which serves many tasks) are copied once; others for each task.
_KEPT = 4

# A worker opens a block by its file and not by `SharedMemory(name)`: that would register the block a second time with
# the resource tracker, which unlinks it when the worker exits (https://github.com/python/cpython/issues/82300).
_FOLDER = Path("/dev/shm")


class SharedArray(NamedTuple):
    """Where in shared memory an array lies; picklable."""

    block: str
    shape: tuple[int, ...]
    dtype: np.dtype
    copied: bool = False

    def read(self) -> np.ndarray:
        """The array, read-only: valid until the task returns, or the reader's own if it is to be ``copied``."""
        there = np.memmap(_FOLDER / self.block, dtype=self.dtype, mode="r", shape=self.shape).view(np.ndarray)
        if not self.copied:
            return there
        own = there.copy()
        own.flags.writeable = False
        return own


class SharedBlocks:
    """Blocks of shared memory, lent to one task after another.

    New pages are slow (the system zeroes them), so a block that comes back serves the next array that fits. When the
    system has no more of it (containers often have 64 MB), arrays go with the message instead. If ``copied``, the
    readers get arrays of their own: for kernels that may keep what they are given.
    """

    def __init__(self, *, copied: bool = False) -> None:
        self._copied = copied
        self._all: dict[str, shared_memory.SharedMemory] = {}
        self._free: list[shared_memory.SharedMemory] = []
        self._lent: dict[Hashable, list[str]] = {}  # the names of blocks by task
        # Inputs by their id, held beside their copies so that it is not given to another.
        self._inputs: dict[int, tuple[np.ndarray, np.ndarray | SharedArray]] = {}
        self._complaints = Complaints(log)
        self._finalize = weakref.finalize(self, _unlink, self._all)

    def pack(self, task: Hashable, data: Mapping[str, Any], inputs: tuple) -> tuple[dict[str, Any], tuple]:
        """A task's data and inputs with their large arrays in shared memory, which is the task's until `unpack`.

        An input that is copied once is read-only from then on, so that nobody changes it unseen.
        """
        names = self._lent[task] = []

        def lend(value: Any) -> Any:
            shared = self.share(value) if is_large(value) else value
            if isinstance(shared, SharedArray):
                names.append(shared.block)
            return shared

        def keep(value: Any) -> Any:
            if id(value) not in self._inputs:
                if not is_large(value) or len(self._inputs) == _KEPT:
                    return lend(value)
                self._inputs[id(value)] = value, self.share(value)
                value.flags.writeable = False
            return self._inputs[id(value)][1]

        return {key: lend(value) for key, value in data.items()}, tuple(map(keep, inputs))

    def unpack(self, task: Hashable) -> None:
        """Take a task's memory back, when it is done."""
        self._free += [self._all[name] for name in self._lent.pop(task, ())]

    def share(self, array: np.ndarray) -> np.ndarray | SharedArray:
        """An array in shared memory, until `close` or its task's `unpack`; the array itself if there is none left."""
        block = self._block(array.nbytes)
        if block is None:
            return array
        np.ndarray(array.shape, array.dtype, block.buf)[...] = array
        return SharedArray(block.name, array.shape, array.dtype, self._copied)

    def close(self) -> None:
        """Free all memory."""
        self._finalize()
        self._free.clear()
        self._inputs.clear()
        self._lent.clear()

    def _block(self, size: int) -> shared_memory.SharedMemory | None:
        for block in self._free:
            if size <= block.size <= 2 * size:
                self._free.remove(block)
                return block
        try:
            block = _allocated(size)
        except OSError as error:
            text = "no shared memory for an array of %d bytes, it goes with the message: %s"
            self._complaints("full", text, size, error)
            return None
        self._all[block.name] = block
        return block


def is_large(value: Any) -> bool:
    """Whether a value goes through shared memory: a subclass would arrive without what makes it one, as a mask."""
    return type(value) is np.ndarray and value.nbytes >= WORTH_SHARING and not value.dtype.hasobject


def _allocated(size: int) -> shared_memory.SharedMemory:
    """A new block whose pages are there: if they aren't, writing to them would kill us with SIGBUS."""
    block = shared_memory.SharedMemory(create=True, size=size)
    try:
        descriptor = os.open(_FOLDER / block.name, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError:
        _unlink({block.name: block})
        raise
    return block


def _unlink(blocks: dict[str, shared_memory.SharedMemory]) -> None:
    while blocks:
        _, block = blocks.popitem()
        block.close()
        block.unlink()
