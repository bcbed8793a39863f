"""Values of a tree as HDF5 holds them: arrays of numbers, and text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from numbers import Number
from typing import Any

import h5py
import numpy as np


def computed(value: Any) -> Any:
    """A value, or what comes of calling it, if it is a function."""
    if not isinstance(value, Callable) or isinstance(value, type):
        return value
    try:
        return value()
    except Exception as error:  # of the user's code
        raise ValueError(f"it raised {type(error).__name__}: {error}") from error


def storable(value: Any) -> Any:
    """The array for a value: numbers, or text in UTF-8; `h5py.Empty` for None. In lists of numbers, None is NaN.

    Raises
    ------
    TypeError, ValueError
        If HDF5 can't hold it.

    Examples
    --------
    >>> storable([1, None, 2.5])
    array([1. , nan, 2.5])
    >>> storable([[1, 2], [3]])
    Traceback (most recent call last):
    ValueError: it is a list of lists that differ in length: make them of one length, or several values
    """
    if value is None:
        return h5py.Empty("f4")
    if isinstance(value, bytes | bytearray):
        return _text_or_bytes(bytes(value))
    try:
        array = np.asarray(value)
    except ValueError:
        kind = type(value).__name__
        raise ValueError(
            f"it is a {kind} of {kind}s that differ in length: make them of one length, or several values"
        ) from None
    if array.dtype.kind == "O":
        parts = set(map(type, array.flat))
        if all(one is type(None) or issubclass(one, Number | np.number) for one in parts):
            return array.astype(float)
        if parts != {str}:
            kinds = " and ".join(sorted(one.__name__ for one in parts))
            whole = f"{type(value).__name__} of {kinds}" if array.ndim else kinds
            raise TypeError(f"it is a {whole}: make it numbers, text, or lists or dicts of these")
        array = array.astype(str)
    if array.dtype.kind == "U":
        return _encoded(array)
    if array.dtype.kind not in "biufcSV":
        raise TypeError(f"its dtype is {array.dtype}: make it numbers or text")
    return array


def _text_or_bytes(value: bytes) -> np.ndarray:
    """Text, if it is that in UTF-8, as most files with settings are, else an array of bytes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    return np.frombuffer(value, np.uint8) if "\0" in text else _encoded(np.array(text))


def _encoded(text: np.ndarray) -> np.ndarray:
    """Text of a fixed length: the other kind lies apart in a file, and is lost when a process is killed in between."""
    encoded = np.char.encode(text, "utf-8")
    return encoded.astype(h5py.string_dtype("utf-8", encoded.dtype.itemsize))


def check_name(name: object) -> None:
    """Refuse what is no name of an object in a file."""
    if not isinstance(name, str):
        raise TypeError(f"the name {name!r:.100} is a {type(name).__name__}: give text")
    if not name or name == "." or "/" in name or "\0" in name:
        raise ValueError(
            f"{name!r:.100} is no name in a file: give one without slashes, and dicts in dicts for groups in groups"
        )


def split_attributes(
    tree: Mapping[Any, Any], others: Collection[str] = ()
) -> tuple[dict[str, Any], dict[Any, Any], dict[Any, Mapping[str, Any]]]:
    """The attributes of a dict of a tree (``_attrs``), its values, and the attributes of these (``<name>_attrs``).

    There may be attributes of ``others`` too, whose values are elsewhere.
    """
    own: dict[str, Any] = {}
    values: dict[Any, Any] = {}
    attributes: dict[Any, Mapping[str, Any]] = {}
    for name, value in tree.items():
        of = name.removesuffix("_attrs") if isinstance(name, str) and isinstance(value, Mapping) else name
        if name == "_attrs" and of != name:
            own.update(value)
        elif of != name and (of in tree or of in others):
            attributes[of] = value
        else:
            values[name] = value
    return own, values, attributes
