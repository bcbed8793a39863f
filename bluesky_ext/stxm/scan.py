"""The core of all plans: what differs between the types of scan as a table, and how any of them is measured."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.temporary import read_setting
from bluesky_ext.stxm.axes import Dimension, listed, pattern, points
from bluesky_ext.stxm.detectors import Dwell, check_detectors, check_lines, is_line_det, set_dwell, set_lines
from bluesky_ext.stxm.endstation import Endstation, as_endstation
from bluesky_ext.stxm.metadata import Polarized, Region, as_json, make_standard_metadata
from suitcase_nxstxm.scan_types import scan_types

__all__ = ["Image", "Scan", "check_flag"]


@dataclass(frozen=True)
class Kind:
    """What the scans of one type have of their own.

    Parameters
    ----------
    scan_type : scan_types
        The type.
    y, x : str
        Conventional names of the devices that move across the beam.
    lines : bool
        Whether it can be made with detectors that count a line for each trigger.
    """

    scan_type: scan_types
    y: str = "SampleFineY"
    x: str = "SampleFineX"
    lines: bool = False


KINDS = {
    "detector_image": Kind(scan_types.DETECTOR_IMAGE, "Detector.Y", "Detector.X"),
    "osa_image": Kind(scan_types.OSA_IMAGE, "OSA.Y", "OSA.X"),
    "osa_focus": Kind(scan_types.OSA_FOCUS, "OSA.Y", "OSA.X"),
    "sample_focus": Kind(scan_types.SAMPLE_FOCUS),
    "sample_point_spectra": Kind(scan_types.SAMPLE_POINT_SPECTRA),
    "sample_line_spectra": Kind(scan_types.SAMPLE_LINE_SPECTRA),
    "sample_image": Kind(scan_types.SAMPLE_IMAGE, lines=True),
    "sample_image_stack": Kind(scan_types.SAMPLE_IMAGE_STACK, lines=True),
    "generic_scan": Kind(scan_types.GENERIC_SCAN),
    "coarse_image_scan": Kind(scan_types.COARSE_IMAGE_SCAN, "Coarse.Y", "Coarse.X"),
    "coarse_goni_scan": Kind(scan_types.COARSE_GONI_SCAN, "GoniY", "GoniX"),
    "tomography_scan": Kind(scan_types.TOMOGRAPHY_SCAN, lines=True),
    "pattern_gen_scan": Kind(scan_types.PATTERN_GEN_SCAN),
    "ptychography_scan": Kind(scan_types.PTYCHOGRAPHY_SCAN),
}


@dataclass(frozen=True)
class Image:
    """What one run measures.

    Parameters
    ----------
    dimensions : tuple of Dimension
        Its points, the slowest dimension first. Of line detectors, the last is the line.
    index : mapping, optional
        Where in the file it belongs, as `image_index` gives it; of several images in one run by their numbers.
    settings : mapping
        What is set before the run, and read at each event.
    """

    dimensions: tuple[Dimension, ...]
    index: Mapping[str, Any] | None = None
    settings: Mapping[Any, float] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """Entry of the file; the first of all for several images in one run."""
        return (self.index or {}).get("entry", "entry0")


class Scan:
    """A scan: what its plan was given, checked, and how it is measured.

    Parameters
    ----------
    name : str
        Name of the plan.
    detectors, station, dwell, per_step, md
        As the plans have them.
    """

    def __init__(self, name: str, detectors: Any, station: Any, dwell: float, per_step: Any, md: Any) -> None:
        self._name = name
        self.kind = KINDS[name]
        self.station: Endstation = as_endstation(station)
        self.detectors = check_detectors(detectors, dwell, lines=self.kind.lines)
        self.by_line = is_line_det(self.detectors[0])
        if per_step is not None and not callable(per_step):
            raise TypeError(f"per_step is {per_step!r}: give a plan of (detectors, step, pos_cache), or leave it out")
        self._dwell = dwell
        self._per_step = bps.one_nd_step if per_step is None else per_step
        self._md = _given(md)

    @plan
    def measure(
        self,
        images: Sequence[Image],
        regions: Sequence[Region],
        plan_args: Mapping[str, Any],
        *,
        energy: float | None = None,
        energies: Sequence[float] = (),
        polarizations: Sequence[Polarized] = (),
        times: Sequence[float] = (),
    ) -> MsgGenerator[str]:
        """Measure the images one after the other, each in a run of its own, with the shutter open.

        At every end the shutter is closed, and what the runs moved goes back to where it was.

        Parameters
        ----------
        images : sequence of Image
            The images.
        regions : sequence of Region
            All regions of the scan.
        plan_args : mapping
            The arguments of the plan, for the start documents.
        energy : float, optional
            Where the energy is set to, and stays.
        energies, polarizations : sequence
            Those that are scanned; without, the metadata have those that are set.
        times : sequence of float
            Counting time of each point, if they differ: they are set and read at each event.

        Returns
        -------
        str
            The uid of the first run.
        """
        station, dets = self.station, self.detectors
        kept = {} if energy is None else {station["ENERGY"]: listed(station, "ENERGY", [energy], "energy").setpoints[0]}
        line = images[0].dimensions[-1] if self.by_line else None
        if line is not None:
            check_lines(dets, line)
        said = {
            "energies": energies or list(kept.values()) or (yield from _seen(station, "ENERGY")),
            "polarizations": polarizations or (yield from _polarized(station)),
            "dwell": self._dwell if len(set(times)) < 2 else None,
        }
        starts = [self._start(image, regions, said, plan_args) for image in images]
        moved = [*images[0].settings, *(device for dim in self._stepped(images[0]) for device in dim.devices)]
        carried = {} if line is None else {line.devices[0]: line.axes[0].setpoints[0]}
        beam = station.beam()

        def inner() -> MsgGenerator[str]:
            for settings in filter(None, (kept, carried)):
                yield from _move(settings)
            yield from beam.open(stay=True)
            uids: list[str] = []
            entries: set[str] = set()
            for image, start in zip(images, starts, strict=True):
                if image.settings:
                    yield from _move(image.settings)
                run: Any = bpp.run_wrapper(self._events(image, times, image.entry not in entries), md=start)
                uids.append((yield from run))
                entries.add(image.entry)
            return uids[0]

        yield from set_dwell(dets, self._dwell)
        if line is not None:
            yield from set_lines(dets, line)
        # The beam innermost: the shutter is closed before anything moves back.
        measured = bpp.finalize_wrapper(inner(), beam.restore)
        measured = bpp.reset_positions_wrapper(measured, [*moved, *carried])
        return (yield from bpp.stage_wrapper(measured, [beam, *dets, *moved]))

    def _stepped(self, image: Image) -> tuple[Dimension, ...]:
        """The dimensions of an image that are measured in steps: all but the line of line detectors."""
        return image.dimensions[:-1] if self.by_line else image.dimensions

    def _start(
        self, image: Image, regions: Sequence[Region], said: dict[str, Any], plan_args: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The start document of a run, in which the caller's metadata win."""
        names = [det.name for det in self.detectors]
        metadata = make_standard_metadata(
            self.kind.scan_type,
            regions,
            primary_det=names,
            img_idx_map=image.index,
            rev_lu_dct=self.station.sources,
            zp_def=self.station.zp_def,
            entry_name=image.entry,
            **said,
        )
        grid = pattern(self._stepped(image))
        args = {"detectors": list(map(repr, self.detectors)), **plan_args, "per_step": repr(self._per_step)}
        return {
            **{"plan_name": self._name, "plan_args": json.loads(as_json(args)), "detectors": names},
            **{**grid, "metadata": metadata, **self._md, "hints": {**grid["hints"], **self._md["hints"]}},
        }

    @plan
    def _events(self, image: Image, times: Sequence[float], has_baseline: bool) -> MsgGenerator[None]:
        """An event at each point, and one of the baseline before and after.

        `bluesky.preprocessors.baseline_wrapper` reads the baseline after the last checkpoint of a run: if the plan is
        paused just then, the RunEngine reads it again after the run is closed, and fails.
        """
        devices = self.station.devices
        current = [device for name, device in devices.items() if name == "StorageRingCurrent"]
        read = [*self.detectors, *(device for device in current if device not in self.detectors)]
        dwells = [Dwell(det) for det in self.detectors if times]
        if has_baseline:
            yield from bps.trigger_and_read(list(devices.values()), name="baseline")
        pos_cache: dict[Any, Any] = defaultdict(lambda: None)
        for point, time in zip(points(self._stepped(image)), times or repeat(None), strict=False):
            step = {**image.settings, **point, **dict.fromkeys(dwells, time)}
            yield from self._per_step(read, step, pos_cache)
        yield from bps.checkpoint()
        if has_baseline:
            yield from bps.trigger_and_read(list(devices.values()), name="baseline")
            yield from bps.checkpoint()


