"""Images of which most pixels are zero, as the places and values of the others; and these as images again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from bluesky_ext._kernel import as_input, kernel
from bluesky_ext.images.mask import check_mask

#: Pixels are numbered in 32 bits: half the size of what numpy numbers them in.
LARGEST = 2**32
#: Pixels that are compared at a time, in the cache; a multiple of 8.
CHUNK = 32768


@kernel(inner=True)
def _compare(values: np.ndarray, mask: np.ndarray, flags: np.ndarray) -> None:
    for i in range(flags.size):
        flags[i] = np.uint8(values[i] != 0) & mask[i]


@kernel()
def _gather(
    values: np.ndarray,
    mask: np.ndarray,
    flags: np.ndarray,
    words: np.ndarray,
    first: int,
    index: np.ndarray,
    taken: np.ndarray,
    n: int,
) -> int:
    """Put the places and values of what is used and not zero behind n others; return how many there are then.

    The values (m,) are used where the mask (m,) is 1; the first of them has number `first` in the image.
    The working memory, `flags` of bytes and `words` of eight of them, is one. Most words of a sparse image are zero,
    and cost one comparison; in the others no jump depends on a pixel, since nobody can guess where these lead.
    """
    whole = values.size - values.size % flags.size
    for start in range(0, whole, flags.size):
        part, base = values[start : start + flags.size], first + start
        _compare(part, mask[start : start + flags.size], flags)
        for w in range(words.size):
            if words[w] != 0:
                for i in range(8 * w, 8 * w + 8):
                    index[n] = base + i
                    taken[n] = part[i]
                    n += flags[i]
    for i in range(whole, values.size):
        if values[i] != 0 and mask[i]:
            index[n] = first + i
            taken[n] = values[i]
            n += 1
    return n


def sparsify(image: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of the pixels that are neither masked nor zero: (nnz,) uint32, and (nnz,) of the image's dtype.

    A place is the number of a pixel in the flattened image, of all its frames; they ascend. Every value is kept as
    it is, NaN included. The kernel does not hold the GIL.

    Parameters
    ----------
    image : (..., *shape) array of real numbers
        One frame or many.
    mask : (*shape) bool array, optional
        False where a pixel is masked.

    Raises
    ------
    ValueError
        If the mask is not one for this image, or the image has more than 2**32 pixels.
    """
    values = np.asarray(image)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"an image of dtype {values.dtype} cannot be sparse: give real numbers")
    unmasked = np.ones(values.shape[-2:], bool) if mask is None else np.asarray(mask)
    check_mask(unmasked, values.shape)
    if values.size > LARGEST:
        raise ValueError(f"an image of shape {values.shape} has more than 2**32 pixels: give a frame at a time")
    if values.dtype == np.float16:  # which numba knows on some machines only
        flat = np.where(unmasked, values, np.float16(0)).reshape(-1)
        index = np.flatnonzero(flat != 0)
        return index.astype(np.uint32), flat[index]
    used = as_input(as_input(unmasked).reshape(-1).view(np.uint8))
    frames = as_input(values).reshape(-1, used.size) if values.size else np.empty((0, used.size), values.dtype)
    # One more than there can be: what is written there is written over, or cut off.
    index, taken = (np.empty(np.count_nonzero(frames) + 1, dtype) for dtype in (np.uint32, frames.dtype))
    flags = np.zeros(CHUNK, np.uint8)
    n = 0
    for number, frame in enumerate(frames):
        n = _gather(frame, used, flags, flags.view(np.uint64), number * used.size, index, taken, n)
    return index[:n].copy(), taken[:n].copy()


def densify(index: npt.ArrayLike, value: npt.ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """The image of this shape that `sparsify` took apart, with zeros where it had nothing to tell.

    Parameters
    ----------
    index : (nnz,) array of int
        Numbers of pixels in the flattened image.
    value : (nnz,) array
        What is there; the image has its dtype.
    shape : sequence of int
        Of the image.

    Raises
    ------
    ValueError
        If the two are not equally long, or a pixel lies outside of the image.
    """
    places, values = np.asarray(index), np.asarray(value)
    if places.shape != values.shape or places.ndim != 1:
        raise ValueError(f"index has shape {places.shape} and value {values.shape}: they are one-dimensional and equal")
    image = np.zeros([int(length) for length in shape], values.dtype)
    if places.size:
        highest = int(places.max())
        if highest >= image.size or int(places.min()) < 0:
            raise ValueError(f"pixel {highest} is not in an image of shape {image.shape}: give the shape it had")
        image.reshape(-1)[places] = values
    return image


def warm_up_sparse(dtypes: Iterable[npt.DTypeLike] = ("uint16",)) -> None:
    """Compile `sparsify` for images of these dtypes, or load it from the cache on disk."""
    for dtype in dtypes:
        sparsify(np.ones((2, 2), dtype), np.ones((2, 2), bool))
