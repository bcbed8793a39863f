"""The request of a run with STXM metadata, in the old schema and in the new one.

The old one has ``primary_det`` as the beginning of a data key; the new one has it as a list of names and adds
``default_det``, ``sequence_map`` and ``rotation_angle``. Times of both are in milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.metadata import as_json, unpacked
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.plain import dimensions
from suitcase_nxstxm.request import Axis, Polarization, Region, Request
from suitcase_nxstxm.scan_types import as_scan_type, focus_scans, scan_types

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


_STACKS = (scan_types.SAMPLE_IMAGE_STACK, scan_types.TOMOGRAPHY_SCAN, scan_types.PTYCHOGRAPHY_SCAN)


def stxm_request(start: Mapping[str, Any], metadata: Mapping[str, Any], scan_type: object = None) -> Request:
    """The request of a run whose start document has STXM metadata.

    Raises
    ------
    MetadataError
        If the metadata lack what the scan type needs.
    UnknownScanTypeError
        If the scan type is none of the known ones.
    """
    run = start["uid"]
    if scan_type is None and "scan_type" not in metadata:
        raise MetadataError(f"the metadata of run {run} have no 'scan_type': give it as scan_type=")
    kind = as_scan_type(metadata["scan_type"] if scan_type is None else scan_type)
    asked = _Asked(run, metadata)
    whole = _request(start, asked, kind)
    if kind is scan_types.SAMPLE_POINT_SPECTRA:
        # A run that goes on when it has been to all energies goes on to the next polarisation.
        indices = range(whole.polarization_index, len(asked.polarizations))
        records = [{**asked.place, "pol_idx": index} for index in indices]
    else:
        records = asked.records if kind in _STACKS else []
    if len(records) < 2:
        return whole
    images = tuple(_request(start, _Asked(run, metadata, record), kind) for record in records)
    return replace(images[0], images=images)


def _request(start: Mapping[str, Any], asked: _Asked, kind: scan_types) -> Request:
    """The request of a run, or of one of its images."""
    run, metadata, place = asked.run, asked.metadata, asked.place
    point = kind is scan_types.SAMPLE_POINT_SPECTRA
    regions = asked.all_regions() if point else (asked.region(asked.own(), kind),)
    energies, dwells = asked.energies
    plane = int(place.get("e_idx") or 0)
    if not 0 <= plane < max(len(energies), 1):
        raise MetadataError(f"run {run} is for energy {plane} ('e_idx') of a scan with {len(energies)} energies")
    polarizations = asked.polarizations
    index = int(place.get("pol_idx") or 0)
    angle = place.get("rotation_angle")
    rotation = _number(metadata.get("rotation_angle") if angle is None else angle)
    return Request(
        run=run,
        scan_type=kind,
        entry=legal(str(place.get("entry") or metadata.get("entry_name") or "entry0")),
        plane=plane,
        regions=regions,
        axes=_generic_axes(start, regions[0], asked.devices) if kind is scan_types.GENERIC_SCAN else (),
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
        placed=bool(place) or kind not in _STACKS or len(energies) < 2,
        sequence=_sequence(metadata.get("sequence_map"), run),
    )


def metadata_text(start: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The metadata as they came if they came as text, else as JSON."""
    given = start.get("metadata")
    return given if isinstance(given, str) else as_json(metadata)


