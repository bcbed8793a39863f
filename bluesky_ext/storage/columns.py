"""Columns: the values of a data key over the events of a stream, as one array."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.storage.rows import BLOCK_BYTES, fetch
from bluesky_ext.storage.stored import array_of

__all__ = ["StoredRows", "column"]

logger = logging.getLogger(__name__)

_BLOCK = BLOCK_BYTES // 4


class StoredRows(NamedTuple):
    """Where the array of an event is: one row of an array, or several."""

    stream: str
    first: int
    height: int
    """How many rows; 0: the row itself, without an axis of rows."""


def column(run: Any, stream: str, key: str, values: Sequence[Any], described: Mapping[str, Any]) -> Any:
    """The values of a key, one for each event, as an array; None if they are in files, and cannot be read.

    Rows of arrays in the catalogue and images in files become a dask array, which reads them when it is computed.

    Parameters
    ----------
    run : client
        The run that the arrays are in.
    stream, key : str
        Where the values are from.
    values : sequence
        The values, `StoredRows` or `FrameReference`; None where there is none.
    described : dict
        What the descriptor says of the key.
    """
    if any(isinstance(value, FrameReference) for value in values):
        return _of_files(f"{stream}/{key}", values)
    rows = [value for value in values if isinstance(value, StoredRows)]
    if rows and len(rows) == len(values) and len({row.height for row in rows}) == 1:
        return _lazy(array_of(run, rows[0].stream, key), rows)
    if rows:
        node = array_of(run, rows[0].stream, key)
        values = [_fetched(node, value) if isinstance(value, StoredRows) else value for value in values]
    return _array(values, described)


def _fetched(node: Any, rows: StoredRows) -> np.ndarray:
    block = fetch(node, rows.first, rows.first + (rows.height or 1))
    return block if rows.height else block[0]


def _array(values: Sequence[Any], described: Mapping[str, Any]) -> np.ndarray:
    dtype = described.get("dtype_numpy")
    kinds = [_kind(value) for value in values]
    shapes = {shape for shape, _ in kinds}
    types = {kind for _, kind in kinds}
    if isinstance(dtype, str) and shapes == {()}:
        try:
            scalars = np.asarray(values, np.dtype(dtype))
        except (TypeError, ValueError, OverflowError):
            scalars = None
        if scalars is not None and all(map(_same, scalars.tolist(), values)):
            return scalars
    if len(shapes) == 1 and (types <= {*"biufc"} or (len(types) == 1 and types <= {*"USMm"})):
        return np.asarray(values)
    if types <= {*"iufO"} and all(
        value is None or (shape == () and kind != "O") for value, (shape, kind) in zip(values, kinds, strict=True)
    ):
        return np.asarray([np.nan if value is None else value for value in values])
    objects = np.empty(len(values), object)
    for n, value in enumerate(values):
        objects[n] = value
    return objects


def _kind(value: Any) -> tuple[tuple[int, ...], str]:
    """The shape of a value and the kind of its dtype; of a ragged list, those of an object."""
    try:
        array = np.asarray(value)
    except ValueError:
        return (), "O"
    return array.shape, array.dtype.kind


def _same(one: Any, value: Any) -> bool:
    other = np.asarray(value).item()
    return bool(one == other or (one != one and other != other))


def _lazy(node: Any, rows: list[StoredRows]) -> Any:
    """Return rows of an array as a dask array that reads neighbours at once."""
    import dask.array as da  # pyright: ignore[reportMissingImports]
    from dask.delayed import delayed  # pyright: ignore[reportMissingImports]

    numbers = [number for row in rows for number in range(row.first, row.first + (row.height or 1))]
    size = max(1, int(np.prod(node.shape[1:])) * node.dtype.itemsize)
    most = max(1, _BLOCK // size)
    parts, begin = [], 0
    for n in range(1, len(numbers) + 1):
        if n == len(numbers) or numbers[n] != numbers[n - 1] + 1:
            for first in range(begin, n, most):
                stop = min(n, first + most)
                parts.append((numbers[first], numbers[stop - 1] + 1))
            begin = n
    read_rows = delayed(fetch, pure=True)
    stack = da.concatenate(
        [
            da.from_delayed(read_rows(node, start, stop), (stop - start, *node.shape[1:]), node.dtype)
            for start, stop in parts
        ]
    )
    count = rows[0].height
    return stack.reshape((len(rows), count, *node.shape[1:])) if count else stack


def _of_files(about: str, values: Sequence[Any]) -> Any:
    """Return images in files as a dask array, a block for each; None, and a warning, if none can be read."""
    import dask.array as da  # pyright: ignore[reportMissingImports]
    from dask.delayed import delayed  # pyright: ignore[reportMissingImports]

    first: np.ndarray | None = None
    lost: Exception | None = None
    for value in values:
        if not isinstance(value, FrameReference):
            continue
        try:
            # What the descriptor says of shape and dtype is wrong often enough.
            first = value.read(patience=0)
        except (OSError, ValueError, LookupError, TypeError, ImportError) as error:
            lost = lost or error
        else:
            break
        if lost is not None and not isinstance(lost, OSError):
            break  # it can never be read, nor can the others
    if lost is not None:
        logger.warning("%s: an image in a file cannot be read: %s", about, lost)
    if first is None:
        return None
    shape, dtype = first.shape, first.dtype
    alike = [value is None or isinstance(value, FrameReference) for value in values]
    if not all(alike):
        logger.warning("%s: of %d events, %d have no image in a file", about, len(values), alike.count(False))
        values = [value if ok else None for value, ok in zip(values, alike, strict=True)]
    gaps = any(value is None for value in values)
    if gaps:
        dtype = np.promote_types(dtype, np.float32)  # there must be room for NaN
    image = delayed(_image, pure=False)
    nothing = da.full(shape, np.nan, dtype) if gaps else None
    return da.stack([nothing if v is None else da.from_delayed(image(v, shape, dtype), shape, dtype) for v in values])


def _image(reference: FrameReference, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    image = reference.read(patience=0)
    if image.shape != shape:
        raise ValueError(f"{reference.file} has an image of shape {image.shape} among those of {shape}")
    return image.astype(dtype, copy=False)
