"""One run on its way into a file: its documents as they come."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from suitcase_nxstxm.arrival import Arrival
from suitcase_nxstxm.baseline import of_roles
from suitcase_nxstxm.entries import Entries
from suitcase_nxstxm.entry import Entry, Facts
from suitcase_nxstxm.errors import DuplicateRunError, MisfitError, NoPrimaryStreamError, UnfilledError
from suitcase_nxstxm.images import Images
from suitcase_nxstxm.metadata import as_number
from suitcase_nxstxm.nexus import name_in
from suitcase_nxstxm.placement import Path
from suitcase_nxstxm.places import remember
from suitcase_nxstxm.readings import Readings
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.rows import Rows
from suitcase_nxstxm.runs import BY_TIME
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.signals import Signals
from suitcase_nxstxm.streams import Stream

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
    max_keys
        The most streams and data keys.
    """

    def __init__(
        self,
        file_entries: Entries,
        start: Mapping[str, Any],
        request: Request,
        facts: Facts,
        monitor: str | None,
        max_keys: int,
    ) -> None:
        self.request = request
        self._max_keys = max_keys
        self._n_keys = 0
        self._root = file_entries.root
        self._start = start
        self._facts = facts
        self._file_entries = file_entries
        self._monitor = monitor
        self._images = Images(request)
        self._plane = request.plane
        self._streams: dict[str, Stream] = {}
        self._readings: dict[str, Readings] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._known: dict[str, tuple[float, str | None]] = {}
        self._flushed = time.monotonic()
        self._planes = 0
        self._received: Counter[str] = Counter()
        self._entries: dict[str, Entry] = {}
        self._signals: dict[str, Signals] = {}
        for number, image in enumerate(self._images.requests):
            for _, held in self._images.held(number):
                if image.placed and (not number or self.request.scan_type is not scan_types.SAMPLE_POINT_SPECTRA):
                    file_entries.check_free(held, image.run, image.plane)
        self._begin(0)
        self._arrival = Arrival(self._images.whole, self._signals_of(0) if request.placed else ())

    def _begin(self, number: int) -> None:
        """Begin the entries of an image, if they aren't there."""
        image = self._images.requests[number]
        for layout, held in self._images.held(number):
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
            self._tell(entry)

    def _signals_of(self, number: int) -> list[Signals]:
        """The arrays of the entries of an image."""
        self._begin(number)
        found = []
        for _, held in self._images.held(number):
            if held not in self._signals:
                entry = self._entries[held]
                self._signals[held] = Signals(entry, self._path(entry), partial(self._rows_of, entry))
                first = next(iter(self._signals.values())).entry
                shown = first.there.shown
                if first is not entry and shown is not None:
                    entry.there.show(shown)
            found.append(self._signals[held])
        return found

    def _path(self, entry: Entry) -> Path:
        numbers = range(len(self._images))
        mine = [i for i in numbers if entry is self._entries.get(self._images.held(i)[0][1])]
        return self._images.path(entry.layout, self._plane, mine)

    @property
    def planes(self) -> int:
        """How many planes of the scan the run is for: more than one if it has gone on to the next ones by itself."""
        if self.request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
            return max(sum(self._images.held(i)[0][1] in self._signals for i in range(len(self._images))), 1)
        if len(self._images) > 1:
            return len(self._images)
        layout = self._images.layouts[0][0]
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
        self._n_keys += 1 + len(doc["data_keys"])
        if self._n_keys > self._max_keys:
            raise MisfitError(
                f"run {self.request.run} has {self._n_keys} streams and data keys, and the most are {self._max_keys}: "
                "give a larger max_keys="
            )
        self._descriptors[doc["uid"]] = doc
        devices = self.request.devices
        if "primary" in name:
            stream = Stream.of(doc, self.request, self._images.layouts[0][0], self._monitor)
            stored = [k for k in stream.detectors if str(doc["data_keys"][k].get("external", "")).startswith("STREAM")]
            if stored:
                raise UnfilledError(f"{stored[0]!r} of run {self.request.run}")
            self._streams[doc["uid"]] = stream
            keys = stream.rest
        else:
            keys = list(doc["data_keys"])
        shared = self._rows_of(self._first, name)
        self._readings[doc["uid"]] = Readings(
            self._first.collection, name, doc, keys, devices, shared, self.request.run
        )

    def _rows_of(self, entry: Entry, stream: str) -> Callable[[], Rows] | None:
        """How to get the rows that a stream has in an entry; None if there are no other runs."""
        several = self.request.several_runs
        return partial(self._file_entries.rows, entry.collection, stream) if several else None

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
        self._check_number(doc)
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

    def _check_number(self, stop: Mapping[str, Any]) -> None:
        """Say that events were lost on their way."""
        for name, number in (stop.get("num_events") or {}).items():
            if isinstance(number, int) and number > self._received[name]:
                logger.warning(
                    "run %s has %d events in stream %r, of which %d came: the others are NaN in the file",
                    self.request.run,
                    number,
                    name,
                    self._received[name],
                )

    def _share_collections(self) -> None:
        """Let the other entries of the run have what its first one has of the streams beside the primary one."""
        first, *others = (entry.collection for entry in self._entries.values())
        for other in others:
            for doc in self._descriptors.values():
                stream = doc.get("name", "primary")
                name = name_in(first, stream, stream)
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
        if not 1 <= seq_num <= self.request.max_points:
            raise MisfitError(
                f"event {seq_num} of run {self.request.run}: they count from 1, and to max_points="
                f"{self.request.max_points} at most"
            )
        self._received[doc.get("name", "primary")] += 1
        unfilled = [key for key, is_filled in filled.items() if is_filled is False and key in data]
        stream = self._streams.get(descriptor)
        if stream is None:
            self._readings[descriptor].put(seq_num - 1, data)
            if doc.get("name") == "baseline" and seq_num == 1:
                self._baseline(doc, data)
            return
        if unfilled:
            raise UnfilledError(f"{unfilled[0]!r} of event {seq_num} of run {self.request.run}")
        if stream.rest:
            self._readings[descriptor].put(seq_num - 1, data)
        numbers = stream.unpacked(data)
        self._place(stream, data)
        what = f"event {seq_num} of stream {stream.name!r}"
        image, index = self._images.of(stream, seq_num - 1, numbers, what)
        for signals, own_index, part in self._images.shared(self._signals_of(image), stream, index, numbers):
            self._arrival.place(signals, stream, own_index, part, seq_num)

    def _place(self, stream: Stream, data: Mapping[str, Any]) -> None:
        """Find out which plane of a stack the run is for, if its start document doesn't say it: by its energy.

        If no energy says it, then it is the time; the planes are put into its order when all of them are there.
        """
        if self.request.placed or self._signals:
            return
        entry, energies = self._first, self.request.energies
        position = stream.positions.get("energy")
        keys = () if position is None else (position.set_point, position.readback)
        read = [as_number(data.get(key)) for key in keys if key is not None]
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
        self._arrival = Arrival(self._images.whole, self._signals_of(0))

    def _baseline(self, doc: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Let the entries know what the baseline has at the start."""
        self._known = of_roles(doc, data, self.request.devices)
        for entry in self._entries.values():
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        """Let an entry know what the baseline has."""
        first = bool(self._known) and remember(entry.group, self._known, float(self._start["time"]))
        for role, (value, units) in self._known.items():
            entry.know(role, value, units, first=first)


def _nearest(energies: np.ndarray, value: float | None) -> int | None:
    """The index of the energy that a value stands for; None if it stands for none of them."""
    if value is None or np.isnan(energies).any():
        return None
    spacing = np.diff(np.unique(energies)).min() if len(np.unique(energies)) > 1 else 1.0
    plane = int(np.argmin(np.abs(energies - value)))
    return plane if abs(energies[plane] - value) < spacing / 2 else None
