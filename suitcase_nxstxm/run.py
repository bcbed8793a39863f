"""One run on its way into a file: its documents as they come."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from suitcase_nxstxm.arrival import Arrival
from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.entries import Entries
from suitcase_nxstxm.entry import Entry, Facts
from suitcase_nxstxm.errors import DuplicateRunError, MisfitError, NoPrimaryStreamError, UnfilledError
from suitcase_nxstxm.layout import Layout, layouts
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.placement import Path, unit_of
from suitcase_nxstxm.places import identity, remember
from suitcase_nxstxm.readings import Readings, owners
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.runs import BY_TIME
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.sequence import Sequence
from suitcase_nxstxm.signals import Signals
from suitcase_nxstxm.streams import Stream, region_of, scalar

__all__ = ["Run"]

logger = logging.getLogger(__name__)

_FLUSH_EVERY = 2.0


class Run:
    """A run being written: to the entries of the file that its scan asks for.

    Numbers go to the file when a plane is full, and every two seconds.

    Parameters
    ----------
    file_entries
        The entries of the file, which is open for writing.
    start
        The start document.
    request
        What it asks for.
    facts
        What no document says.
    monitor
        The monitor's name, where it isn't the ring current.
    """

    def __init__(
        self,
        file_entries: Entries,
        start: Mapping[str, Any],
        request: Request,
        facts: Facts,
        monitor: str | None = None,
    ) -> None:
        self.request = request
        self._root = file_entries.root
        self._start = start
        self._facts = facts
        self._file_entries = file_entries
        self._monitor = monitor
        self._images = request.images or (request,)
        self._layouts = [[_planar(layout, image) for layout in layouts(image)] for image in self._images]
        self._plane = request.plane
        self._streams: dict[str, Stream] = {}
        self._readings: dict[str, Readings] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._known: dict[str, tuple[float, str | None]] = {}
        self._flushed = time.monotonic()
        self._planes = 0
        self._sequence = Sequence.of(request)
        self._entries: dict[str, Entry] = {}
        self._signals: dict[str, Signals] = {}
        for number, image in enumerate(self._images):
            for _, held in self._held(number):
                if image.placed and (not number or self.request.scan_type is not scan_types.SAMPLE_POINT_SPECTRA):
                    file_entries.check_free(held, image.run, image.plane)
        self._begin(0)
        self._arrival = Arrival(_whole(request, self._layouts), self._signals_of(0) if request.placed else ())

    def _held(self, number: int) -> list[tuple[Layout, str]]:
        """The layouts of an image, with what their entries are for."""
        image = self._images[number]
        several = len(image.regions) > 1
        return [
            (layout, identity(image, layout.entry, image.regions[i].key if several else image.region_key))
            for i, layout in enumerate(self._layouts[number])
        ]

    def _begin(self, number: int) -> None:
        """Begin the entries of an image, if they aren't there."""
        image = self._images[number]
        for layout, held in self._held(number):
            if held in self._entries:
                continue
            if image.placed and number and self.request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
                self._file_entries.check_free(held, image.run, image.plane)  # others were before the first
            name = self._file_entries.claim(layout.entry, held)
            there = self._file_entries[name]
            entry = Entry(there, replace(layout, entry=name), image, self._facts)
            self._entries[held] = entry
            entry.begin(self._start)
            if not image.placed:
                there.runs.place(image.run, -1, BY_TIME)
            for role, (value, units) in self._known.items():
                entry.know(role, value, units)
            if self._known:
                remember(entry.group, self._known)

    def _signals_of(self, number: int) -> list[Signals]:
        """The arrays of the entries of an image."""
        self._begin(number)
        found = []
        for _, held in self._held(number):
            if held not in self._signals:
                entry = self._entries[held]
                self._signals[held] = Signals(entry, self._path(entry))
                first = next(iter(self._signals.values())).entry
                shown = first.group.attrs.get("default")
                if first is not entry and shown is not None:
                    entry.there.show(shown)
            found.append(self._signals[held])
        return found

    def _path(self, entry: Entry) -> Path:
        layout, request = entry.layout, self.request
        levels = len(request.order or layout.shape)
        fits = len(request.snaking) == levels or (layout.planes and len(request.snaking) == levels - 1)
        base = self._plane * layout.plane_size if layout.planes and len(self._images) == 1 else 0
        path = Path(layout.shape, base, request.order, request.snaking if fits else ())
        if self._sequence is None:
            return path
        mine = [i for i in range(len(self._images)) if entry is self._entries.get(self._held(i)[0][1])]
        return self._sequence.along(path, {i: self._images[i].plane for i in mine}, len(self._images) > 1)

    @property
    def planes(self) -> int:
        """How many planes of the scan the run is for: more than one if it has gone on to the next ones by itself."""
        if self.request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
            return max(sum(self._held(i)[0][1] in self._signals for i in range(len(self._images))), 1)
        if len(self._images) > 1:
            return len(self._images)
        layout = self._layouts[0][0]
        reached = max((signals.reached for signals in self._signals.values()), default=0)
        found = max(-(-reached // max(layout.plane_size, 1)), 1)
        if self.request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and found > 1:
            return layout.shape[0]  # a run that is for all energies, whether it came to them or not
        return found

    @property
    def _first(self) -> Entry:
        return next(iter(self._entries.values()))

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take the description of a stream."""
        name = doc.get("name", "primary")
        self._descriptors[doc["uid"]] = doc
        devices = self.request.devices
        if "primary" in name:
            stream = Stream.of(doc, self.request, self._layouts[0][0], self._monitor)
            stored = [k for k in stream.detectors if str(doc["data_keys"][k].get("external", "")).startswith("STREAM")]
            if stored:
                raise UnfilledError(
                    f"{stored[0]!r} of run {self.request.run} is in a file beside the documents: fill it in before"
                )
            self._streams[doc["uid"]] = stream
            keys = stream.rest
        else:
            keys = list(doc["data_keys"])
        self._readings[doc["uid"]] = Readings(self._first.collection, name, doc, keys, devices)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Take an event."""
        self._row(doc["descriptor"], doc["seq_num"], doc["data"], doc.get("filled") or {})
        self._flush_if_due()

    def event_page(self, doc: Mapping[str, Any]) -> None:
        """Take a page of events, every row of it."""
        for i, seq_num in enumerate(doc["seq_num"]):
            data = {key: column[i] for key, column in doc["data"].items()}
            filled = {key: column[i] for key, column in (doc.get("filled") or {}).items()}
            self._row(doc["descriptor"], seq_num, data, filled)
            self._flush_if_due()

    def stop(self, doc: Mapping[str, Any]) -> None:
        """Take the end of the run: write what can be written only now, the exit status last."""
        status = doc.get("exit_status")
        if not self._streams and not (status in ("abort", "fail") and self.request.several_runs):
            raise NoPrimaryStreamError(f"run {self.request.run} has no stream 'primary': there is nothing to export")
        for stream in self._streams.values():
            if self._arrival.default is None:  # not a single event
                self._place(stream, {})
                self._signals_of(0)
                self._arrival.begin(stream, stream.detectors)
                for signals in self._signals.values():
                    for key in self._arrival.default_first(stream.detectors):
                        signals.declare(stream.detectors[key], stream.info.get(key, {}))
        for readings in self._readings.values():
            readings.flush()
        self._share_collections()
        for signals in self._signals.values():
            if self._arrival.default is not None:
                signals.finish()
        self._root.flush()  # so that no run looks complete whose numbers didn't reach the disk
        for entry in self._entries.values():
            entry.end(doc)
        self._root.flush()

    def _share_collections(self) -> None:
        """Let the other entries of the run have what its first one has of the streams beside the primary one."""
        first, *others = (entry.collection for entry in self._entries.values())
        for other in others:
            for doc in self._descriptors.values():
                name = legal(doc.get("name", "primary"))
                if name in first and name not in other:
                    other[name] = first[name]

    def flush(self) -> None:
        """Bring to the file what is still in memory."""
        for signals in self._signals.values():
            signals.flush()
        for readings in self._readings.values():
            readings.flush()
        self._root.flush()
        self._flushed = time.monotonic()

    def _flush_if_due(self) -> None:
        planes = sum(entry.there.arrays.completed for entry in self._entries.values())
        if planes != self._planes or time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self._planes = planes
            self.flush()

    def _row(self, descriptor: str, seq_num: int, data: Mapping[str, Any], filled: Mapping[str, Any]) -> None:
        doc = self._descriptors.get(descriptor)
        if doc is None:
            raise MisfitError(f"event {seq_num} of run {self.request.run} has an unknown descriptor {descriptor!r}")
        unfilled = [key for key, is_filled in filled.items() if is_filled is False and key in data]
        stream = self._streams.get(descriptor)
        if stream is None:
            self._readings[descriptor].put(seq_num - 1, data)
            if doc.get("name") == "baseline" and seq_num == 1:
                self._baseline(doc, data)
            return
        if unfilled:
            raise UnfilledError(
                f"{unfilled[0]!r} of event {seq_num} of run {self.request.run} isn't filled: use Filler"
            )
        if stream.rest:
            self._readings[descriptor].put(seq_num - 1, data)
        numbers = _unpacked(stream, data)
        self._place(stream, data)
        what = f"event {seq_num} of stream {stream.name!r}"
        image, index = self._image_of(stream, seq_num - 1, numbers, what)
        for signals, own_index, part in self._shared(self._signals_of(image), stream, index, numbers):
            self._arrival.place(signals, stream, own_index, part, what)

    def _place(self, stream: Stream, data: Mapping[str, Any]) -> None:
        """Find out which plane of a stack the run is for, if its start document doesn't say it: by its energy.

        If no energy says it, then it is the time; the planes are put into its order when all of them are there.
        """
        if self.request.placed or self._signals:
            return
        entry, energies = self._first, self.request.energies
        position = stream.positions.get("energy")
        keys = () if position is None else (position.set_point, position.readback)
        read = [scalar(data.get(key)) for key in keys if key is not None]
        baseline = self._known["energy"][0] if "energy" in self._known else None
        by_energy = [plane for value in (*read, baseline) if (plane := _nearest(energies, value)) is not None]
        table = entry.there.runs
        taken = {plane for plane in range(len(energies)) if set(table.of_plane(plane)) - {self.request.run}}
        self._plane, how = (by_energy[0], "energy") if by_energy else (table.free_plane(self.request.run), BY_TIME)
        if self._plane in taken or self._plane >= len(energies):
            raise DuplicateRunError(
                f"run {self.request.run} has no place in {entry.layout.entry}: it has no 'img_idx_map' and "
                f"{'no energy was read in it' if how == BY_TIME else f'its energy is that of plane {self._plane}'}, "
                f"and the scan of {len(energies)} energies has another run there"
            )
        table.place(self.request.run, self._plane, how)
        self._arrival = Arrival(_whole(self.request, self._layouts), self._signals_of(0))

    def _image_of(self, stream: Stream, index: int, data: Mapping[str, Any], what: str) -> tuple[int, int]:
        """The image that an event is of, by the number of its request; and the number of the event in its entry."""
        if len(self._images) == 1:
            return 0, index
        layouts_ = self._layouts[0]
        if self._sequence is not None and (place := self._sequence.image_of(index)) is not None:
            image, number = place
        else:
            if len(layouts_) > 1 or self.request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
                events = layouts_[0].size * (1 if self._at_once(stream, data) else len(layouts_))
            else:
                events = max(layouts_[0].plane_size // self._unit(stream, data), 1)
            image, number = divmod(index, events)
        if image >= len(self._images):
            raise MisfitError(f"{what} of run {self.request.run} is of image {image} of {len(self._images)}")
        if not layouts_[0].planes:
            return image, number
        layout = self._layouts[image][0]
        covered = self._unit(stream, data) if self._sequence is None else self._sequence.covered(layout.shape)
        return image, self._images[image].plane * (layout.plane_size // covered) + number

    def _unit(self, stream: Stream, data: Mapping[str, Any]) -> int:
        """How many points of an image an event covers."""
        layout = self._layouts[0][0]
        if self.request.num_points == len(self._images) * layout.plane_size:
            return 1
        pattern = self.request.scan_type is scan_types.PTYCHOGRAPHY_SCAN
        sizes = [np.size(data[k]) for k in stream.detectors if k in data and not (pattern and np.ndim(data[k]) > 1)]
        found = max([stream.unit, *(unit_of(size, layout.shape, stream.unit) or 1 for size in sizes)])
        if found > layout.plane_size:
            raise MisfitError(f"an event of run {self.request.run} has {found} points, more than one of its images has")
        return found

    def _at_once(self, stream: Stream, data: Mapping[str, Any]) -> bool:
        """Whether an event has the numbers of all regions."""
        keys = {region.key for region in self.request.regions}
        if keys <= {number for key in data if (number := region_of(key)[1]) is not None}:
            return True
        mine = [key for key in stream.detectors if key in data]
        return bool(mine) and len(keys) > 1 and all(np.size(data[key]) == len(keys) for key in mine)

    def _baseline(self, doc: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Let the entries know what the baseline has at the start."""
        devices = self.request.devices
        of_role: dict[str, tuple[int, float, str | None]] = {}
        for key, device in owners(doc).items():
            role, value = devices.role_of(device), scalar(data.get(key))
            if role is None or value is None or key.endswith("setpoint"):
                continue
            units = mended_units(role, doc["data_keys"][key].get("units"))
            rank = 2 * devices.rank(role, device) + (key != device)
            if role not in of_role or rank < of_role[role][0]:
                of_role[role] = (rank, value, units)
        self._known = {role: (value, units) for role, (_, value, units) in of_role.items()}
        for entry in self._entries.values():
            for role, (value, units) in self._known.items():
                entry.know(role, value, units)
            remember(entry.group, self._known)

    def _shared(
        self, all_signals: list[Signals], stream: Stream, index: int, numbers: dict[str, Any]
    ) -> Iterator[tuple[Signals, int, dict[str, Any]]]:
        """The parts of an event for each of the entries, with the index of the event in the entry."""
        count = len(all_signals)
        if count == 1:
            yield all_signals[0], index, numbers
            return
        regions = {region.key: i for i, region in enumerate(self.request.regions)}
        own = {key: regions[number] for key in numbers if (number := region_of(key)[1]) in regions}
        if own:
            together = len(set(own.values())) == count
            for i in sorted(set(own.values())):
                part = {region_of(key)[0]: value for key, value in numbers.items() if own.get(key, i) == i}
                for key in part:
                    stream.detectors.setdefault(key, key)
                yield all_signals[i], index if together else index // count, part
            return
        at_once = [key for key in stream.detectors if key in numbers and np.size(numbers[key]) == count]
        if at_once and len(at_once) == len([key for key in stream.detectors if key in numbers]):
            for i, signals in enumerate(all_signals):
                yield signals, index, numbers | {key: np.ravel(numbers[key])[i] for key in at_once}
            return
        yield all_signals[index % count], index // count, numbers


def _unpacked(stream: Stream, data: Mapping[str, Any]) -> dict[str, Any]:
    """The readings of an event one by one."""
    numbers: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            # A scaler with many channels that puts them all into one reading.
            numbers |= {str(channel): values for channel, values in value.items()}
            if key in stream.detectors:
                stream.detectors |= {str(channel): region_of(str(channel))[0] for channel in value}
        else:
            numbers[key] = value
    return numbers


def _planar(layout: Layout, request: Request) -> Layout:
    """The layout of a line spectrum with the energies as planes, if each may be a run of its own."""
    lines = request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and request.several_runs
    return replace(layout, planes=True) if lines else layout


def _whole(request: Request, all_layouts: list[list[Layout]]) -> Request:
    """The request with a number of points that can be compared to that of an entry."""
    layout, images = all_layouts[0][0], len(all_layouts)
    number = request.num_points
    if images > 1 and number == images * layout.plane_size:
        number = layout.size
    elif request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and number != layout.size:
        number = None  # of lines, and a line may be as long as there are energies
    return replace(request, num_points=number)


def _nearest(energies: np.ndarray, value: float | None) -> int | None:
    """The index of the energy that a value stands for; None if it stands for none of them."""
    if value is None or np.isnan(energies).any():
        return None
    spacing = np.diff(np.unique(energies)).min() if len(np.unique(energies)) > 1 else 1.0
    plane = int(np.argmin(np.abs(energies - value)))
    return plane if abs(energies[plane] - value) < spacing / 2 else None
