"""Values as HDF5 has them: arrays of numbers, texts and records, and how these are told over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.printable import printable

#: Bytes that are copied and sent at a time.
BLOCK = 1 << 20

_TEXT = {"class": "H5T_STRING", "charSet": "H5T_CSET_UTF8", "strPad": "H5T_STR_NULLTERM", "length": "H5T_VARIABLE"}


def as_hdf5(value: Any) -> np.ndarray | None:
    """The array that a value is in HDF5: of numbers, booleans, bytes, records, or of str as objects; None if empty.

    What HDF5 can't hold is a text that tells what it is.

    Examples
    --------
    >>> as_hdf5(["Fe K", "W L"]), as_hdf5(2.5)
    (array(['Fe K', 'W L'], dtype=object), array(2.5))
    """
    if value is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return _texts(np.array(text_of(value), object))
    kind = array.dtype.kind
    if array.dtype.names:
        return _without_objects(array)
    if kind in "fc" and array.itemsize > (8 if kind == "f" else 16):  # longer than any client knows
        return array.astype(np.float64 if kind == "f" else np.complex128)
    if kind in "biufc" or (kind == "S" and array.itemsize):
        return array
    if kind in "mM":
        return np.datetime_as_string(array).astype(object) if kind == "M" else array.astype(np.int64)
    if all(one is None or isinstance(one, int | float) for one in array.flat):
        return array.astype(float)  # numbers and None, which is NaN
    return _texts(array)


def datatype(dtype: np.dtype) -> dict[str, Any]:
    """The type of an array of `as_hdf5` as HDF5's JSON has it."""
    order = "BE" if dtype.str[0] == ">" else "LE"
    kind, bits = dtype.kind, 8 * dtype.itemsize
    if dtype.names:
        fields = [{"name": name, "type": datatype(dtype[name])} for name in dtype.names]
        return {"class": "H5T_COMPOUND", "fields": fields}
    if dtype.subdtype is not None:
        base, dims = dtype.subdtype
        return {"class": "H5T_ARRAY", "base": datatype(base), "dims": list(dims)}
    if kind == "f":
        return {"class": "H5T_FLOAT", "base": f"H5T_IEEE_F{bits}{order}"}
    if kind in "iu":
        return {"class": "H5T_INTEGER", "base": f"H5T_STD_{kind.upper()}{bits}{order}"}
    if kind == "b":  # h5pyd 1.0 reads the members, earlier ones the mapping
        base = {"class": "H5T_INTEGER", "base": "H5T_STD_I8LE"}
        members = {"FALSE": 0, "TRUE": 1}
        named = [{"name": name, "value": value} for name, value in members.items()]
        return {"class": "H5T_ENUM", "base": base, "members": named, "mapping": members}
    if kind == "c":
        part = {"class": "H5T_FLOAT", "base": f"H5T_IEEE_F{bits // 2}{order}"}
        return {"class": "H5T_COMPOUND", "fields": [{"name": name, "type": part} for name in "ri"]}
    if kind in "SV":
        return _TEXT | {"charSet": "H5T_CSET_ASCII", "strPad": "H5T_STR_NULLPAD", "length": dtype.itemsize}
    return _TEXT


def dataspace(array: np.ndarray | None) -> dict[str, Any]:
    """The shape of an array as HDF5's JSON has it."""
    if array is None:
        return {"class": "H5S_NULL"}
    if array.ndim == 0:
        return {"class": "H5S_SCALAR"}
    return {"class": "H5S_SIMPLE", "dims": list(array.shape)}


def as_json(array: np.ndarray | None) -> Any:
    """The items of an array as lists, with records and complex numbers as lists too."""
    if array is None:
        return None
    if array.dtype.kind == "c":
        array = np.stack([np.real(array), np.imag(array)], axis=-1)
    return _plain(array.tolist())


def dumped(content: Any) -> bytes:
    """JSON; numbers that are not finite are NaN and Infinity, which h5pyd reads."""
    return json.dumps(content, separators=(",", ":")).encode()


def blocks(array: np.ndarray) -> Iterator[bytes | memoryview]:
    """The items of an array as bytes, in the order of C, in blocks that are made when they are asked for.

    A text has four bytes before it, little-endian, that tell how many its own are.
    """
    if array.dtype.hasobject:
        texts = [text.encode() for text in array.ravel().tolist()]
        yield b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    elif array.flags.c_contiguous:
        flat: Any = array.reshape(-1).view(np.uint8) if array.size else b""
        whole = memoryview(flat)
        for first in range(0, len(whole), BLOCK):
            yield whole[first : first + BLOCK]
    elif array.ndim:
        rows = max(1, BLOCK // max(1, array[:1].nbytes))
        for first in range(0, len(array), rows):
            yield from blocks(np.ascontiguousarray(array[first : first + rows]))


def text_of(value: Any) -> str:
    """A value as a text that UTF-8 can hold: a lone half of a character is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else printable(value)
    return text.encode("utf-8", "replace").decode()


def _texts(array: np.ndarray) -> np.ndarray:
    made = np.empty(array.shape, object)
    made.ravel()[:] = [text_of(one) for one in array.ravel().tolist()]
    return made


def _without_objects(array: np.ndarray) -> np.ndarray:
    """Records whose texts have a fixed length in UTF-8."""
    columns: dict[str, np.ndarray] = {}
    for name in array.dtype.names or ():
        column = array[name]
        if column.dtype.names:
            column = _without_objects(column)
        elif column.dtype.kind in "OU":
            texts = [text_of(one).encode() for one in column.ravel().tolist()]
            column = np.array(texts, "S").reshape(column.shape)
        elif column.dtype.kind in "mM":
            column = column.astype(np.int64)
        columns[name] = column
    kinds = {name: column.dtype if column.dtype.itemsize else "S1" for name, column in columns.items()}
    fields: list[Any] = [(name, kind, columns[name].shape[array.ndim :]) for name, kind in kinds.items()]
    made = np.empty(array.shape, fields)
    for name, column in columns.items():
        made[name] = column
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return text_of(value) if isinstance(value, bytes) else value
