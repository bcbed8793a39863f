"""The request of a run that has no STXM metadata: one of Bluesky's own plans, or anything like them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import MetadataError, UnknownScanTypeError
from suitcase_nxstxm.keys import role_of
from suitcase_nxstxm.metadata import as_json, as_number
from suitcase_nxstxm.request import Axis, Region, Request, number_of_points
from suitcase_nxstxm.scan_types import STACKS, as_scan_type, focus_scans, scan_types

_POINT = "point"
_BUT = ": its 'metadata' are not those of an STXM, without 'scan_type', 'rois' and 'wdg_com'"
_PATTERNS = ("outer_product", "outer_list_product", "inner_product", "inner_list_product")

logger = logging.getLogger(__name__)

Dimensions = list[list[Axis]]
"""For each level of the scan's loops, outermost first, the positioners that move together."""


def plain_request(start: Mapping[str, Any], scan_type: object, max_points: int) -> Request:
    """The request of a run without STXM metadata; unless given, its scan type is what its motors speak for."""
    if "metadata" in start:
        logger.warning("run %s is exported by its plan%s", start["uid"], _BUT)
    levels = dimensions(start, max_points)
    kind = _inferred(levels, start) if scan_type is None else as_scan_type(scan_type)
    energy = as_number(start.get("energy"))
    snaking = _snaking(start, levels)
    common = Request(
        run=start["uid"],
        scan_type=kind,
        snaking=snaking or (),
        # Any other plan that has a shape and extents may go through its points as it likes.
        ordered=start.get("plan_pattern") in _PATTERNS and snaking is not None,
        follows=True,
        energies=np.array([np.nan if energy is None else energy]),
        energy_is_set=energy is not None,
        detectors=tuple(start["detectors"]) if start.get("detectors") else None,
        motors=tuple(start.get("motors") or ()),
        num_points=start.get("num_points"),
        scan=start["uid"],
        text=as_json(start),
    )
    if kind is scan_types.GENERIC_SCAN:
        together = {i: axes[1:] for i, axes in enumerate(levels) if len(axes) > 1}
        return replace(common, axes=tuple(axes[0] for axes in levels), together=together)
    return replace(common, **_with_axes(kind, levels, start))


def _with_axes(kind: scan_types, levels: Dimensions, start: Mapping[str, Any]) -> dict[str, Any]:
    """The loops of a scan as the axes that a scan type names."""
    stack, focus, spectrum = kind in STACKS, kind in focus_scans, kind is scan_types.SAMPLE_POINT_SPECTRA
    is_line = focus or kind is scan_types.SAMPLE_LINE_SPECTRA
    number = 1 if spectrum else 3 if stack and len(levels) == 3 else 2
    if len(levels) != number:
        raise MetadataError(
            f"run {start['uid']} ({start.get('plan_name', 'no plan_name')}) has {len(levels)} dimensions, "
            f"{kind.name} has {number}{_BUT if 'metadata' in start else ''}"
        )
    others, outer, found = list(levels), Axis("", np.empty(0)), {}
    role = "zoneplate_z" if focus else "energy" if is_line or spectrum or number == 3 else None
    level = next((i for i, axes in enumerate(levels) if any(role_of(axis.device) == role for axis in axes)), None)
    if role is not None:
        if level is None:
            motors = ", ".join(axis.device for axes in levels for axis in axes)
            raise MetadataError(f"run {start['uid']} moves no {role}, which {kind.name} needs: its motors are {motors}")
        outer = next(axis for axis in others.pop(level) if role_of(axis.device) == role)
        if not focus:
            count_times = np.full(len(outer), np.nan)
            found = {"energies": outer.points, "count_times": count_times, "energy_is_set": True}
    region, order = Region("0"), []
    if is_line:
        region, order = _line(others[0]), [0]
        region = replace(region, z=outer) if focus else region
    elif others:
        slow, fast = (axes[0] for axes in others)
        swapped = (role_of(slow.device) or "").endswith("_x") and (role_of(fast.device) or "").endswith("_y")
        region, order = Region("0", *((slow, fast) if swapped else (fast, slow))), [1, 0] if swapped else [0, 1]
    order = [step + (stack or role is not None) for step in order]
    if role is not None:
        order.insert(level or 0, 0)
    return {**found, "regions": (region,), "order": tuple(order)}


