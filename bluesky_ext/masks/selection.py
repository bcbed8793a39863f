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


@dataclass(frozen=True, eq=False)
class UsedMasks:
    """The masks of one run, and the one that they make.

    Parameters
    ----------
    mask : bool array
        True where all of them are.
    uids : tuple of str
        The uid of each; empty for an array that came without one.
    sha256 : tuple of str
        That of each, as `mask_sha256` has it.
    """

    mask: np.ndarray
    uids: tuple[str, ...]
    sha256: tuple[str, ...]

    def record(self) -> list[dict[str, Any]]:
        """What a run says of its masks."""
        return [{"uid": uid, "sha256": sha256} for uid, sha256 in zip(self.uids, self.sha256, strict=True)]

    def configuration(self, time: float, source: str, prefix: str = "") -> dict[str, Any]:
        """The uids and sha256, as the configuration of an object in a descriptor has them."""
        data = {f"{prefix}mask_uids": list(self.uids), f"{prefix}mask_sha256": list(self.sha256)}
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
        it; a uid; or ``(detector, name)`` or ``(detector, name, version)``, of the highest version unless one is given.
        Several may be in a tuple too, if the first is not a uid.
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
            self.known = self._use({})
        elif registry is None:
            named = next(mask for mask in self._given if not isinstance(mask, _Array))
            raise ValueError(
                f"the mask {named!r} is to be looked up, and there is no registry: give registry=, a MaskClient or "
                "the directory, address or profile of a catalogue; or give the mask as an array"
            )
        elif not (hasattr(registry, "get_mask") or hasattr(registry, "search")) and not isinstance(
            registry, str | os.PathLike
        ):
            raise TypeError(
                f"registry={registry!r}: give a MaskClient, or the directory, address, profile or client of a catalogue"
            )

    @property
    def parameters(self) -> list[Any]:
        """What was given, for the provenance of a stage."""
        return [mask.array if isinstance(mask, _Array) else mask for mask in self._given]

    def look_up(self) -> UsedMasks:
        """The masks as they are now; those that are named are read.

        Raises
        ------
        MaskNotFound, OSError
            If a mask is not there, or the catalogue fails.
        ValueError
            If the masks are not of one shape.
        """
        if self.known is not None:
            return self.known
        registry = self._open()
        found: dict[Any, tuple[str, np.ndarray]] = {}
        for mask in self._given:
            if not isinstance(mask, _Array):
                uid, content = (
                    (mask, registry.get_mask_by_uid(mask)) if isinstance(mask, str) else registry.get_mask(*mask)
                )
                if hasattr(content, "compute"):
                    content = content.compute(scheduler="synchronous")
                found[mask] = uid, as_mask(content)
        return self._use(found)

    def _use(self, found: Mapping[Any, tuple[str, np.ndarray]]) -> UsedMasks:
        pairs = [mask if isinstance(mask, _Array) else _Array(*found[mask]) for mask in self._given]
        mask = np.ascontiguousarray(combine_masks([pair.array for pair in pairs]))
        return UsedMasks(mask, tuple(pair.uid for pair in pairs), tuple(mask_sha256(pair.array) for pair in pairs))

    def _open(self) -> Any:
        from bluesky_ext.masks.client import MaskClient

        with self._lock:
            if not hasattr(self._registry, "get_mask"):
                self._registry = MaskClient.open(self._registry)
            return self._registry


@dataclass(frozen=True, eq=False)
class _Array:
    """A mask that is there, and its uid if it has one."""

    uid: str
    array: np.ndarray


def _given(mask: Any) -> _Array | str | tuple:
    if isinstance(mask, str):
        return mask
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
