"""Trees as files of HDF5: written at once, or as they grow."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xxhash import xxh3_128_digest

from bluesky_ext.live.processed.disk import Disk
from bluesky_ext.live.processed.rows import Rows, chunks, row_bytes
from bluesky_ext.live.processed.values import check_name, computed, split_attributes, storable

#: Bytes of what is compared with what was written before.
_BLOCK = 2**20
_PROBLEMS = (TypeError, ValueError, OSError, RuntimeError, OverflowError)


def save_tree(tree: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
    """Save a tree, as a reducer publishes it, as a file of HDF5, and return its path.

    Dicts are groups; arrays, lists, scalars, text and None are datasets, and functions what they return. The dict
    ``<name>_attrs`` holds the attributes of a name, ``_attrs`` those of the dict that it is in. The file is ``.tmp``
    until it is whole.

    Raises
    ------
    ValueError
        If it has what HDF5 can't hold; the first is named. There is no file then.
    OSError
        If it can't be written, or is there and not to be overwritten.

    Examples
    --------
    >>> import tempfile
    >>> directory = tempfile.TemporaryDirectory()
    >>> path = save_tree({"map": [[1, 2], [3, 4]], "map_attrs": {"units": "counts"}}, f"{directory.name}/result.h5")
    >>> with h5py.File(path) as file:
    ...     file["map"][1, 0], file["map"].attrs["units"]
    (np.int64(3), 'counts')
    >>> directory.cleanup()
    """
    path = Path(path)
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} is there already: give another name, or overwrite=True")
    file = TreeFile(path, grows=False)
    try:
        problems = file.write(tree)
        if problems:
            raise ValueError(f"{path} is not written: {problems[0]}")
        return file.finish()
    except BaseException:
        file.close()
        file.tmp.unlink(missing_ok=True)
        raise


class TreeFile:
    """A file that becomes what a tree is, again and again: what has not changed since is not written again.

    It is ``.tmp`` until `finish`. After each `write` and `flush` a process that is killed leaves it readable.

    Parameters
    ----------
    path : path
        What it is to be called.
    grows : bool
        Whether arrays may grow, which takes some kilobytes for each.
    """

    def __init__(self, path: Path, *, grows: bool = True) -> None:
        self.path, self.tmp = path, path.with_name(f"{path.name}.tmp")
        self._grows = grows
        self._disk = Disk(self.tmp)
        try:
            # Of the earliest version, because the later ones don't open again after a kill.
            self._file = h5py.File(self._disk, "w", libver="earliest")
        except BaseException:
            self._disk.close()
            raise
        # One thread at a time; and closed before the process ends: HDF5 would call Python then, and crash.
        self._lock = threading.RLock()
        self._close = weakref.finalize(self, _close, self._lock, self._file, self._disk)
        self._digests: dict[str, list[bytes]] = {}
        self._appended: dict[str, Rows] = {}

    def write(self, tree: Mapping[str, Any]) -> list[str]:
        """Make the file what the tree is; return a line for each thing of it that HDF5 can't hold, which is left out.

        Raises
        ------
        OSError
            If the disk can't hold it.
        """
        problems: list[str] = []
        with self._open():
            self._fill(self._file, tree, "", problems)
            self.flush()
        return problems

    def flush(self) -> None:
        """Have the operating system know all that was written."""
        with self._open():
            for rows in self._appended.values():
                rows.flush()
            self._file.flush()
            self._disk.check()

    def append(self, place: str, row: int, value: Any, filler: Any = None) -> None:
        """Put a value into a row of the dataset at this place, which grows; rows between have the filler.

        That is NaN for floats and 0 for other numbers unless given with the first value. Rows reach the file a thousand
        or a MiB at a time, and by `flush`.

        Raises
        ------
        ValueError, TypeError
            If it has another shape or kind than the values before.
        """
        array = storable(value)
        with self._open():
            rows = self._appended.get(place)
            if rows is None:
                rows = self._appended[place] = Rows(self._file, place, array, filler)
            rows.append(row, array)
            self._disk.check()

    def finish(self) -> Path:
        """Close the file and give it its name; return that."""
        with self._open():
            try:
                self.flush()
                self._file.close()
                self._disk.rename(self.path)
            finally:
                self._close()
        return self.path

    def close(self) -> None:
        """Close the file, which stays ``.tmp``."""
        self._close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if not self._close.alive:
                raise ValueError(f"{self.tmp} is closed: nothing more can be written to it")
            yield

    def _fill(
        self,
        group: h5py.Group,
        tree: Mapping[Any, Any],
        place: str,
        problems: list[str],
        about: Mapping[Any, Any] | None = None,
    ) -> None:
        appended = [one.removeprefix(f"{place}/") for one in self._appended if one.startswith(f"{place}/")]
        own, values, attributes = split_attributes(tree, appended)
        self._attributes(group, {**(about or {}), **own}, place, problems)
        for name in map(str, [*group]):
            if name not in values and name not in {one.partition("/")[0] for one in appended}:
                self._remove(group, name, f"{place}/{name}")
        for name in attributes.keys() - values.keys():
            self._attributes(group[name], attributes[name], f"{place}/{name}", problems)
        for name, value in values.items():
            where = f"{place}/{name}"
            try:
                check_name(name)
                value = computed(value)
                if isinstance(value, Mapping):
                    inner = group.get(name)
                    if not isinstance(inner, h5py.Group):
                        self._remove(group, name, where)
                        inner = group.create_group(name)
                    self._fill(inner, value, where, problems, attributes.get(name))
                    continue
                self._put(group, name, storable(value), where)
            except _PROBLEMS as error:
                self._disk.check()
                problems.append(_problem(where, error))
                continue
            self._attributes(group[name], attributes.get(name, {}), where, problems)

    def _put(self, group: h5py.Group, name: str, array: Any, where: str) -> None:
        dataset = group.get(name)
        if not (isinstance(dataset, h5py.Dataset) and self._fits(dataset, array)):
            self._remove(group, name, where)
            if array.shape and self._grows:
                size = {"maxshape": (None,) * array.ndim, "chunks": chunks(array)}
                dataset = group.create_dataset(name, array.shape, array.dtype, **size)
            else:
                group.create_dataset(name, data=array)
                dataset = None
        if dataset is not None and array.shape and dataset.shape != array.shape:
            if dataset.shape[1:] != array.shape[1:]:
                self._digests.pop(where, None)
            dataset.resize(array.shape)
        self._write_changes(dataset, array, where)

    def _fits(self, dataset: h5py.Dataset, array: Any) -> bool:
        if dataset.shape is None or array.shape is None:
            return dataset.shape is array.shape
        growing = dataset.shape == array.shape or (self._grows and dataset.ndim == array.ndim > 0)
        return dataset.dtype == array.dtype and growing

    def _write_changes(self, dataset: h5py.Dataset | None, array: Any, where: str) -> None:
        """Write the blocks of rows that are other ones than before; with no dataset, they are written already."""
        if array.shape is None:
            return
        known = self._digests.setdefault(where, [])
        blocks = [(...,)] if not array.shape else _blocks(array)
        for number, block in enumerate(blocks):
            digest = _digest(array[block])
            if number == len(known):
                known.append(b"")
            if known[number] != digest:
                if dataset is not None:
                    dataset[block] = array[block]
                known[number] = digest
        del known[len(blocks) :]

    def _attributes(self, item: Any, attributes: Mapping[Any, Any], where: str, problems: list[str]) -> None:
        for name in [*item.attrs]:
            if name not in attributes and where not in self._appended:
                del item.attrs[name]
        for name, value in attributes.items():
            place = f"{where}@{name}"
            try:
                check_name(name)
                array = storable(computed(value))
                digests = [b"" if array.shape is None else _digest(array)]
                if self._digests.get(place) != digests:
                    is_text = array.shape is not None and array.dtype.kind == "S"
                    item.attrs[name] = np.char.decode(array, "utf-8").astype(h5py.string_dtype()) if is_text else array
                    self._digests[place] = digests
            except _PROBLEMS as error:
                self._disk.check()
                problems.append(_problem(place, error))

    def _remove(self, group: h5py.Group, name: str, where: str) -> None:
        if name in group:
            del group[name]
            for known in [one for one in self._digests if one == where or one.startswith((f"{where}/", f"{where}@"))]:
                del self._digests[known]


def _close(lock: threading.RLock, file: h5py.File, disk: Disk) -> None:
    with lock:
        try:
            file.close()
        finally:
            disk.close()


def _problem(where: str, error: Exception) -> str:
    return f"{where}: {' '.join(str(error).split())}"


def _blocks(array: np.ndarray) -> list[Any]:
    rows = max(1, _BLOCK // row_bytes(array))
    return [slice(first, first + rows) for first in range(0, len(array), rows)]


def _digest(array: np.ndarray) -> bytes:
    content = np.ascontiguousarray(array).tobytes()
    return xxh3_128_digest(f"{array.dtype}{array.shape}".encode() + content)
