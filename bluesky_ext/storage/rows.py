"""Arrays of a Tiled catalogue that grow by rows, one an event, and are read in blocks of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "Rows", "fetch", "is_key", "is_storable"]

BLOCK_BYTES = 64 * 2**20
"""What is read at once; Tiled's servers refuse to give more than 300 MB by default."""

_CHUNK_BYTES = 2**20  # smaller rows share a chunk, which is a file


class Rows:
    """An array of a container that is made with its first rows, and grows by what is appended.

    Arrays are written through Tiled's own interface and not to HDF5 files beside it, so that a server on another
    machine takes them as an embedded catalogue does. On this way images of 2 MiB cost 20 to 40 ms each, 20 at a time
    and compressed by zarr (4.4 times less for `TiledWriter`'s own way, 1.4 ms for h5py without compression).

    Parameters
    ----------
    parent : client
        The container.
    key : str
        The name of the array in it.
    row : NDArray
        An array as all rows will be: of this shape and dtype.
    length : int
        Rows that are there from the start, all zero; for arrays that are read up to an end they contain themselves.
    replace : bool
        Whether an array that is there is deleted, if it is in the way; otherwise that is an error.
    """

    def __init__(self, parent: Any, key: str, row: NDArray[Any], *, length: int = 0, replace: bool = False) -> None:
        self.shape, self.dtype = row.shape, row.dtype
        self.count = 0
        """Rows appended, those that are not written yet too."""
        self._parent, self._key, self._length, self._replace = parent, key, length, replace
        self._pending: list[NDArray[Any]] = []
        self._node: Any = None

    def takes(self, array: NDArray[Any]) -> bool:
        """Whether an array is as the rows are."""
        return array.shape == self.shape and array.dtype == self.dtype

    def append(self, rows: NDArray[Any]) -> int:
        """Keep rows, along the first axis, to be written by the next `flush`; return the number of the first."""
        first = self.count
        self._pending.append(rows)
        self.count += len(rows)
        return first

    def flush(self) -> None:
        """Write what was appended."""
        if not self._pending:
            return
        rows = np.concatenate(self._pending)
        first = self.count - len(rows)
        if self._node is None:
            self._node = self._create(len(rows))
        self._node.patch(rows, offset=(first, *(0 for _ in self.shape)), extend=True)
        self._pending.clear()

    def _create(self, count: int) -> Any:
        from tiled.client.utils import ClientError  # pyright: ignore[reportMissingImports]
        from tiled.structures.array import ArrayStructure, BuiltinDtype  # pyright: ignore[reportMissingImports]
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
        from tiled.structures.data_source import DataSource  # pyright: ignore[reportMissingImports]

        size = max(1, self.dtype.itemsize * int(np.prod(self.shape)))
        chunk = self._length or min(count, max(1, _CHUNK_BYTES // size))
        # Zarr's chunks are all alike: the array begins with whole ones, and grows to its length by its rows.
        chunks = ((chunk,) * max(1, count // chunk), *((n,) for n in self.shape))
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(self.dtype),
            shape=tuple(map(sum, chunks)),
            chunks=chunks,
            dims=("time", *(f"{self._key}_{axis}" for axis in range(len(self.shape)))),
        )
        source = DataSource(structure=structure, structure_family=StructureFamily.array)
        try:
            return self._parent.new(StructureFamily.array, [source], key=self._key)
        except ClientError as error:
            if error.response.status_code != 409 or not self._replace:
                raise
        self._parent[self._key].delete(external_only=False)
        return self._parent.new(StructureFamily.array, [source], key=self._key)


def fetch(node: Any, start: int, stop: int) -> NDArray[Any]:
    """Return rows `start` to `stop` of an array: one request, of its bytes as they are.

    Tiled's own slicing asks for each chunk, and compresses them for the way: 40 ms for an image of 2 MiB, against 8.
    """
    from tiled.client.utils import handle_error, retry_context  # pyright: ignore[reportMissingImports]

    for attempt in retry_context():
        with attempt:
            response: Any = handle_error(
                node.context.http_client.get(
                    node.item["links"]["full"],
                    params={"slice": f"{start}:{stop}"},
                    headers={"Accept": "application/octet-stream", "Accept-Encoding": "identity"},
                )
            )
            shape = (stop - start, *node.shape[1:])
            return np.frombuffer(response.content, node.dtype).reshape(shape)
    raise AssertionError("retry_context gives a last attempt, which raises")


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
