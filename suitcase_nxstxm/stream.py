"""The readings of a stream in the journal: a row for each event as it came, a column for each data key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Column", "Form", "FrameRows", "Stream"]

_BLOCK = 1 << 20  # bytes that are read at once


class Column(NamedTuple):
    """A column of rows of one form.

    Parameters
    ----------
    key
        The data key.
    kind
        The dtype of its numbers; ``S...`` for JSON; or, of frames that are stored elsewhere, where, and their dtype.
    shape
        The shape of a reading.
    parent
        The data key in whose reading the key is one of several, or none.
    """

    key: str
    kind: str
    shape: tuple[int, ...]
    parent: str

    @property
    def frames(self) -> str | None:
        """The dataset in which the frames of the column are; None if it is the column itself that has its numbers."""
        return self.kind.partition(" ")[0] if " " in self.kind else None

    @property
    def numbers(self) -> np.dtype | None:
        """The dtype of its numbers; None if it has none."""
        return None if self.kind.startswith("S") else np.dtype(self.kind.rpartition(" ")[2])


class FrameRows(NamedTuple):
    """Frames that are stored elsewhere: in which dataset, in which rows of it, and the sum of each."""

    frames: str
    rows: np.ndarray
    sums: np.ndarray


class Form:
    """The columns that some rows of a stream have; how a row of numbers is packed."""

    def __init__(self, number: int, stream: Stream, columns: list[Column]) -> None:
        self.number = number
        self.stream = stream
        self.columns = columns
        self.pack: Callable[..., bytes] = _no_pack
        fields: list[Any] = [("form", "<u4"), ("seq_num", "<i8"), ("time", "<f8")]
        for i, column in enumerate(columns):
            if column.frames is not None:
                fields.append((f"c{i}", [("row", "<i8"), ("sum", "<f8")]))
            else:
                fields.append((f"c{i}", column.kind, column.shape))
        self.dtype = np.dtype(fields)
        self.index = {column.key: i for i, column in enumerate(columns)}


class Stream:
    """The rows of a stream.

    Parameters
    ----------
    read
        What reads bytes of the journal, from an offset on.

    Attributes
    ----------
    info
        The data keys as the descriptors have them.
    owner
        The device of each data key.
    scalers
        The data keys that are detectors: such a reading may be a dictionary of channels.
    channels
        The keys that came in the reading of a scaler, each with the data key of that.
    """

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self.info: dict[str, Any] = {}
        self.owner: dict[str, str] = {}
        self.channels: dict[str, str] = {}
        self.scalers: frozenset[str] = frozenset()
        self._read = read
        self._stretches: list[list[Any]] = []  # form, offset, number of rows: those of one form one behind the other
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def describe(self, data_keys: Mapping[str, Any], owner: Mapping[str, str]) -> None:
        """Take what a descriptor says; the first one that has a key counts."""
        self.info = {**data_keys, **self.info}
        self.owner = {**owner, **self.owner}

    def append(self, form: Form, offset: int, number: int = 1) -> None:
        """Take rows that are in the journal."""
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last[0] is form and last[1] + last[2] * form.dtype.itemsize == offset:
            last[2] += number
        else:
            if last is None or last[0] is not form:
                self.channels.update({column.key: column.parent for column in form.columns if column.parent})
            self._stretches.append([form, offset, number])
        self._number += number

    def unpacked(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """The readings of an event, each with its key and its parent: a scaler puts all its channels into one."""
        for key, value in data.items():
            if not isinstance(value, Mapping) or key not in self.scalers:
                yield key, "", value
                continue
            for channel, inner in value.items():
                name = str(channel)
                if name in self.info or self.channels.setdefault(name, key) != key:
                    name = f"{key}_{channel}"  # another scaler has a channel like it
                yield name, key, inner

    def keys(self) -> dict[str, list[tuple[Column, int]]]:
        """The columns of each key, with the number of their rows."""
        found: dict[str, dict[Column, int]] = {}
        for form, _, number in self._stretches:
            for column in form.columns:
                mine = found.setdefault(column.key, {})
                mine[column] = mine.get(column, 0) + number
        return {key: list(columns.items()) for key, columns in found.items()}

    def sizes(self, key: str) -> np.ndarray:
        """How many numbers each row has of a key; 0 where it has none."""
        parts = [np.empty(0, np.int32)]
        for form, _, number in self._stretches:
            i = form.index.get(key)
            column = None if i is None else form.columns[i]
            size = 0 if column is None or column.numbers is None else int(np.prod(column.shape))
            parts.append(np.full(number, size, np.int32))
        return np.concatenate(parts)

    def seq_num(self) -> np.ndarray:
        """The number of the event of each row."""
        return self._all("seq_num", np.int64)

    def times(self) -> np.ndarray:
        """The time of the event of each row, in s since the epoch."""
        return self._all("time", float)

    def _all(self, field: str, dtype: Any) -> np.ndarray:
        found = np.empty(self._number, dtype)
        for row, _, records in self._records(0, self._number):
            found[row : row + len(records)] = records[field]
        return found

    def blocks(
        self, key: str, begin: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, np.ndarray | FrameRows | list[Any]]]:
        """The readings of a key between two rows, some at a time: the first row of them, and what they have.

        Numbers are an array of shape (rows, ...); frames that are elsewhere tell where; all else is a list.
        """
        for row, form, records in self._records(begin, self._number if end is None else end, key):
            column = form.columns[form.index[key]]
            values = records[f"c{form.index[key]}"]
            if column.frames is not None:
                yield row, FrameRows(column.frames, values["row"], values["sum"])
            elif column.numbers is None:
                yield row, [json.loads(value) for value in values]
            else:
                yield row, np.ascontiguousarray(values)

    def _records(self, begin: int, end: int, key: str | None = None) -> Iterator[tuple[int, Form, np.ndarray]]:
        """Rows of one form that has the key, some at a time, and the first of them."""
        row = 0
        for form, offset, number in self._stretches:
            first, last = max(begin, row), min(end, row + number)
            if first < last and (key is None or key in form.index):
                size = form.dtype.itemsize
                most = max(_BLOCK // size, 1)
                for at in range(first, last, most):
                    count = min(most, last - at)
                    found = self._read(offset + (at - row) * size, count * size)
                    yield at, form, np.frombuffer(found, form.dtype, count)
            row += number


def _no_pack(*values: Any) -> bytes:
    raise TypeError(f"a row of {len(values)} is of no form that can be packed")
