"""Where the numbers of a run go: pure functions of what was asked for and of what was measured."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.places import Part, Path, Places
from suitcase_nxstxm.request import Axis, Image, Layout, Request
from suitcase_nxstxm.scan_types import scan_types

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16  # events that are looked up at once


class _DetectorError(MisfitError):
    """A detector whose numbers have no place in the scan that was asked for."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


@dataclass(frozen=True, eq=False)
class Columns:
    """What was measured, as far as it says where it belongs: a row for each event, in the order in which they came."""

    seq_num: np.ndarray  # the number of each event, from 1; of rows with the same number the last one counts
    sizes: Mapping[str, np.ndarray]  # how many numbers each event has of a detector, by data key; 0 for none
    ndims: Mapping[str, int] = field(default_factory=dict)  # of what a detector gives
    set_points: Mapping[str, np.ndarray] = field(default_factory=dict)  # by the field of their axis; NaN for none
    read: frozenset[str] = frozenset()  # the fields whose positions are read with each event
    regions: Mapping[str, str] = field(default_factory=dict)  # of the detectors that are for one region only, its key
    wanted: frozenset[str] = frozenset()  # the detectors that the scan wants first
    optional: frozenset[str] = frozenset()  # the detectors that are left out if the scan has no point for their numbers


def arrange(request: Request, images: Sequence[Image], columns: Columns) -> Places:
    """Where the numbers of a run go, by what it asks for, its images in the order in which it takes them, its columns.

    Raises
    ------
    MisfitError
        If there are numbers of a detector, not optional, for which the scan has no point.
    """
    while True:
        try:
            return _arrange(request, images, columns)
        except _DetectorError as error:
            if error.key not in columns.optional:
                raise
            logger.warning("%s: it goes to the collection", error)
            columns = replace(columns, sizes={key: n for key, n in columns.sizes.items() if key != error.key})


