"""The core of all plans: what differs between the types of scan as a table, and how any of them is measured."""

from __future__ import annotations

import json
import reprlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.check import check_finite, check_whole
from bluesky_ext.plans.temporary import read_setting
from bluesky_ext.stxm.axes import Axis, Dimension, as_list, pattern, points
from bluesky_ext.stxm.detectors import Dwell, check_detectors, check_settings, exposure, is_line_det, line_settings
from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.metadata import as_json, make_standard_metadata
from suitcase_nxstxm.scan_types import scan_types

__all__ = ["Image", "Scan"]


class Kind(NamedTuple):
    """What the scans of one type have of their own: what moves, and whether whole lines can be counted."""

    scan_type: scan_types
    y: str = "SampleFineY"
    x: str = "SampleFineX"
    z: str = "ZonePlate.Z"
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
        Where in the file it belongs, ``img_idx_map``; of several images in one run by their numbers.
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
    given : mapping
        All its arguments by their names.
    dwell : float, optional
        Counting time of a point in ms, if that is none of them.
    """

    def __init__(self, name: str, given: Mapping[str, Any], dwell: float | None = None) -> None:
        self._name = name
        self.kind = KINDS[name]
        self.given = dict(given)
        self.station: Endstation = given["station"]
        if not isinstance(self.station, Endstation):
            said = reprlib.repr(self.station)
            raise TypeError(f"station is {said}: give an Endstation, the devices by their conventional names")
        self._dwell = given["dwell"] if dwell is None else dwell
        self.detectors = check_detectors(given["detectors"], self._dwell, lines=self.kind.lines)
        self.by_line = is_line_det(self.detectors[0])
        for flag in {"snake", "single_run"} & set(given):
            if not isinstance(given[flag], bool):  # of a text such as "no" nobody knows what it means
                raise TypeError(f"{flag} is {given[flag]!r}: give True or False")
        self._per_step = bps.one_nd_step if given["per_step"] is None else given["per_step"]
        if not callable(self._per_step):
            raise TypeError(f"per_step is {self._per_step!r}: give a plan such as one_nd_step, or leave it out")
        self._md = _given(given["md"])

    def even(self, letters: str, num: Any, *, ends: Mapping[str, Any] | None = None, snake: bool = False) -> Dimension:
        """A dimension of even steps of ``y``, ``x`` or ``z``, or of several, from ``y_start`` to ``y_stop``."""
        given, axes = self.given if ends is None else ends, []
        for letter in letters:
            name, start, stop = getattr(self.kind, letter), given[f"{letter}_start"], given[f"{letter}_stop"]
            check_finite(f"start of {name}", start)
            check_finite(f"stop of {name}", stop)
            check_whole(f"num of {name}", num, 1)
            setpoints = np.linspace(float(start), float(stop), int(num)).tolist()
            axes.append(Axis(name, tuple(setpoints), self.station[name]))
            axes[-1].check_limits()
        return Dimension(tuple(axes), snake)

    def listed(self, name: str, setpoints: Any, said: str) -> Axis:
        """The setpoints that were given for a device, by the name of the parameter."""
        device, values = self.station[name], as_list(said, setpoints, "numbers")
        if not values:
            raise ValueError(f"{said} is empty: give one number or more")
        for value in values:
            check_finite(f"a value in {said}", value)
        axis = Axis(name, tuple(map(float, values)), device)
        axis.check_limits()
        return axis

    @plan
    def measure(
        self,
        images: Sequence[Image],
        regions: Sequence[Mapping[str, Axis]],
        *,
        energies: Sequence[float] = (),
        polarizations: Sequence[tuple[float, float, float]] = (),
        times: Sequence[float] = (),
    ) -> MsgGenerator[str]:
        """Measure the images one after the other, each in a run of its own, with the shutter open.

        At every end the shutter is closed, and what the runs moved goes back to where it was. Energies and
        polarisations are those that are scanned, by default those that are set. Times are the counting times of the
        points, if they differ: they are set and read at each event.
        """
        energy = self.given.get("energy")
        station, dets = self.station, self.detectors
        kept = {} if energy is None else {station["ENERGY"]: self.listed("ENERGY", [energy], "energy").setpoints[0]}
        settings, carried = exposure(dets, self._dwell), {}
        if self.by_line:
            (line,) = images[0].dimensions[-1].axes
            settings |= line_settings(dets, line)
            carried[line.device] = line.setpoints[0]
        check_settings(settings)
        said = {
            "energies": energies or list(kept.values()) or (yield from _seen(station, "ENERGY")),
            "polarizations": polarizations or (yield from _polarized(station)),
            "dwell": self._dwell if len(set(times)) < 2 else None,
        }
        starts = [self._start(image, regions, said) for image in images]
        moved = [*images[0].settings, *(device for dim in self._stepped(images[0]) for device in dim.devices)]
        beam = station.beam()

        def inner() -> MsgGenerator[str]:
            yield from _move(kept)
            yield from _move(carried)
            yield from beam.open(stay=True)
            uids: list[str] = []
            entries: set[str] = set()
            for image, start in zip(images, starts, strict=True):
                yield from _move(image.settings)
                run: Any = bpp.run_wrapper(self._events(image, times, image.entry not in entries), md=start)
                uids.append((yield from run))
                entries.add(image.entry)
            return uids[0]

        yield from _move(settings)
        # The beam innermost: the shutter is closed before anything moves back.
        measured = bpp.finalize_wrapper(inner(), beam.restore)
        measured = bpp.reset_positions_wrapper(measured, [*moved, *carried])
        return (yield from bpp.stage_wrapper(measured, [beam, *dets, *moved]))

    def _stepped(self, image: Image) -> tuple[Dimension, ...]:
        """The dimensions of an image that are measured in steps: all but the line of line detectors."""
        return image.dimensions[:-1] if self.by_line else image.dimensions

    def _start(self, image: Image, regions: Sequence[Mapping[str, Axis]], said: dict[str, Any]) -> dict[str, Any]:
        """The start document of a run, in which the caller's metadata win."""
        names = [det.name for det in self.detectors]
        metadata = make_standard_metadata(
            self.kind.scan_type,
            dict(enumerate(regions)),
            primary_det=names,
            img_idx_map=image.index,
            rev_lu_dct={name: device.name for name, device in self.station.devices.items()},
            zp_def=self.station.zp_def,
            entry_name=image.entry,
            **said,
        )
        grid = pattern(self._stepped(image))
        args = {name: value for name, value in self.given.items() if name not in ("station", "md")}
        args |= {"detectors": list(map(repr, self.detectors)), "per_step": repr(self._per_step)}
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
def _polarized(station: Endstation) -> MsgGenerator[list[tuple[float, float, float]]]:
    """The polarisation, offset and angle of the undulator as they are, in a list; an empty one if not known."""
    polarization = yield from _seen(station, "EPUPolarization")
    offset = (yield from _seen(station, "EPUOffset")) or [0.0]
    angle = (yield from _seen(station, "EPUAngle")) or [0.0]
    return [(polarization[0], offset[0], angle[0])] if polarization else []


@plan
def _move(settings: Mapping[Any, Any]) -> MsgGenerator[None]:
    if settings:
        yield from bps.checkpoint()
        yield from bps.mv(*chain.from_iterable(settings.items()))


def _given(md: Any) -> dict[str, Any]:
    """The caller's metadata as a new dict, with hints; raises a TypeError if they are no dict."""
    given = {} if md is None else md
    if not isinstance(given, Mapping):
        raise TypeError(f"md is {md!r}: give a dict, or leave it out")
    hints = given.get("hints")
    if hints is not None and not isinstance(hints, Mapping):
        raise TypeError(f"hints of md is {hints!r}: give a dict, or leave it out")
    return {**given, "hints": dict(hints or {})}
