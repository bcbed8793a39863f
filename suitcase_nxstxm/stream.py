"""The readings of a stream in the journal: a row for each event as it came, a column for each data key."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from suitcase_nxstxm.metadata import as_json

_BLOCK = 1 << 20  # bytes that are read at once
_SHORTEST = 32  # bytes that text takes at least; longer text takes the next power of two, so that forms are few
_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_CODES |= {"f2": "e", "f4": "f", "f8": "d", "?": "?"}
_SCALARS: dict[type, tuple[str, str]] = {float: ("<f8", "d"), int: ("<i8", "q"), bool: ("|b1", "?")} | {
    np.dtype(name).type: (np.dtype(name).newbyteorder("<").str, code) for name, code in _CODES.items()
}
"""The dtype of numbers by their type, and the code that packs them."""


class Column(NamedTuple):
    """A column of rows of one form."""

    key: str
    kind: str  # the dtype of its numbers; S... for JSON; of frames that are elsewhere, where they are, and their dtype
    shape: tuple[int, ...]  # of a reading

    @property
    def frames(self) -> str | None:
        """The dataset in which the frames of the column are; None if the column itself has its numbers."""
        return self.kind.partition(" ")[0] if " " in self.kind else None

    @property
    def numbers(self) -> np.dtype | None:
        """The dtype of its numbers; None if it has none."""
        return None if self.kind.startswith("S") else np.dtype(self.kind.rpartition(" ")[2])


class Stored(NamedTuple):
    """A frame that is stored elsewhere: in which dataset, in which row of it; and the sum of its numbers."""

    frames: str
    row: int
    sum: float


@dataclass(frozen=True, eq=False)
class FrameRows:
    """Frames that are stored elsewhere."""

    frames: str  # the dataset
    rows: np.ndarray  # of it
    sums: np.ndarray  # of the numbers of each

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> FrameRows:
        return FrameRows(self.frames, self.rows[which], self.sums[which])


Values = np.ndarray | FrameRows
"""Readings of a key in some rows: numbers of shape (rows, ...), objects that aren't numbers, or frames elsewhere."""


