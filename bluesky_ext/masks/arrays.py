"""Masks as arrays: made from lists of pixels and from files, combined, and known by their sha256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bluesky_ext.images import read_image

#: The shape of an Eiger 4M's images.
EIGER_4M = (2167, 2070)


def load_array_from_file(filename: str | os.PathLike[str]) -> np.ndarray:
    """The array in a file of `bluesky_ext.images.read_image`: a mask, or a list of pixels for `list_to_mask`.

    Objects in a file are refused, since loading them may run code.
    """
    path = Path(filename)
    try:
        return read_image(path)
    except ValueError as error:
        raise ValueError(f"{path} holds no array that can be read: {' '.join(str(error).split())}") from error


def list_to_mask(pixel_list: npt.ArrayLike, shape: tuple[int, ...] = EIGER_4M) -> np.ndarray:
    """The mask, a bool array of this shape, that is False at the listed pixels.

    Parameters
    ----------
    pixel_list : array of int
        Numbers of pixels in the flattened image.
    shape : tuple of int
        Of the detector's images.

    Raises
    ------
    ValueError
        If a pixel is no whole number, or lies outside of the image.

    Examples
    --------
    >>> list_to_mask([0, 5], (2, 3)).tolist()
    [[False, True, True], [True, True, False]]
    """
    pixels = np.asarray(pixel_list).reshape(-1)
    mask = np.ones(shape, bool)
    if not pixels.size:
        return mask
    numbers = pixels.astype(np.int64) if pixels.dtype.kind in "iuf" and np.isfinite(pixels).all() else None
    if numbers is None or (numbers != pixels).any():
        raise ValueError(f"a list of pixels of dtype {pixels.dtype} has some that are no whole numbers: give integers")
    outside = (numbers < 0) | (numbers >= mask.size)
    if outside.any():
        raise ValueError(f"pixel {numbers[outside][0]} is not one of the {mask.size} of an image of shape {mask.shape}")
    mask.reshape(-1)[numbers] = False
    return mask


def combine_masks(masks: Iterable[Any]) -> Any:
    """The mask that is True where all of these are, numpy or dask as they are.

    Parameters
    ----------
    masks : iterable
        Bool arrays of one shape, or the pairs ``(uid, mask)`` that `MaskClient.get_mask` returns.

    Raises
    ------
    ValueError
        If there is none, or they are not bool arrays of one shape.

    Examples
    --------
    >>> combine_masks([np.array([True, True, False]), ("a uid", np.array([True, False, True]))]).tolist()
    [True, False, False]
    """
    if isinstance(masks, np.ndarray) and masks.ndim <= 2:
        masks = [masks]  # not its rows
    arrays = [item[1] if _is_pair(item) else item for item in masks]
    if not arrays:
        raise ValueError("there is no mask to combine: give at least one")
    for array in arrays:
        if getattr(array, "dtype", None) != np.bool_:
            what = f"dtype {array.dtype}" if hasattr(array, "dtype") else type(array).__name__
            raise ValueError(f"a mask is a bool array, False where a pixel is masked; there is one of {what}")
        if array.shape != arrays[0].shape:
            raise ValueError(f"masks of shapes {arrays[0].shape} and {array.shape} cannot be combined: they differ")
    return reduce(lambda one, other: one & other, arrays)


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def as_mask(mask: Any) -> np.ndarray:
    """The mask as a contiguous bool array in memory; raises ValueError when it is none."""
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise ValueError(
            f"the mask has dtype {array.dtype}: give a bool array, False where a pixel is masked, as in mask == 0"
        )
    if not array.size:
        raise ValueError(f"the mask has shape {array.shape}, and not one pixel: give a mask of the detector's shape")
    return np.ascontiguousarray(array)


def mask_sha256(mask: np.ndarray) -> str:
    """The sha256 of a mask's shape and content, as hex digits: of the shape as text, then eight pixels a byte.

    Examples
    --------
    >>> mask_sha256(np.array([True, False])) == mask_sha256(np.array([[True, False]]))
    False
    """
    digest = hashlib.sha256(f"{'x'.join(map(str, mask.shape))}:".encode())
    digest.update(cast(Any, np.packbits(mask)))
    return digest.hexdigest()
