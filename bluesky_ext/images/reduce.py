"""A stack of frames reduced to one image: averaged, and the background taken away, in one pass.

numpy averages 16-bit frames by converting every pixel to float64 and adding it to an image in memory, and
passes over that image twice more for the background. Here a few thousand pixels at a time are summed in
the cache, over all frames, in the narrowest integer that cannot overflow.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bluesky_ext._kernel import as_input, kernel
from bluesky_ext.images.gaps import Gaps, gap_lines, gap_value

CHUNK = 16384
"""Pixels that are summed at a time: their sums stay in the second cache, and each frame is read in long pieces."""


COMPILED = ("uint16", "uint32", "int32", "float32", "float64")
"""Dtypes of frames that have kernels."""

HELD_IN = {"uint8": "uint16", "int8": "int32", "int16": "int32"}
"""Dtypes of frames that are converted to one that has kernels, since those of a dtype take a second to compile."""


def held(frames: np.ndarray) -> np.ndarray:
    """The frames in a dtype that has kernels; as they are if no such dtype holds each of their values."""
    name = frames.dtype.newbyteorder("=").name
    return frames.astype(HELD_IN[name]) if name in HELD_IN else frames


def _sum_dtype(dtype: np.dtype, n_frames: int) -> np.dtype | None:
    """Dtype in which so many frames can be summed as numpy sums them in float64; None if none is known.

    Integers are summed exactly, which numpy's sums are up to 2**53.
    """
    if dtype in (np.float32, np.float64):
        return np.dtype(np.float64)
    if dtype.kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    largest = n_frames * max(int(limits.max), -int(limits.min))
    # Of wider ones already two are too much: one set of kernels is enough for them.
    if dtype.itemsize == 2 and largest <= np.iinfo(np.uint32).max:
        return np.dtype(np.uint32)
    return np.dtype(np.int64) if largest <= 2**53 else None


@kernel(inner=True)
def _add(sums: np.ndarray, frame: np.ndarray) -> None:
    for i in range(sums.size):
        sums[i] += frame[i]


@kernel(inner=True)
def _add_four(sums: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> None:
    """Four frames for one reading and writing of the sums; one after the other, as floats need it."""
    for i in range(sums.size):
        sums[i] = sums[i] + a[i] + b[i] + c[i] + d[i]


@kernel(inner=True)
def _mean(sums: np.ndarray, divisor: float, background: np.ndarray, lowest: float, out: np.ndarray) -> int:
    """Fill `out`; return how many pixels of it are NaN."""
    n_nan = 0
    for i in range(out.size):
        value = sums[i] / divisor - background[i]
        # NaN is not below anything, and stays
        out[i] = lowest if value < lowest else value
        n_nan += value != value
    return n_nan


@kernel(inner=True)
def _has_gaps(sums: np.ndarray, top: float) -> bool:
    """Whether a sum may have a pixel in it that was not measured: then it is not below `top` either."""
    count = 0
    for i in range(sums.size):
        count += 0 if abs(sums[i]) < top else 1
    return count > 0


@kernel(inner=True)
def _mean_of_measured(
    frames: np.ndarray, sums: np.ndarray, top: float, background: np.ndarray, lowest: float, out: np.ndarray
) -> int:
    """Do again the pixels that have a gap in one of the frames (k, n), which does not count; NaN if none does.

    Return how many pixels of `out` are NaN.
    """
    n_nan = 0
    for i in range(out.size):
        if abs(sums[i]) < top:
            n_nan += out[i] != out[i]
            continue
        total = 0.0  # exact for integers too: their sums are below 2**53
        count = 0
        for k in range(frames.shape[0]):
            if abs(frames[k, i]) < top:
                total += frames[k, i]
                count += 1
        value = total / count - background[i]
        out[i] = lowest if value < lowest else value
        n_nan += value != value
    return n_nan


@kernel()
def reduce_stack(
    frames: np.ndarray, background: np.ndarray, lowest: float, top: float, sums: np.ndarray, out: np.ndarray
) -> int:
    """Mean of the frames (k, n) minus the background, at least `lowest`, into `out` (n,) float64; how many are NaN.

    The background has n pixels, or as many as `sums`, the working memory of a chunk, if it is the same for all.
    Pixels that are not below `top` were not measured; 0 if all were.
    """
    n_frames, n = frames.shape
    n_nan = 0
    for start in range(0, n, sums.size):
        stop = min(start + sums.size, n)
        part = sums[: stop - start]
        part[:] = 0
        whole = n_frames - n_frames % 4
        for k in range(0, whole, 4):
            _add_four(
                part,
                frames[k, start:stop],
                frames[k + 1, start:stop],
                frames[k + 2, start:stop],
                frames[k + 3, start:stop],
            )
        for k in range(whole, n_frames):
            _add(part, frames[k, start:stop])
        first = start if background.size == n else 0
        below = background[first : first + part.size]
        in_part = _mean(part, float(n_frames), below, lowest, out[start:stop])
        if top and _has_gaps(part, top):
            in_part = _mean_of_measured(frames[:, start:stop], part, top, below, lowest, out[start:stop])
        n_nan += in_part
    return n_nan


def stack_of(frames: npt.ArrayLike) -> np.ndarray:
    """The frames along one axis, (k, ny, nx)."""
    stack = np.asarray(frames)
    if stack.ndim < 2:
        raise ValueError(f"frames of shape {stack.shape} have {stack.ndim} dimensions: an image has at least two")
    if stack.dtype.kind not in "biuf":
        raise ValueError(f"frames of dtype {stack.dtype} cannot be averaged: give real numbers")
    if stack.ndim > 2 and stack.shape[-1] in (3, 4) and min(stack.shape[-3:-1]) > 4:
        raise ValueError(
            f"frames of shape {stack.shape} look like a colour image: set the detector to grey values (mono), or give "
            "frames of shape (n, ny, nx)"
        )
    if stack.size == 0:
        raise ValueError(f"frames of shape {stack.shape} have no pixels: there is nothing to average")
    return stack.reshape(-1, *stack.shape[-2:])


def check_background(background: np.ndarray | None, shape: tuple[int, ...]) -> None:
    """Refuse a background of another shape than the frames."""
    if background is not None and background.shape != shape:
        raise ValueError(f"the background has shape {background.shape}, the frames {shape}: they must be equal")


def _reduced(
    frames: npt.ArrayLike, background: np.ndarray | None, lowest: float, out: np.ndarray | None, gaps: Gaps
) -> tuple[np.ndarray, int]:
    stack = stack_of(frames)
    shape = stack.shape[-2:]
    check_background(background, shape)
    if out is None:
        out = np.empty(shape)
    elif out.shape != shape or out.dtype != np.float64 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous float64 array of shape {shape}, not {out.dtype} {out.shape}")
    summed = held(stack)
    sum_dtype = _sum_dtype(summed.dtype, len(summed))
    if sum_dtype is None:
        n_nan = _reduce_by_numpy(stack, 0.0 if background is None else background, lowest, out, gaps)
    else:
        top = (np.inf if gaps else 0.0) if stack.dtype.kind == "f" else gap_value(stack.dtype, gaps) or 0
        sums = np.empty(min(CHUNK, out.size), sum_dtype)
        taken_away = as_input(np.zeros(sums.size) if background is None else background).reshape(-1)
        n_nan = reduce_stack(as_input(summed).reshape(len(summed), -1), taken_away, lowest, top, sums, out.reshape(-1))
    rows, columns = gap_lines(stack, gaps)
    if len(rows) or len(columns):
        out[rows] = out[:, columns] = np.nan
        n_nan = int(np.count_nonzero(np.isnan(out)))
    return out, n_nan


def _reduce_by_numpy(
    stack: np.ndarray, background: np.ndarray | float, lowest: float, out: np.ndarray, gaps: Gaps
) -> int:
    value = gap_value(stack.dtype, gaps)
    used: np.ndarray | bool = True
    if value is not None:
        used = stack != value
    elif stack.dtype.kind == "f" and gaps:
        used = np.isfinite(stack)
    total = np.sum(stack, axis=0, dtype=np.float64, where=used)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no frame was measured
        np.subtract(total / np.sum(np.broadcast_to(used, stack.shape), axis=0), background, out=out)
    np.maximum(out, lowest, out=out)
    return int(np.count_nonzero(np.isnan(out)))


def mean_frame(frames: npt.ArrayLike, *, gaps: Gaps = False) -> np.ndarray:
    """Average over all axes but the last two, (ny, nx) float64.

    Parameters
    ----------
    frames : (..., ny, nx) array of real numbers
        Any number of frames; a single one is only converted.
    gaps : "auto" or bool
        As for `reduce_measured`.

    Raises
    ------
    ValueError
        If there are fewer than two dimensions, no frames, or a colour image.
    """
    return _reduced(frames, None, -np.inf, None, gaps)[0]


def reduce_frames(
    frames: npt.ArrayLike, background: npt.ArrayLike | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Average of the frames minus a background, negative values made zero, (ny, nx) float64.

    In one pass over the frames, without the GIL. For integer frames equal to the last bit to
    ``np.clip(frames.reshape(-1, ny, nx).mean(axis=0) - background, 0, None)``; float32 frames are summed
    in double precision. NaN stays NaN.

    Parameters
    ----------
    frames : (..., ny, nx) array of real numbers
        Any number of frames.
    background : (ny, nx) array, optional
        What is taken away; nothing by default.
    out : (ny, nx) float64 array, optional
        Where to put the result: contiguous, and not shared with another thread.

    Raises
    ------
    ValueError
        If there are fewer than two dimensions, no frames or a colour image, or another array has another shape.
    """
    return _reduced(frames, None if background is None else np.asarray(background, float), 0.0, out, False)[0]


def reduce_measured(
    frames: npt.ArrayLike,
    background: npt.ArrayLike | None = None,
    gaps: Gaps = "auto",
    spare: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """What `reduce_frames` makes of the pixels that were measured, and the number of those that never were: NaN.

    Parameters
    ----------
    frames, background
        As for `reduce_frames`. Where the background is NaN, so is the result.
    gaps : "auto" or bool
        Which pixels of the frames are no measurement: see `Gaps`.
    spare : (ny, nx) float64 array, optional
        An earlier result that is not needed any more: the new one is written into it, if it has the same shape.
    """
    out = spare if spare is not None and spare.shape == np.shape(frames)[-2:] else None
    return _reduced(frames, None if background is None else np.asarray(background, float), 0.0, out, gaps)


def warm_up(dtypes: Iterable[npt.DTypeLike] = COMPILED) -> None:
    """Compile `mean_frame` and `reduce_frames` for frames of these dtypes, or load them from the cache on disk.

    Call it before the first frame, which otherwise waits for a second. Other dtypes than these are left to numpy.
    """
    for dtype in dtypes:
        reduce_frames(np.ones((5, 2, 2), dtype))
