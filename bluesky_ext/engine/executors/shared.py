"""Arrays on their way to processes of this machine: in files in memory, instead of through a pipe."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Hashable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints

log = logging.getLogger(__name__)

#: Smaller arrays travel faster in the message itself.
WORTH_SHARING = 64 * 1024
#: So many inputs of a run (a dark frame, say, which serves many tasks) are written once; others for each task.
_KEPT = 4
_MEMORY = "/dev/shm"


class SharedArray(NamedTuple):
    """Where an array lies; picklable."""

    path: str

    def read(self) -> np.ndarray:
        """The array, read-only; it is there as long as somebody has it, also when its file is gone."""
        return np.asarray(np.load(self.path, mmap_mode="r"))


class SharedArrays:
    """Large arrays of tasks, each in a file until its task is done.

    When the system has no more memory for them (containers often have 64 MB), they go with the message instead.
    """

    def __init__(self) -> None:
        self._directory = mkdtemp(prefix="bluesky-ext-", dir=_MEMORY)  # for us alone: mode 0700
        self._finalize = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._numbers = count()
        self._lent: dict[Hashable, list[str]] = {}  # the files by task
        # Inputs by their id, held beside what they were replaced by so that it is not given to another.
        self._inputs: dict[int, tuple[np.ndarray, np.ndarray | SharedArray]] = {}
        self._complaints = Complaints(log)

    def pack(self, task: Hashable, data: Mapping[str, Any], inputs: tuple) -> tuple[dict[str, Any], tuple]:
        """A task's data and inputs with what is in files instead of large arrays, until `unpack`.

        An input that is written once is read-only from then on, so that nobody changes it unseen.
        """
        files = self._lent[task] = []

        def lend(value: Any) -> Any:
            shared = self.share(value)
            if isinstance(shared, SharedArray):
                files.append(shared.path)
            return shared

        def keep(value: Any) -> Any:
            if id(value) not in self._inputs:
                if not _is_large(value) or len(self._inputs) == _KEPT:
                    return lend(value)
                self._inputs[id(value)] = value, self.share(value)
                value.flags.writeable = False
            return self._inputs[id(value)][1]

        return {key: lend(value) for key, value in data.items()}, tuple(map(keep, inputs))

    def unpack(self, task: Hashable) -> None:
        """Take a task's memory back, when it is done."""
        for path in self._lent.pop(task, ()):
            Path(path).unlink(missing_ok=True)

    def share(self, value: Any) -> Any:
        """What says where a large array is, until `close` or its task's `unpack`; any other value, as it is."""
        if not _is_large(value):
            return value
        path = f"{self._directory}/{next(self._numbers)}.npy"
        try:
            np.save(path, value)
        except OSError as error:
            with suppress(OSError):
                Path(path).unlink()
            text = "no shared memory for an array of %d bytes, it goes with the message: %s"
            self._complaints("full", text, value.nbytes, error)
            return value
        return SharedArray(path)

    def close(self) -> None:
        """Free all memory."""
        self._finalize()
        self._inputs.clear()
        self._lent.clear()


def _is_large(value: Any) -> bool:
    """Whether a value goes apart: a subclass would arrive without what makes it one, as a mask."""
    return type(value) is np.ndarray and value.nbytes >= WORTH_SHARING and not value.dtype.hasobject
