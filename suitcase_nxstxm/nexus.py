"""The words of a NeXus file: groups with their class, text, times, names that are legal."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike

LARGE = 1 << 20
"""Arrays of more bytes than this are compressed."""


def legal(name: str) -> str:
    """A name that NeXus allows, as like the given one as it can be: letters, digits and ``_``, no digit first.

    The rules allow dots inside of names and digits before them as well (https://manual.nexusformat.org/datarules.html),
    but nexusformat's validator doesn't.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return cleaned if re.match(r"[A-Za-z_]", cleaned) else f"_{cleaned}"


def legal_names(name: str) -> Iterator[str]:
    """The legal form of a name, and the others that a thing gets where something else has that: with ``_2``, ..."""
    yield legal(name)
    yield from (f"{legal(name)}_{number}" for number in itertools.count(2))


def name_in(parent: h5py.Group, wanted: str, original: str) -> str:
    """The name that a thing has in a group by its attribute ``name``, else a legal one that is free there."""
    for candidate in legal_names(wanted):
        found = parent.get(candidate)
        if found is None or (isinstance(found, h5py.HLObject) and found.attrs.get("name") == original):
            return candidate
    raise AssertionError


def group(parent: h5py.Group, name: str, nx_class: str, /, **attributes: object) -> h5py.Group:
    """The group of this name and class, made if it isn't there."""
    found = parent.get(name)
    if found is None:
        made = parent.create_group(name, track_order=nx_class == "NXentry")
        made.attrs["NX_class"] = nx_class
        for key, value in attributes.items():
            made.attrs[key] = value
        return made
    if not isinstance(found, h5py.Group):
        raise TypeError(f"{name} of {parent.name} is a dataset where a {nx_class} should be")
    return found


def text(parent: h5py.Group, name: str, value: str) -> None:
    """Write text as an array of one: the readers of this field take its first element."""
    # Of fixed length, because some of them (Mantis) decode what they get, and h5py has decoded the others already.
    put(parent, name, np.array([value.encode() or b" "]))


def put(parent: h5py.Group, name: str, value: ArrayLike | str, /, **attributes: object) -> None:
    """Write a small dataset with those of its attributes that are known."""
    made = parent.create_dataset(name, data=value if isinstance(value, str) else np.asarray(value))
    for key, item in attributes.items():
        if item is not None:
            made.attrs[key] = item


def iso_time(seconds: float, zone: tzinfo | None = None) -> str:
    """A time since the epoch in ISO 8601 with its offset from UTC, in the given zone or in UTC."""
    return datetime.fromtimestamp(seconds, zone or UTC).isoformat()


def array(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> h5py.Dataset:
    """A dataset that is compressed if it is large; where nothing is written to floats they are NaN."""
    dtype = np.dtype(dtype)
    if options.pop("large", math.prod(shape) * dtype.itemsize > LARGE):
        options = {"chunks": True, "compression": "gzip", "compression_opts": 1, "shuffle": True} | options
    return parent.create_dataset(name, shape, dtype, fillvalue=np.nan if dtype.kind == "f" else None, **options)
