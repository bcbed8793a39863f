"""The request of a run with STXM metadata, in the old schema and in the new one.

The old one has ``primary_det`` as the beginning of a data key; the new one has it as a list of names and adds
``default_det``, ``sequence_map`` and ``rotation_angle``. Times of both are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.metadata import as_json, as_number
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.plans import dimensions, product
from suitcase_nxstxm.regions import STACKS, Asked
from suitcase_nxstxm.request import MAX_POINTS, Axis, Region, Request, number_of_points
from suitcase_nxstxm.scan_types import as_scan_type, scan_types, single_2d_scans, single_image_scans

__all__ = ["stxm_request"]

_SETS_ENERGY = frozenset(
    {
        scan_types.SAMPLE_POINT_SPECTRA,
        scan_types.SAMPLE_LINE_SPECTRA,
        scan_types.SAMPLE_IMAGE,
        scan_types.SAMPLE_IMAGE_STACK,
        scan_types.TOMOGRAPHY_SCAN,
        scan_types.PATTERN_GEN_SCAN,
        scan_types.PTYCHOGRAPHY_SCAN,
    }
)


def stxm_request(
    start: Mapping[str, Any],
    metadata: Mapping[str, Any],
    scan_type: object = None,
    max_points: int = MAX_POINTS,
) -> Request:
    """The request of a run whose start document has STXM metadata."""
    run = start["uid"]
    if scan_type is None and "scan_type" not in metadata:
        raise MetadataError(f"the metadata of run {run} have no 'scan_type': give it as scan_type=")
    kind = as_scan_type(metadata["scan_type"] if scan_type is None else scan_type)
    asked = Asked(run, metadata, max_points)
    whole = _request(start, asked, kind)
    if kind is scan_types.SAMPLE_POINT_SPECTRA:
        # A run that goes on when it has been to all energies goes on to the next polarisation.
        indices = range(whole.polarization_index, len(asked.polarizations))
        records = [{**asked.place, "pol_idx": index} for index in indices]
    else:
        records = asked.records if kind in STACKS else []
    if len(records) < 2:
        return whole
    images = tuple(_request(start, Asked(run, metadata, max_points, record), kind) for record in records)
    return replace(images[0], images=images)


def _request(start: Mapping[str, Any], asked: Asked, kind: scan_types) -> Request:
    """The request of a run, or of one of its images."""
    run, metadata, place = asked.run, asked.metadata, asked.place
    point = kind is scan_types.SAMPLE_POINT_SPECTRA
    regions = asked.all_regions() if point else (asked.region(asked.own(), kind),)
    energies, dwells = asked.energies
    plane = int(place.get("e_idx") or 0)
    if not 0 <= plane < max(len(energies), 1):
        raise MetadataError(f"run {run} is for energy {plane} ('e_idx') of a scan with {len(energies)} energies")
    polarizations = asked.polarizations
    if kind in STACKS and not place:
        asked.check_alone()
    index = int(place.get("pol_idx") or 0)
    angle = place.get("rotation_angle")
    rotation = as_number(metadata.get("rotation_angle") if angle is None else angle)
    return Request(
        run=run,
        scan_type=kind,
        entry=legal(str(place.get("entry") or metadata.get("entry_name") or "entry0")),
        plane=plane,
        regions=regions,
        axes=_generic_axes(start, regions[0], asked) if kind is scan_types.GENERIC_SCAN else (),
        order=_order(start, kind, regions[0], asked.devices),
        snaking=tuple(bool(s) for s in start.get("snaking") or ()),
        energies=energies,
        count_times=dwells / 1000,
        energy_is_set=kind in _SETS_ENERGY,
        detectors=tuple(start["detectors"]) if start.get("detectors") else None,
        primary=tuple(dict.fromkeys(_names(metadata.get("default_det")) + _names(metadata.get("primary_det")))),
        exact=not isinstance(metadata.get("primary_det"), (str, type(None))),
        motors=tuple(start.get("motors") or ()),
        num_points=start.get("num_points"),
        rotation=rotation,
        polarization=polarizations[index] if index < len(polarizations) else None,
        zone_plate=metadata["zp_def"] if isinstance(metadata.get("zp_def"), Mapping) else {},
        devices=asked.devices,
        scan=asked.fingerprint(kind),
        planned=asked.planned(kind),
        text=metadata_text(start, metadata),
        time=float(start["time"]),
        polarization_index=index,
        angle=rotation,
        placed=bool(place) or kind not in STACKS or len(energies) < 2,
        sequence=_sequence(metadata.get("sequence_map"), run, asked.max_points),
        max_points=asked.max_points,
    )


def _order(start: Mapping[str, Any], kind: scan_types, region: Region, devices: Devices) -> tuple[int, ...] | None:
    """The dimensions of an image that the loops of its plan run along; None if the plan doesn't say another order."""
    loops = product(start, [str(motor) for motor in start.get("motors") or ()])
    if kind not in single_2d_scans + single_image_scans or loops is None or region.x is None or region.y is None:
        return None
    moved = [{axes[0].device, devices.called(axes[0].device)} for axes in loops]
    columns_first = len(moved) == 2 and region.x.device in moved[0] and region.y.device in moved[1]
    return (1, 0) if columns_first else None


def metadata_text(start: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The metadata as they came if they came as text, else as JSON."""
    given = start.get("metadata")
    return given if isinstance(given, str) else as_json(metadata)


def _generic_axes(start: Mapping[str, Any], region: Region, asked: Asked) -> tuple[Axis, ...]:
    """The axes that a generic scan moves, the slowest first: those of its motors; without motors, that of X.

    A region has more axes than a scan of it moves.
    """
    known = {axis.device: axis for axis in (region.x, region.y, region.z) if axis is not None}
    plain = {axes[0].device: axes[0] for axes in dimensions(start, asked.max_points)}
    chosen = []
    for motor in start.get("motors") or ():
        name = asked.devices.called(motor) or motor
        axis = known.get(name) or known.get(motor) or plain.get(motor)
        if axis is None or not len(axis):
            raise MetadataError(f"generic scan {start['uid']} has no set points of its motor {motor!r}")
        chosen.append(Axis(name, axis.points, axis.device, axis.units))
    if not chosen and region.x is not None:
        chosen = [Axis(region.x.device or "x", region.x.points, region.x.device, region.x.units)]
    return tuple(chosen)


def _sequence(listed: object, run: str, most: int) -> np.ndarray | None:
    """Image, row and column of each event by its number, as ``sequence_map`` has them."""
    if not isinstance(listed, Mapping) or not listed:
        return None
    try:
        places = {
            int(event): (int(place.get("img_num") or 0), int(place["row"]), int(place["col"]))
            for event, place in listed.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MetadataError(f"the 'sequence_map' of run {run} isn't of rows and columns: {error!r}") from error
    number = number_of_points(max(places) + 1, most, f"the 'sequence_map' of run {run}")
    found = np.full((number, 3), -1, np.int64)
    for event, place in places.items():
        found[event] = place
    return found


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        value = list(value)
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()
