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

from bluesky_ext.storage.lock import is_locked
from bluesky_ext.storage.log import CONTAINER, TOKEN, Entry, Log, Place
from bluesky_ext.storage.metadata import as_json
from bluesky_ext.storage.rows import Rows, is_key, is_storable
from bluesky_ext.storage.table import TABLE, Table

__all__ = ["RunExistsError", "RunWriter", "key_of"]

WRITER = "writer"
"""The metadata of a run that tell who writes it."""

_LEAST_BYTES = 4096  # smaller arrays stay in the log: a file for each would take more room and time
_MOST_PENDING = 32 * 2**20

_NAMESPACE = uuid.UUID("b8b1c6a2-54d0-4ac5-9c5e-2f0c61a3a7f1")


class RunExistsError(FileExistsError):
    """A run of this uid is in the catalogue already."""


def key_of(uid: str) -> str:
    """Return the key of a run in a catalogue: its uid, or what stands for it if Tiled could not address that."""
    return uid if is_key(uid) and uid != CONTAINER else str(uuid.uuid5(_NAMESPACE, uid))


def _created(parent: Any, key: str, **options: Any) -> Any:
    """Return a new container, or None if there is something of this key already."""
    from tiled.client.utils import ClientError  # pyright: ignore[reportMissingImports]

    try:
        return parent.create_container(key, **options)
    except ClientError as error:
        if error.response.status_code != 409:
            raise
        return None


@dataclass(eq=False)
class _Stream:
    node: Any
    """The client of its container; None if its name is none for Tiled: it is in the log alone."""
    table: Table | None
    arrays: dict[str, Rows] = field(default_factory=dict)
    configuration: Any = None
    """That of the latest descriptor."""
    updates: list[dict[str, Any]] = field(default_factory=list)
    """The descriptors after the first that have another configuration than the one before."""
    written: int = 0
    """How many of these are in the catalogue."""


