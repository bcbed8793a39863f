"""The request of a run that has no STXM metadata: one of Bluesky's own plans, or anything like them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from suitcase_nxstxm.devices import role_of
from suitcase_nxstxm.errors import MetadataError, UnknownScanTypeError
from suitcase_nxstxm.metadata import as_json, as_number
from suitcase_nxstxm.request import Axis, Region, Request, number_of_points
from suitcase_nxstxm.scan_types import STACKS, as_scan_type, focus_scans, scan_types

_POINT = "point"

logger = logging.getLogger(__name__)

_BUT = ": its 'metadata' are not those of an STXM, without 'scan_type', 'rois' and 'wdg_com'"
_PATTERNS = ("outer_product", "outer_list_product", "inner_product", "inner_list_product")

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
        count_times=np.array([np.nan]),
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
    return replace(common, **_arranged(kind, levels, start))


def _arranged(kind: scan_types, levels: Dimensions, start: Mapping[str, Any]) -> dict[str, Any]:
    """The loops of a scan as the axes that a scan type names."""
    stack, is_line = kind in STACKS, kind in focus_scans or kind is scan_types.SAMPLE_LINE_SPECTRA
    number = 1 if kind is scan_types.SAMPLE_POINT_SPECTRA else 3 if stack and len(levels) == 3 else 2
    if len(levels) != number:
        raise MetadataError(
            f"run {start['uid']} ({start.get('plan_name', 'no plan_name')}) has {len(levels)} dimensions, "
            f"{kind.name} has {number}{_BUT if 'metadata' in start else ''}"
        )
    if not is_line and number == 2:
        region, inner = _image(levels)
        return {"regions": (region,), "order": tuple(step + stack for step in inner)}
    level, outer = _with_role("zoneplate_z" if kind in focus_scans else "energy", kind, levels, start)
    others = [axes for i, axes in enumerate(levels) if i != level]
    if kind in focus_scans:
        region, order, found = replace(_line(others[0]), z=outer), [1], {}
    else:
        found = {"energies": outer.points, "count_times": np.full(len(outer), np.nan), "energy_is_set": True}
        region, inner = Region("0"), []
        if is_line:
            region, inner = _line(others[0]), [0]
        elif stack:
            region, inner = _image(others)
        order = [step + 1 for step in inner]
    order.insert(level, 0)
    return {**found, "regions": (region,), "order": tuple(order)}


def _image(levels: Dimensions) -> tuple[Region, list[int]]:
    """The region of two loops, and for each of them whether it is y (0) or x (1)."""
    slow, fast = (axes[0] for axes in levels)
    swapped = (role_of(slow.device) or "").endswith("_x") and (role_of(fast.device) or "").endswith("_y")
    y, x = (fast, slow) if swapped else (slow, fast)
    return Region("0", x=x, y=y), [1, 0] if swapped else [0, 1]


def _with_role(role: str, kind: scan_types, levels: Dimensions, start: Mapping[str, Any]) -> tuple[int, Axis]:
    """The motor that has a role which the scan type needs, and the level of the loops that moves it."""
    for level, axes in enumerate(levels):
        for axis in axes:
            if role_of(axis.device) == role:
                return level, axis
    motors = ", ".join(axis.device for axes in levels for axis in axes)
    raise MetadataError(f"run {start['uid']} moves no {role}, which {kind.name} needs: its motors are {motors}")


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
    shape = [int(n) for n in start.get("shape") or ()]
    loops = product(start, motors)
    if loops is not None:
        return loops
    relative = str(start.get("plan_name", "")).startswith("rel")
    groups = _groups(start, motors, shape)
    patterns = {} if relative else _patterns(start, motors, most)
    extents: dict[str, Any] = {} if relative else dict(zip(motors, start.get("extents") or (), strict=False))
    levels: Dimensions = []
    for i, group in enumerate(groups):
        number = shape[i] if i < len(shape) and len(shape) == len(groups) else None
        if number is None and len(groups) == 1:
            number = start.get("num_points")
        number = number and number_of_points(number, most, f"the scan of run {start['uid']}")
        axes = []
        for motor in group:
            points = patterns.get(motor)
            if points is None and motor in extents and number and len(shape) == len(motors):
                points = np.linspace(*_pair(extents[motor], 0), number)
            if motor == _POINT:
                points = np.arange(1.0, (number or 0) + 1)
            if points is None or (number and len(points) != number):
                points = np.full(number or 0, np.nan)
            axes.append(Axis(motor, points, motor))
        levels.append(axes)
    return levels


def _groups(start: Mapping[str, Any], motors: list[str], shape: list[int]) -> list[list[str]]:
    """The motors of each level of the scan's loops; a count has one level without a motor."""
    hinted = (start.get("hints") or {}).get("dimensions") or ()
    groups = [[name for name in names if name != "time"] for names, _ in hinted]
    known = [motor for group in groups for motor in group]
    if not motors:
        return [group or [_POINT] for group in groups] or [[_POINT]]
    if len(shape) == len(motors) or "outer" in str(start.get("plan_pattern", "")):
        return [[motor] for motor in motors]
    if sorted(known) == sorted(motors) and str(start.get("plan_pattern", "")) not in (
        "inner_product",
        "inner_list_product",
    ):
        # scan_nd lists one motor a dimension for any cycler; its number of points tells a grid from a line.
        return groups if len(groups) == 1 else [motors]
    return [motors]


def product(start: Mapping[str, Any], motors: list[str]) -> Dimensions | None:
    """The loops of scan_nd over a product of cyclers, which it has only as the repr of that; None for all else."""
    text = (start.get("plan_args") or {}).get("cycler")
    parts = text.split(" * ") if isinstance(text, str) else []
    levels = []
    for part in parts:
        names = re.findall(r"\bname='([^']*)'", part)
        listed = re.search(r", \[([^\[\]]*)\]\)+$", part)
        if len(names) != 1 or listed is None:
            return None
        try:
            points = [float(re.sub(r"^np\.\w+\((.*)\)$", r"\1", item.strip())) for item in listed[1].split(",")]
        except ValueError:
            return None
        levels.append([Axis(names[0], np.array(points), names[0])])
    fits = math.prod(len(axes[0]) for axes in levels) == start.get("num_points")
    return levels if len(levels) > 1 and fits and sorted(axes[0].name for axes in levels) == sorted(motors) else None


def _patterns(start: Mapping[str, Any], motors: list[str], most: int) -> dict[str, np.ndarray]:
    """The set points of each motor, from the arguments of the pattern."""

    def spaced(first: int, number: Any, motor: str) -> np.ndarray:
        return np.linspace(*_pair(values, first), number_of_points(int(number), most, repr(motor)))

    given = start.get("plan_pattern_args") or {}
    values = [v for v in given.get("args") or () if not isinstance(v, (str, bool))]
    match start.get("plan_pattern"):
        case "outer_product" if len(values) == 3 * len(motors):
            return {m: spaced(3 * i, values[3 * i + 2], m) for i, m in enumerate(motors)}
        case "inner_product" if len(values) == 2 * len(motors):
            return {m: spaced(2 * i, given["num"], m) for i, m in enumerate(motors)}
        case "outer_list_product" | "inner_list_product" if len(values) == len(motors):
            return {m: np.array(values[i], dtype=float) for i, m in enumerate(motors)}
    return {}


def _pair(values: Sequence[Any], first: int) -> tuple[float, float]:
    return float(values[first]), float(values[first + 1])


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
