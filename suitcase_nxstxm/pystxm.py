"""The request of a run with STXM metadata, in the old schema and in the new one.

The old one has ``primary_det`` as the beginning of a data key; the new one has it as a list of names and adds
``default_det``, ``sequence_map`` and ``rotation_angle``. Times of both are in milliseconds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import MetadataError
from suitcase_nxstxm.keys import Devices
from suitcase_nxstxm.metadata import as_json, as_number, names, numerically, sequence, set_points, table, unpacked
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.plans import dimensions
from suitcase_nxstxm.request import Axis, Region, Request
from suitcase_nxstxm.scan_types import SPECTRA, STACKS, as_scan_type, focus_scans, scan_types

logger = logging.getLogger(__name__)

_SETS_ENERGY = STACKS | SPECTRA | {scan_types.SAMPLE_IMAGE, scan_types.PATTERN_GEN_SCAN}

Place = Mapping[str, Any]
"""Where an image belongs: its ``entry``, the index of its energy, its region, ... as ``img_idx_map`` has it."""


def stxm_request(start: Mapping[str, Any], metadata: Mapping[str, Any], scan_type: object, max_points: int) -> Request:
    """The request of a run whose start document has STXM metadata."""
    if scan_type is None and "scan_type" not in metadata:
        raise MetadataError(f"the metadata of run {start['uid']} have no 'scan_type': give it as scan_type=")
    kind = as_scan_type(metadata["scan_type"] if scan_type is None else scan_type)
    whole = _Metadata(start, metadata, kind, max_points)
    # Where the image belongs; or, for a run of several, where each does, in the order of their numbers.
    listed = table(metadata.get("img_idx_map"))
    several = all(isinstance(record, Mapping) for record in listed.values())
    records = [listed[key] for key in sorted(listed, key=numerically)] if several else [listed]
    if kind is scan_types.SAMPLE_POINT_SPECTRA:
        # A run that goes on when it has been to all energies goes on to the next polarisation.
        place = records[0] if records else {}
        first = int(place.get("pol_idx") or 0)
        records = [{**place, "pol_idx": index} for index in range(first, max(len(whole.polarizations), first + 1))]
    elif kind not in STACKS:
        records = records[:1]
    images = tuple(whole.request(place) for place in records or [{}])
    return replace(images[0], images=images if len(images) > 1 else ())


class _Metadata:
    """The metadata of a run by what they are, wherever in them that is."""

    def __init__(
        self, start: Mapping[str, Any], metadata: Mapping[str, Any], kind: scan_types, max_points: int
    ) -> None:
        self.run, self._start, self._metadata, self._kind = start["uid"], start, metadata, kind
        self._max_points = max_points
        wdg_com = table(metadata.get("wdg_com"))
        self._single = table(unpacked(wdg_com.get("SINGLE_LST"), "'SINGLE_LST'"))
        self._measured: Sequence[Any] = self._single.get("SP_ROIS") or ()  # the regions of spectra, in this order
        self._spatial = table(wdg_com.get("SPATIAL_ROIS")) or table(metadata.get("rois"))  # those of the scan
        self._regions = {**self._spatial, **table(metadata.get("rois"))}
        self._devices = Devices({str(k): str(v) for k, v in table(metadata.get("rev_lu_dct")).items()})

    def request(self, place: Place) -> Request:
        """What the metadata ask for in one image."""
        start, metadata, kind = self._start, self._metadata, self._kind
        own = self._own(place)
        regions = self._all_regions() if kind is scan_types.SAMPLE_POINT_SPECTRA else (self._region(own),)
        energies, dwells = self._energies(own, "sp_id" in place)
        plane, index = int(place.get("e_idx") or 0), int(place.get("pol_idx") or 0)
        if not 0 <= plane < max(len(energies), 1):
            number = len(energies)
            raise MetadataError(f"run {self.run} is for energy {plane} ('e_idx') of a scan with {number} energies")
        for what, number in (("regions", len(self._regions)), ("polarisations", len(self.polarizations))):
            if kind in STACKS and not place and number > 1:
                alone = f"which alone tells for which of {number} {what} it is"
                raise MetadataError(f"run {self.run} has no 'img_idx_map', {alone}")
        angle, given, text = place.get("rotation_angle"), metadata.get("primary_det"), start.get("metadata")
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
            rotation=as_number(metadata.get("rotation_angle") if angle is None else angle),
            polarization=self.polarizations[index] if index < len(self.polarizations) else {},
            zone_plate=table(metadata.get("zp_def")),
            devices=self._devices,
            scan=self._fingerprint,
            planned=self._planned(place, own, len(energies)),
            text=text if isinstance(text, str) else as_json(metadata),
            time=float(start["time"]),
            polarization_index=index,
            placed=bool(place) or kind not in STACKS or len(energies) < 2,
            sequence=sequence(metadata.get("sequence_map"), self.run, self._max_points),
        )

    def _own(self, place: Place) -> Mapping[str, Any]:
        """The region of an image."""
        regions, listed = self._regions, self._metadata.get("sp_id_lst")
        key = place.get("sp_id")
        if not regions:
            regions = {str(i): roi for i, roi in enumerate(self._measured)}
            key = place.get("sp_idx") or 0
        if not regions:
            raise MetadataError(f"the metadata of run {self.run} have no regions: no 'rois', no 'SPATIAL_ROIS'")
        if key is None:
            known = [str(k) for k in (listed if isinstance(listed, Sequence) else ()) if str(k) in regions]
            key = (known or sorted(regions, key=numerically))[0]
        if str(key) not in regions:
            there = ", ".join(regions)
            if len(regions) > 1:
                raise MetadataError(
                    f"the metadata of run {self.run} have no region {key!r} ('sp_id'): there are {there}"
                )
            logger.warning("run %s is for region %r, which is unknown: %r is the only one", self.run, key, there)
            (key,) = regions
        region = regions[str(key)]
        if not isinstance(region, Mapping):
            raise MetadataError(
                f"region {str(key)!r} of run {self.run} is {region!r:.100}, and not a table of its axes"
            )
        return {"key": str(key), **region}

    def _all_regions(self) -> tuple[Region, ...]:
        """All regions of the scan in the order of their acquisition, which ``sp_id_lst`` is not."""
        spatial, found = self._spatial, []
        for i, roi in enumerate(self._measured or [spatial[key] for key in sorted(spatial, key=numerically)]):
            # The number of a region of SP_ROIS is only in SPATIAL_ROIS.
            same = [key for key, other in spatial.items() if all(other.get(a) == roi.get(a) for a in ("X", "Y"))]
            found.append(self._region({"key": same[0] if len(same) == 1 else str(i), **roi}))
        return tuple(found)

    def _region(self, roi: Mapping[str, Any]) -> Region:
        """A region with the axes that the scan type needs."""
        places = {"X": [roi.get("X")], "Y": [roi.get("Y")], "Z": [table(roi.get("ZP")).get("Z"), roi.get("Z")]}
        generic, axes = self._kind is scan_types.GENERIC_SCAN, {}
        for name, given in places.items():
            if name == "Z" and not generic and self._kind not in focus_scans:
                continue
            for one in map(table, given):
                points = set_points(one, self._max_points)
                if points is not None and name.lower() not in axes:
                    device = str(one.get("POSITIONER") or one.get("SRC") or "")
                    axes[name.lower()] = Axis(name, points, device, "um")
            if name.lower() not in axes and not generic:
                raise MetadataError(f"region {roi.get('key')} of run {self.run} has no set points of {name!r}")
        return Region(str(roi.get("key", "0")), **axes)

    def _generic_axes(self, region: Region) -> tuple[Axis, ...]:
        """The axes that a generic scan moves, the slowest first: those of its motors; without motors, that of X.

        A region has more axes than a scan of it moves.
        """
        known = {axes[0].device: axes[0] for axes in dimensions(self._start, self._max_points)}
        known |= {axis.device: axis for axis in (region.x, region.y, region.z) if axis is not None}
        chosen = []
        for motor in self._start.get("motors") or ():
            name = self._devices.called(motor) or motor
            axis = known.get(name) or known.get(motor)
            if axis is None or not len(axis):
                raise MetadataError(f"generic scan {self.run} has no set points of its motor {motor!r}")
            chosen.append(replace(axis, name=name))
        if not chosen and region.x is not None:
            chosen = [replace(region.x, name=region.x.device or "x")]
        return tuple(chosen)

    def _energies(self, region: Mapping[str, Any], alone: bool) -> tuple[np.ndarray, np.ndarray]:
        """The energies of a region in eV, and the times at each in ms; `alone` if an image is for this region only."""
        points, dwells = [np.empty(0)], [np.empty(0)]
        for roi in filter(None, map(table, region.get("EV_ROIS") or ())):
            found = set_points(roi, self._max_points - sum(map(len, points)))
            if found is not None:
                points.append(found)
                if roi.get("DWELL") is not None:
                    dwells.append(np.full(len(found), float(roi["DWELL"])))
        energies, times = np.concatenate(points), np.concatenate(dwells)
        listed = self._single.get("EV_ROIS") or ()
        if listed and not any(isinstance(item, Mapping) for item in listed):
            # Of several regions each may have energies of its own; then those listed may be those of another one.
            of_all = np.array(listed, dtype=float)
            if not (alone and len(self._spatial) > 1 and len(energies)) or np.array_equal(energies, of_all):
                energies, times = of_all, np.array(self._single.get("DWELL") or (), dtype=float)
        energies = energies if len(energies) else np.array([np.nan])
        if len(times) != len(energies):
            times = np.full(len(energies), as_number(self._metadata.get("dwell")) or np.nan)
        return energies, times

    @cached_property
    def polarizations(self) -> list[Mapping[str, float | None]]:
        """The polarisations of the scan."""
        rois = self._single.get("POL_ROIS") or ()
        for region in self._regions.values() if not rois else ():
            rois = rois or next(
                (roi["POL_ROIS"] for roi in region.get("EV_ROIS") or () if table(roi).get("POL_ROIS")), ()
            )
        return [
            {"number": float(roi["POL"]), "angle": as_number(roi.get("ANGLE")), "offset": as_number(roi.get("OFF"))}
            for roi in map(table, rois)
            if roi.get("POL") is not None
        ]

    def _planned(self, place: Place, own: Mapping[str, Any], energies: int) -> int | None:
        """How many planes the whole scan has, each of which may be a run; None if the metadata don't say it."""
        kind, listed, polarizations = self._kind, self._metadata.get("sp_id_lst"), max(len(self.polarizations), 1)
        ids = list(listed) if isinstance(listed, Sequence) and len(listed) else [place.get("sp_id")]
        if not place:
            return energies if kind in STACKS else 1
        if kind is scan_types.SAMPLE_POINT_SPECTRA:
            return polarizations
        if kind is scan_types.SAMPLE_IMAGE:
            return len(ids)
        if kind not in (*STACKS, scan_types.SAMPLE_LINE_SPECTRA):
            return 1
        regions = [self._own({"sp_id": number, "sp_idx": i}) for i, number in enumerate(ids)]
        planes = polarizations * sum(len(self._energies(region, "sp_id" in place)[0]) for region in regions)
        if kind is not scan_types.TOMOGRAPHY_SCAN:
            return planes
        angles = set_points(table(table(own.get("GONI")).get("T")), self._max_points)
        return None if angles is None else planes * len(angles)

    @cached_property
    def _fingerprint(self) -> str:
        """The same for all runs of the scan: what is the same in all of them, and nothing that counts along."""
        fields = ("X", "Y", "ZP", "EV_ROIS")
        regions = [(key, name, roi.get(name)) for key, roi in sorted(self._spatial.items()) for name in fields]
        listed = [self._single.get(name) for name in ("EV_ROIS", "POL_ROIS", "DWELL")]
        return hashlib.sha256(repr((int(self._kind), regions, listed)).encode()).hexdigest()
