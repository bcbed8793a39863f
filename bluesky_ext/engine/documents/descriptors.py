"""What a descriptor of a derived run says: of each key, and of the devices that it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.digest import as_array
from bluesky_ext.engine.documents.provenance import Provenance

# What a data key says of a value, rather than of where it comes from.
_ABOUT_VALUE = ("dtype", "dtype_numpy", "shape", "external", "dims", "precision", "choices", "limits")


def data_key(value: Any, source: str, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a descriptor says of a value: its dtype, shape and source, and what ``like`` says beside (units, names).

    Examples
    --------
    >>> data_key(np.zeros((2, 3), "u2"), "sim")
    {'source': 'sim', 'dtype': 'array', 'shape': [2, 3], 'dtype_numpy': '<u2'}
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array is no data of an event, as its mask would be lost: fill it")
    array = np.asarray(value)
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string", "S": "string"}
    if array.ndim:
        dtype = "array"
    elif isinstance(value, int) and not isinstance(value, bool):
        dtype = "integer"  # also beyond 64 bits
    elif array.dtype.kind in kinds:
        dtype = kinds[array.dtype.kind]
    else:
        raise TypeError(f"a {type(value).__name__} is no data of an event: give numbers, strings or arrays of them")
    key = {name: said for name, said in (like or {}).items() if name not in _ABOUT_VALUE}
    key |= {"source": source, "dtype": dtype, "shape": list(array.shape)}
    # A scalar string has no numpy dtype that the next event would share.
    if array.dtype.kind in "biufcmM" or (array.ndim and array.dtype.kind in "SU"):
        key["dtype_numpy"] = array.dtype.str
    return key


def described(
    data: Mapping[str, Any],
    changed: Collection[str],
    origin: Mapping[str, Any] | None,
    provenance: Provenance,
) -> dict[str, Any]:
    """The ``data_keys``, ``object_keys``, ``configuration`` and ``hints`` of an event that a stage has changed.

    What passes through keeps its devices, as the ``origin`` (the descriptor of the input event) has them; the stage
    itself is the object of new keys.
    """
    origin = origin or {}
    stage = provenance.stage
    known = origin.get("data_keys", {})
    objects = {name: [key for key in keys if key in data] for name, keys in origin.get("object_keys", {}).items()}
    objects = {name: keys for name, keys in objects.items() if keys}
    old = {key for keys in objects.values() for key in keys}
    new = [key for key in data if key not in old]
    if new:  # beside what an earlier stage of this name has added
        objects[stage] = [*objects.get(stage, ()), *new]
    configuration = origin.get("configuration", {})
    hints = {
        name: hint | {"fields": [key for key in hint.get("fields", ()) if key in data]}
        for name, hint in origin.get("hints", {}).items()
        if name in objects
    }
    if new:
        fields = [*hints.get(stage, {}).get("fields", ()), *(key for key in provenance.hinted if key in new)]
        hints[stage] = {**hints.get(stage, {}), "fields": fields}
    keys = {
        key: _data_key(value, known.get(key, {}), key in changed, f"bluesky_ext:{stage}") for key, value in data.items()
    }
    for key in changed:
        if key in provenance.ragged and keys.get(key, {}).get("shape"):
            keys[key]["shape"][0] = None
        if key in provenance.units and key in keys:
            keys[key]["units"] = provenance.units[key]
    return {
        "data_keys": keys,
        "object_keys": objects,
        "configuration": {name: configuration[name] for name in objects if name in configuration},
        "hints": hints,
    }


def _data_key(value: Any, like: Mapping[str, Any], changed: bool, source: str) -> dict[str, Any]:
    if changed or not like:
        return data_key(value, source, like)
    # What passes through is what its device says it is, but for arrays, whose real shape is often another, and numbers
    # that were read from a file.
    if isinstance(value, np.ndarray) or (type(value) in (float, int) and like.get("external")):
        return data_key(value, like["source"], like)
    here = {name: said for name, said in like.items() if name != "external"}
    # A reference to frames in a file says so itself, where the device does not.
    return here | {"external": like.get("external") or value.external} if hasattr(value, "external") else here


def as_python(value: Any) -> Any:
    """A numpy scalar as the Python number that stores and JSON know; an image of nested lists as the array it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list) and value and isinstance(value[0], list | np.ndarray):
        array = as_array(value)
        return value if array is None else array
    return value
