"""Arrays as one answer: a header in JSON, and after it the arrays, little-endian."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi.responses import Response

from bluesky_ext.view.values import text_of

BINARY = "application/octet-stream"
#: What the arrays begin and end at a multiple of, in bytes: typed arrays of a browser want it.
ALIGNED = 8


def packed(arrays: Mapping[str, np.ndarray], **said: Any) -> bytes:
    """The arrays and what is said of them.

    First the length of the header, as uint32; the header, in JSON, with spaces behind it; and the arrays one after
    another. The header has ``arrays``, a list of ``name``, ``dtype`` and ``shape``, beside what is ``said``. Header and
    arrays end at multiples of 8 bytes.

    Examples
    --------
    >>> packed({"x": np.array([1.0])}, unit="mm")[4:72]
    b'{"unit":"mm","arrays":[{"name":"x","dtype":"<f8","shape":[1]}]}     '
    """
    plain = {name: _plain(array) for name, array in arrays.items()}
    about = [{"name": name, "dtype": one.dtype.str, "shape": list(one.shape)} for name, one in plain.items()]
    header = json.dumps(finite({**said, "arrays": about}), separators=(",", ":"), allow_nan=False).encode()
    header += b" " * (-(4 + len(header)) % ALIGNED)
    parts = [len(header).to_bytes(4, "little"), header]
    for one in plain.values():
        parts += [one.tobytes(), bytes(-one.nbytes % ALIGNED)]
    return b"".join(parts)


def answer(arrays: Mapping[str, np.ndarray], headers: Mapping[str, str] | None = None, **said: Any) -> Response:
    """The arrays as an answer."""
    return Response(packed(arrays, **said), headers=dict(headers or {}), media_type=BINARY)


def narrow(values: np.ndarray) -> np.ndarray:
    """Floats as float32, unless they would lose what tells them apart; bool and integers that float32 holds too."""
    values = np.asarray(values)
    if values.dtype.kind == "b" or values.dtype.itemsize < 3:
        return values.astype("<f4")
    values = values.astype("<f8", copy=False)
    known = np.abs(values[np.isfinite(values)])
    if known.size:
        largest, spread = known.max(), np.ptp(values[np.isfinite(values)])
        least = known[known > 0].min(initial=largest)
        if largest > 1e38 or 0 < least < 1e-37 or 0 < spread < 1e-4 * largest:
            return values
    return values.astype("<f4")


def finite(content: Any) -> Any:
    """Content as strict JSON has it: numbers that are not finite are None, texts are such that UTF-8 can hold."""
    if isinstance(content, Mapping):
        return {text_of(str(key)): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, np.ndarray | np.generic):
        return finite(content.tolist())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return text_of(content) if isinstance(content, str) else content


def _plain(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        return array.astype("u1")
    if array.dtype.kind == "f" and array.itemsize not in (4, 8):  # half and long double are not known to browsers
        return array.astype("<f4" if array.itemsize < 4 else "<f8")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
