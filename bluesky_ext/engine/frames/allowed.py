"""Which documents from a network the callbacks may get."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.documents.limits import Limits, Refused
from bluesky_ext.engine.frames.datums import check_resource
from bluesky_ext.engine.frames.readable import Readable
from bluesky_ext.engine.frames.stream_files import place_of


def check_allowed(name: str, doc: Mapping[str, Any], limits: Limits, readable: Readable) -> None:
    """Raise `Refused` at a document beyond the limits, or one that names files that may not be read.

    KeyError or TypeError if it is no such document.
    """
    limits.check(name, doc)
    if readable.is_limited and name in _FILES:
        try:
            _FILES[name](readable, doc)
        except ValueError as error:
            raise Refused(f"file of {name}", " ".join(str(error).split())) from error


def _check_resource(readable: Readable, doc: Mapping[str, Any]) -> None:
    check_resource(readable, os.path.join(doc.get("root") or "", doc["resource_path"]), doc["resource_kwargs"])


def _check_stream_resource(readable: Readable, doc: Mapping[str, Any]) -> None:
    place = place_of(doc)
    if place is not None:
        readable.check_kind(readable.check_place(place))
        readable.check_texts([doc["parameters"].get("template"), doc["parameters"].get("filename")])


_FILES = {
    "resource": _check_resource,
    "stream_resource": _check_stream_resource,
    "datum": lambda readable, doc: readable.check_texts(doc["datum_kwargs"]),
    "datum_page": lambda readable, doc: readable.check_texts(doc["datum_kwargs"]),
}
