"""The metadata of an STXM scan, as the start documents of such beamlines have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from bluesky.protocols import Movable

from bluesky_ext.plans.check import check_finite
from bluesky_ext.stxm.axes import Axis
from suitcase_nxstxm.scan_types import as_scan_type

__all__ = ["as_json", "make_standard_metadata"]

# Where a region has its axes, and the devices that they are of unless they say another.
POSITIONERS = {
    **{"X": "SampleFineX", "Y": "SampleFineY", "Z": "ZonePlate.Z"},
    **{"GONI.X": "GoniX", "GONI.Y": "GoniY", "GONI.Z": "GoniZ", "GONI.T": "GoniTheta"},
    **{"OSA.X": "OSA.X", "OSA.Y": "OSA.Y", "OSA.Z": "OSA.Z"},
    **{"ZP.X": "ZonePlate.X", "ZP.Y": "ZonePlate.Y", "ZP.Z": "ZonePlate.Z"},
}


def make_standard_metadata(
    scan_type: int | str,
    regions: Mapping[int, Mapping[str, Axis]],
    *,
    primary_det: Sequence[str],
    energies: Sequence[float] = (),
    polarizations: Sequence[tuple[float, float, float]] = (),
    dwell: float | None = None,
    img_idx_map: Mapping[str, Any] | None = None,
    rev_lu_dct: Mapping[str, str] | None = None,
    zp_def: Mapping[str, float] | None = None,
    entry_name: str = "entry0",
) -> str:
    """The ``metadata`` of a start document: JSON in which ``wdg_com`` and ``img_idx_map`` are JSON strings again.

    What is not known is left empty or null; nothing is made up. ``sequence_map`` is empty: the events come in the order
    that ``shape`` and ``snaking`` of the start document say.

    Parameters
    ----------
    scan_type : int or str
        The type of scan, by the number or the name that `suitcase_nxstxm.scan_types` has for it.
    regions : mapping
        Where the scan goes: of each region by its number, ``sp_id``, in the order in which they are measured, the axes
        that are scanned by ``X``, ``Y``, ``Z``, ``ZP.Z``, ``OSA.X``, ``GONI.T``, ...
    primary_det : sequence of str
        Names of the detectors, that to be shown first.
    energies : sequence of float
        Photon energies in eV, those of the whole scan.
    polarizations : sequence of (float, float, float)
        Settings of the undulator, those of the whole scan: number of the polarisation, offset of the gap, angle.
    dwell : float, optional
        Counting time of a point in ms; None if it is not the same for all.
    img_idx_map : mapping, optional
        Where in the file the image of the run belongs: ``e_idx``, ``pol_idx``, ``sp_idx``, ``sp_id``, ``entry`` and, in
        tomography, ``rotation_angle``; for a run of several images, that of each by its number, "0", "1", ...
    rev_lu_dct : mapping, optional
        Name of each device by its conventional name.
    zp_def : mapping, optional
        Parameters of the zone plate.
    entry_name : str
        Entry of the file that the run belongs to.
    """
    number = int(as_scan_type(scan_type))
    if not regions:
        raise ValueError("regions is empty: give one region or more")
    if isinstance(primary_det, str) or not primary_det:
        raise ValueError(f"primary_det is {primary_det!r}: give a list of one name or more")
    for energy in energies:
        check_finite("an energy", energy)
    if dwell is not None:
        check_finite("dwell", dwell, 0)
    kind = {"SCAN_TYPE": number, "SCAN_SUBTYPE": 0}
    energy_rois = _energy_rois(energies, polarizations, dwell)
    rois = {str(region): {**_region(axes), "EV_ROIS": energy_rois} for region, axes in regions.items()}
    requests = {
        name: {
            **{"ID": "SPATIAL_DB_DICT", "ID_VAL": int(name), "SCAN_PLUGIN": kind, **roi},
            **{"EV_NPOINTS": len(energies), "POL_NPOINTS": len(polarizations)},
            "RECT": [roi[axis][end] for end in ("START", "STOP") for axis in "XY"],
        }
        for name, roi in rois.items()
    }
    single = {
        "SP_ROIS": list(requests.values()),
        "EV_ROIS": list(energies),
        "POL_ROIS": _pol_rois(polarizations),
        "DWELL": [] if dwell is None else [dwell] * len(energies),
    }
    first = {"e_idx": 0, "pol_idx": 0, "sp_idx": 0, "sp_id": next(iter(regions)), "entry": entry_name}
    metadata = {
        "entry_name": entry_name,
        "scan_type": number,
        "sp_id_lst": list(regions),
        "rois": rois,
        "dwell": dwell,
        "primary_det": list(primary_det),
        "default_det": primary_det[0],
        "zp_def": dict(zp_def or {}),
        "wdg_com": as_json({"CMND": 0, "SCAN_PLUGIN": kind, "SPATIAL_ROIS": requests, "SINGLE_LST": single}),
        "img_idx_map": as_json(first if img_idx_map is None else img_idx_map),
        "sequence_map": {},
        "rev_lu_dct": dict(rev_lu_dct or {}),
    }
    return as_json(metadata)


def as_json(value: Any) -> str:
    """JSON of a value, in which numbers and arrays of numpy are numbers and lists, and devices their repr."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        if isinstance(item, Movable):
            return repr(item)
        if isinstance(item, Iterable):
            return list(item)
        raise TypeError(f"{item!r} in the metadata is no JSON: give numbers, texts, lists and dicts")

    # Whoever reads it has to be able to: nan is no JSON.
    return json.dumps(value, allow_nan=False, default=plain)


