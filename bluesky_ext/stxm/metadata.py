"""The metadata of an STXM scan, as the start documents of such beamlines have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.plans.check import check_finite
from bluesky_ext.stxm.axes import Axis
from suitcase_nxstxm.scan_types import as_scan_type

__all__ = ["Polarized", "Region", "as_json", "image_index", "make_standard_metadata"]

# Where a region has its axes, and the devices that they are of unless they say another.
POSITIONERS = {
    **{"X": "SampleFineX", "Y": "SampleFineY", "Z": "ZonePlate.Z"},
    **{"GONI.X": "GoniX", "GONI.Y": "GoniY", "GONI.Z": "GoniZ", "GONI.T": "GoniTheta"},
    **{"OSA.X": "OSA.X", "OSA.Y": "OSA.Y", "OSA.Z": "OSA.Z"},
    **{"ZP.X": "ZonePlate.X", "ZP.Y": "ZonePlate.Y", "ZP.Z": "ZonePlate.Z"},
}


@dataclass(frozen=True)
class Region:
    """A region of interest on the sample, or of another part of the microscope.

    Parameters
    ----------
    number : int
        Its number, ``sp_id``.
    axes : mapping
        The axes that are scanned, by ``X``, ``Y``, ``Z``, ``ZP.Z``, ``OSA.X``, ``GONI.T``, ...
    """

    number: int
    axes: Mapping[str, Axis]

    def __post_init__(self) -> None:
        for name in self.axes:
            if name not in POSITIONERS:
                raise ValueError(f"{name!r} is no axis of a region: give one of {', '.join(POSITIONERS)}")

    def as_dict(self) -> dict[str, Any]:
        """The axes as ``rois`` of the metadata has them; those that are not scanned are not enabled."""
        tree: dict[str, Any] = {}
        for name, positioner in POSITIONERS.items():
            *part, axis = name.split(".")
            branch = tree.setdefault(part[0], {}) if part else tree
            branch[axis] = _roi(name, self.axes.get(name, Axis(positioner, ())))
        return tree


@dataclass(frozen=True)
class Polarized:
    """A setting of the undulator.

    Parameters
    ----------
    polarization : float
        Its number.
    offset : float
        Offset of the gap.
    angle : float
        Direction of an inclined polarisation in degrees.
    """

    polarization: float
    offset: float = 0.0
    angle: float = 0.0

    def as_dict(self, number: int = 0) -> dict[str, Any]:
        """The setting as the metadata have it."""
        return {
            **{"ID": "EPU_POL", "ID_VAL": number, "NAME": ""},
            **{"POL": self.polarization, "OFF": self.offset, "ANGLE": self.angle},
            **{"POL_POSITIONER": "EPUPolarization", "OFF_POSITIONER": "EPUOffset"},
        }


def make_standard_metadata(
    scan_type: int | str,
    regions: Sequence[Region],
    *,
    primary_det: Sequence[str],
    energies: Sequence[float] = (),
    polarizations: Sequence[Polarized] = (),
    dwell: float | None = None,
    img_idx_map: Mapping[str, Any] | None = None,
    rev_lu_dct: Mapping[str, str] | None = None,
    zp_def: Mapping[str, float] | None = None,
    default_det: str | None = None,
    entry_name: str = "entry0",
) -> str:
    """The ``metadata`` of a start document: JSON in which ``wdg_com`` and ``img_idx_map`` are JSON strings again.

    What is not known is left empty or null; nothing is made up. ``sequence_map`` is empty: the events come in the order
    that ``shape`` and ``snaking`` of the start document say.

    Parameters
    ----------
    scan_type : int or str
        The type of scan, by the number or the name that `suitcase_nxstxm.scan_types` has for it.
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
    rev_lu_dct : mapping, optional
        Name of each device by its conventional name.
    zp_def : mapping, optional
        Parameters of the zone plate.
    default_det : str, optional
        The detector to be shown; by default the first.
    entry_name : str
        Entry of the file that the run belongs to.

    Examples
    --------
    >>> spot = Region(0, {"X": Axis("SampleFineX", (1.5,)), "Y": Axis("SampleFineY", (0.5,))})
    >>> text = make_standard_metadata(4, [spot], primary_det=["counter0"], energies=[280.0, 290.0], dwell=1.0)
    >>> json.loads(json.loads(text)["wdg_com"])["SINGLE_LST"]["EV_ROIS"]
    [280.0, 290.0]
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
    default = primary_det[0] if default_det is None else default_det
    if default not in primary_det:
        raise ValueError(f"default_det is {default!r}: give one of {', '.join(primary_det)}")
    kind = {"SCAN_TYPE": number, "SCAN_SUBTYPE": 0}
    energy_rois = _energy_rois(energies, polarizations, dwell)
    rois = {str(region.number): {**region.as_dict(), "EV_ROIS": energy_rois} for region in regions}
    requests = {
        name: {
            **{"ID": "SPATIAL_DB_DICT", "ID_VAL": int(name), "SCAN_PLUGIN": kind, "RECT": _rect(roi)},
            **{"EV_NPOINTS": len(energies), "POL_NPOINTS": len(polarizations), **roi},
        }
        for name, roi in rois.items()
    }
    single = {
        "SP_ROIS": list(requests.values()),
        "EV_ROIS": list(energies),
        "POL_ROIS": [setting.as_dict(index) for index, setting in enumerate(polarizations)],
        "DWELL": [] if dwell is None else [dwell] * len(energies),
    }
    whole = image_index(regions[0].number, entry=entry_name) if img_idx_map is None else img_idx_map
    metadata = {
        "entry_name": entry_name,
        "scan_type": number,
        "sp_id_lst": [region.number for region in regions],
        "rois": rois,
        "dwell": dwell,
        "primary_det": list(primary_det),
        "default_det": default,
        "zp_def": dict(zp_def or {}),
        "wdg_com": as_json({"CMND": 0, "SCAN_PLUGIN": kind, "SPATIAL_ROIS": requests, "SINGLE_LST": single}),
        "img_idx_map": as_json(whole),
        "sequence_map": {},
        "rev_lu_dct": dict(rev_lu_dct or {}),
    }
    return as_json(metadata)


