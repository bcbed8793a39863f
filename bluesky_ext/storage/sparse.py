"""Runs of sparse images in Tiled: one sparse array for a run, a block for each frame."""

from __future__ import annotations

import itertools
import logging
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bluesky_ext.images import densify

__all__ = ["read_sparse", "write_sparse"]

log = logging.getLogger(__name__)

#: The metadata ``spec`` of what is whole, and of what is still being written.
SPEC, WHOLE, DRAFT = "spec", "sparse_run", "sparse_run_draft"


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
    """Write images as one sparse array with a block for each frame, and return its client in Tiled.

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
        chunks=_chunks(n_frames, shape),
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
            size = math.prod(shape[-2:])
            for number, leading in enumerate(np.ndindex(*shape[:-2])):
                first, last = np.searchsorted(index, (number * size, (number + 1) * size))
                coords = np.unravel_index(index[first:last] - index.dtype.type(number * size), shape[-2:])
                zeros = np.zeros(last - first, np.uint32)
                within = [zeros] * (len(shape) - 1) + [axis.astype(np.uint32) for axis in coords]
                node.write_block(within, value[first:last], (written - 1, *leading, 0, 0))
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
    """The images of a sparse array, dense: a dask array (n_frames, *shape) of the values' dtype, a chunk a frame.

    Each is read, and made dense by `bluesky_ext.images.densify`, when it is computed.

    Parameters
    ----------
    node : Tiled sparse client
        What `write_sparse` returned, or its like.

    Raises
    ------
    ValueError
        If it is still being written, or its blocks are not a frame each.
    """
    import dask.array  # pyright: ignore[reportMissingImports]

    if node.metadata.get(SPEC) == DRAFT:
        raise ValueError(f"the sparse array {node.uri} is not complete: it is being written, or its writer died")
    structure = node.structure()
    n_frames, *shape = structure.shape
    if tuple(structure.chunks) != _chunks(n_frames, shape):
        raise ValueError(f"the sparse array {node.uri} has chunks {structure.chunks}, and not one for each frame")
    dtype = structure.data_type.to_numpy_dtype()
    return dask.array.map_blocks(  # pyright: ignore[reportPrivateImportUsage]
        _read_frame, node=node, chunks=structure.chunks, dtype=dtype, meta=np.empty((0,) * len(structure.shape), dtype)
    )


def _chunks(n_frames: int, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return ((1,) * n_frames, *((1,) * length for length in shape[:-2]), *((length,) for length in shape[-2:]))


def _read_frame(node: Any, block_id: tuple[int, ...]) -> np.ndarray:
    """One frame, with axes of length 1 in front; a module's own function, so that dask can send it to processes."""
    block = node.read_block(block_id)
    shape = tuple(node.shape[-2:])
    index = np.ravel_multi_index(tuple(block.coords[-2:]), shape)
    return densify(index, block.data, shape)[(np.newaxis,) * (len(block_id) - 2)]
