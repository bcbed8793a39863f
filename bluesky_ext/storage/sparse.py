"""Runs of sparse images in Tiled: one sparse array for a run, a block for each event."""

from __future__ import annotations

import itertools
import logging
import math
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from event_model import unpack_event_page

from bluesky_ext.images import densify

__all__ = ["SparseWriter", "read_sparse", "write_sparse"]

log = logging.getLogger(__name__)

#: The metadata ``spec`` of what is whole, and of what is still being written.
SPEC, WHOLE, DRAFT = "spec", "sparse_run", "sparse_run_draft"
_PARTS = ("index", "value", "shape")


def write_sparse(
    container: Any,
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    n_frames: int,
    shape: Sequence[int],
    dtype: Any,
    *,
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """Write images as one sparse array with a block for each, and return its client in Tiled.

    Tiled must know the number of blocks beforehand. While they are written the metadata ``spec`` of the array is
    ``"sparse_run_draft"``, and ``"sparse_run"`` when all of them are; if one cannot be written, the array is deleted.

    Parameters
    ----------
    container : Tiled container
        Where to write.
    frames : iterable of (index, value)
        As `bluesky_ext.images.sparsify` makes them, one image at a time.
    n_frames : int
        How many there are.
    shape : sequence of int
        Of each image; the array has the shape ``(n_frames, *shape)``.
    dtype : dtype
        Of the values.
    key, metadata
        For the array in Tiled; a key is made up unless one is given.

    Raises
    ------
    ValueError
        If there are no frames, or not as many as was said.
    """
    from tiled.structures.array import BuiltinDtype  # pyright: ignore[reportMissingImports]
    from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]
    from tiled.structures.data_source import DataSource  # pyright: ignore[reportMissingImports]
    from tiled.structures.sparse import COOStructure  # pyright: ignore[reportMissingImports]

    shape = tuple(int(length) for length in shape)
    if n_frames < 1:
        raise ValueError("a run without a single image cannot be a sparse array")
    structure = COOStructure(
        shape=(n_frames, *shape),
        chunks=((1,) * n_frames, *((length,) for length in shape)),
        data_type=BuiltinDtype.from_numpy_dtype(np.dtype(dtype)),
        coord_data_type=BuiltinDtype.from_numpy_dtype(np.dtype(np.uint32)),
    )
    source = DataSource(structure=structure, structure_family=StructureFamily.sparse)
    node = container.new(
        StructureFamily.sparse, [source], key=key or str(uuid.uuid4()), metadata={**(metadata or {}), SPEC: DRAFT}
    )
    try:
        written = 0
        for written, (index, value) in enumerate(itertools.islice(frames, n_frames + 1), start=1):
            if written > n_frames:
                break
            coords = np.unravel_index(index, shape)
            within = [np.zeros(len(index), np.uint32), *(axis.astype(np.uint32) for axis in coords)]
            node.write_block(within, value, (written - 1, *(0 for _ in shape)))
        if written != n_frames:
            raise ValueError(f"{n_frames} images were announced, and {'more' if written > n_frames else written} came")
        node.update_metadata({SPEC: WHOLE}, drop_revision=True)
    except BaseException:
        try:
            node.delete(external_only=False)
        except Exception as error:
            log.warning("the draft %s of a sparse array could not be deleted: %s", node.uri, error)
        raise
    return node


def read_sparse(node: Any) -> Any:
    """The images of a sparse array, dense: a dask array (n_frames, *shape) of the values' dtype, a chunk an image.

    Each is read, and made dense by `bluesky_ext.images.densify`, when it is computed.

    Parameters
    ----------
    node : Tiled sparse client
        What `write_sparse` returned, or its like.

    Raises
    ------
    ValueError
        If it is still being written, or its blocks are not an image each.
    """
    import dask  # pyright: ignore[reportMissingImports]
    import dask.array  # pyright: ignore[reportMissingImports]

    if node.metadata.get(SPEC) == DRAFT:
        raise ValueError(f"the sparse array {node.uri} is not complete: it is being written, or its writer died")
    structure = node.structure()
    n_frames, *shape = structure.shape
    if tuple(structure.chunks) != ((1,) * n_frames, *((length,) for length in shape)):
        raise ValueError(f"the sparse array {node.uri} has chunks {structure.chunks}, and not one for each image")
    dtype = structure.data_type.to_numpy_dtype()
    read = dask.delayed(_read_frame, pure=False, traverse=False)  # pyright: ignore[reportPrivateImportUsage]
    frames = [
        dask.array.from_delayed(read(node, number), (1, *shape), dtype)  # pyright: ignore
        for number in range(n_frames)
    ]
    return dask.array.concatenate(frames)  # pyright: ignore[reportPrivateImportUsage]


def _read_frame(node: Any, number: int) -> np.ndarray:
    """One image, with an axis of length 1 in front; a module's own function, so that dask can send it to processes."""
    block = node.read_block((number, *(0 for _ in node.shape[1:])))
    shape = tuple(node.shape[1:])
    index = np.ravel_multi_index(tuple(block.coords[1:]), shape)
    return densify(index, block.data, shape)[np.newaxis]


