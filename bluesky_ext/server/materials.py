"""What a stage is made of again: classes, arrays, masks and stored runs, by what a record says of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from bluesky_ext._arguments import keywords_of
from bluesky_ext.engine import Map, Reduce, Stage
from bluesky_ext.engine.documents.digest import IMAGES, array_sha256
from bluesky_ext.engine.documents.provenance import path_of
from bluesky_ext.masks.selection import SelectedMasks

#: The packages whose stages are imported by name; those of others may be anything, and are given.
PACKAGE = "bluesky_ext"
#: What these stages take and no record has: a document from anyone could have files read and written by them.
NO_PARAMETERS = (keywords_of(Map, Reduce, Stage) - {"name", "data_keys"}) | {"registry", "db", "directory"}


class Materials:
    """Stages by their records.

    Parameters
    ----------
    arrays : collection of arrays
        Those that the stages were given.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where masks are.
    known : collection of classes and functions
        Stages of one's own, and functions among parameters: a module that a record names is not imported, since that
        runs what is in it. What was in ``__main__`` is known by its name, wherever it is now.
    stored : mapping
        The runs that a stage may read once more, by uid.
    changes : dict of dicts, optional
        Other parameters than those of the record, by the name of the stage.
    runs : callable, optional
        What returns another run by its uid, such as the one that has the dark.
    """

    def __init__(
        self,
        arrays: Collection[np.ndarray],
        registry: Any = None,
        known: Collection[Any] = (),
        stored: Any = None,
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        runs: Callable[[str], Any] | None = None,
    ) -> None:
        self.stored = stored
        self._runs = runs
        self._arrays = {array_sha256(array): array for array in arrays}
        self._registry = registry
        self._known = {path_of(thing): thing for thing in known}
        self._changes = changes or {}

    def stage(self, record: Mapping[str, Any], executor: Any = None) -> Stage:
        """The stage that the ``analysis`` record of a run is of; ValueError or LookupError if it can't be made."""
        name, made = record["stage"], self._class_of(record)
        if wrong := sorted(NO_PARAMETERS & record["parameters"].keys()) if _is_ours(made) else ():
            raise ValueError(f"the record of {name} has {wrong} among its parameters: it was not written by that stage")
        options: dict[str, Any] = {}
        changes = {key: _with_tuples(value) for key, value in self._changes.get(name, {}).items()}
        record = {**record, "parameters": {**record["parameters"], **changes}}
        if {"mask", "masks"} & changes.keys():
            record.pop("masks", None)
            options["registry"] = self._registry
        if name != made.__name__:
            options["name"] = name
        if (counts := record.get("hashes", {}).get("images", IMAGES) == IMAGES) != made.hashes_images:
            options["hash_images"] = counts
        if executor is not None and issubclass(made, Map):
            options["executor"] = executor
        try:
            return made.again(record, self, **options)
        except TypeError as error:
            raise ValueError(f"{name} can't be made with the parameters of its record: {error}") from error

    def run(self, uid: str) -> Any:
        """Another run, which has a dark that this one was given."""
        if self._runs is not None:
            with suppress(LookupError):
                return self._runs(uid)
        raise LookupError(f"the dark is of run {uid}, which is not in the source: give what has both runs")

    def values(self, recorded: Any) -> Any:
        """What a parameter was, from what a record has of it."""
        if isinstance(recorded, Mapping):
            match {**recorded}:
                case {"sha256": str(sha256), "shape": shape, "dtype": dtype}:
                    return self._array(sha256, shape, dtype)
                case {"float": str(number), **more} if not more:
                    return float(number)
                case {"object": str(path), **more} if not more:
                    if (found := self._given(path)) is None:
                        raise LookupError(f"{path} is not known here: give it in known=")
                    return found
                case {"instance": str(path), **more} if not more:
                    raise LookupError(f"a {path} was given, which no record can hold: give one in changes=")
            return {key: self.values(value) for key, value in recorded.items()}
        if isinstance(recorded, list):
            return [self.values(value) for value in recorded]
        return recorded

    def _array(self, sha256: str, shape: Any, dtype: Any) -> np.ndarray:
        if sha256 not in self._arrays:  # documents in JSON have lost its dtype
            for array in list(self._arrays.values()):
                try:
                    again = array.astype(np.dtype(dtype)).reshape(shape)
                except (TypeError, ValueError):
                    continue
                self._arrays[array_sha256(again)] = again
        if sha256 not in self._arrays:
            raise LookupError(f"the array with sha256 {sha256[:12]}... is not in the documents of the run")
        return self._arrays[sha256]

    def _given(self, path: str) -> Any:
        """What was given and has this path; what was in a script, or typed, may be in a module by now."""
        found = self._known.get(path)
        if found is None and path.startswith("__main__:"):
            same = [thing for thing in self._known.values() if thing.__qualname__ == path.partition(":")[2]]
            found = same[0] if len(same) == 1 else None
        return found

    def masks(self, used: list[Mapping[str, Any]], given: list[Any]) -> tuple[list[Any], Any]:
        """The masks that a run used, and where they are looked up, from what was ``used`` and what was ``given``."""
        masks = [
            (one["uid"], self.values(said)) if isinstance(said, Mapping) else one
            for one, said in zip(used, given, strict=True)
        ]
        for mask in masks:
            if isinstance(mask, Mapping) and self._registry is None:
                raise LookupError(f"the mask {mask['uid']} is in a registry: give registry=, the catalogue that has it")
        SelectedMasks(masks, self._registry).look_up()  # what is not there any more is said before the run is replayed
        return masks, self._registry

    def _class_of(self, record: Mapping[str, Any]) -> type[Stage]:
        path, who = record.get("class"), f"{record.get('package')} {record.get('version')}"
        if not isinstance(path, str):
            raise LookupError(f"{record['stage']} was run by {who}, whose records don't say by which class")
        made = self._given(path)
        module, _, name = path.partition(":")
        if made is None and module.partition(".")[0] == PACKAGE:
            try:
                made = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError) as error:
                raise LookupError(f"{path} of {who} is not in this version: {error}") from error
        if not (isinstance(made, type) and issubclass(made, Stage)):
            raise LookupError(f"the stage {path} is not known here: give its class in known=")
        return made


def _is_ours(made: type) -> bool:
    return made.__module__.partition(".")[0] == PACKAGE


def _with_tuples(value: Any) -> Any:
    """A value with tuples for the lists in a list, as names of masks are given."""
    return [tuple(one) if isinstance(one, list) else one for one in value] if isinstance(value, list) else value
