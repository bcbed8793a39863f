"""The HDF5 file of a run: arrays that grow by rows, beside a catalogue that is told of them."""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.storage.rows import even_chunks, new_array, shared_rows

__all__ = ["MIMETYPE", "FileRows", "ImageFile"]

logger = logging.getLogger(__name__)

MIMETYPE = "application/x-hdf5"

_SHARED_BYTES = 2**14  # smaller rows share a chunk of the file


class ImageFile:
    """A new HDF5 file, made with its first array.

    It is written in the oldest format: of a process that is killed it can be read up to the last `flush`, which later
    formats cannot. Other processes may read it meanwhile, so it is not locked.

    Parameters
    ----------
    path : path
        The file, in a directory that is there.
    compression : str, optional
        What h5py knows: "lzf", "gzip".
    """

    def __init__(self, path: Path, compression: str | None = None) -> None:
        self.path = path
        self._compression = compression
        self._file: Any = None

    def rows(self, dataset: str, row: NDArray[Any], key: str, metadata: Mapping[str, Any] | None = None) -> FileRows:
        """Return a new array of the file, of rows as this one, that catalogues have by a key, with metadata."""
        import h5py  # when the first run comes: whoever only imports this does not need it

        if self._file is None:
            self._file = h5py.File(self.path, "x", libver="earliest", locking=False)
        size = max(1, row.nbytes)
        made = self._file.create_dataset(
            dataset,
            shape=(0, *row.shape),
            maxshape=(None, *row.shape),
            chunks=(max(1, _SHARED_BYTES // size), *row.shape),
            dtype=row.dtype,
            compression=self._compression,
        )
        self._file.flush()  # what was never flushed cannot be opened
        return FileRows(self, made, key, metadata)

    def flush(self) -> None:
        """Bring what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file; on a disk that is full, it stays as the last flush left it."""
        if self._file is None:
            return
        try:
            self._file.close()
        except (OSError, RuntimeError) as error:
            logger.info("%s could not be closed: %s", self.path, error)


class FileRows:
    """An array of an `ImageFile`, with the methods of `bluesky_ext.storage.rows.Rows`.

    It is described to the catalogue as the images in a detector's own file are.
    """

    def __init__(self, file: ImageFile, dataset: Any, key: str, metadata: Mapping[str, Any] | None) -> None:
        self.shape, self.dtype = dataset.shape[1:], dataset.dtype
        self._size = max(1, self.dtype.itemsize * math.prod(self.shape))
        self.count = 0
        """Rows appended, those that are not written yet too."""
        self._file, self._dataset, self._key, self._metadata = file, dataset, key, dict(metadata or {})
        self._pending: list[NDArray[Any]] = []
        self._written = self._told = 0
        self._node: Any = None
        self._number: int | None = None
        # A row that is a chunk is written as it is: that takes two thirds of the time.
        self._direct = dataset.chunks[:1] == (1,) and dataset.compression is None

    def takes(self, array: NDArray[Any]) -> bool:
        """Whether an array is as the rows are."""
        return array.shape == self.shape and array.dtype == self.dtype

    def append(self, rows: NDArray[Any]) -> int:
        """Write rows, along the first axis, at the latest with the next `flush`; return the number of the first."""
        first = self.count
        self._pending.append(rows)
        self.count += len(rows)
        if (self.count - self._written) * self._size >= _SHARED_BYTES:
            self._write()
        return first

    def flush(self, parent: Any, *, tell: bool = True) -> None:
        """Write what was appended, and tell the catalogue of it, in which `parent` is the container of the array.

        With ``tell=False`` the catalogue is told of the array, and not of its growth, which is seen in the file.
        """
        if self._told == self.count:
            return
        self._write()
        self._file.flush()
        if self._node is None:
            self._node = new_array(parent, self._described(), self._key, self._metadata)
            self._told = self.count
        elif tell:
            self._tell()
            self._told = self.count

    def _write(self) -> None:
        if not self._pending:
            return
        rows = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        first = self.count - len(rows)
        try:
            self._dataset.resize(self.count, 0)
            if self._direct:
                origin = (0,) * len(self.shape)
                for number, row in enumerate(np.ascontiguousarray(rows), start=first):
                    self._dataset.id.write_direct_chunk((number, *origin), row)
            else:
                self._dataset[first:] = rows
        except OSError as error:  # of HDF5, which says it in several lines
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(self._file.path)) from error
        self._pending.clear()
        self._written = self.count

    def _described(self) -> Any:
        from tiled.structures.array import ArrayStructure, BuiltinDtype  # pyright: ignore[reportMissingImports]
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
        from tiled.structures.data_source import Asset, DataSource, Management  # pyright: ignore[reportMissingImports]

        step = shared_rows(self.shape, self.dtype.itemsize)
        rows = (step,) * (self.count // step) + ((self.count % step,) if self.count % step else ())
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(self.dtype),
            shape=(self.count, *self.shape),
            chunks=(rows, *even_chunks(self.shape, self.dtype.itemsize)),
            dims=("time", *(f"{self._key}_{axis}" for axis in range(len(self.shape)))),
        )
        uri = self._file.path.as_uri().replace("file://", "file://localhost", 1)
        return DataSource(
            structure_family=StructureFamily.array,
            structure=structure,
            id=self._number,
            mimetype=MIMETYPE,
            parameters={"dataset": self._dataset.name, "swmr": False, "locking": False},
            assets=[Asset(data_uri=uri, is_directory=False, parameter="data_uris", num=0)],
            management=Management.external,
        )

    def _tell(self) -> None:
        from tiled.client.utils import handle_error, retry_context  # pyright: ignore[reportMissingImports]
        from tiled.utils import safe_json_dump  # pyright: ignore[reportMissingImports]

        if self._number is None:
            self._number = self._node.data_sources()[0].id
        body = safe_json_dump({"data_source": self._described()})
        address = self._node.uri.replace("/metadata/", "/data_source/", 1)
        for attempt in retry_context():
            with attempt:
                handle_error(self._node.context.http_client.put(address, content=body))