def image_index(
    sp_id: int,
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
    sp_id : int
        Number of its region.
    energy, polarization, region_index : int
        Index of its energy, its polarisation, its region.
    rotation_angle : float, optional
        Angle of the sample in degrees, in tomography.
    entry : str
        Entry of the file.
    """
    index = {"e_idx": energy, "pol_idx": polarization, "sp_idx": region_index, "sp_id": sp_id, "entry": entry}
    return index if rotation_angle is None else {**index, "rotation_angle": rotation_angle}


def as_json(value: Any) -> str:
    """JSON of a value, in which numbers and arrays of numpy are numbers and lists."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic | np.ndarray):
            return item.tolist()
        raise TypeError(f"{item!r} in the metadata is no JSON: give numbers, texts, lists and dicts")

    # Whoever reads it has to be able to: nan is no JSON.
    return json.dumps(value, allow_nan=False, default=plain)


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


def _rect(roi: Mapping[str, Any]) -> list[float | None]:
    return [roi[axis][end] for end in ("START", "STOP") for axis in "XY"]


def _energy_rois(
    energies: Sequence[float], polarizations: Sequence[Polarized], dwell: float | None
) -> list[dict[str, Any]]:
    if not energies:
        return []
    points = {
        "EPU_POL_PNTS": [setting.polarization for setting in polarizations],
        "EPU_OFF_PNTS": [setting.offset for setting in polarizations],
        "EPU_ANG_PNTS": [setting.angle for setting in polarizations],
        "POL_ROIS": [setting.as_dict(number) for number, setting in enumerate(polarizations)],
    }
    order = {"ID": "EV_ROI", "ID_VAL": 0, "DWELL": dwell, "EV_POL_ORDER": 0}
    return [{**_roi("EV", Axis("ENERGY", tuple(energies))), **order, **points}]
