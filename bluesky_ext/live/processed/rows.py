"""Datasets of HDF5 that grow by rows, also out of order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import h5py
import numpy as np

#: Rows, and bytes, that wait to be written together.
_ROWS, _BYTES = 1000, 2**20
#: Bytes of a chunk at least and at most.
_SMALL, _LARGE = 2**14, 2**20


class Rows:
    """A dataset that has no rows yet, and is for values like the first one.

    Parameters
    ----------
    file : h5py.File
        Where it is made.
    place : str
        The path in there.
    first : numpy.ndarray
        A value.
    filler : value, optional
        What rows have that nothing was put into: NaN for floats, 0 for other numbers, no text, unless given.
    """

    def __init__(self, file: h5py.File, place: str, first: np.ndarray, filler: Any = None) -> None:
        kind = first.dtype.kind
        if filler is None:
            filler = "" if kind == "S" else np.nan if kind in "fc" else 0
        dtype = h5py.string_dtype() if kind == "S" else first.dtype  # later ones may be longer
        about = {"fillvalue": filler, "dtype": dtype, "chunks": chunks(first[np.newaxis])}
        self._dataset = file.create_dataset(place, (0, *first.shape), maxshape=(None, *first.shape), **about)
        self._dataset.attrs["filler"] = self._dataset.fillvalue
        self._place, self._dtype, self._shape = place, first.dtype, first.shape
        self._waiting: dict[int, np.ndarray] = {}
        self._most = max(1, min(_ROWS, _BYTES // max(1, first.nbytes)))

    def append(self, row: int, array: np.ndarray) -> None:
        """Put a value into a row; what was there is replaced."""
        is_alike = (array.dtype.kind == "S") == (self._dtype.kind == "S")
        if array.shape != self._shape or not (is_alike and np.can_cast(array.dtype, self._dtype, "same_kind")):
            said, known = f"{array.dtype} of shape {array.shape}", f"{self._dtype} of shape {self._shape}"
            raise ValueError(
                f"{self._place}, row {row}: this is {said}, the first was {known}: append values of one kind"
            )
        self._waiting[row] = array.copy()  # the caller may use it again
        if len(self._waiting) >= self._most:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        waiting, self._waiting = self._waiting, {}
        numbers = sorted(waiting)
        if not numbers:
            return
        if numbers[-1] >= len(self._dataset):
            self._dataset.resize(numbers[-1] + 1, axis=0)
        ends = [n + 1 for n, (one, after) in enumerate(pairwise(numbers)) if after != one + 1]
        for first, end in pairwise([0, *ends, len(numbers)]):
            some = numbers[first:end]
            self._dataset[some[0] : some[-1] + 1] = np.stack([waiting[row] for row in some])


def row_bytes(array: np.ndarray) -> int:
    """How many bytes a row of an array has."""
    return max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)


def chunks(array: np.ndarray) -> tuple[int, ...]:
    """The shape of the chunks of a dataset for such an array: whole rows, as many as make a good size."""
    size = min(max(array.nbytes, _SMALL), _LARGE)
    return (max(1, size // row_bytes(array)), *(max(1, length) for length in array.shape[1:]))
