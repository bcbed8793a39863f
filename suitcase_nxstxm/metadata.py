"""The metadata of a start document, whatever number of JSON strings it is wrapped in."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import MetadataError

__all__ = ["as_json", "as_number", "scan_metadata", "unpacked"]


def unpacked(value: object, name: str) -> Any:
    """What a value holds after every layer of JSON around it is taken off.

    STXM software puts dictionaries as JSON strings into dictionaries that become JSON strings.
    """
    while isinstance(value, (str, bytes)):
        text = value.decode() if isinstance(value, bytes) else value
        if not text.strip().startswith(("{", "[", '"')):
            return text
        try:
            value = _loads(text)
        except json.JSONDecodeError as error:
            raise MetadataError(f"{name} is no JSON: {error}") from error
    return value


@functools.lru_cache(maxsize=8)
def _loads(text: str) -> Any:
    """What JSON text holds. All runs of a scan have the same long texts; nothing changes what comes out of here."""
    return json.loads(text)


def scan_metadata(start: Mapping[str, Any]) -> dict[str, Any] | None:
    """The STXM metadata of a run: ``scan_type``, ``rois`` and the rest; None for a run that has none of it.

    It is in ``start["metadata"]``, as JSON or not, or its keys are in the start document itself.
    """
    for place, found in (("metadata", start.get("metadata")), ("start document", start)):
        found = unpacked(found, f"{place!r} of run {start['uid']}")
        if isinstance(found, Mapping) and ("rois" in found or "wdg_com" in found or "scan_type" in found):
            names = (
                "rois",
                "wdg_com",
                "img_idx_map",
                "zp_def",
                "rev_lu_dct",
                "sp_id_lst",
                "primary_det",
                "sequence_map",
            )
            inner = {k: unpacked(found[k], f"{k!r} of run {start['uid']}") for k in names if k in found}
            return {**found, **inner}
    return None


def as_json(value: object) -> str:
    """JSON text of a document or of a part of one; NumPy's numbers and arrays included."""
    return json.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    return str(value)


def as_number(value: object) -> float | None:
    """A number as a float; None for anything else."""
    return float(value) if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) else None
