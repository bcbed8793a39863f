"""The metadata of an STXM scan, as the start documents of such beamlines have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bluesky_ext.plans.check import check_finite
from bluesky_ext.stxm.region import Polarized, Region
from bluesky_ext.stxm.scan_type import ScanType

__all__ = ["as_json", "image_index", "make_standard_metadata", "sequence_map"]

# A start document is read by everyone: it is not to hold a line for each of a million points.
MOST_EVENTS = 10_000


def make_standard_metadata(
    scan_type: ScanType | int,
    regions: Sequence[Region],
    *,
    primary_det: Sequence[str],
    energies: Sequence[float] = (),
    polarizations: Sequence[Polarized] = (),
    dwell: float | None = None,
    img_idx_map: Mapping[str, Any] | None = None,
    sequence_map: Mapping[int, Mapping[str, int]] | None = None,
    rev_lu_dct: Mapping[str, str] | None = None,
    zp_def: Mapping[str, float] | None = None,
    default_det: str | None = None,
    entry_name: str = "entry0",
) -> str:
    """The ``metadata`` of a start document: JSON in which ``wdg_com`` and ``img_idx_map`` are JSON strings again.

    What is not known is left empty or null; nothing is made up.

    Parameters
    ----------
    scan_type : ScanType or int
        The type of scan.
    regions : sequence of Region
        Where the scan goes, in the order in which the regions are measured.
    primary_det : sequence of str
        Names of the detectors.
    energies : sequence of float
        Photon energies in eV, those of the whole scan.
    polarizations : sequence of Polarized
        Settings of the undulator, those of the whole scan.
    dwell : float, optional
        Counting time of a point in ms; None if it is not the same for all.
    img_idx_map : mapping, optional
        What `image_index` gives for the image that the run is of; for a run of several images, that of each by its
        number, "0", "1", ...
    sequence_map : mapping, optional
        Image, row and column of each event, by its number from 0.
    rev_lu_dct : mapping, optional
        Name of each device by its conventional name.
    zp_def : mapping, optional
        Parameters of the zone plate.
    default_det : str, optional
        The detector to be shown; by default the first.
    entry_name : str
        Entry of the file that the run belongs to.

    Returns
    -------
    str
        JSON.

    Examples
    --------
    >>> from bluesky_ext.stxm.region import Span
    >>> spot = Region(0, {"X": Span("SampleFineX", (1.5,)), "Y": Span("SampleFineY", (0.5,))})
    >>> text = make_standard_metadata(4, [spot], primary_det=["counter0"], energies=[280.0, 290.0], dwell=1.0)
    >>> json.loads(json.loads(text)["wdg_com"])["SINGLE_LST"]["EV_ROIS"]
    [280.0, 290.0]
    """
    number = int(ScanType(scan_type))
    if not regions:
        raise ValueError("regions is empty: give one region or more")
    if isinstance(primary_det, str) or not primary_det:
        raise ValueError(f"primary_det is {primary_det!r}: give a list of one name or more")
    for energy in energies:
        check_finite("an energy", energy)
    if dwell is not None:
        check_finite("dwell", dwell, 0)
    default = primary_det[0] if default_det is None else default_det
    if default not in primary_det:
        raise ValueError(f"default_det is {default!r}: give one of {', '.join(primary_det)}")
    requests = [region.as_dict(number, energies, polarizations, dwell) for region in regions]
    single = {
        "SP_ROIS": requests,
        "EV_ROIS": list(energies),
        "POL_ROIS": [setting.as_dict(index) for index, setting in enumerate(polarizations)],
        "DWELL": [] if dwell is None else [dwell] * len(energies),
    }
    request = {
        "CMND": 0,
        "SCAN_PLUGIN": {"SCAN_TYPE": number, "SCAN_SUBTYPE": 0},
        "SPATIAL_ROIS": {str(region.number): told for region, told in zip(regions, requests, strict=True)},
        "SINGLE_LST": single,
    }
    whole = image_index(regions[0], entry=entry_name) if img_idx_map is None else img_idx_map
    metadata = {
        "entry_name": entry_name,
        "scan_type": number,
        "sp_id_lst": [region.number for region in regions],
        "rois": {
            str(region.number): {**region.axes(), "EV_ROIS": told["EV_ROIS"]}
            for region, told in zip(regions, requests, strict=True)
        },
        "dwell": dwell,
        "primary_det": list(primary_det),
        "default_det": default,
        "zp_def": dict(zp_def or {}),
        "wdg_com": as_json(request),
        "img_idx_map": as_json(whole),
        "sequence_map": {str(event): dict(place) for event, place in (sequence_map or {}).items()},
        "rev_lu_dct": dict(rev_lu_dct or {}),
    }
    return as_json(metadata)


def image_index(
    region: Region,
    *,
    energy: int = 0,
    polarization: int = 0,
    region_index: int = 0,
    rotation_angle: float | None = None,
    entry: str = "entry0",
) -> dict[str, Any]:
    """Where in the file an image belongs: its ``img_idx_map``.

    Parameters
    ----------
    region : Region
        The region that it is of.
    energy, polarization, region_index : int
        Index of its energy, its polarisation, its region.
    rotation_angle : float, optional
        Angle of the sample in degrees, in tomography.
    entry : str
        Entry of the file.

    Returns
    -------
    dict
        The indices.
    """
    index: dict[str, Any] = {
        "e_idx": energy,
        "pol_idx": polarization,
        "sp_idx": region_index,
        "sp_id": region.number,
        "entry": entry,
    }
    return index if rotation_angle is None else {**index, "rotation_angle": rotation_angle}


def sequence_map(images: int, rows: int, columns: int, *, snake: bool = False) -> dict[int, dict[str, int]]:
    """Image, row and column of each event, by its number from 0; empty for more than ten thousand events.

    Parameters
    ----------
    images : int
        Number of images in the run.
    rows : int
        Rows of each.
    columns : int
        Points of a row; 1 if an event is a whole row.
    snake : bool
        Whether every other row is measured backwards.

    Returns
    -------
    dict
        ``{"img_num": ..., "row": ..., "col": ...}`` for each event.
    """
    if images * rows * columns > MOST_EVENTS:
        return {}
    places = [
        {"img_num": image, "row": row, "col": columns - 1 - column if snake and row % 2 else column}
        for image in range(images)
        for row in range(rows)
        for column in range(columns)
    ]
    return dict(enumerate(places))


def as_json(value: Any) -> str:
    """JSON of a value, in which numbers and arrays of numpy are numbers and lists."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        raise TypeError(f"{item!r} in the metadata is no JSON: give numbers, texts, lists and dicts")

    # Whoever reads it has to be able to: nan is no JSON.
    return json.dumps(value, allow_nan=False, default=plain)
