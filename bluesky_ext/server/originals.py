"""Derived runs read for what they say of how they were made, and the runs that they were made of, found."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine import Recorder, Recording
from bluesky_ext.engine.documents.provenance import INPUT_STREAM, analysis_of
from bluesky_ext.server.filling import filled
from bluesky_ext.storage import as_source, documents
from bluesky_ext.storage.adapters import Pair, is_broker
from bluesky_ext.storage.catalog import is_container
from bluesky_ext.storage.find import find_run
from bluesky_ext.storage.stored import is_run, run_of

log = logging.getLogger(__name__)


class Derived(NamedTuple):
    """A derived run: its ends, the records of the stages that it went through, and the arrays that they were given."""

    start: dict[str, Any]
    stop: dict[str, Any]
    records: list[dict[str, Any]]
    arrays: list[np.ndarray]


def read_derived(run: Any) -> Derived:
    """Read a derived run; ValueError if it is none, or its documents do not say enough."""
    ends: dict[str, dict[str, Any]] = {}
    source = documents(run, INPUT_STREAM.fullmatch) if is_run(run) else as_source(run)
    arrays = [
        np.asarray(value)
        for name, document in filled(_inputs_of(source, ends))
        for value in (document["data"].values() if name == "event" else ())
    ]
    if "start" not in ends:
        raise ValueError("the documents of the run have no start")
    start, stop = ends["start"], ends.get("stop")
    record = analysis_of(start)
    if not record:
        raise ValueError(f"run {start['uid']} was not made by a stage: it has no analysis record")
    if stop is None or not isinstance(stop.get("sha256"), str):
        lacks = "sha256 in its stop" if stop else "stop"
        raise ValueError(f"run {start['uid']} has no {lacks} document: nothing to compare with")
    upstream = record.get("upstream", [])
    records = [*(upstream if isinstance(upstream, list | tuple) else [None]), record]
    if not all(map(_is_record, records)):
        raise ValueError(f"run {start['uid']}: its analysis record is not as a stage writes it")
    return Derived(start, stop, records, arrays)


def _is_record(record: Any) -> bool:
    """Whether this is a record, or a part of one, as a stage writes it; of another version it may lack what is new."""
    if not isinstance(record, Mapping) or not isinstance(record.get("stage"), str):
        return False
    if not isinstance(record.get("parameters"), Mapping) or not isinstance(record.get("hashes", {}), Mapping):
        return False
    masks, maps = record.get("masks", []), record["parameters"].get("maps")
    if not isinstance(masks, list | tuple) or not all(isinstance(mask, Mapping) for mask in masks):
        return False
    if not all(isinstance(mask.get(key), str) for mask in masks for key in ("uid", "sha256")):
        return False
    if isinstance(maps, list | tuple) and "maps" in record:
        return len(maps) == len(record["maps"]) and all(
            _is_record({**one, **its}) for one, its in zip(maps, record["maps"], strict=True)
        )
    return True


def _inputs_of(source: Iterable[Pair], ends: dict[str, dict[str, Any]]) -> Iterator[Pair]:
    """The documents of the streams with arrays, and the ends of the run, which are put into ``ends``."""
    streams: set[str] = set()
    for name, document in source:
        if name in ends:
            raise ValueError(f"the documents are of several runs, {ends[name]['uid']} is one: give those of one")
        if name in ("start", "stop"):
            ends[name] = document
            yield name, {key: said for key, said in document.items() if key != "num_events"}
        elif name == "descriptor" and INPUT_STREAM.fullmatch(document.get("name", "primary")):
            streams.add(document["uid"])
            yield name, document
        elif name in ("resource", "datum", "datum_page", "stream_resource") or document.get("descriptor") in streams:
            yield name, document


def find_original(source: Any, parents: list[Any]) -> tuple[Any, int]:
    """A run of a source that one of the stages of a chain was given, and which one; the raw run if it is there."""
    if isinstance(source, Iterator):
        raise TypeError(f"{source!r} can be read only once: give a list, a Recording, a run or a function")
    there: Any
    if (run := run_of(source)) is not None:
        there = {run.metadata["start"]["uid"]: run}
    elif isinstance(source, Recording):
        there = {} if source.start is None else {source.start["uid"]: source}
    elif isinstance(source, str | os.PathLike) and Path(source).is_dir():
        if (Path(source) / "catalog.db").exists():
            raise TypeError(f"{source} is a catalogue: give open_catalog({str(source)!r})")
        there = {one.start["uid"]: one for one in Recording.find(Path(source)) if one.start is not None}
    elif is_container(source) or isinstance(source, Mapping) or is_broker(source):
        there = source
    else:
        uid = next((doc["uid"] for name, doc in as_source(source) if name == "start" and doc["uid"] in parents), "")
        there = {uid: partial(_only, source, uid)}
    for number, uid in enumerate(parents):
        try:
            return find_run(there, uid) if is_container(there) else there[uid], number
        except LookupError:
            log.debug("run %s is not in %r", uid, source)
    raise LookupError(f"the raw run {parents[0]} is not in the source {source!r:.200}")


def _only(source: Any, uid: str) -> Iterator[Pair]:
    """The documents of one run of several."""
    of_run: set[Any] = {uid}
    for name, document in as_source(source):
        parents = [
            document[key] for key in ("run_start", "descriptor", "resource", "stream_resource") if key in document
        ]
        if not parents and name != "start":  # a resource of old may be of any run
            parents = [uid]
        if not of_run.isdisjoint([document["uid"]] if name == "start" else parents):
            if name in ("descriptor", "resource", "stream_resource"):
                of_run.add(document["uid"])
            yield name, document


class Stored:
    """The runs that a stage may read once more: the original, and those made on the way, which are kept for that."""

    def __init__(self, original: Any, stack: ExitStack) -> None:
        self._original, self._stack = original, stack
        self._directory: Path | None = None

    def recorder(self) -> Recorder:
        """What keeps the runs of a stage, until all is over."""
        if self._directory is None:
            self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self._stack.enter_context(Recorder(self._directory, on_error="raise"))

    def __getitem__(self, uid: str) -> Any:
        made = [] if self._directory is None else Recording.find(self._directory)
        return next((one for one in made if one.start is not None and one.start["uid"] == uid), self._original)
