"""Pixels that are no measurement: not finite, or at the value that a detector writes in its gaps and dead pixels."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

Gaps: TypeAlias = bool | Literal["auto"]
"""Which pixels are no measurement.

"auto": those that are not finite; those at the maximum of uint32 or uint64, which no detector counts to; and rows and
columns that are, from edge to edge and in all frames of a stack, at the maximum of uint8 or uint16. A saturated peak is
at that maximum too, but not from edge to edge. True: every pixel at the maximum of its unsigned dtype. False: none.
"""

RULES = {
    "auto": "not finite, at the maximum of uint32, or in rows and columns that are wholly at that of uint8 or uint16",
    True: "not finite, or at the maximum of their unsigned dtype",
}
"""What to say of them in a log."""


def check_gaps(gaps: Gaps) -> Gaps:
    """Return ``gaps``, or raise the error that says what it may be."""
    if gaps != "auto" and not isinstance(gaps, bool):
        raise ValueError(f"gaps={gaps!r}: give 'auto', True or False")
    return gaps


def gap_value(dtype: np.dtype, gaps: Gaps) -> int | None:
    """The value of which every pixel is no measurement, of images of this dtype; None if there is none."""
    if dtype.kind != "u" or not gaps or (gaps == "auto" and dtype.itemsize < 4):
        return None
    return int(np.iinfo(dtype).max)


def gap_lines(frames: np.ndarray, gaps: Gaps) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the frames (k, ny, nx) that are no measurement: their numbers, in two arrays of int.

    Few pixels are looked at where there are none. An image that is wholly at the maximum is overexposed, and has none.
    """
    nothing = np.empty(0, np.intp)
    if gaps != "auto" or frames.dtype.kind != "u" or frames.dtype.itemsize >= 4:
        return nothing, nothing
    top = np.iinfo(frames.dtype).max
    rows = np.flatnonzero((frames[:, :, :1] == top).all(axis=(0, 2)))
    rows = rows[(frames[:, rows] == top).all(axis=(0, 2))]
    columns = np.flatnonzero((frames[:, :1] == top).all(axis=(0, 1)))
    columns = columns[(frames[:, :, columns] == top).all(axis=(0, 1))]
    return (nothing, nothing) if len(rows) == frames.shape[1] else (rows, columns)


def measured(image: np.ndarray, gaps: Gaps = "auto") -> np.ndarray | None:
    """Where an image was measured, a bool array of its shape (ny, nx); None if that is everywhere.

    Parameters
    ----------
    image : (ny, nx) array
        The image.
    gaps : "auto" or bool
        Which pixels were not; see `Gaps`.

    Examples
    --------
    >>> measured(np.array([[7, 2**32 - 1]], np.uint32))
    array([[ True, False]])
    """
    value = gap_value(image.dtype, gaps)
    if value is not None:
        used = image != value
    elif image.dtype.kind == "f" and gaps:
        used = np.isfinite(image)
    else:
        rows, columns = gap_lines(image[np.newaxis], gaps)
        if not len(rows) and not len(columns):
            return None
        used = np.ones(image.shape, bool)
        used[rows] = used[:, columns] = False
    return None if used.all() else used
