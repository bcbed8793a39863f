"""The writer of one run: its documents into a container of Tiled."""

from __future__ import annotations

import secrets
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.engine.recording.frame_file import Frame
from bluesky_ext.storage.destination import Destination
from bluesky_ext.storage.image_file import FileRows, ImageFile
from bluesky_ext.storage.lock import is_locked
from bluesky_ext.storage.log import CONTAINER, TOKEN, Entry, Log, Place
from bluesky_ext.storage.metadata import as_json
from bluesky_ext.storage.node import Node, NodeExistsError
from bluesky_ext.storage.rows import Rows, is_key, is_storable
from bluesky_ext.storage.table import TABLE, Table

__all__ = ["LEAST_BYTES", "RunExistsError", "RunWriter", "dataset_of", "key_of"]

WRITER = "writer"
"""The metadata of a run that tell who writes it."""

LEAST_BYTES = 4096  # smaller arrays stay in the log: a file for each would take more room and time
_MOST_PENDING = 32 * 2**20

_NAMESPACE = uuid.UUID("b8b1c6a2-54d0-4ac5-9c5e-2f0c61a3a7f1")


class RunExistsError(FileExistsError):
    """A run of this uid is in the catalogue already."""


def dataset_of(stream: str, key: str) -> str:
    """Return the name of the dataset of a data key in the file of a run."""
    return f"streams/{stream}/{key}"


def key_of(uid: str) -> str:
    """Return the key of a run in a catalogue: its uid, or what stands for it if Tiled could not address that."""
    return uid if is_key(uid) and uid != CONTAINER else str(uuid.uuid5(_NAMESPACE, uid))


@dataclass(eq=False)
class _Stream:
    metadata: dict[str, Any]
    """Of its first descriptor, and of those after it that have another configuration than the one before."""
    table: Table
    configuration: Any
    """That of the latest descriptor."""
    arrays: dict[str, Rows | FileRows] = field(default_factory=dict)
    node: Node | None = None
    """The node of its container, made by the first flush."""
    told: bool = False
    """Whether the metadata are in the catalogue as they are now."""


