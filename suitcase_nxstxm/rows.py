"""The rows of readings that several runs of a scan put theirs to: which run and which event each row is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import h5py
import numpy as np

from suitcase_nxstxm.column import BATCH, extend
from suitcase_nxstxm.nexus import dataset, existing, group
from suitcase_nxstxm.runs import RunTable, entries

__all__ = ["Rows", "settle_rows"]

_RUN, _NUMBER = "run", "seq_num"
_TEXT = h5py.string_dtype()


class Rows:
    """The rows of a stream's readings, in the order in which they came; `settle_rows` puts them into that of time.

    Parameters
    ----------
    stream
        The NXcollection of the stream.

    Attributes
    ----------
    columns
        The dataset of each device and key, which all runs write to.
    """

    def __init__(self, stream: h5py.Group) -> None:
        self.columns: dict[tuple[str, str], h5py.Dataset] = {}
        for name, dtype in ((_RUN, _TEXT), (_NUMBER, np.dtype(np.int64))):
            if dataset(stream, name) is None:
                stream.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(BATCH,))
        self._runs, self._numbers = existing(stream, _RUN), existing(stream, _NUMBER)
        # Events of a run that came one behind the other: the first one, its row, and how many they are.
        self._stretches: dict[str, list[tuple[int, int, int]]] = {}
        self._size = 0
        for run, number in zip(self._runs.asstr()[()], self._numbers[()], strict=True):
            self._append(str(run), int(number))

    def of(self, run: str, numbers: Sequence[int]) -> list[int]:
        """The rows of events of a run; those that aren't there yet are put behind the others."""
        before = self._size
        rows = [self._row(run, number) for number in numbers]
        if self._size > before:
            new = dict(zip(rows, numbers, strict=True))
            self._runs.resize((self._size,))
            self._numbers.resize((self._size,))
            self._runs[before:] = [run] * (self._size - before)
            self._numbers[before:] = [new[row] for row in range(before, self._size)]
        return rows

    def _row(self, run: str, number: int) -> int:
        for first, row, count in reversed(self._stretches.get(run, ())):
            if first <= number < first + count:
                return row + number - first
        return self._append(run, number)

    def _append(self, run: str, number: int) -> int:
        stretches = self._stretches.setdefault(run, [])
        first, row, count = stretches[-1] if stretches else (0, 0, 0)
        if count and (number, self._size) == (first + count, row + count):
            stretches[-1] = (first, row, count + 1)
        else:
            stretches.append((number, self._size, 1))
        self._size += 1
        return self._size - 1


def settle_rows(file: h5py.File) -> None:
    """Put readings into the order of their runs and events; those of a single run need nothing that says of which."""
    began: dict[str, str] = {}
    streams: dict[h5py.Group, None] = {}
    for _, entry in entries(file):
        collection = group(entry, "collection", "NXcollection")
        table = RunTable(collection)
        began |= dict(zip(table.column("uid"), table.column("start_time"), strict=True))
        streams |= dict.fromkeys(item for item in collection.values() if isinstance(item, h5py.Group))
    for stream in streams:
        if dataset(stream, _RUN) is not None and dataset(stream, _NUMBER) is not None:
            _settle(stream, began)


def _settle(stream: h5py.Group, began: Mapping[str, str]) -> None:
    runs = [str(run) for run in existing(stream, _RUN).asstr()[()]]
    numbers = existing(stream, _NUMBER)[()]
    keys = [(began.get(run, ""), run, number) for run, number in zip(runs, numbers.tolist(), strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for parent, name in _columns(stream, len(order)):
        stored = existing(parent, name)
        stored[...] = stored[()][order]
    if len(set(runs)) < 2 and np.array_equal(numbers[order], np.arange(1, len(order) + 1)):
        del stream[_RUN], stream[_NUMBER]


def _columns(stream: h5py.Group, number: int) -> Iterator[tuple[h5py.Group, str]]:
    """The datasets of a stream, each as long as the stream has rows: runs may lack what others have."""
    for parent in (stream, *(item for item in stream.values() if isinstance(item, h5py.Group))):
        for name in [name for name, item in parent.items() if isinstance(item, h5py.Dataset)]:
            extend(existing(parent, name), number)
            yield parent, name