class RunWriter:
    """Writes the documents of a run, in the order in which they are given.

    The run is laid out as by `bluesky_tiled_plugins.TiledWriter`: a container ``BlueskyRun`` with a container for each
    stream, in which are a table of scalars and an array for each array data key; and, beside it, its log (see
    `bluesky_ext.storage.log`). What it raises is what Tiled's client raises.

    Parameters
    ----------
    catalog : client
        The container of runs.
    replace_incomplete : bool
        If there is a run of this uid without a stop, replace it, unless a process of this host is writing it.
    backup : pathlib.Path, optional
        The backup file of the run, which is locked while the run is written (see `bluesky_ext.storage.lock`).
    """

    def __init__(self, catalog: Any, *, replace_incomplete: bool = False, backup: Path | None = None) -> None:
        self._catalog = catalog
        self._writer = {"host": socket.gethostname(), "backup": None if backup is None else str(backup)}
        self._replace_incomplete = replace_incomplete
        self._node: Any = None
        self._log: Log | None = None
        self._streams: dict[str, _Stream] = {}
        self._descriptors: dict[str, str] = {}
        self.pending = 0
        """Bytes that were given and are not written yet."""

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Take a document; it is written by the next `flush`, at the latest when 32 MiB are waiting."""
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
        self.pending += self._log.append(entry)
        if self.pending >= _MOST_PENDING:
            self.flush()
        if name == "stop":
            self._finish()
            self._node.update_metadata({"stop": as_json(document)}, drop_revision=True)

    def flush(self) -> None:
        """Write what is waiting: the log last, so that it never tells of rows that are not there."""
        for stream in self._streams.values():
            if len(stream.updates) > stream.written:
                stream.node.update_metadata({"_config_updates": stream.updates}, drop_revision=True)
                stream.written = len(stream.updates)
            for rows in stream.arrays.values():
                rows.flush()
            if stream.table is not None:
                stream.table.flush()
        if self._log is not None:
            self._log.flush()
        self.pending = 0

    def close(self, reason: str) -> None:
        """End a run that has no stop: write what is waiting, and mark the run as incomplete."""
        self._finish()
        if self._node is not None:
            self._node.update_metadata({"incomplete": reason}, drop_revision=True)

    def discard(self) -> None:
        """Give up what is waiting; nothing can be written after this."""
        for stream in self._streams.values():
            if stream.table is not None:
                stream.table.close()

    def _finish(self) -> None:
        self.flush()
        for stream in self._streams.values():
            if stream.table is not None:
                stream.table.write()
                stream.table.close()

    def _start(self, start: Mapping[str, Any]) -> None:
        from tiled.structures.core import Spec  # pyright: ignore[reportMissingImports]

        key, specs = key_of(start["uid"]), [Spec("BlueskyRun", version="3.0")]
        token = secrets.token_hex(8)
        metadata = {"start": as_json(start), TOKEN: token, WRITER: self._writer}
        # First of all: who asks for the last of a catalogue's values wants a run.
        logs = self._logs()
        # Of those who try at once, the server lets one make it, and refuses the others.
        node = _created(self._catalog, key, metadata=metadata, specs=specs)
        if node is None:
            self._remove(key, start["uid"])
            node = self._catalog.create_container(key, metadata=metadata, specs=specs)
        self._node = node.base
        self._log = Log(logs, key, token)

    def _remove(self, key: str, uid: str) -> None:
        run = self._catalog[key]
        if run.metadata.get("stop"):
            raise RunExistsError(f"run {uid} is in this catalogue already")
        if not self._replace_incomplete:
            raise RunExistsError(
                f"run {uid} is in this catalogue already, without a stop; "
                "if nothing writes to it any more, save(catalog, replace_incomplete=True) replaces it"
            )
        writer = run.metadata.get(WRITER) or {}
        if writer.get("host") == socket.gethostname() and writer.get("backup") and is_locked(writer["backup"]):
            raise RunExistsError(f"run {uid} is being written to this catalogue, with the backup {writer['backup']}")
        run.delete(recursive=True, external_only=False)

    def _logs(self) -> Any:
        if CONTAINER in self._catalog:
            return self._catalog[CONTAINER]
        return _created(self._catalog, CONTAINER) or self._catalog[CONTAINER]

    def _descriptor(self, descriptor: Mapping[str, Any]) -> None:
        from tiled.structures.core import Spec  # pyright: ignore[reportMissingImports]

        name = descriptor.get("name", "primary")
        self._descriptors[descriptor["uid"]] = name
        stream = self._streams.get(name)
        if stream is None:
            node = table = None
            if is_key(name):
                metadata = {k: v for k, v in descriptor.items() if k not in ("name", "object_keys", "run_start")}
                specs = [Spec("BlueskyEventStream", version="3.0"), Spec("composite")]
                node = self._node.create_container(name, metadata=as_json(metadata), specs=specs).base
                table = Table(node, descriptor.get("data_keys", {}))
            self._streams[name] = _Stream(node, table, configuration=as_json(descriptor.get("configuration")))
        elif stream.node is not None:
            # Data of changing shapes have a descriptor for each: all of these are in the log.
            update = as_json({key: descriptor[key] for key in ("uid", "time", "configuration") if key in descriptor})
            if update.get("configuration") != stream.configuration:
                stream.configuration = update.get("configuration")
                stream.updates.append(update)

    def _event(self, event: Mapping[str, Any]) -> Entry:
        name, stream = self._stream_of(event)
        data, places = dict(event["data"]), []
        for key, value in data.items():
            rows = self._rows(stream, key, value)
            if rows is not None:
                places.append(Place(key, "event", name, self._put(rows, value[np.newaxis]), 1))
        if stream is not None and stream.table is not None:
            stream.table.append([_row(event, data, event.get("timestamps", {}))])
        return Entry("event", {**event, "data": data | dict.fromkeys(place.key for place in places)}, places)

    def _event_page(self, page: Mapping[str, Any]) -> Entry:
        name, stream = self._stream_of(page)
        data, places = dict(page["data"]), []
        count = len(page["seq_num"])
        for key, values in data.items():
            if count == 0 or len(values) != count:
                continue
            rows = self._rows(stream, key, values[0])
            if rows is None:
                continue
            if isinstance(values, np.ndarray):
                places.append(Place(key, "array", name, self._put(rows, values), count))
            elif all(is_storable(value) and rows.takes(value) for value in values):
                places.append(Place(key, "list", name, self._put(rows, np.stack(values)), count))
        if stream is not None and stream.table is not None:
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

    def _rows(self, stream: _Stream | None, key: str, value: object) -> Rows | None:
        """The array that takes the value; None if it is one for the log."""
        if stream is None or stream.node is None or not isinstance(value, np.ndarray) or not is_storable(value):
            return None
        rows = stream.arrays.get(key)
        if rows is None:
            if value.nbytes < _LEAST_BYTES or not is_key(key) or key == TABLE or (stream.table and key in stream.table):
                return None
            rows = stream.arrays[key] = Rows(stream.node, key, value)
        return rows if rows.takes(value) else None

    def _put(self, rows: Rows, values: NDArray[Any]) -> int:
        self.pending += values.nbytes
        return rows.append(values)


def _row(event: Mapping[str, Any], data: Mapping[str, Any], timestamps: Mapping[str, Any]) -> dict[str, Any]:
    stamps = {f"ts_{key}": time for key, time in timestamps.items()}
    return {**stamps, **data, "seq_num": event["seq_num"], "time": event["time"]}