def _region(axes: Mapping[str, Axis]) -> dict[str, Any]:
    """The axes of a region as ``rois`` has them; those that are not scanned are not enabled."""
    unknown = set(axes) - set(POSITIONERS)
    if unknown:
        raise ValueError(f"{min(unknown)!r} is no axis of a region: give one of {', '.join(POSITIONERS)}")
    tree: dict[str, Any] = {}
    for name, positioner in POSITIONERS.items():
        *part, axis = name.split(".")
        branch = tree.setdefault(part[0], {}) if part else tree
        branch[axis] = _roi(name, axes.get(name, Axis(positioner, ())))
    return tree


def _roi(name: str, axis: Axis) -> dict[str, Any]:
    """An axis of a region as the metadata have it."""
    num = len(axis.setpoints)
    roi = {
        **{"ID": "BASE_ROI", "ID_VAL": -1, "NAME": name, "POSITIONER": axis.name, "OFFSET": 0.0},
        **{"NPOINTS": num, "ENABLED": num > 0, "IS_POINT": num == 1},
    }
    if not num:
        return {**roi, **dict.fromkeys(("CENTER", "RANGE", "START", "STOP", "STEP", "SRC"))}
    first, last = axis.setpoints[0], axis.setpoints[-1]
    step = (last - first) / max(num - 1, 1) if axis.is_even else None
    return {
        **{**roi, "CENTER": (first + last) / 2, "RANGE": abs(last - first), "START": first, "STOP": last},
        **{"STEP": step, "SETPOINTS": list(axis.setpoints), "SRC": getattr(axis.device, "name", None)},
    }


def _energy_rois(
    energies: Sequence[float], polarizations: Sequence[tuple[float, float, float]], dwell: float | None
) -> list[dict[str, Any]]:
    if not energies:
        return []
    names = ("EPU_POL_PNTS", "EPU_OFF_PNTS", "EPU_ANG_PNTS")
    columns = {name: [setting[index] for setting in polarizations] for index, name in enumerate(names)}
    energy = {**_roi("EV", Axis("ENERGY", tuple(energies))), "ID": "EV_ROI", "ID_VAL": 0, "DWELL": dwell}
    return [{**energy, "EV_POL_ORDER": 0, **columns, "POL_ROIS": _pol_rois(polarizations)}]


def _pol_rois(polarizations: Sequence[tuple[float, float, float]]) -> list[dict[str, Any]]:
    names = {"ID": "EPU_POL", "NAME": "", "POL_POSITIONER": "EPUPolarization", "OFF_POSITIONER": "EPUOffset"}
    settings = enumerate(polarizations)
    return [{**names, "ID_VAL": index, "POL": pol, "OFF": off, "ANGLE": angle} for index, (pol, off, angle) in settings]
