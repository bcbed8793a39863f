"""Images with the pixels that are not to be used replaced."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bluesky_ext._kernel import as_input, kernel


@kernel()
def _select(image: np.ndarray, mask: np.ndarray, fill: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` (k, n) with the image (k, n) where the mask (n,) is True, and with `fill` (1,) elsewhere."""
    value = fill[0]
    for k in range(image.shape[0]):
        frame, row = image[k], out[k]
        for i in range(mask.size):
            row[i] = frame[i] if mask[i] else value


def masked_dtype(dtype: npt.DTypeLike, fill: float) -> np.dtype:
    """The dtype of an image of this dtype after masking: its own if that can hold `fill`, or else a float's.

    Integers of up to 16 bits become float32, which holds them exactly, and wider ones float64.

    Raises
    ------
    ValueError
        If `fill` is neither NaN nor a number that the dtype holds exactly.

    Examples
    --------
    >>> masked_dtype("uint16", 0), masked_dtype("uint16", float("nan")), masked_dtype("uint32", float("nan"))
    (dtype('uint16'), dtype('float32'), dtype('float64'))
    """
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind not in "biuf":
        raise ValueError(f"an image of dtype {dtype} cannot be masked: give real numbers")
    if np.isnan(fill):
        return dtype if dtype.kind == "f" else np.promote_types(dtype, np.float32)
    if dtype.kind == "f":
        return dtype
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if fill != int(fill) or not limits[0] <= fill <= limits[1]:
        raise ValueError(f"fill={fill!r} is no {dtype}: give a whole number that the image can hold, or NaN")
    return dtype


def apply_mask(image: npt.ArrayLike, mask: npt.ArrayLike, fill: float = 0, out: np.ndarray | None = None) -> np.ndarray:
    """The image with `fill` in place of its masked pixels, an array of the image's shape.

    What a masked pixel held does not matter, NaN included. The kernel does not hold the GIL.

    Parameters
    ----------
    image : (..., *shape) array of real numbers
        One frame or many.
    mask : (*shape) bool array
        False where a pixel is masked.
    fill : float
        What masked pixels become. NaN makes integers floats, as `masked_dtype` says.
    out : array, optional
        Where to put the result: contiguous, of the image's shape and the resulting dtype. It may be the image itself.

    Raises
    ------
    ValueError
        If the mask is not one for this image, or the dtype of the image cannot hold `fill`.
    """
    values, flags = np.asarray(image), np.asarray(mask)
    check_mask(flags, values.shape)
    dtype = masked_dtype(values.dtype, fill)
    if out is None:
        out = np.empty(values.shape, dtype)
    elif out.shape != values.shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of shape {values.shape}, not {out.dtype} {out.shape}")
    if values.dtype == np.float16:  # which numba knows on some machines only
        np.copyto(out, values)
        np.copyto(out, dtype.type(fill), where=~np.broadcast_to(flags, values.shape))
    elif values.size:
        shape = (-1, flags.size)
        frames = as_input(values).reshape(shape)
        _select(frames, as_input(flags).reshape(-1), np.array([fill], dtype), out.reshape(shape))
    return out


def check_mask(mask: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse a mask that is none, or none for frames of this shape: ``(..., *mask.shape)``."""
    if mask.dtype != np.bool_:
        raise ValueError(f"a mask is bool, False where a pixel is masked; this one is {mask.dtype}: compare it first")
    if not mask.ndim or shape[-mask.ndim :] != mask.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the image {shape}: give the mask of this detector")


def warm_up_masking(dtypes: Iterable[npt.DTypeLike] = ("uint16",)) -> None:
    """Compile `apply_mask` for images of these dtypes, or load it from the cache on disk."""
    for dtype in dtypes:
        for fill in (0, np.nan):
            apply_mask(np.ones((1, 2, 2), dtype), np.ones((2, 2), bool), fill)
