"""A run of the journal with what it was asked for, and where its numbers go."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from suitcase_nxstxm.arrange import Columns, arrange
from suitcase_nxstxm.errors import MetadataError, MisfitError, NoPrimaryStreamError, UnfilledError
from suitcase_nxstxm.journal import Run
from suitcase_nxstxm.keys import Keys, Known, mended_units, region_of, sorted_keys
from suitcase_nxstxm.places import Part, Places
from suitcase_nxstxm.request import Image, Request, images
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.stream import FrameRows, Stream, Values
from suitcase_nxstxm.table import is_exact

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Arranged:
    """A run with where its numbers go; without a primary stream it has none, and no places."""

    run: Run
    request: Request
    images: list[Image]  # that it fills
    known: Known  # what its baseline says
    stream: Stream  # the primary one
    keys: Keys  # what the keys of that are
    places: Places = field(default_factory=lambda: Places([]))
    default: str = ""  # the data key of the detector of the default plot

    @property
    def planes(self) -> int:
        """How many planes of the scan the run is for: more than one if it has gone on to the next ones by itself."""
        request, parts = self.request, self.places.parts
        if request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
            return max(len({part.image.request.polarization_index for part in parts if part.reached}), 1)
        if request.images:
            return len(request.images)
        layout = self.images[0].layout
        found = max(-(-max((part.reached for part in parts), default=0) // max(layout.plane_size, 1)), 1)
        if request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and found > 1:
            return layout.shape[0]  # a run that is for all energies, whether it came to them or not
        return found

    @property
    def rest(self) -> list[str]:
        """The data keys of the primary stream that have no place on the grid."""
        placed = {key for part in self.places.parts for key in part.keys} - self.places.aside
        aside = [key for key in self.keys.detectors if key not in placed and key in self.stream.columns]
        return [*self.keys.rest, *aside]


@dataclass(eq=False)
class Member:
    """What a run has for an entry."""

    of: Arranged
    part: Part

    @property
    def request(self) -> Request:
        """What the run asks for in the entry."""
        return self.part.image.request

    def numbers(self, key: str | None) -> np.ndarray:
        """The number that each event has of a key."""
        found = self.of.stream.numbers(key)
        return found if self.part.rows is None else found[self.part.rows]

    def read(self, key: str, events: slice = slice(None)) -> Iterator[tuple[slice, Values]]:
        """The readings of some events, some at a time, with the events that they are of."""
        rows, stream = self.part.rows, self.of.stream
        begin, end, _ = events.indices(len(self.part.first))
        if rows is None:
            for row, read in stream.blocks(key, begin, end):
                yield slice(row, row + len(read)), read
        elif begin < end:
            for row, read in stream.blocks(key, int(rows[begin]), int(rows[end - 1]) + 1):
                first, last = np.searchsorted(rows, [row, row + len(read)]).tolist()
                yield slice(first, last), read[rows[first:last] - row]


def arranged(run: Run, request: Request) -> Arranged:
    """A run with where its numbers go."""
    whole = images(request)
    stream = run.streams.get("primary", Stream(lambda offset, size: b""))
    keys = _keys(run, stream, request)
    found = Arranged(run, request, whole, _known(run, request), stream, keys)
    stopped = (run.stop or {}).get("exit_status") in ("abort", "fail")
    if "primary" not in run.streams:
        if run.stop is not None and not (stopped and request.several_runs):
            raise NoPrimaryStreamError(f"run {request.run} has no stream 'primary': there is nothing to export")
        return found
    for key in keys.detectors:
        if str(keys.info.get(key, {}).get("external", "")).startswith("STREAM") and key not in stream.columns:
            raise UnfilledError(f"{key!r} of run {request.run}")
    odd = {key: _odd(stream, key) for key in keys.detectors if key in stream.columns}
    good = [key for key, why in odd.items() if not why]
    wanted = frozenset(keys.called(request.primary[0], keys.detectors, request) if request.primary else ())
    required = wanted & set(odd) or {keys.default(request, good or odd or keys.detectors)}
    for key, why in odd.items():
        if why and key in required:
            raise MisfitError(f"{key!r} of run {request.run} {why}")
        if why:
            logger.warning("%r of run %s %s: it goes to the collection", key, request.run, why)
    set_points = {name: position.set_point for name, position in keys.positions.items()}
    columns = Columns(
        seq_num=stream.head("seq_num"),
        sizes={key: stream.sizes(key) for key in good},
        ndims={key: max(len(column.shape) for column in stream.columns[key]) for key in good},
        set_points={name: _of_events(stream, key) for name, key in set_points.items() if key in stream.columns},
        read=frozenset(keys.positions),
        regions={key: region for key in good if (region := region_of(key)[1]) is not None},
        wanted=wanted,
        optional=frozenset(good) - required,
    )
    found.places = arrange(request, whole, columns)
    if run.stop is not None and not (request.placed or stopped) and found.planes < 2:
        number = len(request.energies)
        raise MetadataError(
            f"run {request.run} has no 'img_idx_map', which alone tells for which of {number} energies it is"
        )
    grid = {key for part in found.places.parts for key in part.keys} - found.places.aside
    found.default = keys.default(request, [key for key in good if key in grid] or keys.detectors)
    return found


def _of_events(stream: Stream, key: str | None) -> np.ndarray:
    """The number of a key for each row: of several rows of an event all have what one of them has."""
    found, seq_num = stream.numbers(key), stream.head("seq_num")
    if not (np.diff(seq_num) > 0).all():
        numbers, event = np.unique(seq_num, return_inverse=True)
        known, of_event = ~np.isnan(found), np.full(len(numbers), np.nan)
        of_event[event[known]] = found[known]
        found[~known] = of_event[event[~known]]
    return found


def detectors(run: Run, request: Request) -> frozenset[str]:
    """The data keys of the primary stream that are detectors."""
    return frozenset(_keys(run, run.streams["primary"], request).detectors)


def _keys(run: Run, stream: Stream, request: Request) -> Keys:
    baseline = run.streams.get("baseline")
    declared = frozenset(baseline.owner.values()) if baseline is not None else frozenset()
    return sorted_keys(stream, request, images(request)[0].layout, declared)


def _odd(stream: Stream, key: str) -> str:
    """What is wrong with the readings of a detector; nothing if they are numbers that floats hold."""
    for _, found in stream.blocks(key) if any(column.numbers is None for column in stream.columns[key]) else ():
        if not isinstance(found, FrameRows) and found.dtype.kind == "O":
            return f"holds {str(found[0])[:40]!r}, not numbers"
    return "" if is_exact(stream, key) else "holds integers beyond 2**53, which have no exact place beside NaN"


def _known(run: Run, request: Request) -> Known:
    """What the baseline of a run says of the microscope at its start."""
    baseline, devices = run.streams.get("baseline"), request.devices
    found: dict[str, tuple[int, float, str | None]] = {}
    for key, device in baseline.owner.items() if baseline is not None else ():
        role = devices.role_of(device)
        if baseline is None or role is None or key.endswith("setpoint"):
            continue
        # Of several devices the first by its name, and of its keys the one that is called like it.
        rank = 2 * devices.rank(role, device) + (key != device)
        for value in baseline.numbers(key)[np.flatnonzero(baseline.head("seq_num") == 1)[-1:]].tolist():
            if not np.isnan(value) and (role not in found or rank < found[role][0]):
                found[role] = rank, value, mended_units(role, baseline.info[key].get("units"))
    return {role: (value, units) for role, (_, value, units) in found.items()}


def say_lost(run: Run) -> None:
    """Say that events were lost on their way."""
    for name, number in ((run.stop or {}).get("num_events") or {}).items():
        stream = run.streams.get(name)
        came = len(np.unique(stream.head("seq_num"))) if stream is not None else 0
        if isinstance(number, int) and number > came:
            what = (run.uid, number, name, came)
            logger.warning("run %s has %d events in stream %r, of which %d came: the others are NaN in the file", *what)
