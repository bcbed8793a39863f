"""Frames in the file beside a recording: images that are written there alone, and what the recording has for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from bluesky_ext.engine.codec.arrays import dtype_of, raw

__all__ = ["SUFFIX", "Frame", "FrameFile", "sampled"]

SUFFIX = ".h5"
"""Of the file beside a recording that has its frames."""

_PAGE, _SAMPLE = 4096, 64  # bytes


class Frame(NamedTuple):
    """An array of an event that is not in the recording, but in the file beside it."""

    key: str
    """The data key that it is the value of."""
    row: int
    """Its number among the frames of this key in the file."""
    offset: int
    """The byte of the file at which its values begin."""
    check: int
    """Its `sampled`."""
    dtype: str
    shape: list[int]


def sampled(array: NDArray[Any]) -> int:
    """Return a checksum of 64 bytes of each 4 KiB of a C-contiguous array: a tenth of the time that all would take.

    A frame is told of when all of it was written, so a process that is killed leaves none that is broken off. What a
    loss of power takes are whole pages, and this sees each of them.
    """
    values = raw(array)
    pages = len(values) // _PAGE
    digest = xxh3_64(np.frombuffer(values, np.uint8, pages * _PAGE).reshape(pages, _PAGE)[:, :_SAMPLE].tobytes())
    digest.update(values[pages * _PAGE :])
    return digest.intdigest()


class FrameFile:
    """Reads the frames of a recording from the file beside it, which is opened when the first is asked for."""

    def __init__(self, recording: Path) -> None:
        self.path = recording.with_suffix(SUFFIX)
        self._descriptor: int | None = None

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """Return the array, read-only; raise ValueError if it is not there as it was written."""
        array = np.empty(frame.shape, dtype_of(frame.dtype.encode()))
        values, done = raw(array), 0
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            while done < len(values) and (read := os.preadv(self._descriptor, [values[done:]], frame.offset + done)):
                done += read
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read, which has the images: {error.strerror}") from error
        if done < len(values) or sampled(array) != frame.check:
            raise ValueError(f"{self.path} has not the image that was written at byte {frame.offset}")
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