def _line(axes: Sequence[Axis]) -> Region:
    """The region of a line: one of its coordinates isn't known if only one motor moves."""
    by_role = {(role_of(axis.device) or "_x")[-1]: axis for axis in reversed(axes)}
    unknown = Axis("", np.full(len(axes[0]), np.nan))
    if len(axes) > 1 and len(by_role) == 1:
        by_role = {"x": axes[0], "y": axes[1]}
    return Region("0", x=by_role.get("x", unknown), y=by_role.get("y", unknown))


_OF_LEVELS = {
    ("sample", "sample"): scan_types.SAMPLE_IMAGE,
    ("osa", "osa"): scan_types.OSA_IMAGE,
    ("detector", "detector"): scan_types.DETECTOR_IMAGE,
    ("zoneplate", "osa"): scan_types.OSA_FOCUS,
    ("zoneplate", "sample"): scan_types.SAMPLE_FOCUS,
    ("energy",): scan_types.SAMPLE_POINT_SPECTRA,
    ("energy", "sample"): scan_types.SAMPLE_LINE_SPECTRA,
    ("energy", "sample", "sample"): scan_types.SAMPLE_IMAGE_STACK,
}
"""The scan type for which the first motors of the loops speak."""


def _inferred(levels: Dimensions, start: Mapping[str, Any]) -> scan_types:
    """The scan type that the motors' names speak for, GENERIC_SCAN if they don't."""
    if "scan_type" in start:
        try:
            return as_scan_type(start["scan_type"])
        except UnknownScanTypeError:
            pass  # some other program's word, in a run that is none of an STXM's
    roles = [role_of(axes[0].device) or "" for axes in levels]
    if len(set(roles)) < len(roles):
        return scan_types.GENERIC_SCAN
    return _OF_LEVELS.get(tuple(role.rsplit("_", 1)[0] for role in roles), scan_types.GENERIC_SCAN)


def dimensions(start: Mapping[str, Any], most: int) -> Dimensions:
    """The set points of a plan, as far as its start document has them; NaN for those that only its events know.

    https://blueskyproject.io/bluesky/main/plans.html: ``plan_pattern`` and ``plan_pattern_args``.
    """
    motors = [str(motor) for motor in start.get("motors") or ()]
    shape, pattern = [int(n) for n in start.get("shape") or ()], str(start.get("plan_pattern"))
    is_grid = motors and (len(shape) == len(motors) or pattern.startswith("outer"))
    groups = [[motor] for motor in motors] if is_grid else [motors or [_POINT]]
    numbers = (
        shape if len(shape) == len(groups) else [start.get("num_points") if len(groups) == 1 else None] * len(groups)
    )
    given = start.get("plan_pattern_args") or {}
    values = [v for v in given.get("args") or () if not isinstance(v, (str, bool))]
    levels: Dimensions = []
    for group, asked in zip(groups, numbers, strict=True):
        number = number_of_points(asked, most, f"the scan of run {start['uid']}") if asked else 0
        axes = []
        for motor in group:
            i, points = motors.index(motor) if motor in motors else 0, np.full(number, np.nan)
            if motor == _POINT:
                points = np.arange(1.0, number + 1)
            elif str(start.get("plan_name", "")).startswith("rel"):
                pass  # from where the motors were, which only the events know
            elif pattern == "inner_product" and len(values) == 2 * len(motors):
                points = np.linspace(values[2 * i], values[2 * i + 1], number_of_points(int(given["num"]), most, motor))
            elif pattern.endswith("list_product") and len(values) == len(motors):
                points = np.array(values[i], dtype=float)
            elif is_grid and start.get("extents"):
                points = np.linspace(float(start["extents"][i][0]), float(start["extents"][i][1]), number)
            if number and len(points) != number:
                points = np.full(number, np.nan)
            axes.append(Axis(motor, points, motor))
        levels.append(axes)
    return levels


def _snaking(start: Mapping[str, Any], levels: Dimensions) -> tuple[bool, ...] | None:
    """Which levels of the loops go back and forth; empty if none does, None if the start document can't be read."""
    snaking = tuple(bool(s) for s in start.get("snaking") or ())
    if snaking:
        return snaking if len(snaking) == len(levels) else None
    # True, False, or the positioners that snake: as repr, in which each has its name.
    said = str(start.get("snake_axes"))
    if said in ("None", "False", "[]", "()"):
        return ()
    if said == "True":
        return (False,) + (True,) * (len(levels) - 1)
    named = set(re.findall(r"\bname='([^']*)'", said)) or set(re.findall(r"[\w.:\-]+", said))
    snaking = tuple(any(axis.device in named for axis in axes) for axes in levels)
    return snaking if any(snaking) else None
