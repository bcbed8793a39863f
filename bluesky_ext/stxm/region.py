"""Where a scan goes, as the metadata of STXM scans say it: regions of interest, energies, polarisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Polarized", "Region", "Span"]

# Where a region has its axes: those of the scan, and those of the parts of the microscope.
AXES = ("X", "Y", "Z")
PARTS = {"GONI": ("X", "Y", "Z", "T"), "OSA": AXES, "ZP": AXES}
POSITIONERS = {
    "X": "SampleFineX",
    "Y": "SampleFineY",
    "Z": "ZonePlate.Z",
    "GONI.X": "GoniX",
    "GONI.Y": "GoniY",
    "GONI.Z": "GoniZ",
    "GONI.T": "GoniTheta",
    "OSA.X": "OSA.X",
    "OSA.Y": "OSA.Y",
    "OSA.Z": "OSA.Z",
    "ZP.X": "ZonePlate.X",
    "ZP.Y": "ZonePlate.Y",
    "ZP.Z": "ZonePlate.Z",
}


@dataclass(frozen=True)
class Span:
    """The setpoints of one device.

    Parameters
    ----------
    positioner : str
        Conventional name of the device.
    setpoints : tuple of float
        Where it goes, in the order of the axis.
    source : str, optional
        Name of the device.
    """

    positioner: str
    setpoints: tuple[float, ...]
    source: str | None = None

    def as_dict(self, name: str) -> dict[str, Any]:
        """The span as the metadata have it."""
        first, last, num = self.setpoints[0], self.setpoints[-1], len(self.setpoints)
        return {
            **_roi(name, self.positioner),
            "CENTER": (first + last) / 2,
            "RANGE": abs(last - first),
            "NPOINTS": num,
            "ENABLED": True,
            "IS_POINT": num == 1,
            "START": first,
            "STOP": last,
            "STEP": (last - first) / (num - 1) if num > 1 else 0.0,
            "SETPOINTS": list(self.setpoints),
            "SRC": self.source,
        }


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
            "ID": "EPU_POL",
            "ID_VAL": number,
            "NAME": "",
            "POL": self.polarization,
            "OFF": self.offset,
            "ANGLE": self.angle,
            "POL_POSITIONER": "EPUPolarization",
            "OFF_POSITIONER": "EPUOffset",
        }


@dataclass(frozen=True)
class Region:
    """A region of interest on the sample, or of another part of the microscope.

    Parameters
    ----------
    number : int
        Its number, ``sp_id``.
    spans : mapping
        The axes that are scanned, by ``X``, ``Y``, ``Z``, ``ZP.Z``, ``OSA.X``, ``GONI.T``, ...
    """

    number: int
    spans: Mapping[str, Span]

    def __post_init__(self) -> None:
        for name in self.spans:
            if name not in POSITIONERS:
                raise ValueError(f"{name!r} is no axis of a region: give one of {', '.join(POSITIONERS)}")

    def axes(self) -> dict[str, Any]:
        """The axes, as ``rois`` of the metadata has them; those that are not scanned are not enabled."""
        tree: dict[str, Any] = {axis: self._axis(axis) for axis in AXES}
        for part, axes in PARTS.items():
            tree[part] = {axis: self._axis(f"{part}.{axis}") for axis in axes}
        return tree

    def as_dict(
        self, scan_type: int, energies: Sequence[float], polarizations: Sequence[Polarized], dwell: float | None
    ) -> dict[str, Any]:
        """The region as ``wdg_com`` of the metadata has it.

        Parameters
        ----------
        scan_type : int
            Number of the type of scan.
        energies : sequence of float
            Photon energies in eV; none if they are not known.
        polarizations : sequence of Polarized
            Settings of the undulator; none if they are not known.
        dwell : float, optional
            Counting time in ms.
        """
        x, y = (self.spans[axis].setpoints if axis in self.spans else (None,) for axis in ("X", "Y"))
        return {
            "ID": "SPATIAL_DB_DICT",
            "ID_VAL": self.number,
            "SCAN_PLUGIN": {"SCAN_TYPE": scan_type, "SCAN_SUBTYPE": 0},
            "RECT": [x[0], y[0], x[-1], y[-1]],
            "EV_NPOINTS": len(energies),
            "POL_NPOINTS": len(polarizations),
            "EV_ROIS": _energy_rois(energies, polarizations, dwell),
            **self.axes(),
        }

    def _axis(self, name: str) -> dict[str, Any]:
        if name in self.spans:
            return self.spans[name].as_dict(name)
        unused = dict.fromkeys(("CENTER", "RANGE", "START", "STOP", "STEP", "SRC"))
        return {**_roi(name, POSITIONERS[name]), **unused, "NPOINTS": 0, "ENABLED": False, "IS_POINT": False}


def _roi(name: str, positioner: str) -> dict[str, Any]:
    return {"ID": "BASE_ROI", "ID_VAL": -1, "NAME": name, "POSITIONER": positioner, "OFFSET": 0.0}


def _energy_rois(
    energies: Sequence[float], polarizations: Sequence[Polarized], dwell: float | None
) -> list[dict[str, Any]]:
    if not energies:
        return []
    span = Span("ENERGY", tuple(energies)).as_dict("EV")
    points = {
        "EPU_POL_PNTS": [setting.polarization for setting in polarizations],
        "EPU_OFF_PNTS": [setting.offset for setting in polarizations],
        "EPU_ANG_PNTS": [setting.angle for setting in polarizations],
        "POL_ROIS": [setting.as_dict(number) for number, setting in enumerate(polarizations)],
    }
    return [{**span, "ID": "EV_ROI", "ID_VAL": 0, "DWELL": dwell, "EV_POL_ORDER": 0, **points}]
