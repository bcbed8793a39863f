"""What the metadata of an STXM ask for, wherever in them it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.metadata import as_number, unpacked
from suitcase_nxstxm.request import Axis, Polarization, Region, number_of_points
from suitcase_nxstxm.scan_types import focus_scans, scan_types

__all__ = ["STACKS", "Asked", "set_points"]

logger = logging.getLogger(__name__)

STACKS = (scan_types.SAMPLE_IMAGE_STACK, scan_types.TOMOGRAPHY_SCAN, scan_types.PTYCHOGRAPHY_SCAN)
"""The scan types that have a plane for each energy."""


class Asked:
    """The parts of the metadata, wherever in them they are."""

    def __init__(
        self, run: str, metadata: Mapping[str, Any], max_points: int, place: Mapping[str, Any] | None = None
    ) -> None:
        self.run = run
        self.max_points = max_points
        self.metadata = metadata
        wdg_com = metadata.get("wdg_com")
        self.wdg_com: Mapping[str, Any] = wdg_com if isinstance(wdg_com, Mapping) else {}
        single = unpacked(self.wdg_com.get("SINGLE_LST"), "'SINGLE_LST'")
        self.single: Mapping[str, Any] = single if isinstance(single, Mapping) else {}
        names = metadata.get("rev_lu_dct")
        self.devices = Devices({str(k): str(v) for k, v in names.items()} if isinstance(names, Mapping) else {})
        self.records = self._records()
        self.place = self._place() if place is None else place

    def _records(self) -> list[Mapping[str, Any]]:
        """Where each image of a run of several belongs, in the order of their numbers."""
        found = self.metadata.get("img_idx_map")
        if not isinstance(found, Mapping) or not all(isinstance(record, Mapping) for record in found.values()):
            return []
        return [found[key] for key in sorted(found, key=_numerically)]

    def _place(self) -> Mapping[str, Any]:
        """Which image of the scan this run is: the record of ``img_idx_map``, or that of its first one."""
        found = self.metadata.get("img_idx_map")
        if not isinstance(found, Mapping):
            return {}
        return self.records[0] if self.records else found

    def own(self) -> Mapping[str, Any]:
        """The region of this run."""
        mine, all_ = self.metadata.get("rois"), self.wdg_com.get("SPATIAL_ROIS")
        key = self.place.get("sp_id")
        if "sp_id" not in self.place:
            listed = self.metadata.get("sp_id_lst")
            alone = list(mine) if isinstance(mine, Mapping) and len(mine) == 1 else []
            key = next(iter((*alone, *(listed if isinstance(listed, Sequence) else ()))), None)
        known = [regions for regions in (mine, all_) if isinstance(regions, Mapping) and regions]
        for regions in known:
            if str(key) in regions:
                return self._keyed(str(key), regions[str(key)])
            if key is None:
                first = min(regions, key=_numerically)
                return self._keyed(first, regions[first])
        if known:
            only, *others = known[0]
            if others:
                raise MetadataError(
                    f"the metadata of run {self.run} have no region {key!r} ('sp_id'): there are {', '.join(known[0])}"
                )
            logger.warning("run %s is for region %r, which is unknown: %r is the only one", self.run, key, only)
            return self._keyed(only, known[0][only])
        listed = self.single.get("SP_ROIS") or ()
        index = int(self.place.get("sp_idx") or 0)
        if 0 <= index < len(listed):
            return self._keyed(str(index), listed[index])
        raise MetadataError(f"the metadata of run {self.run} have no region {key!r}: no 'rois', no 'SPATIAL_ROIS'")

    def _keyed(self, key: str, region: Any) -> Mapping[str, Any]:
        if not isinstance(region, Mapping):
            raise MetadataError(f"region {key!r} of run {self.run} is {region!r:.100}, and not a table of its axes")
        return {"key": key, **region}

    def check_alone(self) -> None:
        """Raise MetadataError if only ``img_idx_map`` could tell the region or the polarisation of this run."""
        rois, spatial = self.metadata.get("rois"), self.wdg_com.get("SPATIAL_ROIS")
        own = len(rois) if isinstance(rois, Mapping) and rois else len(spatial or ())
        for what, number in (("regions", own), ("polarisations", len(self.polarizations))):
            if number > 1:
                raise MetadataError(
                    f"run {self.run} has no 'img_idx_map', which alone tells for which of {number} {what} it is"
                )

    def all_regions(self) -> tuple[Region, ...]:
        """All regions of the scan in the order of their acquisition, which ``sp_id_lst`` is not."""
        spatial = self.wdg_com.get("SPATIAL_ROIS") or self.metadata.get("rois") or {}
        keys = sorted(spatial, key=_numerically)
        listed = list(self.single.get("SP_ROIS") or ()) or [spatial[key] for key in keys]
        if not listed:
            raise MetadataError(f"the metadata of run {self.run} have no regions: no 'SP_ROIS', no 'SPATIAL_ROIS'")
        point = scan_types.SAMPLE_POINT_SPECTRA
        return tuple(self.region({"key": self._key(roi, i, spatial), **roi}, point) for i, roi in enumerate(listed))

    def _key(self, roi: Mapping[str, Any], index: int, spatial: Mapping[str, Any]) -> str:
        """The number of a region of ``SP_ROIS``, which it has only under ``SPATIAL_ROIS``."""
        same = [key for key, other in spatial.items() if all(other.get(a) == roi.get(a) for a in ("X", "Y"))]
        return same[0] if len(same) == 1 else str(index)

    def region(self, roi: Mapping[str, Any], kind: scan_types) -> Region:
        """A region with the axes that the scan type needs."""
        key = str(roi.get("key", "0"))
        generic = kind is scan_types.GENERIC_SCAN
        needed = {"X": not generic, "Y": not generic} | ({"Z": False} if generic else {})
        axes = {name.lower(): self._axis(roi.get(name), name, key, need) for name, need in needed.items()}
        if kind in focus_scans:
            zone_plate = roi.get("ZP")
            places = [zone_plate.get("Z")] if isinstance(zone_plate, Mapping) else []
            found = [self._axis(z, "ZP.Z", key, needed=False) for z in (*places, roi.get("Z"))]
            moving = [axis for axis in found if axis is not None]
            if not moving:
                raise MetadataError(f"region {key} of run {self.run} has no set points of the zone plate ('ZP.Z')")
            axes["z"] = moving[0]
        return Region(key, **axes)

    def _axis(self, roi: object, name: str, region: str, needed: bool = True) -> Axis | None:
        points = set_points(roi, self.max_points) if isinstance(roi, Mapping) else None
        if points is None or not isinstance(roi, Mapping):
            if needed:
                raise MetadataError(f"region {region} of run {self.run} has no set points of {name!r}")
            return None
        return Axis(name, points, str(roi.get("POSITIONER") or roi.get("SRC") or ""), "um")

    def _at(self, place: Mapping[str, Any]) -> Asked:
        """The same for another image of the scan."""
        return self if place == self.place else Asked(self.run, self.metadata, self.max_points, place)

    def _energy_rois(self) -> Iterator[Mapping[str, Any]]:
        for roi in self.own().get("EV_ROIS") or ():
            if isinstance(roi, Mapping):
                yield roi

    @cached_property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """The energies in eV, and the times at each in ms."""
        points: list[np.ndarray] = [np.empty(0)]
        dwells: list[np.ndarray] = [np.empty(0)]
        listed = self.single.get("EV_ROIS")
        if listed and not any(isinstance(item, Mapping) for item in listed) and not self._other_energies(listed):
            points.append(np.array([float(item) for item in listed]))
            dwells.append(np.array([float(item) for item in self.single.get("DWELL") or ()]))
        else:
            for roi in self._energy_rois():
                found = set_points(roi, self.max_points - sum(map(len, points)))
                if found is not None:
                    points.append(found)
                    if roi.get("DWELL") is not None:
                        dwells.append(np.full(len(found), float(roi["DWELL"])))
        whole = as_number(self.metadata.get("dwell"))
        energies, times = np.concatenate(points), np.concatenate(dwells)
        if not len(energies):
            energies = np.array([np.nan])
        if len(times) != len(energies):
            times = np.full(len(energies), np.nan if whole is None else whole)
        return energies, times

    def _other_energies(self, listed: Sequence[Any]) -> bool:
        """Whether the region of this run has energies of its own, and those of ``SINGLE_LST`` are another's."""
        spatial = self.wdg_com.get("SPATIAL_ROIS")
        if "sp_id" not in self.place or not isinstance(spatial, Mapping) or len(spatial) < 2:
            return False
        found = [points for roi in self._energy_rois() if (points := set_points(roi, self.max_points)) is not None]
        return bool(found) and not np.array_equal(np.concatenate(found), np.array(listed, dtype=float))

    @cached_property
    def polarizations(self) -> list[Polarization]:
        """The polarisations of the scan."""
        rois = self.single.get("POL_ROIS")
        if not rois:
            rois = next((roi["POL_ROIS"] for roi in self._energy_rois() if roi.get("POL_ROIS")), ())
        return [
            Polarization(float(roi["POL"]), as_number(roi.get("ANGLE")), as_number(roi.get("OFF")))
            for roi in rois
            if isinstance(roi, Mapping) and roi.get("POL") is not None
        ]

    def planned(self, kind: scan_types) -> int | None:
        """How many planes the whole scan has, each of which may be a run; None if the metadata don't say it."""
        if not self.place:
            return len(self.energies[0]) if kind in STACKS else 1
        listed = self.metadata.get("sp_id_lst")
        ids = list(listed) if isinstance(listed, Sequence) and len(listed) else [self.place.get("sp_id")]
        polarizations = max(len(self.polarizations), 1)
        if kind is scan_types.SAMPLE_POINT_SPECTRA:
            return polarizations
        if kind is scan_types.SAMPLE_IMAGE:
            return len(ids)
        if kind not in (*STACKS, scan_types.SAMPLE_LINE_SPECTRA):
            return 1
        places = [{**self.place, "sp_id": number, "sp_idx": i} for i, number in enumerate(ids)]
        energies = sum(len(self._at(place).energies[0]) for place in places)
        if kind is not scan_types.TOMOGRAPHY_SCAN:
            return polarizations * energies
        goni = self.own().get("GONI")
        angle = goni.get("T") if isinstance(goni, Mapping) else None
        angles = set_points(angle, self.max_points) if isinstance(angle, Mapping) else None
        return None if angles is None else polarizations * energies * len(angles)

    def fingerprint(self, kind: scan_types) -> str:
        """The same for all runs of the scan: what is the same in all of them, and nothing that counts along."""
        spatial = self.wdg_com.get("SPATIAL_ROIS") or self.metadata.get("rois") or {}
        names = ("X", "Y", "ZP", "EV_ROIS")
        regions = [(key, name, roi.get(name)) for key, roi in sorted(spatial.items()) for name in names]
        listed = [self.single.get(name) for name in ("EV_ROIS", "POL_ROIS", "DWELL")]
        return hashlib.sha256(repr((int(kind), regions, listed)).encode()).hexdigest()


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


def _numerically(key: str) -> tuple[int, str]:
    return (int(key), key) if str(key).lstrip("-").isdigit() else (1 << 62, str(key))
