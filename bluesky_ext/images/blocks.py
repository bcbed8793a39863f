"""Events of more frames than fit into memory: some of them at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bluesky_ext._kernel import as_input, kernel
from bluesky_ext.images.gaps import Gaps, gap_lines, gap_value
from bluesky_ext.images.reduce import COMPILED, check_background, held, mean_frame, reduce_measured, stack_of
from bluesky_ext.images.sparse import LARGEST, sparsify


@kernel()
def _add_measured(frame: np.ndarray, top: float, sums: np.ndarray, counts: np.ndarray) -> None:
    """Add the pixels of a frame that are below `top`, and count them; all of them if that is 0."""
    for i in range(sums.size):
        used = top == 0 or abs(frame[i]) < top
        sums[i] += frame[i] if used else 0.0
        counts[i] += 1 if used else 0


def reduce_blocks(
    blocks: Iterable[npt.ArrayLike],
    background: npt.ArrayLike | None = None,
    gaps: Gaps = "auto",
    lowest: float = 0.0,
    spare: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """What `bluesky_ext.images.reduce_measured` makes of all frames together, of which some are in memory at a time.

    Parameters
    ----------
    blocks : iterable of (..., ny, nx) arrays of real numbers
        At least one; all of the same dtype.
    background, gaps
        As for `reduce_measured`.
    lowest : float
        What lower values become, if there is more than one block.
    spare : (ny, nx) float64 array, optional
        As for `reduce_measured`, if there is one block.
    """
    first, *others = itertools.islice(blocks := iter(blocks), 2)
    if not others:
        return reduce_measured(first, background, gaps, spare)
    stack = stack_of(first)
    shape, dtype = stack.shape[-2:], stack.dtype
    below = None if background is None else np.asarray(background, float)
    check_background(below, shape)
    sums, counts, least = np.zeros(shape), np.zeros(shape, np.uint32), stack[0].copy()
    top = (np.inf if gaps else 0.0) if dtype.kind == "f" else gap_value(dtype, gaps) or 0
    for frames in map(stack_of, itertools.chain([first], others, blocks)):
        if frames.shape[-2:] != shape or frames.dtype != dtype:
            raise ValueError(f"frames of shape {frames.shape}, {frames.dtype} among those of {shape}, {dtype}")
        summed = held(frames)
        if summed.dtype.name not in COMPILED:
            summed = summed.astype(np.float64)
        for frame in summed.reshape(len(frames), -1):
            _add_measured(as_input(frame), float(top), sums.reshape(-1), counts.reshape(-1))
        np.minimum(least, frames.min(axis=0), out=least)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no frame was measured
        out = sums / counts - (0.0 if below is None else below)
    np.maximum(out, lowest, out=out)
    rows, columns = gap_lines(least[np.newaxis], gaps)
    out[rows] = out[:, columns] = np.nan
    return out, int(np.count_nonzero(np.isnan(out)))


def mean_blocks(blocks: Iterable[np.ndarray], gaps: Gaps) -> np.ndarray:
    """What `bluesky_ext.images.mean_frame` makes of all frames together; an image of two dimensions as it is."""
    first, *others = itertools.islice(blocks := iter(blocks), 2)
    if others:
        return reduce_blocks(itertools.chain([first], others, blocks), None, gaps, lowest=-np.inf)[0]
    return first if first.ndim == 2 else mean_frame(first, gaps=gaps)


def sparsify_blocks(
    blocks: Iterable[np.ndarray], mask: npt.ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """What `bluesky_ext.images.sparsify` makes of all frames together, and the shape of these.

    Places are uint64 where the frames have more than 2**32 pixels together.

    Parameters
    ----------
    blocks : iterable of (k, *shape) arrays of real numbers
        At least one; all of the same dtype.
    mask : (*shape) bool array, optional
        False where a pixel is masked.
    """
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    size, shapes = 0, []
    for block in blocks:
        found.append((size, *sparsify(block, mask)))
        size += block.size
        shapes.append(block.shape)
    if len(found) == 1:
        return *found[0][1:], shapes[0]
    dtype = np.dtype(np.uint32 if size <= LARGEST else np.uint64)
    index = np.concatenate([places.astype(dtype) + dtype.type(first) for first, places, _ in found])
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return index, np.concatenate([values for *_, values in found]), shape


def warm_up_blocks() -> None:
    """Compile `reduce_blocks` for frames of the dtypes that detectors make, or load it from the cache on disk."""
    for dtype in COMPILED:
        reduce_blocks([np.ones((1, 2, 2), dtype)] * 2)
