"""Composing a derived run: the documents that say what an analysis made of a run, and from what."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.descriptors import as_python, described
from bluesky_ext.engine.documents.digest import IMAGES, RunDigest, as_array, canonical, content
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.provenance import INPUTS, Provenance, new_uid, plain_copy
from bluesky_ext.engine.documents.valid import checked_time, validated

Emit = Callable[[str, dict[str, Any]], None]

#: Types whose values need no other form to count in the sha256.
_AS_THEY_ARE = (int, str, np.ndarray)


class _Stream:
    """A stream of a derived run, and the descriptor that its events have at present."""

    def __init__(self, ragged: Collection[str]) -> None:
        self._ragged = ragged
        self.emitted = Intervals()
        # Uids by (id of the input's descriptor, data keys). The input's is kept too: else its id could be used again.
        self.descriptors: dict[tuple[int, str], tuple[str, Any]] = {}
        self.descriptor = ""
        #: The keys that count in the sha256. Arrays that the stage left alone do not: nobody reads those in files.
        self.hashed: list[str] = []
        self.names = b""
        #: The keys of references to frames in files.
        self.references: list[str] = []
        # What the present descriptor is for: the input's descriptor, keys, changed keys and types; shapes by key.
        self._kind: tuple[Any, ...] = ()
        self._shapes: list[tuple[str, Any]] = []

    def is_described(self, kind: tuple[Any, ...], data: Mapping[str, Any]) -> bool:
        """Whether the present descriptor describes this data too: it runs for every event."""
        if kind != self._kind:
            return False
        for key, shape in self._shapes:
            value = data[key]
            plain = type(value) is np.ndarray and key not in self._ragged
            if ((value.dtype, value.shape) if plain else self._shape(key, value)) != shape:
                return False
        return True

    def describe(self, uid: str, kind: tuple, data: Mapping, changes: Mapping, skipped: set[str]) -> None:
        """Have the descriptor of this uid from now on, which describes such data; some keys do not count."""
        self.descriptor, self._kind = uid, kind
        arrays = {key: value for key, value in data.items() if isinstance(value, np.ndarray | list | tuple)}
        self.references = [key for key, value in data.items() if hasattr(value, "documents")]
        content = data.keys() - (arrays.keys() | set(self.references)) | changes.keys() & data.keys()
        self.hashed = sorted(content - skipped)
        self.names = canonical(self.hashed)
        self._shapes = [(key, self._shape(key, value)) for key, value in arrays.items()]

    def _shape(self, key: str, value: Any) -> Any:
        array = value if isinstance(value, np.ndarray) else as_array(value)
        if array is None:
            return len(value)
        return array.dtype, array.shape[1:] if key in self._ragged else array.shape


class DerivedRun:
    """The documents of a derived run, composed and handed on to ``emit(name, doc)`` as its stage works.

    It is made of the run with the start document ``parent``, by the stage that the ``provenance`` is of; what that
    says ``about`` the run goes into its record.
    """

    def __init__(
        self, emit: Emit, parent: Mapping[str, Any], provenance: Provenance, about: Mapping[str, Any] | None = None
    ) -> None:
        self._emit = emit
        self._provenance = provenance
        self._hashes_images = provenance.hashes["images"] == IMAGES
        self._streams: defaultdict[str, _Stream] = defaultdict(lambda: _Stream(provenance.ragged))
        self._digest = RunDigest()
        self._resources: dict[str, Any] = {}  # of references: those that were emitted
        start = validated("start", provenance.start(parent, about))
        self.uid: str = start["uid"]
        emit("start", start)
        if provenance.arrays:  # the start has their hashes; here they are themselves, once a run
            self.event(INPUTS, 1, provenance.arrays, counts=False)

    def event(
        self,
        stream: str,
        seq_num: int | None,
        changes: Mapping[str, Any],
        *,
        event: Mapping[str, Any] | None = None,
        descriptor: Mapping[str, Any] | None = None,
        unhashed: Sequence[str] = (),
        counts: bool = True,
    ) -> None:
        """Emit an event, and first its descriptor when there is none that describes it.

        Parameters
        ----------
        stream, seq_num : str, int or None
            Its stream and number; None for the next one. One whose number was used already replaces the earlier one.
        changes : dict
            What it says beside, or instead of, what the input event says; None takes a key away.
        event, descriptor : dict, optional
            The input event that it comes from, and that one's descriptor. What is not changed keeps its data key,
            timestamp and device; a reference to frames in a file stays one, told by documents of this run.
        unhashed : sequence of str
            Keys that are not content: uids, and numbers that depend on how often an event was repeated.
        counts : bool
            Whether it counts in the sha256.
        """
        out = self._streams[stream]
        if event is None:
            now, known, data = time.time(), {}, dict(changes)
        else:
            now, known, data = event["time"], event["timestamps"], {**event["data"], **changes}
        if type(now) is not float:
            now = checked_time(now)
        kind = (id(descriptor), *data, *changes, *map(type, data.values()))
        if not out.is_described(kind, data):
            data = {key: as_python(value) for key, value in data.items() if value is not None}
            kind = (id(descriptor), *data, *changes, *map(type, data.values()))
            if not out.is_described(kind, data):
                self._describe(stream, kind, data, changes, descriptor, unhashed)
        if seq_num is None:
            seq_num = out.emitted.high + 1
        filled: dict[str, bool] = {}
        if out.references:
            data, filled = self._referred(out, seq_num, data)
        timestamps = dict.fromkeys(data, now)
        for key, value in known.items():
            if key in timestamps:
                timestamps[key] = value
        doc = {
            "uid": new_uid(),
            "descriptor": out.descriptor,
            "seq_num": seq_num,
            "time": now,
            "data": data,
            "timestamps": timestamps,
            "filled": filled,
        }
        if not out.emitted.high:
            validated("event", doc)
        if counts:
            said: list[Any] = [out.names]
            for key in out.hashed:  # as `content` does it, which is called where it has something to do
                value = data[key]
                if type(value) is float:
                    value = int(value) if value.is_integer() else value
                elif type(value) not in _AS_THEY_ARE:
                    value = content(value)
                said.append(value)
            self._digest.add(stream, seq_num, said)
        out.emitted.note(seq_num)
        self._emit("event", doc)

    def rows(
        self,
        stream: str,
        columns: Mapping[str, np.ndarray],
        *,
        number: int = 1,
        event: Mapping[str, Any] | None = None,
        descriptor: Mapping[str, Any] | None = None,
    ) -> int:
        """Emit a table, of which every row is an event, as one event_page; return the seq_num of its first row.

        Rows count on from the last one of their stream. The first has the time of the input event, and each is 0.2 us
        later than the one before. An empty table emits nothing.

        Parameters
        ----------
        stream, columns : str, dict of 1-d arrays
            The name of their stream, and the table.
        number : int
            What the table is known by: a later one of the same number is the one that counts in the sha256.
        event, descriptor : dict, optional
            The input event that the table comes from, and that one's descriptor.
        """
        out = self._streams[stream]
        first = out.emitted.high + 1
        arrays: dict[str, np.ndarray] = {}
        lists: dict[str, list[Any]] = {}
        kind: list[Any] = [*columns]
        for key, column in columns.items():
            arrays[key] = column = column if type(column) is np.ndarray else np.asarray(column)
            lists[key] = column.tolist()
            if column.dtype.kind not in "SU":
                kind.append(column.dtype)
        self._digest.add_table(stream, number, arrays)
        length = len(next(iter(lists.values()), ()))
        if not length:
            return first
        if not out.is_described(tuple(kind), {}):
            sample = {key: column[0] for key, column in lists.items()}
            self._describe(stream, tuple(kind), sample, sample, descriptor)
        now = time.time() if event is None else event["time"]
        if type(now) is not float:
            now = float(checked_time(now))
        # Each row is later than the one before, by the least that a time can be: databases sort events by time.
        step = math.ulp(now)
        times = [now + n * step for n in range(length)]
        seq_nums = range(first, first + length)
        prefix = new_uid()[:24]  # of all of the page, since its random digits take longer than the rest
        doc = {
            "uid": [f"{prefix}{seq_num:012x}" for seq_num in seq_nums],
            "descriptor": out.descriptor,
            "seq_num": list(seq_nums),
            "time": times,
            "data": lists,
            "timestamps": dict.fromkeys(lists, times),
            "filled": {},
        }
        if first == 1:  # the first row stands for all: a validator takes 50 us for each
            row = {key: doc[key][:1] for key in ("uid", "seq_num", "time")}
            row |= {key: {name: column[:1] for name, column in doc[key].items()} for key in ("data", "timestamps")}
            validated("event_page", doc | row)
        out.emitted.add(seq_nums.start, seq_nums.stop)
        self._emit("event_page", doc)
        return first

    @property
    def num_events(self) -> dict[str, int]:
        """How many events there are so far, by stream."""
        return {name: len(out.emitted) for name, out in dict(self._streams).items() if out.emitted}

    def stop(self, exit_status: str, reason: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """Emit the stop document and return it; ``more`` goes into it as it is."""
        doc = {
            "uid": new_uid(),
            "time": time.time(),
            "run_start": self.uid,
            "exit_status": exit_status,
            "reason": reason,
            "num_events": self.num_events,
            "sha256": self._digest.hexdigest(),
            **more,
        }
        self._emit("stop", validated("stop", doc))
        return doc

    def _referred(self, out: _Stream, seq_num: int, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bool]]:
        """Emit the documents of the references in an event; return its data with datum ids, and what is not filled."""
        here, filled = {key: value for key, value in data.items() if key not in out.references}, {}
        for key in out.references:
            documents, datum_ids = data[key].documents(self.uid, out.descriptor, seq_num, self._resources)
            for name, doc in documents:
                self._emit(name, validated(name, doc))
            here.update(datum_ids)
            filled.update(dict.fromkeys(datum_ids, False))
        return here, filled

    def _describe(
        self,
        stream: str,
        kind: tuple[Any, ...],
        data: Mapping[str, Any],
        changes: Mapping[str, Any],
        descriptor: Any,
        unhashed: Sequence[str] = (),
    ) -> None:
        out = self._streams[stream]
        said = described(data, changes, descriptor, self._provenance)
        # An integer now and then among floats changes nothing of what is described: such events share a descriptor.
        key = (id(descriptor), repr(said["data_keys"]))
        is_new = key not in out.descriptors
        uid, _ = out.descriptors.get(key, (new_uid(), descriptor))
        doc = {"uid": uid, "time": time.time(), "run_start": self.uid, "name": stream, **said}
        if is_new:  # before it counts as the one that events have
            validated("descriptor", doc)
        out.descriptors[key] = uid, descriptor
        images = {name for name, value in data.items() if getattr(value, "ndim", 0) > 1 and not self._hashes_images}
        out.describe(uid, kind, data, changes, {*unhashed, *images})
        if is_new:
            self._emit("descriptor", plain_copy(doc))
