"""Tables: the scalars of a stream's events, where every client of Tiled looks for them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bluesky_ext.storage.metadata import as_json, text
from bluesky_ext.storage.node import Node

if TYPE_CHECKING:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

__all__ = ["TABLE", "Table"]

logger = logging.getLogger(__name__)

TABLE = "internal"
"""The key of the table of a stream, as `TiledWriter` has it."""

_ROWS = 100_000  # of a partition, which is a file
_JSON_DTYPES = {"integer": "i8", "number": "f8", "boolean": "?"}


class Table:
    """The table of a stream: `append` rows, `flush` them to a temporary file, and at the end `write` the table.

    It has the columns seq_num, time, and for each scalar data key of the descriptor the value, with its dtype, and as
    ``ts_{key}`` its timestamp. It is there to be looked at: values that are not of the dtype are null here, and whole
    in the log of the run. It is written at the end, as a file: the tables that Tiled lets grow are SQL, and of several
    that grow at once in one SQLite, an append fails ("database is locked"), which cannot be tried again without
    the danger that rows are there twice.

    Parameters
    ----------
    data_keys : dict
        Those of the stream's first descriptor.
    """

    def __init__(self, data_keys: Mapping[str, Any]) -> None:
        self._dtypes: dict[str, np.dtype | None] = {"seq_num": np.dtype("i8"), "time": np.dtype("f8")}
        for key, described in data_keys.items():
            stamp = f"ts_{key}"
            scalar = described.get("dtype") != "array" and not described.get("external") and not described.get("shape")
            if scalar and not {key, stamp} & self._dtypes.keys():
                self._dtypes |= {key: _dtype(described), stamp: np.dtype("f8")}
        self._rows: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None
        self._stored: Any = None
        self._schema: Any = None
        self._count = 0

    def __contains__(self, key: str) -> bool:
        return key in self._dtypes

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Keep rows, as dicts; what they have beside the columns is left out."""
        if self._dtypes:
            self._rows.extend({name: row.get(name) for name in self._dtypes} for row in rows)

    def flush(self) -> None:
        """Put what was appended into the temporary file."""
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        if not self._rows:
            return
        try:
            columns = {
                text(name): _column([row[name] for row in self._rows], dtype) for name, dtype in self._dtypes.items()
            }
            table = pa.table(columns)
            if self._stored is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is there until `close`
                self._stored = pa.ipc.new_stream(self._file, table.schema)
                self._schema = table.schema
            self._stored.write_table(table)
        except (ValueError, TypeError, LookupError, OSError) as error:
            # The run is in its log, and must not stop for what is there to be looked at.
            logger.warning("the table of a stream is left out, its events are kept (%s)", " ".join(str(error).split()))
            self.close()
            self._file = None
            self._dtypes.clear()
        else:
            self._count += len(self._rows)
        self._rows.clear()

    def write(self, stream: Node) -> None:
        """Write the table, if there is a row, into the container of its stream."""
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
        from tiled.structures.data_source import DataSource  # pyright: ignore[reportMissingImports]
        from tiled.structures.table import TableStructure  # pyright: ignore[reportMissingImports]

        self.flush()
        if self._file is None:
            return
        self._stored.close()
        structure = TableStructure.from_schema(self._schema, -(-self._count // _ROWS))
        source = DataSource(structure=structure, structure_family=StructureFamily.table)
        node = stream.create(TABLE, {}, source=source)
        for number, part in enumerate(_parts(self._file)):
            node.write_partition(number, part)

    def close(self) -> None:
        """Give up the temporary file."""
        if self._file is not None:
            self._file.close()


def _parts(file: IO[bytes]) -> Iterator[pa.Table]:
    """The rows again, as many as a partition has."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    file.seek(0)
    kept: list[pa.RecordBatch] = []
    for batch in pa.ipc.open_stream(file):
        kept.append(batch)
        while sum(map(len, kept)) >= _ROWS:
            table = pa.Table.from_batches(kept)
            yield table[:_ROWS]
            kept = table[_ROWS:].to_batches()
    if kept:
        yield pa.Table.from_batches(kept)


def _dtype(described: Mapping[str, Any]) -> np.dtype | None:
    """The dtype of a scalar column; None for text."""
    try:
        dtype = np.dtype(described["dtype_numpy"])
    except (KeyError, TypeError, ValueError):
        dtype = np.dtype(_JSON_DTYPES.get(described.get("dtype", ""), "U"))
    return dtype.newbyteorder("=") if dtype.kind in "biuf" and dtype.itemsize <= 8 else None


def _column(values: list[Any], dtype: np.dtype | None) -> pa.Array:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    if dtype is None:
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    return pa.array([_value(value, dtype) for value in values], pa.from_numpy_dtype(dtype))


def _value(value: Any, dtype: np.dtype) -> Any:
    """The value as Python has it, None if it is not of the dtype."""
    if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
        value = value.item()
    match dtype.kind:
        case "f" if isinstance(value, int | float):
            return _float(value)
        case "b" if isinstance(value, bool | int):
            return bool(value)
        case "i" | "u" if isinstance(value, int | float) and value == value // 1:
            limits = np.iinfo(dtype)
            return int(value) if limits.min <= value <= limits.max else None
    return None


def _float(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:  # an int
        return None


def _text(value: Any) -> str:
    plain = as_json(value)
    return plain if isinstance(plain, str) else str(plain)
