"""Diffractograms of the points of a scan, one above the other, which grow while it runs."""

from __future__ import annotations

import numpy as np


class Stack:
    """The diffractograms of a scan by the number of their frame; one that comes again is replaced.

    What was read of a stack stays as it is: later diffractograms go behind it, or to a copy.

    Parameters
    ----------
    shape : tuple of int
        The shape of the arrays of one frame, such as ``(2, n_bins)`` for intensities and their errors.
    max_bytes : int
        What the stack may take in memory. Frames that come when it is full are left out.

    Examples
    --------
    >>> stack = Stack((1, 3), max_bytes=1000)
    >>> stack.put(2, [[4, 5, 6]]), stack.put(1, [[1, 2, 3]])
    (True, True)
    >>> stack.frames.tolist(), stack.values.tolist()
    ([1, 2], [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    """

    def __init__(self, shape: tuple[int, ...], max_bytes: int) -> None:
        self._shape = shape
        self._most = max_bytes // (4 * int(np.prod(shape)))
        self._rows: dict[int, int] = {}
        self._frames = np.empty(0, np.int64)  # by row
        self._values = np.empty((shape[0], 0, *shape[1:]), np.float32)
        self._n_read = 0
        #: How many frames were left out, as often as they came.
        self.n_left_out = 0

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, frame: int, arrays: np.ndarray | list) -> bool:
        """Take the arrays of a frame; False if it is left out."""
        row = self._rows.get(frame, len(self._rows))
        if row >= self._most:
            self.n_left_out += 1
            return False
        size = len(self._frames)
        if row >= size or row < self._n_read:
            size = min(max(64, 2 * size), self._most) if row >= size else size
            frames, values = np.empty(size, np.int64), np.empty((self._shape[0], size, *self._shape[1:]), np.float32)
            frames[: len(self)], values[:, : len(self)] = self._frames[: len(self)], self._values[:, : len(self)]
            self._frames, self._values, self._n_read = frames, values, 0
        self._values[:, row] = arrays
        self._frames[row] = frame
        self._rows[frame] = row
        return True

    @property
    def frames(self) -> np.ndarray:
        """The numbers of the frames, rising: (n,) int64."""
        return np.sort(self._frames[: len(self)])

    @property
    def values(self) -> np.ndarray:
        """The arrays of the frames in the order of their numbers, (first of the shape, n, the rest of it) float32."""
        frames = self._frames[: len(self)]
        if (frames[1:] < frames[:-1]).any():
            return self._values[:, np.argsort(frames, kind="stable")]
        self._n_read = len(self)
        return self._values[:, : len(self)]
