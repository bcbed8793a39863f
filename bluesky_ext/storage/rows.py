"""Arrays of a Tiled catalogue that grow by rows, one an event, and are read in blocks of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.storage.node import Node, replaced
from bluesky_ext.storage.requests import directory_of

__all__ = [
    "BLOCK_BYTES",
    "Rows",
    "even_chunks",
    "fetch",
    "is_key",
    "is_storable",
    "length",
    "shared_rows",
]

BLOCK_BYTES = 64 * 2**20
"""What is read at once; Tiled's servers refuse to give more than 300 MB by default."""

CHUNK_BYTES = 2**20
"""Smaller rows share a chunk."""


class Rows:
    """An array of a container that is made with its first rows, and grows by what is appended.

    The rows are sent to a server that shares no disk with this process, which compresses them: images of 2 MiB cost 20
    to 40 ms each. What the server can read from files is written by `bluesky_ext.storage.image_file`.

    Parameters
    ----------
    key : str
        The name of the array in it.
    row : NDArray
        An array as all rows will be: of this shape and dtype.
    length : int
        Rows that are there from the start, all zero; for arrays that are read up to an end they contain themselves.
    metadata : dict, optional
        For the array.
    """

    def __init__(
        self,
        key: str,
        row: NDArray[Any],
        *,
        length: int = 0,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.shape, self.dtype = row.shape, row.dtype
        self.count = 0
        """Rows appended, those that are not written yet too."""
        self._key, self._length = key, length
        self._metadata = dict(metadata or {})
        self._pending: list[NDArray[Any]] = []
        self._node: Node | None = None

    def takes(self, array: NDArray[Any]) -> bool:
        """Whether an array is as the rows are."""
        return array.shape == self.shape and array.dtype == self.dtype

    def append(self, rows: NDArray[Any]) -> int:
        """Keep rows, along the first axis, to be written by the next `flush`; return the number of the first."""
        first = self.count
        self._pending.append(rows)
        self.count += len(rows)
        return first

    def flush(self, parent: Node, *, tell: bool = True) -> None:
        """Write what was appended, into the container that is given; the catalogue knows of it then."""
        if not self._pending:
            return
        rows = np.concatenate(self._pending)
        first = self.count - len(rows)
        if self._node is None:
            self._node = self._create(parent, len(rows))
        self._node.extend(rows, (first, *(0 for _ in self.shape)))
        self._pending.clear()

    def _create(self, parent: Node, count: int) -> Node:
        from tiled.structures.array import ArrayStructure, BuiltinDtype  # pyright: ignore[reportMissingImports]
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
        from tiled.structures.data_source import DataSource  # pyright: ignore[reportMissingImports]

        chunk = self._length or min(count, shared_rows(self.shape, self.dtype.itemsize))
        # Zarr's chunks are all alike: the array begins with whole ones, and grows to its length by its rows.
        chunks = ((chunk,) * max(1, count // chunk), *even_chunks(self.shape, self.dtype.itemsize))
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(self.dtype),
            shape=tuple(map(sum, chunks)),
            chunks=chunks,
            dims=("time", *(f"{self._key}_{axis}" for axis in range(len(self.shape)))),
        )
        source = DataSource(structure=structure, structure_family=StructureFamily.array)
        return replaced(parent, self._key, self._metadata, source)


def shared_rows(shape: tuple[int, ...], itemsize: int) -> int:
    """How many rows are in a chunk: what a client asks for at once."""
    return max(1, CHUNK_BYTES // max(1, itemsize * math.prod(shape)))


def even_chunks(shape: tuple[int, ...], itemsize: int) -> list[tuple[int, ...]]:
    """Chunks of a row, all alike, of no more than 64 MiB: what a client asks for at once is one of them."""
    chunks, most = [], BLOCK_BYTES // itemsize
    for axis, count in enumerate(shape):
        inner = math.prod(shape[axis + 1 :])
        step = next(n for n in range(count, 0, -1) if count % n == 0 and (n * inner <= most or n == 1))
        chunks.append((step,) * (count // step))
        most = max(1, most // step)
    return chunks


def fetch(node: Any, start: int, stop: int) -> NDArray[Any]:
    """Return rows `start` to `stop` of an array, read-only: its bytes as they are, in as few requests as may be.

    Of an embedded catalogue, what is in an HDF5 file is read from that. Tiled's own slicing asks for each chunk, and
    compresses them for the way: 40 ms for an image of 2 MiB, against 8, and 0.5 from the file.
    """
    shape = (stop - start, *node.shape[1:])
    if (source := _hdf5(node)) is not None:
        with _opened(source) as dataset:
            # Events of one frame may be told of with an axis more than the file of their detector has.
            if dataset.shape[1:] == shape[1:]:
                array = dataset[start:stop]
                array.flags.writeable = False
                return array
    whole = [*_windows(shape, max(1, BLOCK_BYTES // node.dtype.itemsize))]
    if len(whole) <= 1:
        return _request(node, [slice(start, stop)]).reshape(shape)
    array = np.empty(shape, node.dtype)
    for rows, *axes in whole:
        part = _request(node, [slice(start + rows.start, start + rows.stop), *axes])
        array[rows, *axes] = part.reshape(array[rows, *axes].shape)
    array.flags.writeable = False
    return array


def length(node: Any) -> int:
    """The number of rows of an array: those in its file, as far as that is here, though the catalogue be told later."""
    if (source := _hdf5(node)) is None:
        return node.shape[0]
    with _opened(source) as dataset:
        return dataset.shape[0]


def _hdf5(node: Any) -> Any:
    """The data source of an array that is a dataset of one HDF5 file of this machine; None for others."""
    if directory_of(node) is None:
        return None
    (source,) = node.data_sources()
    parameters = source.parameters
    whole = parameters.get("dataset") and not parameters.get("slice") and not parameters.get("squeeze")
    return source if source.mimetype == "application/x-hdf5" and len(source.assets) == 1 and whole else None


@contextmanager
def _opened(source: Any) -> Iterator[Any]:
    import h5py
    from tiled.utils import path_from_uri  # pyright: ignore[reportMissingImports]

    parameters = source.parameters
    options = {key: parameters[key] for key in ("swmr", "locking") if key in parameters}
    # As Tiled opens it: what is open in this process already must be opened in the same way.
    with h5py.File(path_from_uri(source.assets[0].data_uri), "r", libver="latest", **options) as file:
        yield file[parameters["dataset"]]


def _request(node: Any, window: list[slice]) -> NDArray[Any]:
    from tiled.client.utils import handle_error, retry_context  # pyright: ignore[reportMissingImports]

    for attempt in retry_context():
        with attempt:
            response: Any = handle_error(
                node.context.http_client.get(
                    node.item["links"]["full"],
                    params={"slice": ",".join(f"{axis.start}:{axis.stop}" for axis in window)},
                    headers={"Accept": "application/octet-stream", "Accept-Encoding": "identity"},
                )
            )
            return np.frombuffer(response.content, node.dtype)
    raise AssertionError("retry_context gives a last attempt, which raises")


def _windows(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Yield what of the first axes makes blocks of no more items than `most`, which are all of an array together."""
    count, rest = shape[0], shape[1:]
    size = math.prod(rest)
    if size <= most:
        step = max(1, most // max(1, size))
        for first in range(0, count, step):
            yield (slice(first, min(count, first + step)),)
        return
    for n in range(count):
        for inner in _windows(rest, most):
            yield (slice(n, n + 1), *inner)


def is_key(name: str) -> bool:
    """Whether this can be a key in Tiled, whose addresses have trouble with the other characters."""
    return re.fullmatch(r"[\w.:@+=,~ -]{1,200}", name, re.ASCII) is not None and set(name) != {"."}


def is_storable(array: object) -> bool:
    """Whether Tiled keeps such an array as it is, to the last bit."""
    return (
        isinstance(array, np.ndarray)
        and array.ndim > 0
        and array.size > 0
        and array.dtype.kind in "biufc"
        and array.dtype.str[0] in "<|"
        and array.dtype.itemsize <= (16 if array.dtype.kind == "c" else 8)
    )
