"""Selections: which part of a dataset is asked for, as HDF5 over HTTP writes it."""

from __future__ import annotations

import re

import numpy as np
from numpy.lib.recfunctions import repack_fields

_ITEM = re.compile(r"\[[^\[\]]*\]|[^,\[\]]+")
_SLICE = re.compile(r"(\d*):(\d*)(?::(\d+))?")
#: Where lists or points make a copy, no larger one is made.
LARGEST_COPY = 256 << 20


class TooLarge(ValueError):  # noqa: N818 - it tells of the selection
    """A selection of more than a request may get."""


def selected(array: np.ndarray, select: str) -> np.ndarray:
    """The part of an array that ``[0:2,3,1:9:2,[1,5]]`` selects, with all its dimensions; ValueError if there is none.

    Examples
    --------
    >>> selected(np.arange(6).reshape(2, 3), "[0:2,1]")
    array([[1],
           [4]])
    """
    text = "".join(select.split())
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"select={select!r:.100}: give it in brackets, as in [0:2,3]")
    items = _ITEM.findall(text[1:-1])
    if ",".join(items) != text[1:-1] or len(items) != array.ndim:
        raise ValueError(f"select={select!r:.100}: give {array.ndim} items, as the dataset has the shape {array.shape}")
    at = [_part(item, length) for item, length in zip(items, array.shape, strict=True)]
    lists = [axis for axis, part in enumerate(at) if isinstance(part, np.ndarray)]
    if len(lists) > 1:
        raise ValueError(f"select={select!r:.100}: give a list for one dimension, or POST points")
    for axis in lists:
        whole = tuple(slice(None) if other == axis else part for other, part in enumerate(at))
        _check_size(len(at[axis]) * array[whole].nbytes // max(1, array.shape[axis]))  # pyright: ignore
    return array[tuple(at)]


def selected_points(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The items at so many points, (n,); these are (n * ndim,) unsigned integers, or (n, ndim)."""
    if array.ndim == 0 or points.size % array.ndim:
        raise ValueError(f"{points.size} numbers are no points of a dataset of shape {array.shape}")
    points = points.reshape(-1, array.ndim)
    _check_size(len(points) * array.itemsize)
    if (points >= array.shape).any():
        raise ValueError(f"points are out of the shape {array.shape}")
    return array[tuple(points.astype(np.intp).T)]


def fields_of(array: np.ndarray, fields: str) -> np.ndarray:
    """These fields of records, a:b:c; ValueError if there is no such field."""
    names = fields.split(":")
    if missing := sorted(set(names) - set(array.dtype.names or ())):
        raise ValueError(f"fields={fields!r:.100}: there are {array.dtype.names or 'none'}, and no {missing[0]!r:.100}")
    return array[names[0]] if len(names) == 1 else repack_fields(array[names])


def _part(item: str, length: int) -> slice | np.ndarray:
    if item.startswith("["):
        numbers = item[1:-1].split(",")
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{item:.100} is no list of numbers")
        picked = np.array([int(number) for number in numbers], object)
        if picked[-1] >= length or (picked[1:] <= picked[:-1]).any():
            raise ValueError(f"{item:.100}: give numbers that rise, below {length}")
        return picked.astype(np.intp)
    if item.isdecimal():
        first, last, step = int(item), int(item) + 1, 1
    elif found := _SLICE.fullmatch(item):
        first, last = int(found[1] or 0), int(found[2] or length)
        step = int(found[3] or 1)
    else:
        raise ValueError(f"{item!r:.100}: give a number, a slice as 0:10:2, or a list")
    if not first <= last <= length or step < 1:
        raise ValueError(f"{item:.100} is out of the dataset: it has {length} along this dimension")
    return slice(first, last, step)


def _check_size(size: int) -> None:
    if size > LARGEST_COPY:
        raise TooLarge(f"{size} bytes are asked for at once: ask for {LARGEST_COPY} at most, or for slices")
