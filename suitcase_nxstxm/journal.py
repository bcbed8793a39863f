"""The journal of a scan: all documents of its runs as they come, safe on the disk before anyone knows their place.

A line with the version, then records. A record begins with a number: that of a row's form, or ``_DOCUMENT``. A row has
the number of its event, its time and its readings in columns of fixed size, so that many rows of one form are an array;
a document is its length and JSON. Each record is written at once: after a kill all but the last one are there.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import JournalError
from suitcase_nxstxm.metadata import as_json
from suitcase_nxstxm.request import Identity
from suitcase_nxstxm.stream import Column, Form, Stored, Stream, as_numbers, packed

_MAGIC, _VERSION = b"NXstxm journal ", b"1"
_HEAD = _MAGIC + _VERSION + b"\n"
_DOCUMENT = 0xFFFFFFFF
_DOCUMENT_HEAD = struct.Struct("<IQ")
_ROW_HEAD = "<Iqd"


@dataclass(eq=False)
class Run:
    """The documents of a run, and what is known of it."""

    start: dict[str, Any]
    planes: list[tuple[Identity, int]]  # of entries, that it is for
    streams: dict[str, Stream] = field(default_factory=dict)  # by their names
    stop: dict[str, Any] | None = None
    failure: str | None = None  # what went wrong with its export
    configurations: list[dict[str, Any]] = field(default_factory=list)  # the settings that its descriptors have
    n_keys: int = 0  # streams and data keys

    @property
    def uid(self) -> str:
        """The uid of the run."""
        return self.start["uid"]


class Journal:
    """A journal, new or taken up where it was left, in a file that is open for reading and writing, without a buffer.

    `store` is to store an array elsewhere: given the run, the stream, the data key, the number of the event and the
    array it returns where that is now, or None if the array is to be in the row.

    Attributes
    ----------
    runs
        The runs by their uids.
    streams
        The run and the stream of each descriptor, of runs that have not ended.
    about
        What a new journal was given to begin with.
    """

    def __init__(
        self,
        file: io.FileIO,
        path: str,
        store: Callable[[Run, Stream, str, int, np.ndarray], Stored | None],
        about: Mapping[str, Any],
    ) -> None:
        self.runs: dict[str, Run] = {}
        self.streams: dict[str, tuple[Run, Stream]] = {}
        self.about: dict[str, Any] = {}
        self._file, self._path, self._store = file, path, store
        self._forms: list[Form] = []
        self._known: dict[tuple[Any, ...], Form] = {}
        self._end = file.seek(0, io.SEEK_END)
        self._at_end = True
        if self._end:
            self._load()
        else:
            self._write(_HEAD)
            self.document("about", about)

    @property
    def has_frames(self) -> bool:
        """Whether there are frames that are stored elsewhere."""
        return any(column.frames is not None for form in self._forms for column in form.columns)

    def document(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a descriptor or a stop; a start with the planes of its run; or why an export failed.

        A run of the uid of a start that is there, from an export that was broken off, counts no more.
        """
        text = as_json({name: doc}).encode()
        self._write(_DOCUMENT_HEAD.pack(_DOCUMENT, len(text)) + text)
        self._take(name, dict(doc))

    def row(self, descriptor: str, seq_num: int, time: float, data: Mapping[str, Any]) -> None:
        """Take the readings of an event."""
        form = self._known.get((descriptor, *data, *map(type, data.values())))
        if form is None or form.pack is None:
            self._other_row(descriptor, seq_num, time, data)
            return
        try:
            row = form.pack(form.number, seq_num, time, *data.values())
        except struct.error:  # an integer of more than 64 bits
            self._other_row(descriptor, seq_num, time, data)
            return
        form.stream.append(form, self._end)
        self._write(row)

    def _other_row(self, descriptor: str, seq_num: int, time: float, data: Mapping[str, Any]) -> None:
        """Take readings that aren't all numbers, or whose form is new."""
        run, stream = self.streams[descriptor]
        columns, parts = [], []
        codes: list[str] = []
        for key, value in self._unpacked(descriptor, data).items():
            array = as_numbers(value)
            stored = None if array is None else self._store(run, stream, key, seq_num, array)
            if array is None or stored is None:
                kind, shape, part, code = packed(value, array)
            else:
                kind, shape, code = f"{stored.frames} {array.dtype.str}", array.shape, ""
                part = struct.pack("<qd", stored.row, stored.sum)
            columns.append(Column(key, kind, shape))
            parts.append(part)
            codes.append(code)
        signature = (descriptor, *columns)
        form = self._known.get(signature)
        if form is None:
            record = {"number": len(self._forms), "descriptor": descriptor, "columns": columns}
            self.document("form", record)
            form = self._known[signature] = self._forms[-1]
        if all(codes) and len(columns) == len(data):
            form.pack = struct.Struct(_ROW_HEAD + "".join(codes)).pack
            self._known[(descriptor, *data, *map(type, data.values()))] = form
        form.stream.append(form, self._end)
        self._write(struct.pack(_ROW_HEAD, form.number, seq_num, time) + b"".join(parts))

    def _unpacked(self, descriptor: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The readings of an event; a scaler that has all its channels in one reading has a data key for each."""
        run, stream = self.streams[descriptor]
        found: dict[str, Any] = {}
        for key, value in data.items():
            if not isinstance(value, Mapping) or key not in stream.scalers:
                found[key] = value
                continue
            for channel, inner in value.items():
                whose = {"object_name": stream.owner.get(key, key), "channel_of": key}
                name = str(channel)
                if stream.info.get(name, whose).get("channel_of") != key:
                    name = f"{key}_{channel}"  # something else is called like it
                if name not in stream.info:
                    about = {"run_start": run.uid, "uid": descriptor, "name": stream.name}
                    self.document("descriptor", about | {"data_keys": {name: {**stream.info[key], **whose}}})
                found[name] = inner
        return found

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        match name:
            case "about":
                self.about = doc
            case "start":
                start = doc["doc"]
                gone = self.runs.pop(start["uid"], None)
                if gone is not None:
                    self._end_run(gone)
                planes = [(Identity(*what), plane) for what, plane in doc["planes"]]
                self.runs[start["uid"]] = Run(dict(start), planes)
            case "descriptor":
                run, name = self.runs[doc["run_start"]], doc.get("name", "primary")
                stream = run.streams.setdefault(name, Stream(self.read, name))
                stream.describe(doc["data_keys"], doc.get("object_keys"))
                run.n_keys += 1 + len(doc["data_keys"])
                if doc.get("configuration"):
                    run.configurations.append(doc["configuration"])
                self.streams[doc["uid"]] = run, stream
            case "form":
                columns = [Column(key, kind, tuple(shape)) for key, kind, shape in doc["columns"]]
                _, stream = self.streams.get(doc["descriptor"], (None, Stream(self.read)))
                self._forms.append(Form(len(self._forms), stream, columns))
                self._known[(doc["descriptor"], *columns)] = self._forms[-1]
            case "stop":
                self.runs[doc["run_start"]].stop = doc
                self._end_run(self.runs[doc["run_start"]])
            case "failure":
                self.runs[doc["run_start"]].failure = doc["why"]

    def _end_run(self, run: Run) -> None:
        """Take nothing more of a run."""
        gone = {uid for uid, (other, _) in self.streams.items() if other is run}
        self.streams = {uid: found for uid, found in self.streams.items() if uid not in gone}
        self._known = {known: form for known, form in self._known.items() if known[0] not in gone}

    def _write(self, record: bytes) -> None:
        try:
            if not self._at_end:
                self._file.seek(self._end)
                self._at_end = True
            done = self._file.write(record) or 0
            while done < len(record):
                done += self._file.write(record[done:]) or 0
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        self._end += len(record)

    def read(self, offset: int, size: int) -> bytes:
        """Some bytes of the journal."""
        self._file.seek(offset)
        self._at_end = False
        found = self._file.read(size) or b""
        while len(found) < size and (more := self._file.read(size - len(found))):
            found += more
        return found

    def _load(self) -> None:
        """Take what is in the journal; the last record goes if it isn't whole."""
        first = self.read(0, 64).partition(b"\n")[0]
        if first + b"\n" != _HEAD:
            what = f"of version {first[len(_MAGIC) :].decode(errors='replace')}" if first.startswith(_MAGIC) else "none"
            raise JournalError(
                f"{self._path} is no journal of version {_VERSION.decode()} but {what}: finish the scan with the "
                "version of the suitcase that began it, or move the journal and its .tmp away"
            )
        at = len(_HEAD)
        while (taken := self._record(at)) > at:
            at = taken
        self._end = at
        self._file.truncate(at)

    def _record(self, at: int) -> int:
        """Take the record at an offset, or the rows of one form; return the offset of the next one."""
        head = self.read(at, 4)
        number = int.from_bytes(head, "little")
        if len(head) < 4:
            return at
        if number == _DOCUMENT:
            head = self.read(at, _DOCUMENT_HEAD.size)
            text = self.read(at + len(head), int.from_bytes(head[4:], "little"))
            if len(head) < _DOCUMENT_HEAD.size or len(text) < int.from_bytes(head[4:], "little"):
                return at
            for name, doc in json.loads(text).items():
                self._take(name, doc)
            return at + len(head) + len(text)
        if number >= len(self._forms):
            raise JournalError(f"{self._path} is damaged at byte {at}: move it and its .tmp away")
        form = self._forms[number]
        count = form.count(self.read, at)
        if count:
            form.stream.append(form, at, count)
        return at + count * form.dtype.itemsize
