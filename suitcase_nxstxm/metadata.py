"""The metadata of a start document, whatever number of JSON strings it is wrapped in."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.request import number_of_points


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
            known = ("rois", "wdg_com", "img_idx_map", "zp_def", "rev_lu_dct", "sp_id_lst", "primary_det")
            known += ("sequence_map",)
            inner = {k: unpacked(found[k], f"{k!r} of run {start['uid']}") for k in known if k in found}
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


def table(value: object) -> Mapping[str, Any]:
    """A table as it is; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def set_points(roi: Mapping[str, Any], most: int) -> np.ndarray | None:
    """The set points of a region of interest: as listed, or evenly from start to stop; None if it has neither."""
    listed = roi.get("SETPOINTS")
    if listed is not None and not (hasattr(listed, "__len__") and not len(listed)):
        try:
            points = np.array(listed, dtype=float)
        except (TypeError, ValueError):
            points = np.array(np.nan)
        if points.ndim != 1 or not np.isfinite(points).all():
            raise MetadataError(f"'SETPOINTS' of {roi.get('POSITIONER')!r} are no list of numbers: {str(listed)[:60]}")
        return points
    start, stop, number = (as_number(roi.get(name)) for name in ("START", "STOP", "NPOINTS"))
    if start is not None and stop is not None and number:
        return np.linspace(start, stop, number_of_points(number, most, repr(roi.get("POSITIONER"))))
    return None


def numerically(key: str) -> tuple[int, str]:
    """What sorts texts by the numbers that they are; those that are none come last."""
    return (int(key), key) if str(key).lstrip("-").isdigit() else (1 << 62, str(key))


def sequence(listed: object, run: str, most: int) -> np.ndarray | None:
    """Image, row and column of each event by its number, as ``sequence_map`` has them."""
    if not isinstance(listed, Mapping) or not listed:
        return None
    try:
        rows = [(int(e), int(at.get("img_num") or 0), int(at["row"]), int(at["col"])) for e, at in listed.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MetadataError(f"the 'sequence_map' of run {run} isn't of rows and columns: {error!r}") from error
    event, *places = np.array(rows, np.int64).T
    found = np.full((number_of_points(event.max() + 1, most, f"the 'sequence_map' of run {run}"), 3), -1, np.int64)
    found[event] = np.transpose(places)
    return found


def names(value: object) -> tuple[str, ...]:
    """The names in a text, a list or a table."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value)) if isinstance(value, (Mapping, Sequence)) else ()
