"""Values of parameters in files: JSON, TOML, YAML and CBOR."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_parameters(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values in a file, by name.

    It holds a table of them, or a list as ``[{"name": "till_x", "data": "3"}]``. What kind of file it is, its suffix
    says: ``.json``, ``.toml``, ``.yaml`` or ``.yml``, ``.cbor``, which can hold bytes too.

    Raises
    ------
    ValueError, OSError
        If it can't be read; it names the file.
    """
    path = Path(path)
    readers = {".json": _json, ".toml": _toml, ".yaml": _yaml, ".yml": _yaml, ".cbor": _cbor}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: parameters are in files named {', '.join(readers)}")
    content = path.read_bytes()
    try:
        found = reader(content)
    except ValueError as error:  # all of these say line and column in theirs
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if isinstance(found, list):
        for one in found:
            if not (isinstance(one, Mapping) and isinstance(one.get("name"), str) and "data" in one):
                raise ValueError(f"{path} has {one!r:.100} in its list: give {{'name': ..., 'data': ...}}")
        return {one["name"]: one["data"] for one in found}
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{path} holds a {type(found).__name__}: give a table of values by name")
    return dict(found)


def _json(content: bytes) -> Any:
    return json.loads(content)


def _toml(content: bytes) -> Any:
    return tomllib.loads(content.decode())


def _yaml(content: bytes) -> Any:
    import yaml

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _cbor(content: bytes) -> Any:
    try:
        import cbor2  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("it needs cbor2: pip install cbor2") from error
    try:
        return cbor2.loads(content)
    except (cbor2.CBORDecodeError, EOFError) as error:
        raise ValueError(str(error)) from error