class _Frame(NamedTuple):
    """Where an image lies in a run's file, and how many pixels it has."""

    offset: int
    nnz: int


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
        self._frames[seq_num] = _Frame(self._file.seek(0, 2), len(index))
        self._file.write(np.ascontiguousarray(index, np.uint32).tobytes())
        self._file.write(np.ascontiguousarray(value).tobytes())

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Index and value of each image, in order."""
        for _, frame in sorted(self._frames.items()):
            self._file.seek(frame.offset)
            index = np.frombuffer(self._file.read(4 * frame.nnz), np.uint32)
            yield index, np.frombuffer(self._file.read(self.dtype.itemsize * frame.nnz), self.dtype)

    def seq_nums(self) -> list[list[int]]:
        """The numbers of the images, as ranges [first, last + 1]."""
        ranges: list[list[int]] = []
        for seq_num in sorted(self._frames):
            if ranges and ranges[-1][1] == seq_num:
                ranges[-1][1] += 1
            else:
                ranges.append([seq_num, seq_num + 1])
        return ranges

    def close(self) -> None:
        """Let go of the file, which has no name and is gone then."""
        self._file.close()


class _Run:
    def __init__(self, start: Mapping[str, Any]) -> None:
        self.start = start
        self.streams: dict[tuple[str, str], _Stream] = {}
        self.exit_status = ""
        """Empty until it stops."""


class SparseWriter:
    """A sink that writes the sparse images of each run that a `Sparsifier` emits as one sparse array.

    Until the run stops its images are in a temporary file, since Tiled must know their number; if they cannot be
    written then, until they are written after a later run, or by `close`. Subscribe it to a `Sparsifier`, or give it
    the documents of a run that one made.

    Parameters
    ----------
    container : Tiled container
        Where to write. The metadata of each array has ``run_start`` (the uid of the derived run), ``original_run_uid``,
        ``stream``, ``data_key``, ``seq_nums`` (ranges, of the images in their order), and ``exit_status``.

    Attributes
    ----------
    artifacts : list
        The clients of the arrays that were written.
    """

    def __init__(self, container: Any) -> None:
        if not hasattr(container, "create_container") or not hasattr(container, "new"):
            raise TypeError(f"{container!r} is no client of a Tiled container: give one, as open_catalog returns it")
        self._container = container
        self._runs: dict[str, _Run] = {}
        self._streams: dict[str, tuple[str, str, tuple[str, ...]]] = {}
        self.artifacts: list[Any] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._runs[doc["uid"]] = _Run(doc)
        elif name == "descriptor" and doc["run_start"] in self._runs:
            keys = tuple(key.removesuffix("_nnz") for key in doc["data_keys"] if key.endswith("_nnz"))
            keys = tuple(key for key in keys if all(f"{key}_{part}" in doc["data_keys"] for part in _PARTS))
            self._streams[doc["uid"]] = doc["run_start"], doc.get("name", "primary"), keys
        elif name == "event" and doc["descriptor"] in self._streams:
            self._event(doc)
        elif name == "event_page" and doc["descriptor"] in self._streams:
            for event in unpack_event_page(doc):  # pyright: ignore[reportArgumentType]
                self._event(event)
        elif name == "stop" and doc["run_start"] in self._runs:
            self._write(doc["run_start"], doc.get("exit_status", "success"))
            for uid in [uid for uid, run in self._runs.items() if run.exit_status]:  # the container is there again
                self._write(uid, self._runs[uid].exit_status)

    def _event(self, doc: Mapping[str, Any]) -> None:
        uid, stream, keys = self._streams[doc["descriptor"]]
        streams = self._runs[uid].streams
        for key in keys:
            name = stream, key
            if name not in streams:
                streams[name] = _Stream(key)
            streams[name].add(doc["seq_num"], doc["data"])

    def _write(self, uid: str, exit_status: str) -> None:
        run = self._runs[uid]
        run.exit_status = exit_status
        self._streams = {descriptor: of for descriptor, of in self._streams.items() if of[0] != uid}
        for name, stream in list(run.streams.items()):
            if stream.shape is not None and math.prod(stream.shape):
                self.artifacts.append(self._written(run, name[0], stream))
            stream.close()
            del run.streams[name]
        del self._runs[uid]

    def _written(self, run: _Run, stream_name: str, stream: _Stream) -> Any:
        uid = run.start["uid"]
        about = {
            "run_start": uid,
            "original_run_uid": run.start.get("original_run_uid", uid),
            "stream": stream_name,
            "data_key": stream.data_key,
            "seq_nums": stream.seq_nums(),
            "exit_status": run.exit_status,
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
        for uid, run in list(self._runs.items()):
            self._write(uid, run.exit_status or "incomplete")

    def __enter__(self) -> SparseWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
