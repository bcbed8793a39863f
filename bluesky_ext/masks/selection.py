"""The masks that were selected for a stage: arrays, or what they are found by in a registry."""

from __future__ import annotations

import logging
import os
import reprlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bluesky_ext.engine.documents.descriptors import data_key
from bluesky_ext.masks.arrays import as_mask, combine_masks, mask_sha256
from bluesky_ext.masks.attempt import Attempt, is_outage
from bluesky_ext.masks.copies import read_copy, write_copy
from bluesky_ext.masks.entries import EMBEDDED
from bluesky_ext.masks.errors import MaskDamaged, MaskNotFound

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UsedMasks:
    """The masks of one run, and the one that they make.

    Parameters
    ----------
    mask : bool array
        True where all of them are.
    masks : tuple of dict
        Of each its ``uid``, empty for an array that came without one; its ``sha256``, as `mask_sha256` has it; and its
        ``detector``, ``name`` and ``version``, if it was looked up.
    """

    mask: np.ndarray
    masks: tuple[dict[str, Any], ...]

    def record(self) -> list[dict[str, Any]]:
        """What a run says of them, in the order in which they were given: `SelectedMasks` takes it."""
        return [dict(mask) for mask in self.masks]

    def configuration(self, time: float, source: str, prefix: str = "") -> dict[str, Any]:
        """The uids and sha256, as the configuration of an object in a descriptor has them."""
        data = {
            f"{prefix}mask_uids": [mask["uid"] for mask in self.masks],
            f"{prefix}mask_sha256": [mask["sha256"] for mask in self.masks],
        }
        return {
            "data": data,
            "timestamps": dict.fromkeys(data, time),
            "data_keys": {key: data_key(np.array(value), source) for key, value in data.items()},
        }


class SelectedMasks:
    """Masks for a stage: those that are arrays are checked now, the others are looked up when a run starts.

    Parameters
    ----------
    masks : array, str, tuple or list of these
        Each is a bool array, False where a pixel is masked; a pair ``(uid, array)``, as `MaskClient.get_mask` returns
        it; a uid; ``(detector, name)`` or ``(detector, name, version)``, of the highest version unless one is given; or
        a dict of the record of a run, which is found by its uid, and must have its sha256. Several may be in a tuple
        too, if the first is not a uid.
    registry : MaskClient (or what has its methods), or what `open_catalog` takes; optional
        Where uids and names are looked up; it is opened at the start of the first run.

    Raises
    ------
    ValueError, TypeError
        If there is no mask, one is nothing of the kind, or names are given without a registry.
    """

    def __init__(self, masks: Any, registry: Any = None) -> None:
        several = isinstance(masks, list) or (
            # A tuple that begins with a text is one mask: (detector, name), or (uid, array).
            isinstance(masks, tuple) and masks != () and not isinstance(masks[0], str)
        )
        self._given = [_given(mask) for mask in (masks if several else [masks])]
        if not self._given:
            raise ValueError("masks=[]: give at least one mask, or None where that is allowed")
        self._registry = registry
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._attempt: Attempt[UsedMasks] | None = None
        #: What was found by the masks that are to be looked up, by their places.
        self._latest: dict[int, dict[str, Any]] = {}
        self.known: UsedMasks | None = None
        arrays = [mask for mask in self._given if isinstance(mask, _Array)]
        if arrays:
            combine_masks([mask.array for mask in arrays])  # refuses those of different shapes
        if len(arrays) == len(self._given):
            self.known = self._use()
        elif registry is None:
            named = next(mask for mask in self._given if not isinstance(mask, _Array))
            raise ValueError(
                f"the mask {named!r} is to be looked up, and there is no registry: give registry=, a MaskClient or "
                "the directory, address or profile of a catalogue; or give the mask as an array"
            )
        elif not (hasattr(registry, "entry") or hasattr(registry, "search")) and not isinstance(
            registry, str | os.PathLike
        ):
            raise TypeError(
                f"registry={registry!r}: give a MaskClient, or the directory, address, profile or client of a catalogue"
            )

    @property
    def parameters(self) -> list[Any]:
        """What was given, for the provenance of a stage."""
        return [
            mask.array if isinstance(mask, _Array) else mask["uid"] if isinstance(mask, Mapping) else mask
            for mask in self._given
        ]

    def look_up(self) -> UsedMasks:
        """The masks as they are now; those that are named are read.

        A registry on a server that does not answer, or fails, is waited for two seconds, once, and asked again in a
        thread until it does; meanwhile the masks of known uids are those of which there is a copy on this machine.

        Raises
        ------
        MaskNotFound, OSError
            If a mask is not there, or the catalogue fails.
        MaskDamaged
            If the mask of a record has another sha256 by now.
        ValueError
            If the masks are not of one shape.
        """
        if self.known:
            return self.known
        if not is_served(self._registry):
            return self._use(self._open())
        import tiled.client  # noqa: F401  # pyright: ignore[reportMissingImports] - which is no waiting for a server

        with self._lock:
            if self._attempt is None or self._attempt.ended:
                self._attempt = Attempt(self, SelectedMasks._use_of_server)
            attempt = self._attempt
        used = attempt.wait()
        if used is not None:
            return used
        error = attempt.error
        if error is not None and not is_outage(error):
            raise error
        return self._use_copies(str(error or f"{self._registry!r} does not answer: is the server there?"))

    def _use_of_server(self, attempt: Attempt[UsedMasks]) -> UsedMasks:
        registry = self._open()
        attempt.alive()
        return self._use(registry, attempt)

    def _use(self, registry: Any = None, attempt: Attempt[UsedMasks] | None = None) -> UsedMasks:
        arrays, known = [], []
        for index, mask in enumerate(self._given):
            if isinstance(mask, _Array):
                array, said = mask.array, {"uid": mask.uid}
            else:
                entry = _looked_up(registry, mask)
                array = _content(entry, attempt)
                said = {key: getattr(entry, key) for key in ("uid", "detector", "name", "version")}
            arrays.append(array)
            known.append({**said, "sha256": mask_sha256(array)})
            if isinstance(mask, Mapping):
                _same(mask, known[-1])
            self._latest[index] = known[-1]
        return UsedMasks(np.ascontiguousarray(combine_masks(arrays)), tuple(known))

    def _use_copies(self, why: str) -> UsedMasks:
        """The masks without the registry: what was found before, or is known by its uid."""
        arrays, known = [], []
        for index, mask in enumerate(self._given):
            if isinstance(mask, _Array):
                array, said = mask.array, {"uid": mask.uid, "sha256": mask_sha256(mask.array)}
            else:
                wanted = {"uid": mask} if isinstance(mask, str) else mask if isinstance(mask, Mapping) else {}
                said = self._latest.get(index) or dict(wanted)
                array = read_copy(said["uid"], said.get("sha256")) if said else None
                if array is None:
                    raise OSError(f"{why} (and on this machine there is no copy of mask {mask!r})")
                said["sha256"] = mask_sha256(array)
            arrays.append(array)
            known.append(said)
        log.warning(
            "%s; meanwhile masks are copies of those that were read before: %s",
            *(why, ", ".join(said["uid"] or "an array" for said in known)),
        )
        return UsedMasks(np.ascontiguousarray(combine_masks(arrays)), tuple(known))

    def _open(self) -> Any:
        from bluesky_ext.masks.client import MaskClient

        with self._opening:
            if not hasattr(self._registry, "entry"):
                self._registry = MaskClient.open(self._registry)
            return self._registry