class _Asked:
    """The parts of the metadata, wherever in them they are."""

    def __init__(self, run: str, metadata: Mapping[str, Any], place: Mapping[str, Any] | None = None) -> None:
        self.run = run
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
        listed = self.metadata.get("sp_id_lst")
        key = self.place.get("sp_id", listed[0] if isinstance(listed, Sequence) and len(listed) else None)
        for regions in (self.metadata.get("rois"), self.wdg_com.get("SPATIAL_ROIS")):
            if isinstance(regions, Mapping):
                if str(key) in regions:
                    return {"key": str(key), **regions[str(key)]}
                if key is None and regions:
                    first = min(regions, key=_numerically)
                    return {"key": first, **regions[first]}
        listed = self.single.get("SP_ROIS") or ()
        index = int(self.place.get("sp_idx") or 0)
        if index < len(listed):
            return {"key": str(index), **listed[index]}
        raise MetadataError(f"the metadata of run {self.run} have no region {key!r}: no 'rois', no 'SPATIAL_ROIS'")

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
        points = set_points(roi) if isinstance(roi, Mapping) else None
        if points is None or not isinstance(roi, Mapping):
            if needed:
                raise MetadataError(f"region {region} of run {self.run} has no set points of {name!r}")
            return None
        return Axis(name, points, str(roi.get("POSITIONER") or roi.get("SRC") or ""), "um")

    def _at(self, place: Mapping[str, Any]) -> _Asked:
        """The same for another image of the scan."""
        return self if place == self.place else _Asked(self.run, self.metadata, place)

    def _energy_rois(self) -> Iterator[Mapping[str, Any]]:
        for roi in self.own().get("EV_ROIS") or ():
            if isinstance(roi, Mapping):
                yield roi

    @cached_property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """The energies in eV, and the times at each in ms."""
        points, dwells = [], []
        listed = self.single.get("EV_ROIS")
        if listed and not any(isinstance(item, Mapping) for item in listed) and not self._other_energies(listed):
            points = [float(item) for item in listed]
            dwells = [float(item) for item in self.single.get("DWELL") or ()]
        else:
            for roi in self._energy_rois():
                found = set_points(roi)
                if found is not None:
                    points += found.tolist()
                    dwells += [float(roi["DWELL"])] * len(found) if roi.get("DWELL") is not None else []
        whole = _number(self.metadata.get("dwell"))
        if not points:
            points = [np.nan]
        if len(dwells) != len(points):
            dwells = [np.nan if whole is None else whole] * len(points)
        return np.array(points), np.array(dwells)

    def _other_energies(self, listed: Sequence[Any]) -> bool:
        """Whether the region of this run has energies of its own, and those of ``SINGLE_LST`` are another's."""
        spatial = self.wdg_com.get("SPATIAL_ROIS")
        if "sp_id" not in self.place or not isinstance(spatial, Mapping) or len(spatial) < 2:
            return False
        found = [points for roi in self._energy_rois() if (points := set_points(roi)) is not None]
        return bool(found) and not np.array_equal(np.concatenate(found), np.array(listed, dtype=float))

    @cached_property
    def polarizations(self) -> list[Polarization]:
        """The polarisations of the scan."""
        rois = self.single.get("POL_ROIS")
        if not rois:
            rois = next((roi["POL_ROIS"] for roi in self._energy_rois() if roi.get("POL_ROIS")), ())
        return [
            Polarization(float(roi["POL"]), _number(roi.get("ANGLE")), _number(roi.get("OFF")))
            for roi in rois
            if isinstance(roi, Mapping) and roi.get("POL") is not None
        ]

    def planned(self, kind: scan_types) -> int | None:
        """How many planes the whole scan has, each of which may be a run; None if the metadata don't say it."""
        if not self.place:
            return len(self.energies[0]) if kind in _STACKS else 1
        listed = self.metadata.get("sp_id_lst")
        ids = list(listed) if isinstance(listed, Sequence) and len(listed) else [self.place.get("sp_id")]
        polarizations = max(len(self.polarizations), 1)
        if kind is scan_types.SAMPLE_POINT_SPECTRA:
            return polarizations
        if kind is scan_types.SAMPLE_IMAGE:
            return len(ids)
        if kind not in (*_STACKS, scan_types.SAMPLE_LINE_SPECTRA):
            return 1
        places = [{**self.place, "sp_id": number, "sp_idx": i} for i, number in enumerate(ids)]
        energies = sum(len(self._at(place).energies[0]) for place in places)
        if kind is not scan_types.TOMOGRAPHY_SCAN:
            return polarizations * energies
        goni = self.own().get("GONI")
        angle = goni.get("T") if isinstance(goni, Mapping) else None
        angles = set_points(angle) if isinstance(angle, Mapping) else None
        return None if angles is None else polarizations * energies * len(angles)

    def fingerprint(self, kind: scan_types) -> str:
        """The same for all runs of the scan: what is the same in all of them, and nothing that counts along."""
        spatial = self.wdg_com.get("SPATIAL_ROIS") or self.metadata.get("rois") or {}
        names = ("X", "Y", "ZP", "EV_ROIS")
        regions = [(key, name, roi.get(name)) for key, roi in sorted(spatial.items()) for name in names]
        listed = [self.single.get(name) for name in ("EV_ROIS", "POL_ROIS", "DWELL")]
        return hashlib.sha256(repr((int(kind), regions, listed)).encode()).hexdigest()


def set_points(roi: Mapping[str, Any]) -> np.ndarray | None:
    """The set points of a region of interest: as listed, or evenly from start to stop; None if it has neither."""
    listed = roi.get("SETPOINTS")
    if listed is not None and len(listed):
        return np.array(listed, dtype=float)
    start, stop, number = (_number(roi.get(name)) for name in ("START", "STOP", "NPOINTS"))
    if start is not None and stop is not None and number:
        return np.linspace(start, stop, int(number))
    return None


def _generic_axes(start: Mapping[str, Any], region: Region, devices: Devices) -> tuple[Axis, ...]:
    """The axes that a generic scan moves, the slowest first: those of its motors; without motors, that of X.

    A region has more axes than a scan of it moves.
    """
    known = {axis.device: axis for axis in (region.x, region.y, region.z) if axis is not None}
    plain = {axes[0].device: axes[0] for axes in dimensions(start)}
    chosen = []
    for motor in start.get("motors") or ():
        name = devices.called(motor) or motor
        axis = known.get(name) or known.get(motor) or plain.get(motor)
        if axis is None or not len(axis):
            raise MetadataError(f"generic scan {start['uid']} has no set points of its motor {motor!r}")
        chosen.append(Axis(name, axis.points, axis.device, axis.units))
    if not chosen and region.x is not None:
        chosen = [Axis(region.x.device or "x", region.x.points, region.x.device, region.x.units)]
    return tuple(chosen)


def _sequence(listed: object, run: str) -> np.ndarray | None:
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
    found = np.full((max(places) + 1, 3), -1, np.int64)
    for event, place in places.items():
        found[event] = place
    return found


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        value = list(value)
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numerically(key: str) -> tuple[int, str]:
    return (int(key), key) if str(key).lstrip("-").isdigit() else (1 << 62, str(key))