@plan
def _seen(station: Endstation, name: str) -> MsgGenerator[list[float]]:
    """Where a device of the endstation is, in a list; an empty one if there is none, or nobody answers."""
    value = (yield from read_setting(station[name])) if name in station else None
    return [] if value is None else [float(value)]


@plan
def _polarized(station: Endstation) -> MsgGenerator[list[Polarized]]:
    """The setting of the undulator as it is, in a list; an empty one if it is not known."""
    polarization = yield from _seen(station, "EPUPolarization")
    if not polarization:
        return []
    offset, angle = (yield from _seen(station, "EPUOffset")), (yield from _seen(station, "EPUAngle"))
    return [Polarized(*polarization, *(offset or [0.0]), *(angle or [0.0]))]


@plan
def _move(settings: Mapping[Any, Any]) -> MsgGenerator[None]:
    yield from bps.checkpoint()
    yield from bps.mv(*chain.from_iterable(settings.items()))


def check_flag(name: str, value: Any) -> None:
    """Raise a TypeError unless the value is True or False: of a text such as "no" nobody knows what it means."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: give True or False")


def _given(md: Any) -> dict[str, Any]:
    """The caller's metadata as a new dict, with hints; raises a TypeError if they are no dict."""
    given = {} if md is None else md
    if not isinstance(given, Mapping):
        raise TypeError(f"md is {md!r}: give a dict, or leave it out")
    hints = given.get("hints")
    if hints is not None and not isinstance(hints, Mapping):
        raise TypeError(f"hints of md is {hints!r}: give a dict, or leave it out")
    return {**given, "hints": dict(hints or {})}