@dataclass(frozen=True, eq=False)
class _Array:
    """A mask that is there, and its uid if it has one."""

    uid: str
    array: np.ndarray


def is_served(registry: Any) -> bool:
    """Whether a registry is on a server, which may be gone, and not in this process."""
    if isinstance(registry, str):
        return "://" in registry or not (os.sep in registry or registry.startswith("~"))
    address = getattr(registry, "uri", None)
    return isinstance(address, str) and urlsplit(address).hostname != EMBEDDED


def _content(entry: Any, attempt: Attempt[UsedMasks] | None) -> np.ndarray:
    """The content of a mask; of a server's there is a copy afterwards, and what has the same hash is not read again."""
    if attempt is None:
        return as_mask(entry.read())
    attempt.alive(entry.node.nbytes)
    copy = None if entry.sha256 is None else read_copy(entry.uid, entry.sha256)
    if copy is not None:
        return copy
    content = as_mask(entry.read())
    attempt.alive()
    write_copy(entry.uid, content)
    return content


def _same(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if found["sha256"] != wanted["sha256"]:
        raise MaskDamaged(
            f"mask {wanted['uid']} has sha256 {found['sha256'][:12]}..., and was used when it had "
            f"{wanted['sha256'][:12]}...: it was changed; give the one that was used as an array"
        )


def _looked_up(registry: Any, mask: str | tuple | Mapping[str, Any]) -> Any:
    if isinstance(mask, tuple):
        return registry.entry(*mask)
    if isinstance(mask, str):
        return registry.entry_by_uid(mask)
    try:
        return registry.entry_by_uid(mask["uid"])
    except MaskNotFound as error:
        named = ", ".join(f"{key} {mask[key]!r}" for key in ("detector", "name", "version") if key in mask)
        raise MaskNotFound(f"{error} (it was of {named})" if named else str(error)) from error


def _given(mask: Any) -> _Array | str | tuple | Mapping[str, Any]:
    if isinstance(mask, str):
        return mask
    if isinstance(mask, Mapping):
        if not all(isinstance(mask.get(key), str) and mask[key] for key in ("uid", "sha256")):
            raise ValueError(f"the mask {dict(mask)!r} has no uid and sha256: give it as the array that it was")
        return dict(mask)
    if isinstance(mask, tuple) and mask and isinstance(mask[0], str):
        if len(mask) == 2 and hasattr(mask[1], "dtype"):
            return _Array(mask[0], as_mask(mask[1]))
        if len(mask) in (2, 3) and isinstance(mask[1], str):
            *named, version = mask if len(mask) == 3 else (*mask, None)
            if version is None:
                return tuple(named)
            if isinstance(version, bool) or not isinstance(version, int | np.integer) or version < 0:
                raise ValueError(f"the mask {mask!r} has version {version!r}: give a whole number from 0, or none")
            return *named, int(version)
    elif hasattr(mask, "dtype"):
        return _Array("", as_mask(mask))
    said = " ".join(reprlib.repr(mask).split())  # of an array, no more than a few of its values
    raise TypeError(
        f"{said} is no mask: give a bool array, a uid, (detector, name) or (detector, name, version); several of "
        "them in a list"
    )
