"""The request of a run with STXM metadata, in the old schema and in the new one.

The old one has ``primary_det`` as the beginning of a data key; the new one has it as a list of names and adds
``default_det``, ``sequence_map`` and ``rotation_angle``. Times of both are in milliseconds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import Devices
from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.metadata import as_json, as_number, names, numerically, sequence, set_points, table, unpacked
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.plans import dimensions
from suitcase_nxstxm.request import Axis, Region, Request
from suitcase_nxstxm.scan_types import (
    SPECTRA,
    STACKS,
    as_scan_type,
    focus_scans,
    scan_types,
)

logger = logging.getLogger(__name__)

_SETS_ENERGY = STACKS | SPECTRA | {scan_types.SAMPLE_IMAGE, scan_types.PATTERN_GEN_SCAN}


def stxm_request(start: Mapping[str, Any], metadata: Mapping[str, Any], scan_type: object, max_points: int) -> Request:
    """The request of a run whose start document has STXM metadata."""
    if scan_type is None and "scan_type" not in metadata:
        raise MetadataError(f"the metadata of run {start['uid']} have no 'scan_type': give it as scan_type=")
    kind = as_scan_type(metadata["scan_type"] if scan_type is None else scan_type)
    whole = _Metadata(start, metadata, kind, max_points)
    records = whole.records if kind in STACKS else []
    if kind is scan_types.SAMPLE_POINT_SPECTRA:
        # A run that goes on when it has been to all energies goes on to the next polarisation.
        first = int(whole.place.get("pol_idx") or 0)
        records = [{**whole.place, "pol_idx": index} for index in range(first, len(whole.polarizations))]
    if len(records) < 2:
        return whole.request
    images = tuple(_Metadata(start, metadata, kind, max_points, record).request for record in records)
    return replace(images[0], images=images)


class _Metadata:
    """The metadata of a run, or of one image of a run of several, by what they are, wherever in them that is."""

    def __init__(
        self,
        start: Mapping[str, Any],
        metadata: Mapping[str, Any],
        kind: scan_types,
        max_points: int,
        place: Mapping[str, Any] | None = None,
    ) -> None:
        self.run, self._start, self._metadata, self._kind = start["uid"], start, metadata, kind
        self._max_points = max_points
        wdg_com = table(metadata.get("wdg_com"))
        self._single = table(unpacked(wdg_com.get("SINGLE_LST"), "'SINGLE_LST'"))
        self._rois, self._spatial = table(metadata.get("rois")), table(wdg_com.get("SPATIAL_ROIS"))
        self._devices = Devices({str(k): str(v) for k, v in table(metadata.get("rev_lu_dct")).items()})
        # Where the image belongs; or, for a run of several, where each does, in the order of their numbers.
        listed = table(metadata.get("img_idx_map"))
        several = all(isinstance(record, Mapping) for record in listed.values())
        self.records = [listed[key] for key in sorted(listed, key=numerically)] if several else []
        self.place = place if place is not None else self.records[0] if self.records else listed

    @cached_property
    def request(self) -> Request:
        """What the metadata ask for."""
        start, metadata, place, kind = self._start, self._metadata, self.place, self._kind
        regions = self._all_regions() if kind is scan_types.SAMPLE_POINT_SPECTRA else (self._region(self._own),)
        energies, dwells = self.energies
        plane = int(place.get("e_idx") or 0)
        if not 0 <= plane < max(len(energies), 1):
            number = len(energies)
            raise MetadataError(f"run {self.run} is for energy {plane} ('e_idx') of a scan with {number} energies")
        if kind in STACKS and not place:
            self._check_alone()
        index = int(place.get("pol_idx") or 0)
        angle = place.get("rotation_angle")
        rotation = as_number(metadata.get("rotation_angle") if angle is None else angle)
        given = metadata.get("primary_det")
        text = start.get("metadata")
        return Request(
            run=self.run,
            scan_type=kind,
            entry=legal(str(place.get("entry") or metadata.get("entry_name") or "entry0")),
            plane=plane,
            regions=regions,
            axes=self._generic_axes(regions[0]) if kind is scan_types.GENERIC_SCAN else (),
            snaking=tuple(bool(s) for s in start.get("snaking") or ()),
            energies=energies,
            count_times=dwells / 1000,
            energy_is_set=kind in _SETS_ENERGY,
            detectors=tuple(start["detectors"]) if start.get("detectors") else None,
            primary=tuple(dict.fromkeys(names(metadata.get("default_det")) + names(given))),
            exact=not isinstance(given, (str, type(None))),
            motors=tuple(start.get("motors") or ()),
            num_points=start.get("num_points"),
            rotation=rotation,
            polarization=self.polarizations[index] if index < len(self.polarizations) else {},
            zone_plate=table(metadata.get("zp_def")),
            devices=self._devices,
            scan=self._fingerprint(),
            planned=self._planned(),
            text=text if isinstance(text, str) else as_json(metadata),
            time=float(start["time"]),
            polarization_index=index,
            placed=bool(place) or kind not in STACKS or len(energies) < 2,
            sequence=sequence(metadata.get("sequence_map"), self.run, self._max_points),
        )

    @cached_property
    def _own(self) -> Mapping[str, Any]:
        """The region of the image."""
        listed, key = self._metadata.get("sp_id_lst"), self.place.get("sp_id")
        if "sp_id" not in self.place:
            alone = self._rois if len(self._rois) == 1 else ()
            key = next(iter((*alone, *(listed if isinstance(listed, Sequence) else ()))), None)
        known = [regions for regions in (self._rois, self._spatial) if regions]
        for regions in known:
            found = min(regions, key=numerically) if key is None else str(key)
            if found in regions:
                return self._keyed(found, regions[found])
        if known:
            only, *others = known[0]
            if others:
                raise MetadataError(
                    f"the metadata of run {self.run} have no region {key!r} ('sp_id'): there are {', '.join(known[0])}"
                )
            logger.warning("run %s is for region %r, which is unknown: %r is the only one", self.run, key, only)
            return self._keyed(only, known[0][only])
        measured, index = self._single.get("SP_ROIS") or (), int(self.place.get("sp_idx") or 0)
        if 0 <= index < len(measured):
            return self._keyed(str(index), measured[index])
        raise MetadataError(f"the metadata of run {self.run} have no region {key!r}: no 'rois', no 'SPATIAL_ROIS'")

    def _keyed(self, key: str, region: Any) -> Mapping[str, Any]:
        if not isinstance(region, Mapping):
            raise MetadataError(f"region {key!r} of run {self.run} is {region!r:.100}, and not a table of its axes")
        return {"key": key, **region}

    def _check_alone(self) -> None:
        """Raise MetadataError if only ``img_idx_map`` could tell the region or the polarisation of the run."""
        regions = len(self._rois or self._spatial)
        for what, number in (("regions", regions), ("polarisations", len(self.polarizations))):
            if number > 1:
                alone = f"which alone tells for which of {number} {what} it is"
                raise MetadataError(f"run {self.run} has no 'img_idx_map', {alone}")

    def _all_regions(self) -> tuple[Region, ...]:
        """All regions of the scan in the order of their acquisition, which ``sp_id_lst`` is not."""
        spatial = self._spatial or self._rois
        listed = list(self._single.get("SP_ROIS") or ()) or [spatial[key] for key in sorted(spatial, key=numerically)]
        if not listed:
            raise MetadataError(f"the metadata of run {self.run} have no regions: no 'SP_ROIS', no 'SPATIAL_ROIS'")
        found = []
        for i, roi in enumerate(listed):
            # The number of a region of SP_ROIS is only in SPATIAL_ROIS.
            same = [key for key, other in spatial.items() if all(other.get(a) == roi.get(a) for a in ("X", "Y"))]
            found.append(self._region({"key": same[0] if len(same) == 1 else str(i), **roi}))
        return tuple(found)

    def _region(self, roi: Mapping[str, Any]) -> Region:
        """A region with the axes that the scan type needs."""
        key, generic = str(roi.get("key", "0")), self._kind is scan_types.GENERIC_SCAN
        axes = {name: self._axis(roi.get(name), name, key, needed=not generic) for name in ("X", "Y")}
        if generic or self._kind in focus_scans:
            places = (table(roi.get("ZP")).get("Z"), roi.get("Z")) if not generic else (roi.get("Z"),)
            found = [self._axis(place, "Z", key, needed=False) for place in places]
            axes["Z"] = next((axis for axis in found if axis is not None), None)
            if axes["Z"] is None and not generic:
                raise MetadataError(f"region {key} of run {self.run} has no set points of the zone plate ('ZP.Z')")
        return Region(key, **{name.lower(): axis for name, axis in axes.items()})

    def _axis(self, roi: object, name: str, region: str, *, needed: bool) -> Axis | None:
        points, given = set_points(table(roi), self._max_points), table(roi)
        if points is not None:
            return Axis(name, points, str(given.get("POSITIONER") or given.get("SRC") or ""), "um")
        if needed:
            raise MetadataError(f"region {region} of run {self.run} has no set points of {name!r}")
        return None

    def _generic_axes(self, region: Region) -> tuple[Axis, ...]:
        """The axes that a generic scan moves, the slowest first: those of its motors; without motors, that of X.

        A region has more axes than a scan of it moves.
        """
        known = {axis.device: axis for axis in (region.x, region.y, region.z) if axis is not None}
        plain = {axes[0].device: axes[0] for axes in dimensions(self._start, self._max_points)}
        chosen = []
        for motor in self._start.get("motors") or ():
            name = self._devices.called(motor) or motor
            axis = known.get(name) or known.get(motor) or plain.get(motor)
            if axis is None or not len(axis):
                raise MetadataError(f"generic scan {self.run} has no set points of its motor {motor!r}")
            chosen.append(replace(axis, name=name))
        if not chosen and region.x is not None:
            chosen = [replace(region.x, name=region.x.device or "x")]
        return tuple(chosen)

    def _energy_rois(self) -> Iterator[Mapping[str, Any]]:
        return (roi for roi in self._own.get("EV_ROIS") or () if isinstance(roi, Mapping))

    @cached_property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """The energies in eV, and the times at each in ms."""
        points, dwells = [np.empty(0)], [np.empty(0)]
        for roi in self._energy_rois():
            found = set_points(roi, self._max_points - sum(map(len, points)))
            if found is not None:
                points.append(found)
                if roi.get("DWELL") is not None:
                    dwells.append(np.full(len(found), float(roi["DWELL"])))
        energies, times = np.concatenate(points), np.concatenate(dwells)
        listed = self._single.get("EV_ROIS") or ()
        if listed and not any(isinstance(item, Mapping) for item in listed):
            # Of several regions each may have energies of its own; then those listed may be those of another one.
            several = "sp_id" in self.place and len(self._spatial) > 1 and len(energies)
            of_all = np.array(listed, dtype=float)
            if not several or np.array_equal(energies, of_all):
                energies, times = of_all, np.array(self._single.get("DWELL") or (), dtype=float)
        if not len(energies):
            energies = np.array([np.nan])
        if len(times) != len(energies):
            whole = as_number(self._metadata.get("dwell"))
            times = np.full(len(energies), np.nan if whole is None else whole)
        return energies, times

    @cached_property
    def polarizations(self) -> list[Mapping[str, float | None]]:
        """The polarisations of the scan."""
        rois = self._single.get("POL_ROIS")
        if not rois:
            rois = next((roi["POL_ROIS"] for roi in self._energy_rois() if roi.get("POL_ROIS")), ())
        return [
            {"number": float(roi["POL"]), "angle": as_number(roi.get("ANGLE")), "offset": as_number(roi.get("OFF"))}
            for roi in rois
            if isinstance(roi, Mapping) and roi.get("POL") is not None
        ]

    def _planned(self) -> int | None:
        """How many planes the whole scan has, each of which may be a run; None if the metadata don't say it."""
        kind = self._kind
        if not self.place:
            return len(self.energies[0]) if kind in STACKS else 1
        listed, polarizations = self._metadata.get("sp_id_lst"), max(len(self.polarizations), 1)
        ids = list(listed) if isinstance(listed, Sequence) and len(listed) else [self.place.get("sp_id")]
        if kind is scan_types.SAMPLE_POINT_SPECTRA:
            return polarizations
        if kind is scan_types.SAMPLE_IMAGE:
            return len(ids)
        if kind not in (*STACKS, scan_types.SAMPLE_LINE_SPECTRA):
            return 1
        places = [{**self.place, "sp_id": number, "sp_idx": i} for i, number in enumerate(ids)]
        others = (_Metadata(self._start, self._metadata, kind, self._max_points, place) for place in places)
        planes = polarizations * sum(len(other.energies[0]) for other in others)
        if kind is not scan_types.TOMOGRAPHY_SCAN:
            return planes
        angles = set_points(table(table(self._own.get("GONI")).get("T")), self._max_points)
        return None if angles is None else planes * len(angles)

    def _fingerprint(self) -> str:
        """The same for all runs of the scan: what is the same in all of them, and nothing that counts along."""
        spatial, fields = self._spatial or self._rois, ("X", "Y", "ZP", "EV_ROIS")
        regions = [(key, name, roi.get(name)) for key, roi in sorted(spatial.items()) for name in fields]
        listed = [self._single.get(name) for name in ("EV_ROIS", "POL_ROIS", "DWELL")]
        return hashlib.sha256(repr((int(self._kind), regions, listed)).encode()).hexdigest()
