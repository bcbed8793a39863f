"""Images minus a background."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np
import numpy.typing as npt

from bluesky_ext.images.reduce import mean_frame, reduce_frames


def subtract(image: npt.ArrayLike, background: npt.ArrayLike) -> np.ndarray:
    """Image minus background, negative values made zero, float64 of the same shape.

    Taken in float64, so that an unsigned image that is darker than its background doesn't wrap around.

    Parameters
    ----------
    image : array
        The image; any number of dimensions.
    background : array of the same shape
        What is taken away.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    minuend, subtrahend = np.asarray(image), np.asarray(background)
    if minuend.shape != subtrahend.shape:
        raise ValueError(f"the background has shape {subtrahend.shape}, the image {minuend.shape}: they must be equal")
    difference = np.subtract(minuend, subtrahend, dtype=np.float64)
    return np.maximum(difference, 0.0, out=difference)


def gen_processed_images(
    images: Iterable[npt.ArrayLike], subtrahend: npt.ArrayLike
) -> Generator[np.ndarray, None, None]:
    """Yield each image averaged to two dimensions, minus the background, negative values made zero.

    Parameters
    ----------
    images : iterable of (..., ny, nx) arrays or nested lists
        Each is an image or a stack of frames; taken one at a time.
    subtrahend : (..., ny, nx) array or nested list
        The background, averaged to two dimensions too.

    Yields
    ------
    (ny, nx) float64 array
    """
    background = mean_frame(subtrahend)
    for image in images:
        yield reduce_frames(image, background)