def _arrange(request: Request, images: Sequence[Image], columns: Columns) -> Places:
    regions, layout = max(len(request.regions), 1), images[0].layout
    taken, number = len(images) // regions, request.num_points
    if taken > 1 and layout.planes:
        # As many as an entry has may well be that many lines.
        number = layout.size if number == taken * layout.plane_size else None
    elif request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and number != layout.size:
        number = None  # of lines, and a line may be as long as there are energies
    request = replace(request, num_points=number)
    sizes = {key: found for key, found in columns.sizes.items() if np.any(found)}
    keys = [region.key for region in request.regions] if regions > 1 else []
    own = {key: keys.index(found) for key, found in columns.regions.items() if key in sizes and found in keys}
    split = regions > 1 and not own and bool(sizes) and all(set(np.unique(s)) <= {0, regions} for s in sizes.values())
    if split:
        sizes = {key: (found > 0).astype(int) for key, found in sizes.items()}
    frames = _frames(request, layout, sizes, columns)
    large = [found for key, found in sizes.items() if key not in frames and found.max() > 1]
    aside = frozenset(key for key, found in sizes.items() if key not in frames and found.max() == 1 and large)
    grid = {key: found for key, found in sizes.items() if key not in frames | aside}
    unit = max([1, *(points_of(int(n), layout.shape) or 1 for found in grid.values() for n in np.unique(found) if n)])
    if taken > 1 and unit > layout.plane_size:
        raise MisfitError(f"an event of run {request.run} has {unit} points, more than one of its images has")
    at_once = regions == 1 or split or bool(own)  # whether an event is for all regions
    image, number, listed = _numbered(request, layout, columns.seq_num - 1, unit, taken, 1 if at_once else regions)
    region = np.zeros(len(number), np.int8)
    if not at_once:
        number, region = np.divmod(number, regions)
    parts = []
    entries = list(dict.fromkeys(one.identity for one in images))
    for identity in entries:
        mine = [i for i, one in enumerate(images) if one.identity == identity]
        which = min(i % regions for i in mine)
        chosen = tuple(key for key in sizes if own.get(key, which) == which)
        rows = np.isin(image, [i // regions for i in mine])
        if own:
            rows &= np.any([sizes[key] > 0 for key in chosen] or [rows & False], axis=0)
        elif not split:
            rows &= region == which
        some = None if rows.all() else np.flatnonzero(rows)
        if some is not None and not len(some) and len(entries) > 1:
            continue
        path = _path(request, images[mine[0]].layout, taken > 1)
        first, told = number * unit if unit > 1 else number, listed
        if some is not None:
            first, told = first[some], None if told is None else told[some]
        part = Part(images[mine[0]], path, some, first, unit, chosen, which if split else None, told)
        parts.append(_fitted(request, part, columns, {key: grid[key] for key in chosen if key in grid}))
    return Places(parts, frozenset(frames), aside)


def _path(request: Request, layout: Layout, several: bool) -> Path:
    """The way of a run, or of a run of several images, through the array of an entry."""
    levels = len(request.order or layout.shape)
    fits = len(request.snaking) == levels or (layout.planes and len(request.snaking) == levels - 1)
    base = request.plane * layout.plane_size if layout.planes and not several else 0
    return Path(layout.shape, base, request.order, request.snaking if fits else ())


def _frames(request: Request, layout: Layout, sizes: Mapping[str, np.ndarray], columns: Columns) -> set[str]:
    """The detectors that have an array for one point."""
    fast = layout.axes[-1].name  # the field of the positioner that moves from point to point
    if fast == "line_position":
        fast = next(iter(layout.along), "")
    by_point, found, lines = fast in columns.read, set(), set()
    for key, size in ((key, int(found.max())) for key, found in sizes.items()):
        ndim = columns.ndims.get(key, 1)
        if size <= 1:
            continue
        if is_of_a_point(request, layout, ndim) or (size < layout.shape[-1] and by_point):
            found.add(key)
        elif points_of(size, layout.shape) is not None:
            lines.add(key)
        elif by_point or ndim > 1:
            found.add(key)
        else:
            what = f"{key!r} of run {request.run} has {size} numbers an event, which are neither points nor lines of "
            raise _DetectorError(key, what + " x ".join(map(str, layout.shape)))
    if by_point and any(found.max() == 1 and key in columns.wanted for key, found in sizes.items()):
        found |= lines  # because the detector that is wanted first has one number for a point
    return found


def is_of_a_point(request: Request, layout: Layout, ndim: int) -> bool:
    """Whether an array of so many dimensions is for one point, whatever its size, by what was asked for."""
    ptychography = request.scan_type is scan_types.PTYCHOGRAPHY_SCAN
    return (ptychography and ndim > 1) or layout.grows or request.num_points in (layout.plane_size, layout.size)


def _numbered(
    request: Request, layout: Layout, index: np.ndarray, unit: int, taken: int, regions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """For each event its image, its number among those of its entry, and where ``sequence_map`` has it: flat, or -1."""
    spectra = request.scan_type is scan_types.SAMPLE_POINT_SPECTRA
    events = layout.size * regions if spectra else max(layout.plane_size // unit, 1)
    image, number = np.divmod(index, events) if taken > 1 else (np.zeros(len(index), np.int8), index)
    beyond = np.flatnonzero(image >= taken)
    if len(beyond):
        event, which = index[beyond[0]] + 1, image[beyond[0]]
        raise MisfitError(f"event {event} of run {request.run} is of image {which} of {taken}")
    plane = layout.plane_size if layout.planes else 0
    base = np.array([one.plane for one in request.images or (request,)])[image if plane else 0] * plane
    if taken > 1:
        number = number + base // unit
    # Without a list, or with one of something else than what is stored here, the order of the events counts.
    listed = request.sequence
    if listed is None or len(layout.shape) < 2 or (listed[:, 1:] >= layout.shape[-2:]).any():
        return image, number, None
    if unit != (layout.shape[-1] if listed[:, 2].max() <= 0 else 1):
        return image, number, None
    shown = np.full((len(index), 3), -1)
    shown[index < len(listed)] = listed[index[index < len(listed)]]  # image, row and column of each event
    begin = base + plane * shown[:, 0] if taken == 1 else base
    return image, number, np.where(shown[:, 0] < 0, -1, begin + shown[:, 1] * layout.shape[-1] + shown[:, 2])


def _fitted(request: Request, part: Part, columns: Columns, sizes: Mapping[str, np.ndarray]) -> Part:
    """A part whose events all have a point, by their set points where these say it."""
    layout = part.image.layout
    rows = slice(None) if part.rows is None else part.rows
    seq_num = columns.seq_num[rows]
    number = np.zeros(len(seq_num), int)
    for key in sorted(sizes, key=lambda key: key in columns.optional):
        mine = sizes[key][rows]
        number = np.where(number == 0, mine, number)
        other = np.flatnonzero((mine != number) & (mine > 0))
        if len(other):
            what = f"{key!r} of event {seq_num[other[0]]} of run {request.run} has {mine[other[0]]} numbers"
            raise _DetectorError(key, f"{what} where another detector has {number[other[0]]}")
    number = np.maximum(number, 1)
    beyond = np.flatnonzero((part.first < 0) | (part.first + number > part.path.size))
    if len(beyond) and not layout.grows:
        first, shape = int(part.first[beyond[0]]), " x ".join(map(str, layout.shape))
        raise MisfitError(
            f"event {seq_num[beyond[0]]} of run {request.run} is for points {first} to "
            f"{first + int(number[beyond[0]]) - 1} of a run with {part.path.size} ({shape})"
        )
    at = part.at
    if at is None and part.unit == 1 and not request.ordered and not layout.grows:
        at = _by_set_points(request, part, columns)
    if at is not None and ((at < 0) | (at == part.path.flat(part.first))).all() and part.path.straight:
        at = None
    reached = int((part.first + number).max()) if len(number) else 0
    return replace(part, at=at, number=None if (number == part.unit).all() else number, reached=reached)


def _by_set_points(request: Request, part: Part, columns: Columns) -> np.ndarray:
    """The flat index of each event whose set points are those of a point of the scan, else -1."""
    layout, path, plane = part.image.layout, part.path, part.image.layout.plane_size
    found = np.full(len(part.first), -1)
    if layout.planes and request.plane == 0 and (request.num_points is None or request.num_points > plane):
        found = _told(layout.axes, part, columns)  # the energies need not be the outermost loop
    if (not layout.planes or path.by_planes) and (found < 0).any():
        within = _told(layout.axes[layout.planes :], part, columns)
        begin = path.base + part.first // plane * plane
        found = np.where((found < 0) & (within >= 0), begin + within, found)
    return found


def _told(wanted: Sequence[Axis], part: Part, columns: Columns) -> np.ndarray:
    """The flat index, among these axes, of each event that has the set points of all of them; -1 for the others."""
    flat, axes = np.full(len(part.first), -1), []
    for axis in wanted:
        others = [other for other, _ in part.image.layout.along.values() if other.name in columns.set_points]
        if axis.name == "line_position":
            axis = next((other for other in others if len(np.unique(other.points)) == len(other)), axis)
        order = np.argsort(axis.points)
        if axis.name not in columns.set_points or not (np.diff(axis.points[order]) > 0).all():
            return flat
        axes.append((order, axis.points[order], columns.set_points[axis.name]))
    for begin in range(0, len(flat), _BLOCK):
        events = slice(begin, begin + _BLOCK)
        flat[events] = 0
        for order, points, told in axes:
            values = told[events if part.rows is None else part.rows[events]]
            nearest = np.searchsorted((points[1:] + points[:-1]) / 2, values)
            extent = float(np.ptp(points)) or abs(float(points[0])) or 1.0
            with np.errstate(invalid="ignore"):
                known = (flat[events] >= 0) & (np.abs(points[nearest] - values) <= 1e-9 * extent)
            flat[events] = np.where(known, flat[events] * len(points) + order[nearest], -1)
    return flat


def points_of(number: int, shape: Sequence[int]) -> int | None:
    """How many points of the scan an event covers that has this number of numbers; None if none would fit.

    A point, a line, some lines, a plane, everything; or less than a line, for a line that was broken off.
    """
    line, size = shape[-1], math.prod(shape)
    if number in (1, line) or (number <= size and number % line == 0):
        return number
    return line if number < line else None
