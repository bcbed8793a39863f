"""Where the numbers of a run go: pure functions of what was asked for and of what was measured."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.places import Part, Places, path_of, sequence_numbers
from suitcase_nxstxm.request import Axis, Image, Layout, Request
from suitcase_nxstxm.scan_types import scan_types

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16


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
            found = _arrange(request, images, columns)
        except _DetectorError as error:
            if error.key not in columns.optional:
                raise
            logger.warning("%s: it goes to the collection", error)
            columns = replace(columns, sizes={key: n for key, n in columns.sizes.items() if key != error.key})
        else:
            return found


def _arrange(request: Request, images: Sequence[Image], columns: Columns) -> Places:
    regions = max(len(request.regions), 1)
    layout, taken = images[0].layout, len(images) // regions
    sizes = {key: np.asarray(found) for key, found in columns.sizes.items() if np.any(found)}
    own = {key: found for key, found in columns.regions.items() if key in sizes and regions > 1}
    split = regions > 1 and not own and bool(sizes) and all(set(np.unique(s)) <= {0, regions} for s in sizes.values())
    if split:
        sizes = {key: (found > 0).astype(int) for key, found in sizes.items()}
    scan = _Scan(request, layout, taken)
    frames = scan.frames(sizes, columns)
    large = [found for key, found in sizes.items() if key not in frames and found.max() > 1]
    aside = frozenset(key for key, found in sizes.items() if key not in frames and found.max() == 1 and large)
    grid = {key: found for key, found in sizes.items() if key not in frames | aside}
    unit = max([1, *(points_of(int(n), layout.shape) or 1 for found in grid.values() for n in np.unique(found) if n)])
    if taken > 1 and unit > layout.plane_size:
        raise MisfitError(f"an event of run {request.run} has {unit} points, more than one of its images has")
    keys = [region.key for region in request.regions]
    own_regions = {key: keys.index(found) for key, found in own.items() if found in keys}
    together = len(set(own_regions.values())) == regions
    image, number = scan.images(columns.seq_num - 1, unit, regions, split or together)
    region = np.zeros(len(number), int)
    if regions > 1 and not split and not own_regions:
        number, region = np.divmod(number, regions)
    elif own_regions and not together:
        number = number // regions
    entries = list(dict.fromkeys(one.identity for one in images))
    parts = []
    for identity in entries:
        mine = [i for i, one in enumerate(images) if one.identity == identity]
        which = sorted({i % regions for i in mine})[0]
        rows = np.isin(image, [i // regions for i in mine])
        chosen = tuple(key for key in sizes if own_regions.get(key, which) == which)
        if own_regions:
            rows &= np.any([sizes[key] > 0 for key in chosen] or [rows & False], axis=0)
        elif not split:
            rows &= region == which
        some = None if rows.all() else np.flatnonzero(rows)
        if some is not None and not len(some) and len(entries) > 1:
            continue
        path = path_of(request, images[mine[0]].layout, images, mine if taken > 1 else None)
        first = number * unit if some is None else number[some] * unit
        part = Part(images[mine[0]], path, some, first, unit, chosen, which if split else None)
        parts.append(scan.fitted(part, columns, {key: grid[key] for key in chosen if key in grid}))
    return Places(parts, frozenset(frames), aside)


class _Scan:
    """A run that is arranged: what was asked for, and what its images look like."""

    def __init__(self, request: Request, layout: Layout, taken: int) -> None:
        self.layout = layout
        self.number = taken
        number = request.num_points
        if taken > 1 and layout.planes:
            # As many as an entry has may well be that many lines.
            number = layout.size if number == taken * layout.plane_size else None
        elif request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and number != layout.size:
            number = None  # of lines, and a line may be as long as there are energies
        self.request = replace(request, num_points=number)

    def frames(self, sizes: Mapping[str, np.ndarray], columns: Columns) -> set[str]:
        """The detectors that have an array for one point."""
        found = {key for key in sizes if self._is_frame(key, int(sizes[key].max()), columns)}
        lines = {key for key in sizes if sizes[key].max() > 1} - found
        scalars = {key for key in sizes if sizes[key].max() == 1}
        if lines and scalars & columns.wanted and self._fast in columns.read:
            found |= lines  # because the detector that is wanted first has one number for a point
        return found

    def _is_frame(self, key: str, size: int, columns: Columns) -> bool:
        layout, ndim = self.layout, columns.ndims.get(key, 1)
        if size <= 1:
            return False
        if self.request.scan_type is scan_types.PTYCHOGRAPHY_SCAN and ndim > 1:
            return True
        if layout.grows or self.request.num_points in (layout.plane_size, layout.size):
            return True
        by_point = self._fast in columns.read
        if size < layout.shape[-1] and by_point:
            return True
        if points_of(size, layout.shape) is not None:
            return False
        if by_point or ndim > 1:
            return True
        shape = " x ".join(map(str, layout.shape))
        raise _DetectorError(
            key,
            f"{key!r} of run {self.request.run} has {size} numbers an event, which are neither points nor lines of "
            f"{shape}",
        )

    @property
    def _fast(self) -> str:
        """The field of the positioner that moves from point to point."""
        name = self.layout.axes[-1].name
        return name if name != "line_position" else next(iter(self.layout.along), "")

    def images(self, index: np.ndarray, unit: int, regions: int, at_once: bool) -> tuple[np.ndarray, np.ndarray]:
        """The image that each event is of, and its number among the events of its entry."""
        layout, request = self.layout, self.request
        if self.number == 1:
            return np.zeros(len(index), int), index
        images = request.images or (request,)
        if regions > 1 or request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
            events = layout.size * (1 if at_once else regions)
        else:
            events = max(layout.plane_size // unit, 1)
        image, number = np.divmod(index, events)
        listed = request.sequence
        if listed is not None and len(listed):
            within = np.minimum(index, len(listed) - 1)
            known = (index < len(listed)) & (listed[within, 0] >= 0)
            image = np.where(known, listed[within, 0], image)
            number = np.where(known, sequence_numbers(listed)[within], number)
            unit = layout.shape[-1] if listed[:, 2].max() <= 0 else 1
        beyond = np.flatnonzero(image >= self.number)
        if len(beyond):
            raise MisfitError(
                f"event {index[beyond[0]] + 1} of run {request.run} is of image {image[beyond[0]]} of {self.number}"
            )
        if layout.planes:
            planes = np.array([one.plane for one in images])
            number = planes[image] * (layout.plane_size // unit) + number
        return image, number

    def fitted(self, part: Part, columns: Columns, sizes: Mapping[str, np.ndarray]) -> Part:
        """A part whose events all have a point, by their set points where these say it."""
        rows = slice(None) if part.rows is None else part.rows
        seq_num = columns.seq_num[rows]
        number = np.zeros(len(seq_num), int)
        for key in sorted(sizes, key=lambda key: key in columns.optional):
            mine = sizes[key][rows]
            number = np.where(number == 0, mine, number)
            other = np.flatnonzero((mine != number) & (mine > 0))
            if len(other):
                raise _DetectorError(
                    key,
                    f"{key!r} of event {seq_num[other[0]]} of run {self.request.run} has {mine[other[0]]} numbers "
                    f"where another detector has {number[other[0]]}",
                )
        number = np.maximum(number, 1)
        beyond = (part.first < 0) | (part.first + number > part.path.size)
        if beyond.any() and not self.layout.grows:
            worst = int(np.flatnonzero(beyond)[0])
            first, shape = int(part.first[worst]), " x ".join(map(str, self.layout.shape))
            raise MisfitError(
                f"event {seq_num[worst]} of run {self.request.run} is for points {first} to "
                f"{first + int(number[worst]) - 1} of a run with {part.path.size} ({shape})"
            )
        at = self._by_set_points(part, columns) if part.unit == 1 else None
        reached = int((part.first + number).max()) if len(number) else 0
        return replace(part, at=at, number=None if (number == part.unit).all() else number, reached=reached)

    def _by_set_points(self, part: Part, columns: Columns) -> np.ndarray | None:
        """The flat index of each event whose set points are those of a point of the scan, else -1."""
        layout, request, path = part.image.layout, self.request, part.path
        if request.ordered or layout.grows:
            return None
        plane = layout.plane_size
        found = np.full(len(part.first), -1)
        all_planes = request.num_points is None or request.num_points > plane
        if layout.planes and request.plane == 0 and all_planes:
            # The energies need not be the outermost loop.
            self._told(found, layout.axes, part, columns)
        if not layout.planes or path.by_planes:
            within = np.full(len(part.first), -1)
            self._told(within, layout.axes[layout.planes :], part, columns)
            told = (found < 0) & (within >= 0)
            found[told] = (path.base + part.first // plane * plane + within)[told]
        return found if (found >= 0).any() else None

    def _told(self, found: np.ndarray, wanted: Sequence[Axis], part: Part, columns: Columns) -> None:
        """Put to an array the flat index, among these axes, of each event that has the set points of all of them."""
        axes = []
        for axis in wanted:
            chosen = axis
            if axis.name == "line_position":
                others = [other for other, _ in part.image.layout.along.values() if other.name in columns.set_points]
                chosen = next((other for other in others if len(np.unique(other.points)) == len(other)), axis)
            if chosen.name not in columns.set_points or len(np.unique(chosen.points)) < len(chosen):
                return
            axes.append(chosen)
        number = len(columns.seq_num)
        for begin in range(0, number, _BLOCK):
            block = slice(begin, min(begin + _BLOCK, number))
            flat = np.zeros(block.stop - begin, int)
            for axis in axes:
                step = _nearest(axis.points, columns.set_points[axis.name][block])
                flat = np.where((flat < 0) | (step < 0), -1, flat * len(axis) + step)
            if part.rows is None:
                found[block] = flat
            else:
                mine = slice(*np.searchsorted(part.rows, [block.start, block.stop]))
                found[mine] = flat[part.rows[mine] - begin]


def _nearest(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The index of the set point that each value is, but for rounding; -1 for a value that is none of them."""
    order = np.argsort(points)
    ordered = points[order]
    after = np.clip(np.searchsorted(ordered, values), 1, max(len(points) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(points) - 1)
    found = np.where(np.abs(ordered[after] - values) < np.abs(ordered[before] - values), after, before)
    extent = float(np.ptp(points)) or abs(float(points[0])) or 1.0
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(ordered[found] - values) <= 1e-9 * extent, order[found], -1)


def points_of(number: int, shape: Sequence[int]) -> int | None:
    """How many points of the scan an event covers that has this number of numbers; None if none would fit.

    A point, a line, some lines, a plane, everything; or less than a line, for a line that was broken off.
    """
    line, size = shape[-1], math.prod(shape)
    if number in (1, line) or (number <= size and number % line == 0):
        return number
    return line if number < line else None
