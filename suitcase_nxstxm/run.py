"""One run on its way into a file: its documents as they come."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.arrival import Arrival
from suitcase_nxstxm.devices import mended_units
from suitcase_nxstxm.entry import Entry, Facts
from suitcase_nxstxm.errors import MisfitError, NoPrimaryStreamError, UnfilledError
from suitcase_nxstxm.layout import layouts
from suitcase_nxstxm.nexus import legal
from suitcase_nxstxm.placement import Path
from suitcase_nxstxm.readings import Readings, owners
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.runs import RunTable
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
    root
        The file, open for writing.
    start
        The start document.
    request
        What it asks for.
    facts
        What no document says.
    tables
        The tables of runs of the file's entries that are in use.
    monitor
        The monitor's name, where it isn't the ring current.
    """

    def __init__(
        self,
        root: h5py.File,
        start: Mapping[str, Any],
        request: Request,
        facts: Facts,
        tables: dict[str, RunTable],
        monitor: str | None = None,
    ) -> None:
        self.request = request
        self._root = root
        self._monitor = monitor
        self._layouts = layouts(request)
        self._entries = [Entry(root, layout, request, facts, tables) for layout in self._layouts]
        self._signals = [Signals(entry, self._path(entry)) for entry in self._entries]
        self._streams: dict[str, Stream] = {}
        self._readings: dict[str, Readings] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._flushed = time.monotonic()
        self._planes = 0
        self._arrival = Arrival(request, self._signals)
        for entry in self._entries:
            entry.begin(start)

    def _path(self, entry: Entry) -> Path:
        layout, request = entry.layout, self.request
        levels = len(request.order or layout.shape)
        fits = len(request.snaking) == levels or (layout.planes and len(request.snaking) == levels - 1)
        base = request.plane * layout.plane_size if layout.planes else 0
        return Path(layout.shape, base, request.order, request.snaking if fits else ())

    @property
    def planes(self) -> int:
        """How many planes of the scan the run is for: more than one if it has gone on to the next ones by itself."""
        layout = self._layouts[0]
        return max(-(-max(signals.reached for signals in self._signals) // max(layout.plane_size, 1)), 1)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take the description of a stream."""
        name = doc.get("name", "primary")
        self._descriptors[doc["uid"]] = doc
        devices = self.request.devices
        if "primary" in name:
            stream = Stream.of(doc, self.request, self._layouts[0], self._monitor)
            stored = [k for k in stream.detectors if str(doc["data_keys"][k].get("external", "")).startswith("STREAM")]
            if stored:
                raise UnfilledError(
                    f"{stored[0]!r} of run {self.request.run} is in a file beside the documents: fill it in before"
                )
            self._streams[doc["uid"]] = stream
            keys = stream.rest
        else:
            keys = list(doc["data_keys"])
        self._readings[doc["uid"]] = Readings(self._entries[0].collection, name, doc, keys, devices)

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
                self._arrival.begin(stream, stream.detectors)
                for signals in self._signals:
                    for key in self._arrival.default_first(stream.detectors):
                        signals.declare(stream.detectors[key], stream.info.get(key, {}))
        for readings in self._readings.values():
            readings.flush()
        self._share_collections()
        for signals in self._signals:
            if self._arrival.default is not None:
                signals.finish()
        self._root.flush()  # so that no run looks complete whose numbers didn't reach the disk
        for entry in self._entries:
            entry.end(doc)
        self._root.flush()

    def _share_collections(self) -> None:
        """Let the other entries of the run have what its first one has of the streams beside the primary one."""
        first, *others = (entry.collection for entry in self._entries)
        for other in others:
            for doc in self._descriptors.values():
                name = legal(doc.get("name", "primary"))
                if name in first and name not in other:
                    other[name] = first[name]

    def flush(self) -> None:
        """Bring to the file what is still in memory."""
        for signals in self._signals:
            signals.flush()
        for readings in self._readings.values():
            readings.flush()
        self._root.flush()
        self._flushed = time.monotonic()

    def _flush_if_due(self) -> None:
        planes = sum(signals.completed for signals in self._signals)
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
        for signals, index, part in self._shared(stream, seq_num - 1, data):
            self._arrival.place(signals, stream, index, part, f"event {seq_num} of stream {stream.name!r}")

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
        for role, (_, value, units) in of_role.items():
            for entry in self._entries:
                entry.know(role, value, units)

    def _shared(
        self, stream: Stream, index: int, data: Mapping[str, Any]
    ) -> Iterator[tuple[Signals, int, dict[str, Any]]]:
        """The parts of an event for each of the entries, with the index of the event in the entry."""
        numbers: dict[str, Any] = {}
        for key, value in data.items():
            if isinstance(value, Mapping):
                # A scaler with many channels that puts them all into one reading.
                numbers |= {str(channel): values for channel, values in value.items()}
                if key in stream.detectors:
                    stream.detectors |= {str(channel): region_of(str(channel))[0] for channel in value}
            else:
                numbers[key] = value
        count = len(self._signals)
        if count == 1:
            yield self._signals[0], index, numbers
            return
        regions = {region.key: i for i, region in enumerate(self.request.regions)}
        own = {key: regions[number] for key in numbers if (number := region_of(key)[1]) in regions}
        if own:
            together = len(set(own.values())) == count
            for i in sorted(set(own.values())):
                part = {region_of(key)[0]: value for key, value in numbers.items() if own.get(key, i) == i}
                for key in part:
                    stream.detectors.setdefault(key, key)
                yield self._signals[i], index if together else index // count, part
            return
        at_once = [key for key in stream.detectors if key in numbers and np.size(numbers[key]) == count]
        if at_once and len(at_once) == len([key for key in stream.detectors if key in numbers]):
            for i, signals in enumerate(self._signals):
                yield signals, index, numbers | {key: np.ravel(numbers[key])[i] for key in at_once}
            return
        yield self._signals[index % count], index // count, numbers