class Form:
    """The columns that some rows of a stream have, and what packs a row, if it is of numbers."""

    def __init__(self, number: int, stream: Stream, columns: list[Column]) -> None:
        self.number, self.stream, self.columns = number, stream, columns
        self.pack: Callable[..., bytes] | None = None
        self.index = {column.key: i for i, column in enumerate(columns)}
        fields: list[Any] = [("form", "<u4"), ("seq_num", "<i8"), ("time", "<f8")]
        for i, column in enumerate(columns):
            kind = [("row", "<i8"), ("sum", "<f8")] if column.frames is not None else column.kind
            fields.append((f"c{i}", kind, () if column.frames is not None else column.shape))
        self.dtype = np.dtype(fields)

    def count(self, read: Callable[[int, int], bytes], at: int) -> int:
        """How many rows of the form there are in the journal from an offset on."""
        size, number = self.dtype.itemsize, 0
        most = max(_BLOCK // size, 1)
        while True:
            found = read(at + number * size, most * size)
            rows = np.frombuffer(found, self.dtype, len(found) // size)
            other = np.flatnonzero(rows["form"] != self.number)
            if len(other) or len(rows) < most:
                return number + (int(other[0]) if len(other) else len(rows))
            number += len(rows)


class Stream:
    """The rows of a stream; `read` reads bytes of the journal, from an offset on."""

    def __init__(self, read: Callable[[int, int], bytes], name: str = "primary") -> None:
        self.name = name
        self.info: dict[str, Any] = {}  # the data keys as the descriptors have them
        self.owner: dict[str, str] = {}  # the device of each data key
        self.scalers: frozenset[str] = frozenset()  # the data keys whose readings may be dictionaries of channels
        self.columns: dict[str, list[Column]] = {}  # those of each key
        self._read = read
        self._forms: dict[int, Form] = {}  # by their numbers
        # Number of a form, offset, number of rows: those of one form, one behind the other. Streams may alternate.
        self._stretches = array("q")
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def _stretched(self) -> Iterator[tuple[Form, int, int]]:
        """The rows as they lie in the journal: their form, where the first one is, and how many they are."""
        found = iter(self._stretches)
        return ((self._forms[number], offset, count) for number, offset, count in zip(found, found, found, strict=True))

    def describe(self, data_keys: Mapping[str, Any], object_keys: Mapping[str, Iterable[str]] | None) -> None:
        """Take what a descriptor says; the first one that has a key counts."""
        of_key = {key: device for device, keys in (object_keys or {}).items() for key in keys}
        owner = {key: info.get("object_name") or of_key.get(key, key) for key, info in data_keys.items()}
        self.info, self.owner = {**data_keys, **self.info}, {**owner, **self.owner}

    def append(self, form: Form, offset: int, number: int = 1) -> None:
        """Take rows that are in the journal."""
        last = self._stretches[-3:]
        if last and last[0] == form.number and last[1] + last[2] * form.dtype.itemsize == offset:
            self._stretches[-1] += number
        else:
            for column in form.columns:
                if column not in self.columns.setdefault(column.key, []):
                    self.columns[column.key].append(column)
            self._forms[form.number] = form
            self._stretches.extend((form.number, offset, number))
        self._number += number

    def sizes(self, key: str) -> np.ndarray:
        """How many numbers each row has of a key; 0 where it has none."""
        found = np.zeros(self._number, np.int32)
        row = 0
        for form, _, number in self._stretched():
            column = form.columns[form.index[key]] if key in form.index else None
            if column is not None and column.numbers is not None:
                found[row : row + number] = int(np.prod(column.shape))
            row += number
        return found

    def dtypes(self, key: str) -> list[np.dtype]:
        """The types of the numbers of a key."""
        return [column.numbers for column in self.columns.get(key, ()) if column.numbers is not None]

    def head(self, name: str) -> np.ndarray:
        """The ``"seq_num"`` of each row, or the ``"time"`` of its event in s since the epoch."""
        found = np.empty(self._number, np.int64 if name == "seq_num" else float)
        for row, _, records in self._records(0, self._number):
            found[row : row + len(records)] = records[name]
        return found

    def numbers(self, key: str | None) -> np.ndarray:
        """The number that each row has of a key, as a float; NaN where it has none, or several."""
        found = np.full(self._number, np.nan)
        for row, values in self.blocks(key) if key is not None else ():
            if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind != "O":
                found[row : row + len(values)] = values
        return found

    def blocks(self, key: str, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, Values]]:
        """The readings of a key between two rows, some at a time: the first row of them, and what they have."""
        for row, form, records in self._records(begin, self._number if end is None else end, key):
            column, values = form.columns[form.index[key]], records[f"c{form.index[key]}"]
            if column.frames is not None:
                yield row, FrameRows(column.frames, values["row"], values["sum"])
            elif column.numbers is None:
                found = np.empty(len(values), object)
                found[:] = [json.loads(value) for value in values]
                yield row, found
            else:
                yield row, np.ascontiguousarray(values)

    def _records(self, begin: int, end: int, key: str | None = None) -> Iterator[tuple[int, Form, np.ndarray]]:
        """Rows of one form that has the key, some at a time, and the first of them."""
        row = 0
        for form, offset, number in self._stretched():
            first, last = max(begin, row), min(end, row + number)
            if first < last and (key is None or key in form.index):
                size = form.dtype.itemsize
                most = max(_BLOCK // size, 1)
                for at in range(first, last, most):
                    count = min(most, last - at)
                    found = self._read(offset + (at - row) * size, count * size)
                    yield at, form, np.frombuffer(found, form.dtype, count)
            row += number


def packed(value: Any, array: np.ndarray | None) -> tuple[str, tuple[int, ...], bytes, str]:
    """The kind, the shape and the bytes of a reading, and the code that packs others of its type; or no code.

    The array is what `as_numbers` makes of it.
    """
    dtype, code = _SCALARS.get(type(value), ("", ""))
    if dtype and (code != "q" or -(1 << 63) <= value < 1 << 63):
        return dtype, (), struct.pack(f"<{code}", value), code
    if array is not None:
        return array.dtype.str, array.shape, array.tobytes(), ""
    text = as_json(value).encode()
    size = max(_SHORTEST, 1 << (len(text) - 1).bit_length())
    return f"S{size}", (), text.ljust(size), ""


def as_numbers(value: Any) -> np.ndarray | None:
    """An array, or a list, of numbers as a contiguous array with the smallest byte first; None for anything else."""
    if isinstance(value, (str, bytes, Mapping, int, float, np.generic)):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # of lists of different lengths
        return None
    if array.dtype.kind not in "biuf" or not array.size:
        return None
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
