"""Datums: the frames of a run that resource and datum documents tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.frames.handlers import HandlerClass
from bluesky_ext.engine.frames.references import DatumReference, Whose


class NotYet(Exception):  # noqa: N818 - nothing is wrong
    """Why a frame cannot be named yet, and the datum id or resource uid that would change it."""

    def __init__(self, reason: str, awaited: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.awaited = awaited


class Datums:
    """The resource and datum documents of a run, in whatever order they come.

    Parameters
    ----------
    handlers
        Handler classes by spec; beside them, those that are installed are known.
    root_map
        Replacements for the `root` of resource documents.
    """

    def __init__(self, handlers: Mapping[str, HandlerClass], root_map: Mapping[str, str]) -> None:
        for spec, handler in handlers.items():
            if not callable(handler):
                raise TypeError(f"handlers[{spec!r}]={handler!r} is not a handler class: give the class itself")
        self._handlers = dict(handlers)
        self._root_map = dict(root_map)
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._datums: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def add_resource(self, doc: Mapping[str, Any]) -> None:
        """Take in a resource document."""
        self._resources[doc["uid"]] = doc

    def add_datum(self, doc: Mapping[str, Any]) -> None:
        """Take in a datum document."""
        self._datums[doc["datum_id"]] = (doc["resource"], doc["datum_kwargs"])

    def frame(self, datum_id: str, data_key: str, whose: Whose) -> DatumReference:
        """Return where the frame behind a datum id is; raise NotYet if its documents are not here."""
        datum = self._datums.get(datum_id)
        if datum is None:
            raise NotYet(f"datum {datum_id!r} never came", datum_id)
        uid, datum_kwargs = datum
        resource = self._resources.get(uid)
        if resource is None:
            raise NotYet(f"resource {uid!r} of datum {datum_id!r} never came", uid)
        root = resource.get("root") or ""
        return DatumReference(
            data_key=data_key,
            resource=uid,
            whose=whose,
            spec=resource["spec"],
            root=self._root_map.get(root, root),
            resource_path=resource["resource_path"],
            resource_kwargs=resource["resource_kwargs"],
            datum_kwargs=datum_kwargs,
            handler=self._handlers.get(resource["spec"]),
        )
