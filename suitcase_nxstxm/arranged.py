"""A run of the journal with what it was asked for, and where its numbers go."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from suitcase_nxstxm.arrange import Columns, Places, arrange
from suitcase_nxstxm.entry import Known
from suitcase_nxstxm.errors import DuplicateRunError, MisfitError, NoPrimaryStreamError, UnfilledError
from suitcase_nxstxm.journal import Run
from suitcase_nxstxm.keys import Keys, baseline_values, region_of, sorted_keys
from suitcase_nxstxm.layout import Image, images
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.stream import Stream
from suitcase_nxstxm.table import is_exact

__all__ = ["Arranged", "arranged", "detectors", "with_planes"]

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Arranged:
    """A run with where its numbers go.

    Parameters
    ----------
    run
        The run.
    request
        What it asks for.
    images
        The images that it fills.
    known
        What its baseline says.
    stream, keys, places
        Its primary stream, what the keys of that are, and where its numbers go; None without such a stream.
    default
        The data key of the detector of the default plot; None if there is none.
    placed_by
        What says which plane the run is for.
    """

    run: Run
    request: Request
    images: list[Image]
    known: Known = field(default_factory=dict)
    stream: Stream | None = None
    keys: Keys | None = None
    places: Places | None = None
    default: str | None = None
    placed_by: str = "request"

    @property
    def planes(self) -> int:
        """How many planes of the scan the run is for: more than one if it has gone on to the next ones by itself."""
        request, parts = self.request, self.places.parts if self.places is not None else []
        if request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
            return max(len({part.image.request.polarization_index for part in parts if part.reached}), 1)
        if request.images:
            return len(request.images)
        layout = self.images[0].layout
        reached = max((part.reached for part in parts), default=0)
        found = max(-(-reached // max(layout.plane_size, 1)), 1)
        if request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and found > 1:
            return layout.shape[0]  # a run that is for all energies, whether it came to them or not
        return found

    @property
    def rest(self) -> list[str]:
        """The data keys of the primary stream that have no place on the grid."""
        if self.keys is None or self.stream is None or self.places is None:
            return []
        placed = {key for part in self.places.parts for key in part.keys} - self.places.aside
        aside = [key for key in self.keys.detectors if key not in placed and self.stream.keys().get(key)]
        return [*self.keys.rest, *aside]


def arranged(run: Run, request: Request, monitor: str | None, placed_by: str = "request") -> Arranged:
    """A run with where its numbers go.

    Raises
    ------
    MisfitError
        If there are numbers of a detector that is wanted, for which the scan has no point.
    NoPrimaryStreamError
        If the run has ended, and has no stream ``primary``.
    UnfilledError
        If a detector's numbers are in a file beside the documents.
    UnknownDetectorError
        If a detector that is wanted isn't there.
    """
    whole = images(request)
    found = Arranged(run, request, whole, _known(run, request), placed_by=placed_by)
    stream = run.streams.get("primary")
    if stream is None:
        stopped = (run.stop or {}).get("exit_status") in ("abort", "fail")
        if run.stop is not None and not (stopped and request.several_runs):
            raise NoPrimaryStreamError(f"run {request.run} has no stream 'primary': there is nothing to export")
        return found
    baseline = run.streams.get("baseline")
    declared = frozenset(baseline.owner.values()) if baseline is not None else frozenset()
    keys = sorted_keys(*(stream.info, dict(stream.owner), stream.channels, request, whole[0].layout, monitor, declared))
    found.stream, found.keys = stream, keys
    columns = stream.keys()
    for key in keys.detectors:
        if str(keys.info.get(key, {}).get("external", "")).startswith("STREAM") and key not in columns:
            raise UnfilledError(f"{key!r} of run {request.run}")
    present = [key for key in keys.detectors if key in columns]
    good = [key for key in present if not _odd(stream, key)]
    default = keys.default(request, good or present or keys.detectors)
    wanted = keys.wanted(request)
    required = wanted & set(present) or {default}
    for key in present:
        if key in required and key not in good:
            raise MisfitError(f"{key!r} of run {request.run} {_odd(stream, key)}")
    found.places = arrange(request, whole, _columns(stream, keys, good, wanted, frozenset(good) - required))
    grid = {key for part in found.places.parts for key in part.keys} - found.places.aside
    found.default = keys.default(request, [key for key in good if key in grid] or keys.detectors)
    for key in present:
        if key not in good:
            logger.warning("%r of run %s %s: it goes to the collection", key, request.run, _odd(stream, key))
    return found


def detectors(run: Run, request: Request, monitor: str | None) -> frozenset[str]:
    """The data keys of the primary stream that are detectors."""
    return frozenset(_keys(run, run.streams["primary"], request, images(request)[0], monitor).detectors)


def _keys(run: Run, stream: Stream, request: Request, image: Image, monitor: str | None) -> Keys:
    baseline = run.streams.get("baseline")
    declared = frozenset(baseline.owner.values()) if baseline is not None else frozenset()
    layout, owner = image.layout, dict(stream.owner)
    return sorted_keys(stream.info, owner, stream.channels, request, layout, monitor, declared)


def _odd(stream: Stream, key: str) -> str:
    """What is wrong with the readings of a detector; nothing if they are numbers that floats hold."""
    for column, _ in stream.keys()[key]:
        if column.numbers is None:
            text = next(
                (str(value) for _, found in stream.blocks(key) if isinstance(found, list) for value in found), ""
            )
            return f"holds {text[:40]!r}, not numbers"
    return "" if is_exact(stream, key) else "holds integers beyond 2**53, which have no exact place beside NaN"


def _columns(
    stream: Stream, keys: Keys, good: Sequence[str], wanted: frozenset[str], optional: frozenset[str]
) -> Columns:
    columns = stream.keys()
    regions = {key: region for key in good if (region := region_of(key)[1]) is not None}
    set_points = {
        name: _numbers(stream, position.set_point)
        for name, position in keys.positions.items()
        if position.set_point is not None and position.set_point in columns
    }
    ndims = {key: max(len(column.shape) for column, _ in columns[key]) for key in good}
    sizes = {key: stream.sizes(key) for key in good}
    return Columns(stream.seq_num(), sizes, ndims, set_points, frozenset(keys.positions), regions, wanted, optional)


def _numbers(stream: Stream, key: str) -> np.ndarray:
    found = np.full(len(stream), np.nan)
    for row, values in stream.blocks(key):
        if isinstance(values, np.ndarray) and values.ndim == 1:
            found[row : row + len(values)] = values
    return found


def _known(run: Run, request: Request) -> Known:
    """What the baseline of a run says of the microscope at its start."""
    baseline = run.streams.get("baseline")
    if baseline is None or not len(baseline):
        return {}
    first = np.flatnonzero(baseline.seq_num() == 1)
    data = {}
    for key in baseline.info:
        for row, values in baseline.blocks(key):
            if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind != "b":
                for i in first:
                    if row <= i < row + len(values):
                        data[key] = float(values[i - row])
    return baseline_values(baseline.info, baseline.owner, data, request)


def with_planes(requests: Sequence[tuple[Run, Request, str | None]]) -> list[tuple[Run, Request, str]]:
    """The runs of a scan with the planes of those whose start document doesn't say it: by their energy, else by time.

    Parameters
    ----------
    requests
        The runs in the order of time, each with what it asks for, and with the reading that the intensity is to be
        divided by.

    Raises
    ------
    DuplicateRunError
        If no plane is left for a run.
    """
    taken: dict[str, set[int]] = defaultdict(set)
    chosen: dict[str, tuple[int, str]] = {}
    waiting = []
    for run, request, monitor in requests:
        identity = images(request)[0].identity
        if request.placed:
            taken[identity] |= {request.plane}
        elif (plane := _by_energy(run, request, monitor)) is not None:
            if plane in taken[identity]:
                raise _no_plane(request, f"its energy is that of plane {plane}")
            taken[identity] |= {plane}
            chosen[request.run] = plane, "energy"
        else:
            waiting.append((request, identity))
    for request, identity in waiting:
        plane = next(number for number in range(len(request.energies) + 1) if number not in taken[identity])
        if plane >= len(request.energies):
            raise _no_plane(request, "no energy was read in it")
        taken[identity] |= {plane}
        chosen[request.run] = plane, "time"
    found = []
    for run, request, _ in requests:
        plane, how = chosen.get(request.run, (request.plane, "request"))
        found.append((run, replace(request, plane=plane), how))
    return found


def _no_plane(request: Request, why: str) -> DuplicateRunError:
    return DuplicateRunError(
        f"run {request.run} has no place in {request.entry}: it has no 'img_idx_map' and {why}, and the scan of "
        f"{len(request.energies)} energies has another run there"
    )


def _by_energy(run: Run, request: Request, monitor: str | None) -> int | None:
    """The plane whose energy a run has read, or has in its baseline; None if there is none."""
    read: list[float] = []
    stream, energies = run.streams.get("primary"), request.energies
    if stream is not None and not np.isnan(energies).any():
        keys = _keys(run, stream, request, images(request)[0], monitor)
        position = keys.positions.get("energy")
        for key in (position.set_point, position.readback) if position is not None else ():
            if key is not None:
                read += [float(value) for value in _numbers(stream, key)[:1]]
    known: Mapping[str, tuple[float, str | None]] = _known(run, request)
    if "energy" in known:
        read.append(known["energy"][0])
    for value in read:
        spacing = np.diff(np.unique(energies)).min() if len(np.unique(energies)) > 1 else 1.0
        plane = int(np.argmin(np.abs(energies - value)))
        if abs(energies[plane] - value) < spacing / 2:
            return plane
    return None
