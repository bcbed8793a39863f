"""The masks that were selected for a stage: arrays, or what they are found by in a registry."""

from __future__ import annotations

import os
import reprlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.descriptors import data_key
from bluesky_ext.masks.arrays import as_mask, combine_masks, mask_sha256
from bluesky_ext.masks.errors import MaskDamaged, MaskNotFound


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
        self._lock = threading.Lock()
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

        Raises
        ------
        MaskNotFound, OSError
            If a mask is not there, or the catalogue fails.
        MaskDamaged
            If the mask of a record has another sha256 by now.
        ValueError
            If the masks are not of one shape.
        """
        return self.known or self._use(self._open())

    def _use(self, registry: Any = None) -> UsedMasks:
        arrays, known = [], []
        for mask in self._given:
            if isinstance(mask, _Array):
                array, said = mask.array, {"uid": mask.uid}
            else:
                entry = _looked_up(registry, mask)
                array = as_mask(entry.read())
                said = {key: getattr(entry, key) for key in ("uid", "detector", "name", "version")}
            arrays.append(array)
            known.append({**said, "sha256": mask_sha256(array)})
            if isinstance(mask, Mapping) and known[-1]["sha256"] != mask["sha256"]:
                raise MaskDamaged(
                    f"mask {mask['uid']} has sha256 {known[-1]['sha256'][:12]}..., and was used when it had "
                    f"{mask['sha256'][:12]}...: it was changed; give the one that was used as an array"
                )
        return UsedMasks(np.ascontiguousarray(combine_masks(arrays)), tuple(known))

    def _open(self) -> Any:
        from bluesky_ext.masks.client import MaskClient

        with self._lock:
            if not hasattr(self._registry, "entry"):
                self._registry = MaskClient.open(self._registry)
            return self._registry


@dataclass(frozen=True, eq=False)
class _Array:
    """A mask that is there, and its uid if it has one."""

    uid: str
    array: np.ndarray


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
