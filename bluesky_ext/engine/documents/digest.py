"""The sha256 of what an analysis said: the same numbers give the same digest, live or replayed, on any executor.

Content is canonical when it does not depend on how it travelled: numpy and Python scalars of one value are equal, and
so are lists of numbers and arrays; uids, times and the order of arrival do not count, and of a repeated event the last
one does. Images, arrays of two dimensions or more, count bit by bit and by a digest of their own, many times as fast as
sha256: it tells whether images are the same, but does not withstand who makes another one on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
from xxhash import xxh3_128

#: What images count by.
IMAGES = "xxh3_128"

_BLOCK = 256
_SIZE = hashlib.sha256().digest_size
_COMMON = frozenset({np.dtype("<f8"), np.dtype("<i8")})


def _plain(value: Any) -> Any:
    """What msgpack does not know, in a form that it does."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        dtype = value.dtype if value.dtype.str[0] != ">" else value.dtype.newbyteorder("<")
        array = np.ascontiguousarray(value, dtype)
        if array.ndim > 1:
            return [dtype.str, list(array.shape), IMAGES, xxh3_128(array.reshape(-1).view(np.uint8).data).digest()]
        if dtype.kind == "f" and (nans := np.isnan(array)).any():  # of which there are many that differ in their bytes
            array = np.where(nans, dtype.type(np.nan), array)
        return [array.dtype.str, list(array.shape), array.tobytes()]
    if isinstance(value, int):  # beyond 64 bits
        return ["int", str(value)]
    raise TypeError(f"a {type(value).__name__} has no canonical form: give numbers, strings, arrays or lists of them")


def canonical(value: Any) -> bytes:
    """The bytes by which numbers, strings (of any kind), arrays and lists of them are known, whatever held them."""
    return msgpack.packb(value, default=_plain, unicode_errors="surrogatepass")  # pyright: ignore[reportReturnType]


def content(value: Any) -> Any:
    """A value of an event as it counts: a whole number is one however it is stored, a list of numbers is an array."""
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        array = as_array(value)
        return value if array is None else array
    return value


def as_array(value: list | tuple) -> np.ndarray | None:
    """The array that a list of numbers, or lists of them, stands for; None for another kind of list."""
    try:
        array = np.asarray(value)
    except ValueError:  # its rows differ in length
        return None
    return array if array.dtype.kind in "biufc" else None


def array_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's dtype, shape and content, as hex digits."""
    digest = hashlib.sha256(canonical([array.dtype.str, list(array.shape)]))
    if array.size:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class RunDigest:
    """The sha256 of a run's scalar and table output, of which the last word on each ``seq_num`` counts.

    A digest is kept for each event (32 bytes), since a resumed scan says some of them again; they lie in blocks, so
    that a hundred thousand events take 3 MB.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, dict[int, bytearray]] = {}
        self._pack = msgpack.Packer(default=_plain, buf_size=4096).pack

    def add(self, stream: str, seq_num: int, content: Any) -> None:
        """Take note of an event's content (anything canonical); it replaces an earlier one of this ``seq_num``."""
        block, at = divmod(seq_num, _BLOCK)
        blocks = self._blocks.get(stream)
        if blocks is None:
            blocks = self._blocks[stream] = {}
        digests = blocks.get(block)
        if digests is None:
            digests = blocks[block] = bytearray(_BLOCK * _SIZE)
        at *= _SIZE
        digests[at : at + _SIZE] = hashlib.sha256(self._pack(content)).digest()

    def add_table(self, stream: str, number: int, columns: Mapping[str, np.ndarray]) -> None:
        """Take note of a table, whose columns have one dimension; it replaces an earlier one of this number."""
        said: list[Any] = []
        for name in sorted(columns):
            column = columns[name]
            if column.dtype.str[0] == ">":
                column = column.astype(column.dtype.newbyteorder("<"))
            if column.dtype in _COMMON and column.dot(column) < np.inf:  # the quickest look for NaN
                said += (name, column.dtype.char, column.tobytes())
            else:
                said += (name, column if column.dtype.kind in "biufcmMSU" else column.tolist())
        self.add(stream, number, said)

    def hexdigest(self) -> str:
        """The digest of all that was said, as hex digits."""
        whole = hashlib.sha256()
        for stream, blocks in sorted(self._blocks.items()):
            whole.update(canonical(stream))
            for block, digests in sorted(blocks.items()):
                whole.update(canonical(block))
                whole.update(digests)
        return whole.hexdigest()
