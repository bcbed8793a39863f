"""What a registry is given beside masks: names, versions and metadata; each is checked before anything is written."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from bluesky_ext.masks.entries import IDENT, SPEC

_RESERVED = (SPEC, IDENT, "detector", "name", "version", "sha256", "registered")


def check_name(what: str, text: Any) -> None:
    """Refuse what cannot be the name of a detector or of a mask."""
    try:
        good = isinstance(text, str) and text != "" and "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        good = False
    if not good:
        raise ValueError(
            f"{what} {text!r}: give a text of at least one character, without the NUL that databases end at"
        )


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """The metadata as a dict; raises ValueError where JSON has not what is in it."""
    from tiled.utils import safe_json_dump  # pyright: ignore[reportMissingImports]

    if not isinstance(metadata, Mapping | None):
        raise ValueError(f"optional_metadata is {metadata!r}: give a dict")
    for key, value in (metadata or {}).items():
        if not isinstance(key, str):
            raise ValueError(f"optional_metadata has the key {key!r}: keys are text")
        if key in _RESERVED:
            raise ValueError(f"optional_metadata has {key!r}, which the registry sets itself: use another key")
        try:
            safe_json_dump(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"optional_metadata[{key!r}] is {reprlib.repr(value)}, which is nothing that JSON has ({error}): "
                "give text, numbers, and lists and dicts of them"
            ) from error
    return dict(metadata or {})


def checked_version(version: Any) -> int:
    """The version as an int; True is none, nor are 1.0 and "1", which would be equal to others only now and then."""
    if isinstance(version, bool | np.bool_ | str | float) or not hasattr(version, "__index__"):
        raise ValueError(f"version {version!r} is no version: give a whole number from 0, such as 0, or 'next'")
    number = operator.index(version)
    if not 0 <= number < 2**53:  # beyond which JSON is not exact everywhere
        raise ValueError(f"version {version!r} is no version: give a whole number from 0")
    return number


def known_version(version: Any) -> int | str:
    """The version of a mask that is there: a number, or the text that another writer gave it."""
    return version if isinstance(version, str) and version else checked_version(version)
