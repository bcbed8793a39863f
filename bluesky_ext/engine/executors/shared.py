"""Arrays on their way to processes of this machine, through shared memory instead of a pipe."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

log = logging.getLogger(__name__)

#: Smaller arrays travel faster in the message itself.
WORTH_SHARING = 64 * 1024
#: How many inputs that no task needs any more are kept, since the next may need them again.
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


@dataclass
class _Kept:
    """An input that many tasks share; held beside its copy, so that its id is not given to another."""

    array: np.ndarray
    shared: SharedArray
    users: int = 0


@dataclass
class _Loan:
    """What a task was lent: blocks of its own, and the ids of inputs."""

    blocks: list[shared_memory.SharedMemory] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)


class SharedBlocks:
    """Blocks of shared memory, lent to one task after another.

    New pages are slow (the system zeroes them), so a block that comes back serves the next array that fits. When the
    system has no more of it (containers often have 64 MB), arrays go with the message instead.

    Parameters
    ----------
    copied : bool
        Whether the readers get arrays of their own: for kernels that may keep what they are given.
    """

    def __init__(self, *, copied: bool = False) -> None:
        self._copied = copied
        self._all: dict[str, shared_memory.SharedMemory] = {}
        self._free: list[shared_memory.SharedMemory] = []
        self._lent: dict[Hashable, _Loan] = {}
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._is_full = False
        self._finalize = weakref.finalize(self, _unlink, self._all)

    @staticmethod
    def available() -> bool:
        """Whether this system has shared memory that a worker can open by its name."""
        return _FOLDER.is_dir()

    def pack(self, task: Hashable, data: Mapping[str, Any], inputs: tuple) -> tuple[dict[str, Any], tuple]:
        """A task's data and inputs with their large arrays in shared memory, which is the task's until `unpack`.

        An array among the inputs (a dark frame, say) serves many tasks: it is copied once and from then on read-only,
        so that nobody changes it unseen. It is kept while a task needs it, and the last four are kept beyond.
        """
        loan = self._lent[task] = _Loan()
        packed = dict(data)
        for key, value in data.items():
            if is_large(value):
                packed[key] = self._lend(loan, value)
        return packed, tuple(self._keep(loan, item) if is_large(item) else item for item in inputs)

    def unpack(self, task: Hashable) -> None:
        """Take a task's memory back, when it is done."""
        loan = self._lent.pop(task, None)
        if loan is None:
            return
        self._free.extend(loan.blocks)
        for key in loan.inputs:
            self._kept[key].users -= 1
        unused = [key for key, kept in self._kept.items() if not kept.users]
        for key in unused[:-_KEPT]:
            self._free.append(self._all[self._kept.pop(key).shared.block])

    def share(self, array: np.ndarray) -> np.ndarray | SharedArray:
        """An array in shared memory until `close`, or the array itself if there is none left."""
        block = self._block(array.nbytes)
        return array if block is None else _copied(array, block, copied=self._copied)

    def close(self) -> None:
        """Free all memory."""
        self._finalize()
        self._free.clear()
        self._kept.clear()
        self._lent.clear()

    def _lend(self, loan: _Loan, array: np.ndarray) -> np.ndarray | SharedArray:
        block = self._block(array.nbytes)
        if block is None:
            return array
        loan.blocks.append(block)
        return _copied(array, block, copied=self._copied)

    def _keep(self, loan: _Loan, array: np.ndarray) -> np.ndarray | SharedArray:
        key = id(array)
        if key not in self._kept:
            block = self._block(array.nbytes)
            if block is None:
                return array
            self._kept[key] = _Kept(array, _copied(array, block, copied=self._copied))
            array.flags.writeable = False
        kept = self._kept[key]
        kept.users += 1
        loan.inputs.append(key)
        self._kept.move_to_end(key)
        return kept.shared

    def _block(self, size: int) -> shared_memory.SharedMemory | None:
        for block in self._free:
            if size <= block.size <= 2 * size:
                self._free.remove(block)
                return block
        try:
            block = _allocated(size)
        except OSError as error:
            if not self._is_full:
                self._is_full = True
                log.warning("no shared memory for an array of %d bytes, it goes with the message: %s", size, error)
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


def _copied(array: np.ndarray, block: shared_memory.SharedMemory, *, copied: bool) -> SharedArray:
    np.ndarray(array.shape, array.dtype, block.buf)[...] = array
    return SharedArray(block.name, array.shape, array.dtype, copied)
