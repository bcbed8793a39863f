"""The HDF5 file of a run: arrays that grow by rows, beside a catalogue that is told of them."""

from __future__ import annotations

import errno
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.storage.node import Node, replaced
from bluesky_ext.storage.rows import even_chunks, shared_rows

__all__ = ["MIMETYPE", "FileRows", "ImageFile"]

logger = logging.getLogger(__name__)

MIMETYPE = "application/x-hdf5"

_SHARED_BYTES = 2**14  # smaller rows share a chunk of the file
_MOST_ROOM = 64  # rows


class ImageFile:
    """A new HDF5 file, made with its first array.

    It is written in the oldest format: of a process that is killed it can be read up to the last `flush`, which later
    formats cannot. Other processes may read it meanwhile, so it is not locked. Two threads may write to it: the one
    that the images come from, and the one that carries the run into the catalogue.

    Parameters
    ----------
    path : path
        The file, in a directory that is there.
    compression : str, optional
        What h5py knows: "lzf", "gzip".
    """

    def __init__(self, path: Path, compression: str | None = None) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._compression = compression
        self._file: Any = None
        self.arrays: dict[str, FileRows] = {}
        """Those that were made, by the names of their datasets."""
        self._descriptor = -1
        self._closed = False

    def rows(
        self, dataset: str, row: NDArray[Any], key: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> FileRows:
        """Return an array of the file, of rows as this one if it is new, that catalogues have by a key."""
        import h5py  # when the first run comes: whoever only imports this does not need it

        with self.lock:
            if dataset in self.arrays:
                return self.arrays[dataset]
            if self._file is None:
                self.check_open()
                self._file = h5py.File(self.path, "x", libver="earliest", locking=False)
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            count = max(1, _SHARED_BYTES // max(1, row.nbytes))
            options: dict[str, Any] = {"chunks": (count, *row.shape), "compression": self._compression}
            if direct := count == 1 and self._compression is None:
                # Room for rows is made without writing to it, and what is read of it before is not kept.
                early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                options |= {"dcpl": early, "fill_time": "never", "rdcc_nbytes": 0}
            made = self._file.create_dataset(
                dataset, shape=(0, *row.shape), maxshape=(None, *row.shape), dtype=row.dtype, **options
            )
            self._file.flush()  # what was never flushed cannot be opened
            self.arrays[dataset] = rows = FileRows(self, made, key or dataset.rpartition("/")[2], metadata, direct)
            return rows

    def write(self, row: NDArray[Any], offset: int) -> None:
        """Write a row at a byte of the file; it has reached the operating system when this returns."""
        self.check_open()
        values = raw(np.ascontiguousarray(row))
        done = 0
        while done < len(values):
            done += os.pwrite(self._descriptor, values[done:], offset + done)

    def check_open(self) -> None:
        """Raise OSError after `close`."""
        if self._closed:
            raise OSError(errno.EBADF, "the file of images was closed", str(self.path))

    def link(self, path: Path) -> None:
        """Give the file another name, on the same disk, by which it stays if the first one is deleted."""
        os.link(self.path, path)

    def flush(self) -> None:
        """Bring what was written to the operating system."""
        with self.lock:
            if self._file is not None:
                self._file.flush()

    def close(self) -> None:
        """Close the file; on a disk that is full, it stays as the last flush left it."""
        with self.lock:
            self._closed = True
            if self._file is None:
                return
            file, self._file = self._file, None
            try:
                for rows in self.arrays.values():
                    rows.close()
                file.close()
            except (OSError, RuntimeError) as error:
                logger.info("%s could not be closed: %s", self.path, error)
            os.close(self._descriptor)


class FileRows:
    """An array of an `ImageFile`, with the methods of `bluesky_ext.storage.rows.Rows`.

    It is described to the catalogue as the images in a detector's own file are. Rows that are a chunk each are direct:
    HDF5 makes room for some of them at once, and they are written there as they come, without HDF5, which would copy
    them, and would wait for whatever else is read by it in this process.
    """

    def __init__(
        self, file: ImageFile, dataset: Any, key: str, metadata: Mapping[str, Any] | None, direct: bool
    ) -> None:
        self.shape, self.dtype = dataset.shape[1:], dataset.dtype
        self.direct = direct
        """Whether a row has reached the operating system when `append` returns."""
        self._size = max(1, self.dtype.itemsize * math.prod(self.shape))
        self.count = 0
        """Rows appended, those that are not written yet too."""
        self._file, self._dataset, self._key, self._metadata = file, dataset, key, dict(metadata or {})
        self._pending: list[NDArray[Any]] = []
        self._room: deque[int] = deque()
        self._written = self._told = 0
        self._node: Node | None = None

    def takes(self, array: NDArray[Any]) -> bool:
        """Whether an array is as the rows are."""
        return array.shape == self.shape and array.dtype == self.dtype

    def append(self, rows: NDArray[Any]) -> int:
        """Write rows, along the first axis, at the latest with the next `flush`; return the number of the first."""
        with self._file.lock:
            first = self.count
            if self.direct:
                for row in rows:
                    self.put(row)
                return first
            self._pending.append(rows)
            self.count += len(rows)
            if (self.count - self._written) * self._size >= _SHARED_BYTES:
                self._write()
            return first

    def put(self, row: NDArray[Any]) -> tuple[int, int]:
        """Write a row that is direct; return its number, and the byte of the file at which it begins."""
        with self._file.lock, self._naming():
            if not self._room:
                self._file.check_open()
                self._make_room()
            self._file.write(row, self._room[0])
            self.count += 1
            return self.count - 1, self._room.popleft()

    def flush(self, parent: Node, *, tell: bool = True) -> None:
        """Write what was appended, and tell the catalogue of it, in which `parent` is the container of the array.

        With ``tell=False`` the catalogue is told of the array, and not of its growth, which is seen in the file.
        """
        if self._told == self.count:
            return
        with self._file.lock, self._naming():
            self._write()
            count = self.count
            self._file.flush()
        if self._node is None:
            self._node = replaced(parent, self._key, self._metadata, self._described(count))
            self._told = count
        elif tell:
            self._node.tell(self._described(count))
            self._told = count

    def close(self) -> None:
        """Give back the room that no row was written to."""
        if self._room:
            self._dataset.resize(self.count, 0)
            self._room.clear()

    def _write(self) -> None:
        if not self._pending:
            return
        rows = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._dataset.resize(self.count, 0)
        self._dataset[self.count - len(rows) :] = rows
        self._pending.clear()
        self._written = self.count

    def _make_room(self) -> None:
        """Let HDF5 say where the next rows are to be: some, as it looks through all those before for each of them."""
        until = self.count + min(_MOST_ROOM, max(1, self.count))
        self._dataset.resize(until, 0)
        origin = (0,) * len(self.shape)
        places = [self._dataset.id.get_chunk_info_by_coord((n, *origin)) for n in (self.count, until - 1)]
        first, last = (place.byte_offset for place in places)
        if last - first != (until - 1 - self.count) * self._size:  # something else lies between them
            numbers = range(self.count, until)
            self._room.extend(self._dataset.id.get_chunk_info_by_coord((n, *origin)).byte_offset for n in numbers)
        else:
            self._room.extend(range(first, last + 1, self._size))

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Put the name of the file into errors; those of HDF5 say it in several lines."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(self._file.path)) from error

    def _described(self, count: int) -> Any:
        from tiled.structures.array import ArrayStructure, BuiltinDtype  # pyright: ignore[reportMissingImports]
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
        from tiled.structures.data_source import Asset, DataSource, Management  # pyright: ignore[reportMissingImports]

        step = shared_rows(self.shape, self.dtype.itemsize)
        rows = (step,) * (count // step) + ((count % step,) if count % step else ())
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(self.dtype),
            shape=(count, *self.shape),
            chunks=(rows, *even_chunks(self.shape, self.dtype.itemsize)),
            dims=("time", *(f"{self._key}_{axis}" for axis in range(len(self.shape)))),
        )
        uri = self._file.path.as_uri().replace("file://", "file://localhost", 1)
        return DataSource(
            structure_family=StructureFamily.array,
            structure=structure,
            mimetype=MIMETYPE,
            parameters={"dataset": self._dataset.name, "swmr": False, "locking": False},
            assets=[Asset(data_uri=uri, is_directory=False, parameter="data_uris", num=0)],
            management=Management.external,
        )
