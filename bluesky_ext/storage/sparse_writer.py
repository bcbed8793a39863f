"""The writer of the runs that a `Sparsifier` emits: each becomes a sparse array in Tiled when it stops."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from event_model import unpack_event_page

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.live_documents import LiveDocuments
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS, OpenRun, OpenRuns, OpenStream
from bluesky_ext.engine.documents.provenance import analysis_of
from bluesky_ext.storage.metadata import as_json
from bluesky_ext.storage.sparse import write_sparse

__all__ = ["SparseWriter"]

log = logging.getLogger(__name__)

_PARTS = ("index", "value", "shape")


class _Frame(NamedTuple):
    """Where an image lies in a run's file, and how many pixels it has."""

    offset: int
    nnz: int
    dtype: np.dtype
    """Of the places."""


class _Stream:
    """The sparse images of a stream of a run, in a file until all of them are there."""

    def __init__(self, data_key: str) -> None:
        self.data_key = data_key
        self.shape: tuple[int, ...] | None = None
        self.dtype = np.dtype(np.uint8)
        self._frames: dict[int, _Frame] = {}
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="bluesky-ext-sparse-")  # noqa: SIM115 - see close

    def add(self, seq_num: int, data: Mapping[str, Any]) -> None:
        """Take in an event; one of the same number replaces it."""
        index, value, shape = (np.asarray(data[f"{self.data_key}_{part}"]) for part in _PARTS)
        extent = tuple(int(length) for length in shape)
        if self.shape is None:
            self.shape, self.dtype = extent, value.dtype
        if (extent, value.dtype) != (self.shape, self.dtype):
            raise ValueError(
                f"event {seq_num} has an image of shape {extent}, dtype {value.dtype}, and those before it have "
                f"{self.shape}, {self.dtype}: they cannot be one array"
            )
        self._frames[seq_num] = _Frame(self._file.seek(0, 2), len(index), index.dtype)
        self._file.write(np.ascontiguousarray(index).tobytes())
        self._file.write(np.ascontiguousarray(value).tobytes())

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Index and value of each image, in order."""
        for _, frame in sorted(self._frames.items()):
            self._file.seek(frame.offset)
            index = np.frombuffer(self._file.read(frame.dtype.itemsize * frame.nnz), frame.dtype)
            yield index, np.frombuffer(self._file.read(self.dtype.itemsize * frame.nnz), self.dtype)

    def seq_nums(self) -> list[list[int]]:
        """The numbers of the images, as ranges [first, last + 1]."""
        seq_nums = Intervals()
        for seq_num in self._frames:
            seq_nums.note(seq_num)
        return [[some.start, some.stop] for some in seq_nums]

    def close(self) -> None:
        """Let go of the file, which has no name and is gone then."""
        self._file.close()


@dataclass(eq=False)
class _Run(OpenRun):
    images: dict[tuple[str, str], _Stream] = field(default_factory=dict, init=False)
    """By the names of stream and data key."""
    exit_status: str = field(default="incomplete", init=False)


class SparseWriter:
    """A sink that writes the sparse images of each run that a `Sparsifier` emits as one sparse array.

    Until the run stops its images are in a temporary file, since Tiled must know their number; if they cannot be
    written then, until they are written after a later run, or by `close`. Subscribe it to a `Sparsifier`, or give it
    the documents of a run that one made.

    Parameters
    ----------
    container : Tiled container
        Where to write. The metadata of each array has ``run_start`` (the uid of the derived run), ``original_run_uid``,
        ``stream``, ``data_key``, ``seq_nums`` (ranges, of the images in their order), ``exit_status``, and ``masks``:
        uid, sha256, detector, name and version of each that was applied, by this stage or those before it.
    max_open_runs, stale_after
        How many runs may be open, and for how many seconds one may be silent: after that it is written with the next
        one that stops, with ``exit_status`` "incomplete".

    Attributes
    ----------
    artifacts : list
        The clients of the arrays that were written.
    """

    def __init__(self, container: Any, *, max_open_runs: int = MAX_OPEN_RUNS, stale_after: float = DAY) -> None:
        if not hasattr(container, "create_container") or not hasattr(container, "new"):
            raise TypeError(f"{container!r} is no client of a Tiled container: give one, as open_catalog returns it")
        self._container = container
        self._runs: OpenRuns[_Run] = OpenRuns(
            self._close, name="SparseWriter", log=log, max_open_runs=max_open_runs, stale_after=stale_after
        )
        self.stats = self._runs.stats
        self._ended: list[_Run] = []
        self._live = LiveDocuments()
        self.artifacts: list[Any] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document; those of live runs are left out."""
        if self._live.has(name, doc):
            return
        with self._runs.lock:
            if name == "start":
                if self._runs.get(doc["uid"]) is None:
                    self._runs.open(_Run(doc))
                return
            runs = self._runs.follow(name, doc)
            if name in ("event", "event_page") and runs:
                stream = self._runs.streams[doc["descriptor"]]
                events = unpack_event_page(doc) if name == "event_page" else [doc]  # pyright: ignore[reportArgumentType]
                for event in events:
                    self._event(stream, event)
            elif name == "stop":
                for run in runs:
                    run.exit_status = doc.get("exit_status", "success")
                    self._runs.drop(run)
                    self._ended.append(run)
        if name == "stop":
            self._write()

    def _event(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        for key in _keys(stream.descriptor):
            name = stream.name, key
            if name not in stream.run.images:
                stream.run.images[name] = _Stream(key)
            stream.run.images[name].add(event["seq_num"], event["data"])

    def _close(self, run: _Run, reason: str) -> None:
        """Leave a run without a stop to be written with the next one that stops."""
        self._ended.append(run)

    def _write(self) -> None:
        """Write the runs that have ended, the latest first: what failed before may fail again."""
        while self._ended:
            run = self._ended[-1]
            for name, images in list(run.images.items()):
                if images.shape is not None and math.prod(images.shape):
                    self.artifacts.append(self._written(run, name[0], images))
                images.close()
                del run.images[name]
            self._ended.remove(run)

    def _written(self, run: _Run, stream_name: str, stream: _Stream) -> Any:
        uid = run.start["uid"]
        about = {
            "run_start": uid,
            "original_run_uid": run.start.get("original_run_uid", uid),
            "stream": stream_name,
            "data_key": stream.data_key,
            "seq_nums": stream.seq_nums(),
            "exit_status": run.exit_status,
            "masks": as_json(_masks(analysis_of(run.start))),
        }
        try:
            return write_sparse(self._container, stream, len(stream), stream.shape or (), stream.dtype, metadata=about)
        except Exception as error:
            # Of whatever is behind the container: the images are here still.
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise OSError(
                f"the sparse images of run {uid} could not be written ({said}): they are kept, and written after the "
                "next run, or by close()"
            ) from error

    def close(self) -> None:
        """Write the runs that failed before, and those without a stop, with ``exit_status`` "incomplete"."""
        self._runs.close_all("the writer was closed before the stop")
        self._write()

    def __enter__(self) -> SparseWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _keys(descriptor: Mapping[str, Any]) -> list[str]:
    """The data keys of which the events of a stream have sparse images."""
    there = descriptor["data_keys"]
    keys = (key.removesuffix("_nnz") for key in there if key.endswith("_nnz"))
    return [key for key in keys if all(f"{key}_{part}" in there for part in _PARTS)]


def _masks(record: Any) -> list[Any]:
    """The masks that a stage applied, after those of the stages before it and of the maps that it is composed of."""
    record = record if isinstance(record, Mapping) else {}
    earlier, maps, own = (
        said if isinstance(said := record.get(key), list | tuple) else () for key in ("upstream", "maps", "masks")
    )
    return [*(mask for one in (*earlier, *maps) for mask in _masks(one)), *own]