class RunWriter:
    """Writes the documents of a run, in the order in which they are given.

    The run is laid out as by `bluesky_tiled_plugins.TiledWriter`: a container ``BlueskyRun`` with a container for each
    stream, in which are a table of scalars and an array for each array data key; and, beside it, its log (see
    `bluesky_ext.storage.log`). What it raises is what Tiled's client raises.

    Parameters
    ----------
    destination : Destination
        Where it goes.
    uid : str
        Of the run.
    backup : pathlib.Path, optional
        The backup file of the run, which is locked while the run is written (see `bluesky_ext.storage.lock`).

    Attributes
    ----------
    file : ImageFile or None
        The file of its images. Those that are in it already come as `bluesky_ext.engine.recording.frame_file.Frame`.
    """

    def __init__(self, destination: Destination, uid: str, *, backup: Path | None = None) -> None:
        self._destination = destination
        self._key, self._token = key_of(uid), secrets.token_hex(8)
        directory = destination.directory
        path = None if directory is None else directory / f"{self._key}-{self._token}.h5"
        self.file = None if path is None else ImageFile(path, destination.compression)
        self._writer = {"host": socket.gethostname(), "backup": None if backup is None else str(backup)}
        self._node: Any = None
        self._log: Log | None = None
        self._streams: dict[str, _Stream] = {}
        self._descriptors: dict[str, str] = {}
        self._pending = 0  # bytes to be sent
        self.changed = False
        """Whether something was given since the last flush."""

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Take a document; it is in the catalogue with the next `flush`, at the latest when 32 MiB are to be sent."""
        match name:
            case "start":
                self._start(document)
            case "descriptor":
                self._descriptor(document)
        entry = Entry(name, dict(document), [])
        match name:
            case "event":
                entry = self._event(document)
            case "event_page":
                entry = self._event_page(document)
        if self._log is None:
            raise ValueError(f"a run that begins with a document called {name!r}, not with its start")
        self._pending += self._log.append(entry)
        self.changed = True
        if self._pending >= _MOST_PENDING:
            self.flush()
        if name == "stop":
            self._finish()
            self._node.update({"stop": as_json(document)})

    def flush(self, *, whole: bool = False) -> None:
        """Write what is waiting: the log last, so that it never tells of rows that are not there."""
        from tiled.structures.core import Spec  # pyright: ignore[reportMissingImports]

        self._destination.check_disk()
        for name, stream in self._streams.items():
            node = stream.node
            if node is None:
                specs = [Spec("BlueskyEventStream", version="3.0"), Spec("composite")]
                node = stream.node = self._node.create(name, stream.metadata, specs)
            elif not stream.told:
                node.update(stream.metadata)
            stream.told = True
            for rows in stream.arrays.values():
                rows.flush(node)
            stream.table.flush()
        if self._log is not None:
            self._log.flush(whole=whole)
        self._pending, self.changed = 0, False

    def close(self, reason: str) -> None:
        """End a run that has no stop: write what is waiting, and mark the run as incomplete."""
        self._finish()
        if self._node is not None:
            self._node.update({"incomplete": reason})

    def discard(self) -> None:
        """Give up what is waiting; nothing can be written after this."""
        for stream in self._streams.values():
            stream.table.close()
        if self.file is not None:
            self.file.close()
            if self._node is None:  # the catalogue knows nothing of it
                self.file.path.unlink(missing_ok=True)

    def _finish(self) -> None:
        self.flush(whole=True)
        for stream in self._streams.values():
            if stream.node is not None:
                stream.table.write(stream.node)
        self.discard()

    def _start(self, start: Mapping[str, Any]) -> None:
        from tiled.structures.core import Spec  # pyright: ignore[reportMissingImports]

        self._destination.check_disk()
        key, specs = self._key, [Spec("BlueskyRun", version="3.0")]
        metadata = {"start": as_json(start), TOKEN: self._token, WRITER: self._writer}
        # First of all: who asks for the last of a catalogue's values wants a run.
        logs, runs = self._destination.logs, self._destination.runs
        # Of those who try at once, the server lets one make it, and refuses the others.
        try:
            self._node = runs.create(key, metadata, specs)
        except NodeExistsError:
            self._remove(key, start["uid"])
            self._node = runs.create(key, metadata, specs)
        self._log = Log(logs, key, self._token, self.file)

    def _remove(self, key: str, uid: str) -> None:
        run = self._destination.catalog[key]
        if run.metadata.get("stop"):
            raise RunExistsError(f"run {uid} is in this catalogue already")
        if not self._destination.replace_incomplete:
            raise RunExistsError(
                f"run {uid} is in this catalogue already, without a stop; "
                "if nothing writes to it any more, save(catalog, replace_incomplete=True) replaces it"
            )
        writer = run.metadata.get(WRITER) or {}
        if writer.get("host") == socket.gethostname() and writer.get("backup") and is_locked(writer["backup"]):
            raise RunExistsError(f"run {uid} is being written to this catalogue, with the backup {writer['backup']}")
        run.delete(recursive=True, external_only=False)
        if self._destination.directory is not None:
            (self._destination.directory / f"{key}-{run.metadata[TOKEN]}.h5").unlink(missing_ok=True)

    def _descriptor(self, descriptor: Mapping[str, Any]) -> None:
        name = descriptor.get("name", "primary")
        self._descriptors[descriptor["uid"]] = name
        if not is_key(name):
            return  # it is in the log alone
        configuration = as_json(descriptor.get("configuration"))
        stream = self._streams.get(name)
        if stream is None:
            metadata = as_json({k: v for k, v in descriptor.items() if k not in ("name", "object_keys", "run_start")})
            self._streams[name] = _Stream(metadata, Table(descriptor.get("data_keys", {})), configuration)
        elif configuration != stream.configuration:
            # Data of changing shapes have a descriptor for each: all of these are in the log.
            update = as_json({key: descriptor[key] for key in ("uid", "time", "configuration") if key in descriptor})
            stream.configuration, stream.told = configuration, False
            stream.metadata.setdefault("_config_updates", []).append(update)

    def _event(self, event: Mapping[str, Any]) -> Entry:
        name, stream = self._stream_of(event)
        data, places = dict(event["data"]), []
        for key, value in data.items():
            if isinstance(value, Frame):
                if stream is not None and self.file is not None:
                    self._tell_of(stream, key, self.file.arrays[dataset_of(name, key)])
                places.append(Place(key, "event", name, value.row, 1))
            elif (rows := self._rows(stream, name, key, value)) is not None:
                places.append(Place(key, "event", name, self._put(rows, value[np.newaxis]), 1))
        if stream is not None:
            stream.table.append([_row(event, data, event.get("timestamps", {}))])
        return Entry("event", {**event, "data": data | dict.fromkeys(place.key for place in places)}, places)

    def _event_page(self, page: Mapping[str, Any]) -> Entry:
        name, stream = self._stream_of(page)
        data, places = dict(page["data"]), []
        count = len(page["seq_num"])
        for key, values in data.items():
            if count == 0 or len(values) != count:
                continue
            rows = self._rows(stream, name, key, values[0])
            if rows is None:
                continue
            if isinstance(values, np.ndarray):
                places.append(Place(key, "array", name, self._put(rows, values), count))
            elif all(is_storable(value) and rows.takes(value) for value in values):
                places.append(Place(key, "list", name, self._put(rows, np.stack(values)), count))
        if stream is not None:
            stamps = page.get("timestamps", {})
            stream.table.append(
                _row(
                    {key: page[key][n] for key in ("seq_num", "time")},
                    {key: values[n] for key, values in data.items() if key in stream.table},
                    {key: times[n] for key, times in stamps.items() if key in stream.table},
                )
                for n in range(count)
            )
        return Entry("event_page", {**page, "data": data | dict.fromkeys(place.key for place in places)}, places)

    def _stream_of(self, event: Mapping[str, Any]) -> tuple[str, _Stream | None]:
        name = self._descriptors.get(event["descriptor"], "")
        return name, self._streams.get(name)

    def _rows(self, stream: _Stream | None, stream_name: str, key: str, value: object) -> Rows | FileRows | None:
        """The array that takes the value; None if it is one for the log."""
        if stream is None or not isinstance(value, np.ndarray) or not is_storable(value):
            return None
        rows = stream.arrays.get(key)
        if rows is None:
            if value.nbytes < LEAST_BYTES or not is_key(key) or key == TABLE or key in stream.table:
                return None
            if self.file is None:
                rows = stream.arrays[key] = Rows(key, value)
            else:
                rows = self.file.rows(dataset_of(stream_name, key), value)
                self._tell_of(stream, key, rows)
        return rows if rows.takes(value) else None

    def _tell_of(self, stream: _Stream, key: str, rows: FileRows) -> None:
        """Let the catalogue know of an array in the file, if it is new."""
        if key not in stream.arrays:
            described = {"external": "STREAM:", "dtype_numpy": rows.dtype.str, "shape": [*rows.shape]}
            stream.metadata.get("data_keys", {}).get(key, {}).update(described)
            stream.told = False
            stream.arrays[key] = rows

    def _put(self, rows: Rows | FileRows, values: NDArray[Any]) -> int:
        if isinstance(rows, Rows):
            self._pending += values.nbytes
        return rows.append(values)


def _row(event: Mapping[str, Any], data: Mapping[str, Any], timestamps: Mapping[str, Any]) -> dict[str, Any]:
    stamps = {f"ts_{key}": time for key, time in timestamps.items()}
    return {**stamps, **data, "seq_num": event["seq_num"], "time": event["time"]}
