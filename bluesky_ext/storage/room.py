"""Room on disks: what a run will need, as far as its first documents tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["expected_bytes", "room_of"]


def expected_bytes(start: Mapping[str, Any], descriptor: Mapping[str, Any]) -> int:
    """Return how many bytes the arrays of a stream will have; 0 if that is not known, or it is not the main stream.

    Examples
    --------
    >>> image = {"dtype": "array", "shape": [1, 100, 100], "dtype_numpy": "<u2"}
    >>> expected_bytes({"num_points": 5}, {"name": "primary", "data_keys": {"image": image}})
    100000
    """
    points = start.get("num_points")
    if not isinstance(points, int) or descriptor.get("name", "primary") != "primary":
        return 0
    return points * sum(map(_bytes, descriptor["data_keys"].values()))


def _bytes(described: Mapping[str, Any]) -> int:
    shape = described.get("shape") or ()
    if described.get("dtype") != "array" or described.get("external") or not all(isinstance(n, int) for n in shape):
        return 0
    try:
        return np.dtype(described.get("dtype_numpy", "f8")).itemsize * math.prod(shape)
    except TypeError:
        return 0


def room_of(backup: Path, images: Path | None) -> list[tuple[Path, list[str]]]:
    """Return a directory for each disk, and what is written to it: the backup, the files of images, or both."""
    found: dict[int, tuple[Path, list[str]]] = {}
    for path, what in ((images, "catalogue"), (backup, "backup")):
        if path is not None and path.is_dir():
            found.setdefault(path.stat().st_dev, (path, []))[1].append(what)
    return [*found.values()]
