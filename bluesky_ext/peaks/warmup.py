"""Compiling before the first frame rather than in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from bluesky_ext.peaks.locate import locate
from bluesky_ext.peaks.parameters import LocateParameters


def warm_up(
    dtypes: Iterable[npt.DTypeLike] = ("float64", "uint16", "uint32"),
    diameter: int | Sequence[int] = 15,
    *,
    mask: bool = False,
) -> None:
    """Compile what `locate` needs for images of these dtypes, or load it from the cache on disk.

    Parameters
    ----------
    dtypes : iterable of dtypes
        Those of the images to come; the three have the kernels of all others.
    diameter : odd int, or one for y and one for x
        Size of a peak in pixels.
    mask : bool
        Whether there will be a mask.
    """
    height, width = (4 * size for size in LocateParameters(diameter).box)
    y, x = np.indices((height, width))
    spot = 100 * np.exp(-((8 * y / height - 4) ** 2) - (8 * x / width - 4) ** 2) + (y + x) % 2
    for dtype in dtypes:
        locate(spot.astype(dtype), diameter)
        if mask:
            locate(spot.astype(dtype), diameter, mask=(y + x) % 5 > 0)
